"""The line between a local job and the process that started it: a socket that both hold one end of.

The job sends a `Tick` a line of text. Nothing is sent the other way; but an end of file tells the job that
who started it is gone, however it went, so that no job is left behind with its seeds locked.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from aihf_control.runs.progress import Tick
from aihf_control.runs.signals import REQUEUE_ME

_LONGEST = 4096

HAS_LINES = hasattr(socket, "AF_UNIX")
"""Whether a process can be given an end of a socket here; not on Windows."""


class Starter:
    """A job's end, of which it was given the `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._watch, name="starter", daemon=True).start()

    def tell(self, tick: Tick) -> None:
        """Send it, or drop it if nobody has read for a while: a job never waits for its reader."""
        with suppress(OSError):
            self._socket.send(f"{json.dumps(asdict(tick))}\n".encode(), socket.MSG_DONTWAIT)

    def _watch(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)
        os._exit(REQUEUE_ME)  # at once, as if killed: the same command may have been started again already


class Line:
    """The starter's end; `theirs` is the job's, until `hand_over` closes it here."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._rest = b""

    def hand_over(self) -> None:
        """The job has its end now."""
        self.theirs.close()

    def ticks(self) -> Iterator[Tick]:
        """What the job has sent since the last call."""
        with suppress(OSError):  # among them: nothing is there to be read
            while some := self._ours.recv(_LONGEST):
                self._rest += some
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            with suppress(ValueError, TypeError):  # torn, where a full socket took a part of it
                yield Tick(**json.loads(line))

    def close(self) -> None:
        """The job ended, or is to end at once."""
        self._ours.close()

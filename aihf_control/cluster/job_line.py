"""The line between a local job and the process that started it: a socket that both hold one end of.

The job sends a `Tick` a message. Nothing is sent the other way; but an end of file tells the job that who
started it is gone, however it went, so that no job is left behind with its seeds locked.
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


class Starter:
    """A job's end, of which it was given the `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._watch, name="starter", daemon=True).start()

    def tell(self, tick: Tick) -> None:
        """Send it, or drop it if nobody has read for a while: a job never waits for its reader."""
        with suppress(OSError):
            self._socket.send(json.dumps(asdict(tick)).encode(), socket.MSG_DONTWAIT)

    def _watch(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)
        os._exit(REQUEUE_ME)  # at once, as if killed: the same command may have been started again already


class Line:
    """The starter's end; `theirs` is the job's, until `hand_over` closes it here."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    def hand_over(self) -> None:
        """The job has its end now."""
        self.theirs.close()

    def ticks(self) -> Iterator[Tick]:
        """What the job has sent since the last call."""
        with suppress(OSError):  # among them: nothing is there to be read
            while message := self._ours.recv(_LONGEST):
                yield Tick(**json.loads(message))

    def close(self) -> None:
        """The job ended, or is to end at once."""
        self._ours.close()

"""Which process wrote a file, and whether it still runs."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

_PARTS = re.compile(r"(.*)-([0-9a-f]*)-(\d*)-(\d+)-(\d+)")


@dataclass(frozen=True)
class Process:
    """A process, told from every other one: not by its pid alone, which is used again.

    `boot` names the start of the machine, `namespace` the container in which `pid` counts, and
    `started` is in clock ticks since the boot. Where /proc is missing the three are "", "" and 0.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    @staticmethod
    def current() -> Process:
        """The process that asks."""
        boot, namespace = "", ""
        if os.path.exists("/proc/self/ns/pid"):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
            namespace = "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))
        return Process(socket.gethostname(), boot, namespace, os.getpid(), _started(os.getpid()) or 0)

    def __str__(self) -> str:
        return f"{self.host}-{self.boot}-{self.namespace}-{self.pid}-{self.started}"

    @staticmethod
    def parse(text: str) -> Process | None:
        """The inverse of `str`; None for anything else."""
        match = _PARTS.fullmatch(text)
        return match and Process(match[1], match[2], match[3], int(match[4]), int(match[5]))

    def is_local(self) -> bool:
        """Whether its pid means something here: same machine, not restarted since, same container."""
        here = Process.current()
        return (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    def is_alive(self) -> bool:
        """Whether it surely runs: it is of this machine and this container, which can tell."""
        return self.is_local() and _runs(self.pid, self.started) is True

    def is_dead(self) -> bool:
        """Whether it surely runs no more. False too where this machine cannot tell: on other hosts."""
        if self.is_local():
            return _runs(self.pid, self.started) is False
        here = Process.current()
        return self.host == here.host and self.boot != here.boot


def _runs(pid: int, started: int) -> bool | None:
    """None on Windows, where `os.kill` with 0 does not ask but sends Ctrl-C."""
    if os.name == "nt":
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's, and /proc may hide it
    now = _started(pid)
    return now is None or now == started


def _started(pid: int) -> int | None:
    """Start in clock ticks since the boot; -1 for a zombie, which writes nothing; None if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])

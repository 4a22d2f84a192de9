"""Stand-ins that several tests share."""

import io
from dataclasses import replace

from aihf_control.runs.processes import Process


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def dead() -> Process:
    return replace(Process.current(), pid=2**22 + 1)  # above the largest pid Linux gives

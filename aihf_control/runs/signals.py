"""Being told to stop: a signal becomes an exception, which waits while something is being saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
)
"""What tells a process to stop; Windows has the first alone."""
REQUEUE_ME = 75
"""Exit status of a preempted process, `EX_TEMPFAIL`: run the same command again and it goes on."""


class Preempted(SystemExit):
    """The process was told to stop. Not caught, it ends the process with status `REQUEUE_ME`."""

    def __init__(self, signum: int) -> None:
        super().__init__(REQUEUE_ME)
        self.signal_name = signal.Signals(signum).name

    def __str__(self) -> str:
        return f"stopped by {self.signal_name}"


class _State:
    """`first` is the signal that counts; it is `delivered` once raised, or waits while `depth` > 0."""

    def __init__(self) -> None:
        self.depth = 0
        self.reset()

    def reset(self) -> None:
        self.first: int | None = None
        self.delivered = False

    def deliver(self) -> None:
        if self.first is None or self.delivered or self.depth > 0:
            return
        self.delivered = True
        raise KeyboardInterrupt if self.first == signal.SIGINT else Preempted(self.first)


_state = _State()


def _handle(signum: int, frame: FrameType | None) -> None:
    if _state.first is None:
        _state.first = signum
    _state.deliver()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first SIGTERM, SIGUSR1, SIGUSR2 or SIGHUP raises `Preempted`, SIGINT `KeyboardInterrupt`.

    Further signals change nothing. The old handlers are restored at the end; but after `Preempted` all
    five signals are ignored from then on, so that the exit status is the same whatever follows. Does
    nothing outside of the main thread, and leaves alone what is ignored (SIGHUP by `nohup`, SIGINT by `… &`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.reset()
    caught = [s for s in (*PREEMPTING, signal.SIGINT) if signal.getsignal(s) is not signal.SIG_IGN]
    old = {signum: signal.signal(signum, _handle) for signum in caught}
    try:
        yield
    except Preempted:
        old |= dict.fromkeys(caught, signal.SIG_IGN)
        raise
    finally:
        for signum, handler in old.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within, a signal waits; it is raised at the end, unless the body raised an error of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    _state.deliver()

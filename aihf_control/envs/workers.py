"""Environments in worker processes, which step while this process does something else.

Numbers go through memory that all map, of an unlinked file, so that nothing is left behind however a
process ends. A socket to each worker carries a byte a command or answer; its end tells a worker that
the parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import IO

import numpy as np

from aihf_control.envs.environments import BrokenEnvironments, Steps
from aihf_control.envs.external import OWN
from aihf_control.envs.tasks import Task
from aihf_control.envs.worker_process import FAILED, FAULTS, RESET, STEP, Block, Settings
from aihf_control.hardware import ONE_THREAD, usable_cores
from aihf_control.runs.signals import PREEMPTING

HAS_WORKERS = hasattr(signal, "pthread_sigmask")
"""Whether a worker can be started here; not on Windows."""

SECONDS_TO_END = 5.0  # a worker that is in the middle of a step has so long to finish it

_START = (
    "import sys; sys.path[:] = sys.argv[3:]; from aihf_control.envs.worker_process import serve; "
    "serve(int(sys.argv[1]), int(sys.argv[2]))"
)


class WorkerEnvironments:
    """N Gymnasium environments over worker processes, bit for bit those of `SerialEnvironments`.

    Any error in a worker, or its death, raises `BrokenEnvironments` with the environments it had and the
    error's text, and ends all of them.
    """

    def __init__(
        self, task: Task, count: int, *, fixed_horizon: bool, autoreset: bool, workers: int | None = None
    ) -> None:
        self.count, self._awaited, self._workers = count, False, list[_Worker]()
        own = OWN.get(task.name)
        entry, code = (own.entry, own.source.sha256) if own else ("", "")
        bounds = np.linspace(0, count, min(count, workers or usable_cores()) + 1).astype(int).tolist()
        with _memory_file() as memory:
            memory.truncate(Block.size(task, count))
            self._block = Block.map(memory.fileno(), task, count)
            for first, end in zip(bounds[:-1], bounds[1:], strict=True):
                settings = Settings(task, count, first, end, fixed_horizon, autoreset, entry, code)
                self._workers.append(_Worker(settings, memory.fileno()))
            self._awaited = True
            self._await()

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return [worker.process.pid for worker in self._workers]

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """As `Environments.reset`."""
        if self._awaited:
            self._await()
        if len(seeds) != self.count:
            raise ValueError(f"{len(seeds)} seeds for {self.count} environments")
        self._block.seeds[:] = seeds
        self._command(RESET)
        self._await()
        return self._block.following.copy()

    def begin(self, actions: np.ndarray, playing: np.ndarray | None = None) -> None:
        """As `Environments.begin`."""
        self._block.actions[:] = actions
        self._block.playing[:] = True if playing is None else playing
        self._command(STEP)

    def finish(self) -> Steps:
        """As `Environments.finish`."""
        self._await()
        block = self._block
        columns = (block.following, block.final, block.rewards, block.terminated, block.truncated)
        return Steps(*(column.copy() for column in columns))

    def faults(self) -> list[str | None]:
        """As `Environments.faults`."""
        self._command(FAULTS)
        return [fault for answer in self._await() for fault in json.loads(answer)]

    def close(self) -> None:
        """As `Environments.close`."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.end()
        self._workers, self._awaited = [], False

    def _command(self, command: bytes) -> None:
        if not self._workers:
            raise BrokenEnvironments("the worker processes of these environments have ended")
        for worker in self._workers:
            worker.send(command)
        self._awaited = True

    def _await(self) -> list[bytes]:
        """What each worker answers. Without all answers they are out of step, so an error ends them."""
        if not self._awaited:
            raise BrokenEnvironments("nothing was begun that could be finished")
        try:
            answers = [worker.answer() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        self._awaited = False
        return answers


def _memory_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("environments"), "r+b")
    return tempfile.TemporaryFile()


class _Worker:
    """The parent's side of one worker."""

    def __init__(self, settings: Settings, memory: int) -> None:
        self._name = f"environments {settings.first} to {settings.end - 1}"
        self.connection, theirs = Pipe()
        argv = [sys.executable, "-c", _START, str(theirs.fileno()), str(memory), *sys.path]
        # A worker inherits these signals blocked, so it never sees one: the parent decides when it ends.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *PREEMPTING})
        try:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), memory),
                env=os.environ | ONE_THREAD,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
        self.send(settings.encode())

    def send(self, message: bytes) -> None:
        """A command; a dead worker is noticed when its answer is awaited."""
        with suppress(OSError):
            self.connection.send_bytes(message)

    def answer(self) -> bytes:
        """What follows `DONE` in the worker's answer, else `BrokenEnvironments`."""
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, OSError):
            status = self.end()
            raise BrokenEnvironments(
                f"{self._name}: their worker process ended with status {status}"
            ) from None
        if answer[:1] == FAILED:
            raise BrokenEnvironments(f"{self._name}: {answer[1:].decode()}")
        return answer[1:]

    def end(self) -> int:
        """Wait for the process, whose connection is closed, and kill it if it takes long."""
        try:
            return self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

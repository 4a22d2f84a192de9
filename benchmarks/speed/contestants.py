"""The processes of `make speed`: each sleeps until it is told to work."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from aihf_control.study.machine import keep_freed_memory
from benchmarks.speed.runners import Baseline, Ours, Spec

IMPORTED_FIRST = (
    "stable_baselines3", "sb3_contrib", "tyro", "benchmarks.speed.learners", "benchmarks.speed.plot",
)  # fmt: skip
PATIENCE = 180.0  # seconds after which a process that does not answer is given up


def serve(connection: Connection, spec: Spec) -> None:
    """The process: answers `(what, steps)` with seconds, "memory" with MiB; a text tells why it cannot."""
    try:
        torch.set_num_threads(spec.threads)
        if spec.library == "aihf_control":
            keep_freed_memory()  # as a study does
        before, cuda = _private_memory(), spec.device.startswith("cuda")
        contestant = (Ours if spec.library == "aihf_control" else Baseline)(spec)
        connection.send(0.0)
        while (request := connection.recv()) is not None:
            if request == "memory":
                peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _private_memory() - before
                connection.send(peak)
                continue
            work = contestant.prepare(request[0])
            finish: Callable[[], None] = torch.cuda.synchronize if cuda else lambda: None
            finish()
            began = time.perf_counter()
            work(request[1])
            finish()
            connection.send(time.perf_counter() - began)
        contestant.close()
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is gone or was interrupted
        pass
    except Exception as error:  # whatever it is, the parent goes on without this contestant and says why
        connection.send((str(error).strip() or type(error).__name__).splitlines()[0])


def _private_memory() -> float:
    """Peak resident MiB of this process but for files, whose pages (libraries) it shares; NaN if unknown.

    The peak starts afresh in a forked process.
    """
    try:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines if words[-1:] == ["kB"]}
        return (kib["VmHWM:"] - kib["RssFile:"]) / 1024
    except (OSError, KeyError):
        return float("nan")


class Failed(Exception):
    """A contestant cannot go on; the text says why."""


class Contestant:
    """One process, or several that always work at the same time."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        # forked from a server that has imported everything and computed nothing: quick, and
        # memory counts from the same point for all
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED_FIRST))
        self.spec, self._links, self._processes = specs[0], [], []
        for spec in specs:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, spec))
            process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def wait_until_ready(self) -> None:
        """Raises `Failed`, as the others do, if it cannot be built."""
        self._answers()

    def measure(self, what: str, steps: int) -> list[float]:
        """Seconds that each process took for `steps`; all are told before the first is waited for."""
        return self._ask((what, steps))

    def memory(self) -> float:
        """Peak memory so far in MiB, of all processes together."""
        return sum(self._ask("memory"))

    def close(self) -> None:
        """End the processes."""
        for link in self._links:
            with suppress(OSError):
                link.send(None)
            link.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, request: tuple[str, int] | str) -> list[float]:
        try:
            for link in self._links:
                link.send(request)
        except OSError as error:
            raise Failed("its process is gone") from error
        return self._answers()

    def _answers(self) -> list[float]:
        answers = []
        for link in self._links:
            try:
                if not link.poll(PATIENCE):
                    raise Failed(f"no answer within {PATIENCE:.0f} s")
                answers.append(link.recv())
            except (EOFError, OSError) as error:
                raise Failed("its process was killed (out of memory?)") from error
        for answer in answers:
            if isinstance(answer, str):
                raise Failed(answer)
        return answers

"""Jobs as processes of this machine, a fixed number at a time."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aihf_control.cluster.job_display import JobDisplay
from aihf_control.cluster.job_line import Line
from aihf_control.cluster.plan import Group
from aihf_control.cluster.submissions import conclude, last_lines, log_of, read_attempts
from aihf_control.words import duration

Start = Callable[[Group], list[str]]
"""The command line of a group's job; `--starter` and its end of the `Line` are added to it."""

STOP_SECONDS = 30.0
"""What a job that was told to stop may take to drop its round; it promises 10 s."""

POLL_SECONDS = 0.1


@dataclass
class _Running:
    group: Group
    place: int
    process: subprocess.Popen[bytes]
    line: Line
    share: float = field(default=0.0)
    """How much of it is done."""


class LocalJobs:
    """Runs groups' commands, at most one for each of `places`; the environment of a place is its own.

    A job that dies is started again up to `MOST_RETRIES` times. Each writes its own log into `folder`.
    """

    def __init__(
        self, folder: Path, command: Start, places: Sequence[dict[str, str]], display: JobDisplay
    ) -> None:
        self._folder, self._command, self._places, self._display = folder, command, places, display
        self._running: list[_Running] = []
        self._given_up: list[Group] = []

    def run(self, groups: Sequence[Group]) -> list[Group]:
        """Run all; returns those that were given up. An exception, as of a signal, stops every job first."""
        began, waiting = time.monotonic(), deque(groups)
        free = list(reversed(range(len(self._places))))
        try:
            while waiting or self._running:
                while waiting and free:
                    self._start(waiting.popleft(), free.pop())
                time.sleep(POLL_SECONDS)
                for job in list(self._running):
                    status = self._look_at(job)
                    if status is not None and not self._start_again(job, status):
                        free.append(job.place)
                        self._say_rest(len(groups), len(waiting), time.monotonic() - began)
        except BaseException:
            self._stop()
            raise
        return self._given_up

    def _start(self, group: Group, place: int) -> None:
        line = Line()
        with log_of(self._folder, group).open("ab") as log:
            process = subprocess.Popen(
                [*self._command(group), "--starter", str(line.theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(line.theirs.fileno(),),
                env=os.environ | self._places[place],
                start_new_session=True,  # Ctrl-C is for this process, which tells the jobs
            )
        self._running.append(_Running(group, place, process, line))
        line.hand_over()
        self._display.start(place, group.name)

    def _look_at(self, job: _Running) -> int | None:
        """Show how far a job is; its exit status if it has ended."""
        status = job.process.poll()
        for tick in job.line.ticks():
            self._display.tick(job.place, job.group.name, tick)
            job.share = tick.done / tick.total if tick.total else 0.0
        if status is None:
            return None
        job.line.close()
        self._running.remove(job)
        self._display.end(job.place)
        return status if status >= 0 else 128 - status

    def _start_again(self, job: _Running, status: int) -> bool:
        """Remember how a job ended, and whether it goes on."""
        name, log = job.group.name, log_of(self._folder, job.group)
        if conclude(self._folder, job.group, status):
            self._display.say(f"{name}  ended with status {status}, starting again")
            self._start(job.group, job.place)
            return True
        if status == 0:
            self._display.say(f"{name}  finished")
            return False
        deaths = read_attempts(self._folder, job.group).deaths
        end = "\n".join(f"    {line}" for line in last_lines(log))
        self._display.say(
            f"{name}  given up after {deaths} attempts, status {status}; the end of {log}:\n{end}"
        )
        self._given_up.append(job.group)
        return False

    def _say_rest(self, jobs: int, waiting: int, seconds: float) -> None:
        """How long the rest takes, if a share of each job takes as long as a share of another."""
        ended = jobs - waiting - len(self._running)
        done = (ended + sum(job.share for job in self._running)) / jobs
        rest = f", about {duration(seconds * (1 - done) / done)} left" if done < 1 else ""
        self._display.say(f"{ended} of {jobs} jobs have ended{rest}")

    def _stop(self) -> None:
        for job in self._running:
            job.process.terminate()
        with suppress(OSError):  # as where nobody reads the output any more, which is why they are stopped
            for job in self._running:
                self._display.end(job.place)
            count = len(self._running)
            self._display.say(f"stopping {count} jobs; the same command goes on from their last rounds")
        deadline = time.monotonic() + STOP_SECONDS
        for job in self._running:
            try:
                job.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()

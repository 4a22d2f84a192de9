"""A sweep's jobs as processes of this machine, a fixed number at a time."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from aihf_control.progress import duration
from aihf_control.submissions import conclude, last_lines, log_of, read_attempts
from aihf_control.sweep import Group

Say = Callable[[str], None]
Start = Callable[[Group], list[str]]
"""The command line of a group's job."""

STOP_SECONDS = 30.0
"""What a job that was told to stop may take to drop its round; it promises 10 s."""


class LocalJobs:
    """Runs groups' commands, at most one for each of `places`; the environment of a place is its own.

    A job that dies is started again up to `MOST_RETRIES` times. Each writes its own log into `folder`.
    """

    def __init__(self, folder: Path, command: Start, places: Sequence[dict[str, str]], say: Say) -> None:
        self._folder, self._command, self._say = folder, command, say
        self._count = len(places)
        self._places: queue.Queue[dict[str, str]] = queue.Queue()
        for place in places:
            self._places.put(place)
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopping = threading.Lock(), False

    def run(self, groups: Sequence[Group]) -> list[Group]:
        """Run all; returns those that were given up. An exception in this thread stops every job first."""
        began, given_up = time.monotonic(), []
        with ThreadPoolExecutor(self._count) as pool:
            waiting: dict[Future[bool], Group] = {pool.submit(self._run, group): group for group in groups}
            try:
                while waiting:
                    # in short waits, so that a signal is heard between them
                    for future in wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED).done:
                        group = waiting.pop(future)
                        if not future.result():
                            given_up.append(group)
                        ended = len(groups) - len(waiting)
                        pace = duration((time.monotonic() - began) / ended * len(waiting))
                        rest = f", about {pace} left" if waiting else ""
                        self._say(f"{ended} of {len(groups)} jobs have ended{rest}")
            except BaseException:
                for future in waiting:
                    future.cancel()
                self._stop()
                raise
        return given_up

    def _run(self, group: Group) -> bool:
        """One job to its end, whether it got there."""
        place = self._places.get()
        try:
            while not self._stopping:
                status = self._once(group, place)
                if not self._stopping:
                    if not conclude(self._folder, group, status):
                        return self._report(group, status)
                    self._say(f"{group.name}: ended with status {status}, starting again")
            return False
        finally:
            self._places.put(place)

    def _once(self, group: Group, place: dict[str, str]) -> int:
        log = log_of(self._folder, group)
        with log.open("ab") as file:
            with self._lock:
                if self._stopping:
                    return 0
                process = subprocess.Popen(
                    self._command(group),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | place,
                    start_new_session=True,  # Ctrl-C is for this process, which tells the jobs
                )
                self._processes.add(process)
            self._say(f"{group.name}: started, log {log}")
            status = process.wait()
        with self._lock:
            self._processes.discard(process)
        return status if status >= 0 else 128 - status

    def _report(self, group: Group, status: int) -> bool:
        if status == 0:
            self._say(f"{group.name}: finished")
            return True
        log, deaths = log_of(self._folder, group), read_attempts(self._folder, group).deaths
        end = "\n".join(f"    {line}" for line in last_lines(log))
        self._say(
            f"{group.name}: given up after {deaths} attempts, status {status}; the end of {log}:\n{end}"
        )
        return False

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._processes)
        self._say(f"stopping {len(running)} jobs; the same command goes on from their last rounds")
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

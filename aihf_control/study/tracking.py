"""Runs in the trackers that labs use: one run a seed, the same tags for every method.

A run that goes on goes on there too. What a tracker cannot do costs no training: it is said, and left.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from aihf_control.runs.files import read_json_if_there, write_json
from aihf_control.runs.folder import RunPaths, leaves, read_config
from aihf_control.study.prepare import Say
from aihf_control.study.training import BatchRun, Row

ID_FILE = "tracked.json"
"""In a seed's folder: the run's name among trackers, which a run made anew in its place does not share."""

GROUPS = {"return": "eval", "reward": "reward", "pearson": "reward", "spearman": "reward", "epic": "reward"}
"""By the first word of a column of `progress.csv`; the rest is of training."""


@dataclass(frozen=True)
class TrackedRun:
    """One seed as a tracker knows it."""

    folder: Path
    study: str
    task: str
    method: str
    seed: int
    id: str
    """The same as long as its folder is there."""
    begun: bool
    """Whether an earlier process tracked it."""

    @staticmethod
    def of(paths: RunPaths, seed: int) -> TrackedRun:
        """A seed of these; its id is made once."""
        folder = paths.seed(seed)
        known = read_json_if_there(folder / ID_FILE)
        if known is None:
            write_json(folder / ID_FILE, {"id": (made := secrets.token_hex(8))})
        name = made if known is None else str(known.get("id"))
        return TrackedRun(folder, paths.study, paths.task, paths.method, seed, name, known is not None)

    @property
    def name(self) -> str:
        """The same in every tracker."""
        return f"{self.task}/{self.method}/seed_{self.seed}"

    @property
    def group(self) -> str:
        """Of the seeds that belong together."""
        return f"{self.task}/{self.method}"

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """Task, method, seed and every setting under its dotted name."""
        config = read_config(self.folder) or {}
        made: dict[str, Any] = {"task": self.task, "method": self.method, "seed": self.seed}
        named = leaves(made | config.get("settings", {}))
        return {name: value for name, value in named if isinstance(value, bool | int | float | str)}


class Tracker(Protocol):
    """What each of them can do. A process logs all rows of a run that it goes on with, from the first."""

    def log(self, run: TrackedRun, step: int, values: Mapping[str, float]) -> None:
        """A row of the run, which is opened with its first."""

    def finish(self, run: TrackedRun) -> None:
        """No more rows of the run come from this process."""


def open_tracker(name: str) -> Tracker:
    """The one of this name; raises `ImportError` if its extra is not installed."""
    tracker: Tracker = import_module(f"aihf_control.study.{name}").open_tracker()
    return tracker


def tags(row: Row) -> dict[str, float]:
    """A progress row as `eval/return_mean`, `reward/pearson`, `train/critic_loss`, …"""
    return {f"{GROUPS.get(name.split('_')[0], 'train')}/{name}": float(value) for name, value in row.items()}


class Tracking:
    """An `Observer`: hands every seed's new progress rows to each of `trackers`."""

    def __init__(self, trackers: Mapping[str, Tracker], say: Say) -> None:
        self._trackers, self._say = dict(trackers), say
        self._runs: dict[Path, TrackedRun] = {}
        self._logged: dict[tuple[str, Path], int] = {}

    def __call__(self, run: BatchRun, step: int) -> None:
        """After a round that ended at `step`."""
        if not self._trackers:
            return
        for seed, rows in zip(run.context.seeds, run.record.rows, strict=True):
            folder = run.paths.seed(seed)
            if folder not in self._runs:
                self._runs[folder] = TrackedRun.of(run.paths, seed)
            one = self._runs[folder]
            for name in list(self._trackers):
                self._attempt(name, one, rows)
            if step >= run.method.total_steps:
                self._finish(one)

    def close(self) -> None:
        """At the end of the process's work, however it comes."""
        for run in list(self._runs.values()):
            self._finish(run)

    def _attempt(self, name: str, run: TrackedRun, rows: list[Row]) -> None:
        place = (name, run.folder)
        try:
            for row in rows[self._logged.get(place, 0) :]:
                self._trackers[name].log(run, int(row["step"]), tags(row))
                self._logged[place] = self._logged.get(place, 0) + 1
        except Exception as error:  # of any kind, and no reason to lose a night's training
            del self._trackers[name]
            self._say(f"{name} stopped tracking, training goes on ({type(error).__name__}: {error})")

    def _finish(self, run: TrackedRun) -> None:
        self._runs.pop(run.folder, None)
        for name, tracker in self._trackers.items():
            if self._logged.pop((name, run.folder), 0):
                try:
                    tracker.finish(run)
                except Exception as error:  # the rows are logged
                    self._say(f"{name}: {run.name} was not closed ({type(error).__name__}: {error})")

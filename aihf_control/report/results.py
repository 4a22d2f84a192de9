"""A study's stored runs in, typed records out. Everything a figure or a table shows comes through here.

A failed seed stays: from its failing step on it scores as a random policy (the task's reference
return, else 0). A seed that is running, or was never started, has no score and is `missing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from aihf_control.arrays import Floats, Integers
from aihf_control.envs.tasks import ALL_TASKS, TASKS
from aihf_control.errors import InvalidData
from aihf_control.methods.table import METHODS, axis_of, total_steps
from aihf_control.runs.files import build
from aihf_control.runs.records import (
    FeedbackRecord,
    References,
    Run,
    RunConfig,
)
from aihf_control.runs.stored import StoredRun, stored_runs
from aihf_control.statistics import final_score

T = TypeVar("T")


class NoResults(InvalidData):
    """There is nothing to show yet."""


@dataclass(frozen=True)
class MethodResults:
    """The seeds of one method, in order: `steps` (T,), `returns` (seeds, T), failures scored as random.

    `runs` may be empty; `missing` names seeds of a known batch without a finished or failed run.
    """

    method: str
    runs: tuple[Run, ...]
    missing: tuple[int, ...]
    steps: Integers
    returns: Floats

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of `runs`."""
        return tuple(run.config.seed for run in self.runs)

    @property
    def final(self) -> Floats:
        """(seeds,) mean returns over the last tenth of evaluations, at least five, never the start's."""
        return final_score(self.steps, self.returns) if self.runs else np.empty(0)

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that reached their last step."""
        return tuple(run for run in self.runs if not run.failed)

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs that were given up; their scores are in `returns` all the same."""
        return tuple(run for run in self.runs if run.failed)


@dataclass(frozen=True)
class TaskResults:
    """All methods of a study on one task, in the order asked for, and what their runs have in common."""

    task: str
    preset: str
    commands: tuple[str, ...]
    feedback: FeedbackRecord
    """Where each seed has its own: the hash of the hashes, and means."""
    feedback_sets: int
    references: References | None
    evaluation_episodes: int
    precision: str | None
    environments: str | None
    methods: tuple[MethodResults, ...]


@dataclass(frozen=True)
class StudyResults:
    """A study's tasks that have results, each with the same `methods` in the same order."""

    name: str
    tasks: tuple[TaskResults, ...]
    missing_tasks: tuple[str, ...]
    idle_tasks: tuple[str, ...]
    """Without runs for a reason: under a fixed horizon, those whose robot cannot fall."""
    methods: tuple[str, ...]

    def of(self, method: str) -> list[tuple[TaskResults, MethodResults]]:
        """The tasks where `method` has a run that ended, with its results there."""
        place = self.methods.index(method) if method in self.methods else 0
        pairs = [(task, task.methods[place]) for task in self.tasks]
        return [(task, results) for task, results in pairs if results.method == method and results.runs]

    @property
    def from_one_clone(self) -> bool:
        """Whether all runs were told to start from the clone of the demonstrations (`--settings.start`)."""
        runs = [run for task in self.tasks for results in task.methods for run in results.runs]
        return all(run.config.settings.start == "clone" for run in runs)

    @property
    def recorded(self) -> tuple[str, ...]:
        """The methods that have a run on some task, ended or not."""
        found = {r.method for task in self.tasks for r in task.methods if r.runs or r.missing}
        return tuple(method for method in self.methods if method in found)


def _shared(runs: Sequence[Run], name: str, value: Callable[[RunConfig], T]) -> T:
    """The one value all `runs` have; two values cannot stand in one figure."""
    first = runs[0]
    for run in runs[1:]:
        there, here = value(first.config), value(run.config)
        if there != here:
            shown = f" ({here} and {there})" if isinstance(here, str) else ""
            raise InvalidData(
                f"{run.stored.config_place}: {name} differs from {first.stored.config_place}{shown}: "
                "they cannot be compared; rerun one of them, or move it to a study of its own"
            )
    return value(first.config)


def _arithmetic(runs: Sequence[Run], name: str, value: Callable[[RunConfig], str | None]) -> str | None:
    """The same of what old runs did not record, and methods without a learner have none of."""
    told = [run for run in runs if value(run.config) is not None]
    return _shared(told, name, value) if told else None


def _feedback(runs: Sequence[Run]) -> tuple[FeedbackRecord, int]:
    """What all runs learned from, and of how many sets that speaks: one, or one for each seed, the same for
    every method."""
    sets: dict[int, tuple[Run, FeedbackRecord]] = {}
    for run in runs:
        first, feedback = sets.setdefault(run.config.seed, (run, run.config.feedback))
        if feedback != run.config.feedback:
            raise InvalidData(
                f"{run.stored.config_place}: feedback differs from {first.stored.config_place}: they "
                "cannot be compared; rerun one of them, or report its method by itself"
            )
    records = [feedback for _, (_, feedback) in sorted(sets.items())]
    if len(set(records)) == 1:
        return records[0], 1
    _shared(runs, "feedback", lambda config: (config.feedback.pairs, config.feedback.segment_length))
    together = replace(
        records[0],
        sha256=hashlib.sha256("".join(record.sha256 for record in records).encode()).hexdigest(),
        demonstrations_return=float(np.mean([record.demonstrations_return for record in records])),
        demonstrations=round(float(np.mean([record.demonstrations for record in records]))),
    )
    return together, len(set(records))


def _read_runs(stored: Sequence[StoredRun]) -> tuple[tuple[Run, ...], tuple[int, ...]]:
    """The ended runs of one method, by seed, and the seeds known of that have not ended."""
    runs: list[Run] = []
    known: set[int] = set()
    for one in stored:
        config = build(one.config_place, RunConfig, one.config)
        known |= {one.seed, *config.batch}
        if one.status is not None and one.status.ended:
            runs.append(Run(one, config, one.progress(), one.status))
    return tuple(runs), tuple(sorted(known - {run.config.seed for run in runs}))


def _kept(run: Run) -> pd.DataFrame:
    """The rows that count: all of a finished run, those before the failing step of a failed one."""
    failed_at = run.status.failed_at_step
    return run.progress if failed_at is None else run.progress[run.progress["step"] < failed_at]


def _common_steps(method: str, runs: Sequence[Run]) -> Integers:
    """The method's evaluation steps: those of its finished runs, which must agree."""
    finished = [run for run in runs if not run.failed]
    for run in finished:
        first, own = finished[0].progress["step"], run.progress["step"]
        if not own.equals(first) or own.empty:
            raise InvalidData(
                f"{run.stored.progress_place}: step has {len(own)} rows up to {own.max()}, in "
                f"seed {finished[0].config.seed} {len(first)} up to {first.max()}: run them alike"
            )
    if finished:
        return finished[0].progress["step"].to_numpy(np.int64)
    if not runs or axis_of(method) == "none":
        return np.zeros(min(len(runs), 1), np.int64)
    end = total_steps(runs[0].stored.config)
    return np.append(np.arange(0, end, runs[0].config.round_steps, dtype=np.int64), end)


def _scores(run: Run, steps: Integers, random_return: float) -> Floats:
    """(T,) returns at `steps`; a failed run scores `random_return` from its failing step on."""
    kept = _kept(run)
    path = run.stored.progress_place
    returns = kept["return_mean"].to_numpy(np.float64)
    if not np.array_equal(kept["step"], steps[: len(kept)]):
        raise InvalidData(f"{path}: step does not follow the method's other seeds")
    for row, value in enumerate(returns):
        if not np.isfinite(value):
            raise InvalidData(f"{path}: return_mean in row {row} is {value}, not a number")
    return np.concatenate([returns, np.full(len(steps) - len(kept), random_return)])


def _read_method(method: str, stored: Sequence[StoredRun]) -> MethodResults:
    runs, missing = _read_runs(stored)
    steps = _common_steps(method, runs)
    rows = []
    for run in runs:
        references = run.config.references
        rows.append(_scores(run, steps, references.random if references else 0.0))
    return MethodResults(method, runs, missing, steps, np.array(rows).reshape(len(runs), len(steps)))


def _read_task(task: str, methods: Sequence[str], stored: Sequence[StoredRun]) -> TaskResults | None:
    """None if no run at all has ended."""
    read = tuple(_read_method(method, [run for run in stored if run.method == method]) for method in methods)
    runs = [run for results in read for run in results.runs]
    if not runs:
        return None
    feedback, sets = _feedback(runs)
    _shared(runs, "task_code", lambda config: config.task_code)
    return TaskResults(
        task=task,
        preset=_shared(runs, "preset", lambda config: config.preset),
        commands=tuple(dict.fromkeys(run.config.command for run in runs)),
        feedback=feedback,
        feedback_sets=sets,
        references=_shared(runs, "references", lambda config: config.references),
        evaluation_episodes=_shared(
            runs, "settings.evaluation_episodes", lambda config: config.settings.evaluation_episodes
        ),
        precision=_arithmetic(runs, "settings.sac.precision", lambda config: config.settings.precision),
        environments=_arithmetic(runs, "settings.environments", lambda config: config.settings.environments),
        methods=read,
    )


def read_results(folder: Path) -> StudyResults:
    """Read all tasks of the study whose folder this is. A task without a run that ended counts as missing;
    in a study of several tasks so does one of the benchmark's that was not begun.

    Raises `InvalidData`, naming file and field, for a file that breaks its format and for runs that
    cannot be compared (other feedback, references, preset, precision or environments), and `NoResults` if
    no run has ended.
    """
    name, stored = folder.resolve().name, stored_runs(folder)
    recorded = {run.method for run in stored}
    known = [method for method, row in METHODS.items() if row.expected or method in recorded]
    methods = (*known, *sorted(recorded - set(known)))
    found = {run.task for run in stored}
    order = [task for task in dict.fromkeys([*ALL_TASKS, *TASKS, *sorted(found)]) if task in found]
    read = {task: _read_task(task, methods, [run for run in stored if run.task == task]) for task in order}
    tasks = tuple(results for results in read.values() if results)
    if not tasks:
        raise NoResults(f"{folder}: no run of the study {name} has ended here")
    wanted = [*(ALL_TASKS if len(order) > 1 else ()), *order]
    missing = [task for task in dict.fromkeys(wanted) if not read.get(task)]
    runs = [run for task in tasks for results in task.methods for run in results.runs]
    fixed = all(run.config.settings.fixed_horizon for run in runs)
    idle = tuple(task for task in missing if fixed and task not in found and not TASKS[task].can_fall)
    return StudyResults(name, tasks, tuple(task for task in missing if task not in idle), idle, methods)

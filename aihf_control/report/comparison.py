"""One study over its tasks: what was found, and every method's numbers per task and over all of them.

A study's folder holds `<task>/runs/<method>/seed_<k>/` as committed, or `<task>/<method>/seed_<k>/` as
trained; both are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import ALL_TASKS, TASKS
from aihf_control.methods.table import METHODS
from aihf_control.report.results import MethodResults, NoResults, StudyResults, read_study, recorded_methods
from aihf_control.report.tables import Score, score_of
from aihf_control.statistics import (
    RANGE_BELOW_SEEDS,
    Interval,
    aggregate_interquartile_mean,
    area_under_curve,
    mean_improvement_interval,
    pooled_bootstrap,
)

OURS = "aihf"
"""The method that the others are compared with."""


@dataclass(frozen=True)
class Comparison:
    """A study's tasks that have results, each with the same `methods` in the same order."""

    study: str
    tasks: tuple[StudyResults, ...]
    missing_tasks: tuple[str, ...]
    methods: tuple[str, ...]

    def of(self, method: str) -> list[tuple[StudyResults, MethodResults]]:
        """The tasks where `method` has a run that ended, with its results there."""
        place = self.methods.index(method)
        return [(task, task.methods[place]) for task in self.tasks if task.methods[place].runs]


@dataclass(frozen=True)
class Line:
    """One method's numbers on the `tasks` it has runs on: one, or all of them together.

    Over several tasks only what has no unit is given: normalised scores and improvement.
    """

    method: str
    tasks: tuple[StudyResults, ...]
    results: tuple[MethodResults, ...]
    final: Score | None
    area: Score | None
    normalised: Score | None
    normalised_area: Score | None
    improvement: Score | None
    """P(AIHF > this method) in final returns, over the tasks where both have runs."""


def task_folders(folder: Path) -> dict[str, Path]:
    """Every task in a study's folder with the folder of its methods, in the order they are shown."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        root = path / "runs" if recorded_methods(path / "runs") else path
        if recorded_methods(root):
            found[path.name] = root
    order = [*ALL_TASKS, *TASKS, *sorted(found)]
    return {task: found[task] for task in dict.fromkeys(order) if task in found}


def read_comparison(folder: Path, study: str) -> Comparison:
    """Read all tasks of `study` in `folder`. A task without a run that ended counts as missing.

    Raises `InvalidResults` for runs that cannot be read or compared, `NoResults` if no run has ended.
    """
    folders = task_folders(folder)
    recorded = [name for root in folders.values() for name in recorded_methods(root)]
    known = [name for name, row in METHODS.items() if row.expected or name in recorded]
    methods = (*known, *sorted(set(recorded) - set(known)))
    tasks = []
    for task, root in folders.items():
        try:
            tasks.append(read_study(root, study, task, methods))
        except NoResults:
            continue
    if not tasks:
        raise NoResults(f"{folder}: no run of the study {study} has ended here")
    drawn = [task.task for task in tasks]
    missing = [task for task in dict.fromkeys([*ALL_TASKS, *folders]) if task not in drawn]
    return Comparison(study, tuple(tasks), tuple(missing), methods)


def normalise(task: StudyResults, returns: Floats) -> Floats | None:
    """(returns − random) / (expert − random), elementwise; None for a task without these references."""
    references = task.references
    if references is None or references.expert == references.random:
        return None
    return (returns - references.random) / (references.expert - references.random)


def normalised_finals(comparison: Comparison, method: str) -> list[Floats]:
    """(seeds,) normalised final scores of `method` for every task that has both."""
    scores = (normalise(task, results.final) for task, results in comparison.of(method))
    return [score for score in scores if score is not None]


def areas(results: MethodResults) -> Floats | None:
    """(seeds,) areas under the curves; None for a method with a single evaluation."""
    return area_under_curve(results.steps, results.returns) if len(results.steps) > 1 else None


def bootstrap_kind(groups: Sequence[Floats]) -> str:
    """`bootstrap` if every task has enough seeds for one, else `few seeds`, or `one seed` on each."""
    counts = [len(group) for group in groups]
    if max(counts) == 1:
        return "one seed"
    return "bootstrap" if min(counts) >= RANGE_BELOW_SEEDS else "few seeds"


def _as_score(interval: Interval, kind: str) -> Score:
    return Score(float(interval.estimate), float(interval.low), float(interval.high), kind, ())


def _pooled(groups: Sequence[Floats], bootstrap_seed: int) -> Score | None:
    """IQM over all runs of all tasks; with one task, its own score."""
    if not groups:
        return None
    if len(groups) == 1:
        return score_of(groups[0], bootstrap_seed)
    rng = np.random.default_rng(bootstrap_seed)
    interval = pooled_bootstrap(groups, aggregate_interquartile_mean, rng)
    return _as_score(interval, bootstrap_kind(groups))


def _improvement(
    ours: dict[str, MethodResults], pairs: Sequence[tuple[StudyResults, MethodResults]], bootstrap_seed: int
) -> Score | None:
    both = [(ours[task.task].final, theirs.final) for task, theirs in pairs if task.task in ours]
    if not both or pairs[0][1].method == OURS:
        return None
    kind = bootstrap_kind([min(pair, key=len) for pair in both])
    return _as_score(mean_improvement_interval(both, np.random.default_rng(bootstrap_seed)), kind)


def _line(
    comparison: Comparison, method: str, pairs: list[tuple[StudyResults, MethodResults]], bootstrap_seed: int
) -> Line:
    ours = {task.task: results for task, results in comparison.of(OURS)}
    finals = [normalise(task, results.final) for task, results in pairs]
    whole = [(task, areas(results)) for task, results in pairs]
    heights = [normalise(task, area) for task, area in whole if area is not None]
    alone = pairs[0][1] if len(pairs) == 1 else None
    area = None if alone is None else areas(alone)
    return Line(
        method=method,
        tasks=tuple(task for task, _ in pairs),
        results=tuple(results for _, results in pairs),
        final=None if alone is None else score_of(alone.final, bootstrap_seed),
        area=None if area is None else score_of(area, bootstrap_seed),
        normalised=_pooled([scores for scores in finals if scores is not None], bootstrap_seed),
        normalised_area=_pooled([scores for scores in heights if scores is not None], bootstrap_seed),
        improvement=_improvement(ours, pairs, bootstrap_seed),
    )


def task_lines(comparison: Comparison, task: StudyResults, bootstrap_seed: int = 0) -> tuple[Line, ...]:
    """One line a method on one task, in order; one without runs has no numbers."""
    return tuple(
        _line(comparison, results.method, [(task, results)], bootstrap_seed)
        if results.runs
        else Line(results.method, (task,), (results,), None, None, None, None, None)
        for results in task.methods
    )


def overall_lines(comparison: Comparison, bootstrap_seed: int = 0) -> tuple[Line, ...]:
    """One line a method over all tasks where it has runs, in order; methods without any are left out."""
    found = ((method, comparison.of(method)) for method in comparison.methods)
    return tuple(_line(comparison, method, pairs, bootstrap_seed) for method, pairs in found if pairs)

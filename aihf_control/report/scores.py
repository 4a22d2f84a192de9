"""Every method's numbers, on each task of a study and over all of them.

Every number is computed from rows of `progress.csv`, except wall time, which is in `status.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.runs.records import Run
from aihf_control.statistics import (
    RANGE_BELOW_SEEDS,
    Interval,
    aggregate_interquartile_mean,
    area_under_curve,
    exact_p,
    mean_improvement_interval,
    pooled_bootstrap,
    seed_interval,
    steps_to,
)
from aihf_control.words import share

OURS = "aihf"
"""The method that the others are compared with."""

REACHED = 0.9
Verdict = Literal["above", "below", "level"]


@dataclass(frozen=True)
class Score:
    """IQM over seeds with bounds."""

    estimate: float
    low: float
    high: float
    interval: str
    """`bootstrap` (95%), `range` (minimum and maximum, under 5 seeds) or `one seed`."""


@dataclass(frozen=True)
class Reach:
    """When a method first reached `REACHED` of the demonstrations' mean return, in its own steps."""

    steps: float | None
    """Median over its seeds; None if half of them never did."""
    seeds: int
    """How many did."""


@dataclass(frozen=True)
class Improvement:
    """P(AIHF > a method) in final returns. With few seeds it has no bounds, and nothing follows from it."""

    estimate: float
    low: float | None
    high: float | None
    p: float | None
    """Of the exact two-sided Mann–Whitney test; one task's alone."""
    seeds: int
    """The fewest that either has on a task."""

    @property
    def verdict(self) -> Verdict | None:
        """Whether AIHF is above the method, by the interval; None from few seeds."""
        if self.low is None or self.high is None:
            return None
        return "above" if self.low > 0.5 else "below" if self.high < 0.5 else "level"

    def __str__(self) -> str:
        """`0.93 [0.80 to 1.00], p = 0.008`."""
        if self.low is None or self.high is None:
            return f"{share(self.estimate)} ({self.seeds} seed{'s' * (self.seeds > 1)}: no verdict)"
        tested = "" if self.p is None else f", p = {self.p:.3f}" if self.p >= 0.001 else ", p < 0.001"
        return f"{share(self.estimate)} [{share(self.low)} to {share(self.high)}]{tested}"


@dataclass(frozen=True)
class Cost:
    """What a seed took, as means over finished runs, or over the failed if none finished."""

    steps: int
    """Of the longest, in the method's own count."""
    environment_steps: float | None
    wall_seconds: float
    """Of a seed: a batch's wall time is shared by its seeds. Over all runs."""
    reward_accuracy: float | None
    """On held-out pairs; None for a method without a reward network."""


@dataclass(frozen=True)
class Line:
    """One method's numbers on the `tasks` it has runs on: one, or all of them together.

    Over several tasks only what has no unit is given: normalised scores and improvement.
    """

    method: str
    tasks: tuple[TaskResults, ...]
    results: tuple[MethodResults, ...]
    final: Score | None
    area: Score | None
    normalised: Score | None
    normalised_area: Score | None
    reached: Reach | None
    improvement: Improvement | None
    """Over the tasks where both have runs."""
    cost: Cost | None


def normalise(task: TaskResults, returns: Floats) -> Floats | None:
    """(returns − random) / (expert − random), elementwise; None for a task without these references."""
    references = task.references
    if references is None or references.expert == references.random:
        return None
    return (returns - references.random) / (references.expert - references.random)


def normalised_finals(study: StudyResults, method: str) -> list[Floats]:
    """(seeds,) normalised final scores of `method` for every task that has both."""
    scores = (normalise(task, results.final) for task, results in study.of(method))
    return [score for score in scores if score is not None]


def areas(results: MethodResults) -> Floats | None:
    """(seeds,) areas under the curves; None for a method with a single evaluation."""
    return area_under_curve(results.steps, results.returns) if len(results.steps) > 1 else None


def enough_seeds(groups: Sequence[Floats]) -> bool:
    """Whether every task has the seeds that a bootstrap interval needs."""
    return min(len(group) for group in groups) >= RANGE_BELOW_SEEDS


def _as_score(interval: Interval, kind: str) -> Score:
    return Score(float(interval.estimate), float(interval.low), float(interval.high), kind)


def score_of(values: Floats, bootstrap_seed: int) -> Score:
    """The score of one value a seed (seeds,), from its own generator of `bootstrap_seed`."""
    kind = "bootstrap" if len(values) >= RANGE_BELOW_SEEDS else "range" if len(values) > 1 else "one seed"
    return _as_score(seed_interval(values, np.random.default_rng(bootstrap_seed)), kind)


def _last_mean(runs: Sequence[Run], column: str) -> float | None:
    """Mean over `runs` of the last value each has in `column`; None if none has any."""
    values = [run.progress[column].dropna() for run in runs if column in run.progress]
    last = [float(value.iloc[-1]) for value in values if len(value)]
    return float(np.mean(last)) if last else None


def _cost(pairs: Sequence[tuple[TaskResults, MethodResults]]) -> Cost:
    measured = [run for _, results in pairs for run in results.finished or results.runs]
    seconds = [run.status.wall_seconds / len(run.config.batch) for _, r in pairs for run in r.runs]
    return Cost(
        steps=max(int(results.steps[-1]) for _, results in pairs),
        environment_steps=_last_mean(measured, "environment_steps"),
        wall_seconds=float(np.mean(seconds)),
        reward_accuracy=_last_mean(measured, "reward_accuracy"),
    )


def _pooled(groups: Sequence[Floats], bootstrap_seed: int) -> Score | None:
    """IQM over all runs of all tasks; with one task, its own score."""
    if not groups:
        return None
    if len(groups) == 1:
        return score_of(groups[0], bootstrap_seed)
    rng = np.random.default_rng(bootstrap_seed)
    interval = pooled_bootstrap(groups, aggregate_interquartile_mean, rng)
    if enough_seeds(groups):
        return _as_score(interval, "bootstrap")
    values = np.concatenate(groups)
    return Score(float(interval.estimate), float(values.min()), float(values.max()), "range")


def _improvement(
    ours: dict[str, MethodResults], pairs: Sequence[tuple[TaskResults, MethodResults]], bootstrap_seed: int
) -> Improvement | None:
    both = [(ours[task.task].final, theirs.final) for task, theirs in pairs if task.task in ours]
    if not both or pairs[0][1].method == OURS:
        return None
    interval = mean_improvement_interval(both, np.random.default_rng(bootstrap_seed))
    seeds = min(len(values) for pair in both for values in pair)
    if seeds < RANGE_BELOW_SEEDS:
        return Improvement(float(interval.estimate), None, None, None, seeds)
    p = exact_p(*both[0]) if len(both) == 1 else None
    return Improvement(float(interval.estimate), float(interval.low), float(interval.high), p, seeds)


def _reached(task: TaskResults, results: MethodResults) -> Reach | None:
    height = REACHED * task.feedback.demonstrations_return
    if height <= 0:  # such a share says nothing of a return below zero
        return None
    first = steps_to(height, results.steps, results.returns)
    median = float(np.median(first))
    return Reach(median if np.isfinite(median) else None, int(np.isfinite(first).sum()))


def _line(
    study: StudyResults, method: str, pairs: list[tuple[TaskResults, MethodResults]], bootstrap_seed: int
) -> Line:
    ours = {task.task: results for task, results in study.of(OURS)}
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
        reached=None if alone is None else _reached(pairs[0][0], alone),
        improvement=_improvement(ours, pairs, bootstrap_seed),
        cost=_cost(pairs),
    )


def task_lines(study: StudyResults, task: TaskResults, bootstrap_seed: int = 0) -> tuple[Line, ...]:
    """One line a recorded method on one task, in order; one without ended runs has no numbers."""
    return tuple(
        _line(study, results.method, [(task, results)], bootstrap_seed)
        if results.runs
        else Line(results.method, (task,), (results,), *[None] * 7)
        for results in task.methods
        if results.method in study.recorded
    )


def overall_lines(study: StudyResults, bootstrap_seed: int = 0) -> tuple[Line, ...]:
    """One line a method over all tasks where it has runs, in order; methods without any are left out."""
    found = ((method, study.of(method)) for method in study.methods)
    return tuple(_line(study, method, pairs, bootstrap_seed) for method, pairs in found if pairs)

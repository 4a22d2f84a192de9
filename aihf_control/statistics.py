"""Statistics over seeds (NumPy and SciPy only), with the definitions of Agarwal et al. 2021,
*Deep RL at the Edge of the Statistical Precipice*, arXiv 2108.13264 (the paper behind rliable).

Scores are plain arrays: `R` runs by `K` tasks, `(R, K)`, in any unit that is shared by the tasks, or
`(R, K, T)` with `T` evaluation points. A statistic for the bootstrap takes `(B, R, K, ...)`, `B`
resampled score arrays at once, and reduces the run and task axes: `(B, ...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy  # its parts load where they are used: scipy.stats is a fifth of what a job imports
from numpy.typing import NDArray

from aihf_control.arrays import Floats, Integers, require_finite, require_shape
from aihf_control.errors import InvalidData

Statistic = Callable[[Floats], Floats]

RESAMPLES = 2000
CONFIDENCE = 0.95
RANGE_BELOW_SEEDS = 5
"""With fewer seeds than this an interval is the seeds' minimum and maximum: resampling 3 or 4 numbers
says little, and those can all be shown."""

FINAL_EVALUATIONS = 5
"""A final score is the mean over at least so many evaluations."""

_BLOCK_FLOATS = 4_000_000  # bootstrap samples held at once: bounds memory, changes no number


@dataclass(frozen=True)
class Interval:
    """`estimate` with the bounds `low` and `high`: all of one shape, `()` or `(T,)`."""

    estimate: Floats
    low: Floats
    high: Floats


def interquartile_mean(scores: Floats, axis: int | tuple[int, ...] | None = None) -> Floats:
    """Mean of the middle half of `scores` over `axis` (all axes by default).

    A quarter of the values, rounded down, is cut from each end: with 3 values this is the mean, with 4
    the mean of the middle two, with 10 of the middle six. Equals `scipy.stats.trim_mean(·, 0.25)`.
    """
    if axis is None:
        axis = tuple(range(scores.ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = np.moveaxis(scores, axes, range(len(axes)))
    return np.asarray(scipy.stats.trim_mean(moved.reshape(-1, *moved.shape[len(axes) :]), 0.25, axis=0))


aggregate_interquartile_mean: Statistic = partial(interquartile_mean, axis=(1, 2))
"""The IQM over runs and tasks together, as a statistic for the bootstrap."""


def _resample_runs(runs: int, tasks: int, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """(resamples, runs, tasks) run numbers, drawn independently within each task."""
    return rng.integers(runs, size=(resamples, runs, tasks))


def _percentiles(estimate: Floats, draws: Floats, confidence: float) -> Interval:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail), axis=0)
    return Interval(estimate, np.asarray(low), np.asarray(high))


def stratified_bootstrap(
    scores: Floats,
    statistic: Statistic,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of `statistic` over `scores` (R, K[, T]), resampling whole runs per task.

    A resampled run keeps all its `T` points together; every point of a curve gets its own (pointwise)
    interval. Raises `InvalidData` on a NaN or infinite score. Source: section 4.1 of the paper above.
    """
    if scores.ndim not in (2, 3) or 0 in scores.shape:
        raise InvalidData(f"scores has shape {scores.shape}, expected (runs, tasks[, points]), none empty")
    require_finite("scores", scores)
    runs, tasks = scores.shape[:2]
    chosen = _resample_runs(runs, tasks, rng, resamples)
    block = max(1, _BLOCK_FLOATS // scores.size)
    blocks = (chosen[start : start + block] for start in range(0, resamples, block))
    draws = np.concatenate([statistic(scores[rows, np.arange(tasks)]) for rows in blocks])
    return _percentiles(statistic(scores[None])[0], draws, confidence)


def seed_interval(scores: Floats, rng: np.random.Generator) -> Interval:
    """IQM over the seeds of one task, `scores` (seeds[, T]), with its 95% bootstrap interval; under
    `RANGE_BELOW_SEEDS` seeds the bounds are the minimum and the maximum instead.
    """
    if len(scores) >= RANGE_BELOW_SEEDS:
        return stratified_bootstrap(scores[:, None], aggregate_interquartile_mean, rng)
    require_finite("scores", scores)
    return Interval(interquartile_mean(scores, 0), scores.min(axis=0), scores.max(axis=0))


def pooled_bootstrap(
    groups: Sequence[Floats],
    statistic: Statistic,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """`stratified_bootstrap` of scores `groups`, one (R,) a task, that need not have equally many runs.

    The statistic sees all runs together, as (B, N, 1): a task with more runs weighs more, and with equally
    many this is `stratified_bootstrap`. Raises `InvalidData` on an empty task and on a bad score.
    """
    for task, scores in enumerate(groups):
        require_finite(f"scores of task {task}", scores)
        if scores.ndim != 1 or not len(scores):
            raise InvalidData(f"scores of task {task} have shape {scores.shape}, expected (runs,), not empty")
    drawn = [scores[rng.integers(len(scores), size=(resamples, len(scores)))] for scores in groups]
    estimate = statistic(np.concatenate(groups)[None, :, None])[0]
    return _percentiles(estimate, statistic(np.concatenate(drawn, axis=1)[..., None]), confidence)


def probability_of_improvement(x: Floats, y: Floats) -> Floats:
    """P(a run of `x` beats a run of `y`), ties counted ½, averaged over tasks.

    `x` (..., R, K) and `y` (..., Q, K) share tasks, not runs; returns (...). Per task this is the
    Mann–Whitney U of `x` over R·Q. Source: section 4.3 of the paper above.
    """
    if x.shape[-1] != y.shape[-1]:
        raise InvalidData(f"x has {x.shape[-1]} tasks, y has {y.shape[-1]}: both need the same tasks")
    difference = x[..., :, None, :] - y[..., None, :, :]
    return np.asarray(np.mean((difference > 0) + 0.5 * (difference == 0), axis=(-3, -2, -1)))


def improvement_interval(
    x: Floats,
    y: Floats,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """`probability_of_improvement` of `x` (R, K) over `y` (Q, K) with its stratified-bootstrap interval."""
    for name, scores in (("x", x), ("y", y)):
        require_shape(name, scores, (None, None))
        require_finite(name, scores)
    estimate = probability_of_improvement(x, y)
    tasks = np.arange(x.shape[1])
    x_rows = _resample_runs(len(x), len(tasks), rng, resamples)
    y_rows = _resample_runs(len(y), len(tasks), rng, resamples)
    return _percentiles(estimate, probability_of_improvement(x[x_rows, tasks], y[y_rows, tasks]), confidence)


def mean_improvement_interval(
    pairs: Sequence[tuple[Floats, Floats]],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """`improvement_interval` over tasks given as pairs of `x` (R,) and `y` (Q,), R and Q of their own."""
    estimates, draws = [], []
    for task, pair in enumerate(pairs):
        for name, scores in zip("xy", pair, strict=True):
            require_shape(f"{name} of task {task}", scores, (None,))
            require_finite(f"{name} of task {task}", scores)
        drawn = [scores[rng.integers(len(scores), size=(resamples, len(scores)))] for scores in pair]
        estimates.append(probability_of_improvement(pair[0][:, None], pair[1][:, None]))
        draws.append(probability_of_improvement(drawn[0][..., None], drawn[1][..., None]))
    return _percentiles(np.mean(estimates, axis=0), np.mean(draws, axis=0), confidence)


def performance_profile(scores: Floats, thresholds: Floats) -> Floats:
    """Share of the runs of `scores` (..., R, K) strictly above each of `thresholds` (T,): (..., T).

    Leading axes pass through, so `partial(performance_profile, thresholds=...)` is a statistic for the
    bootstrap. Source: the run-score distribution, section 4.2 of the paper above.
    """
    return np.asarray(np.mean(scores[..., None] > thresholds, axis=(-3, -2)))


def final_score(steps: Integers, returns: Floats) -> Floats:
    """What curves `returns` (..., T) at `steps` (T,) end at: the mean of the last tenth of their evaluations,
    at least `FINAL_EVALUATIONS` or all there are: (...). A single evaluation would be an accident, and one of
    the start is no end: it counts only where it is alone.
    """
    learned = returns[..., steps > 0] if steps[-1] > 0 else returns
    return np.asarray(learned[..., -max(FINAL_EVALUATIONS, returns.shape[-1] // 10) :].mean(axis=-1))


def steps_to(height: float, steps: Integers, returns: Floats) -> Floats:
    """The first of `steps` (T,) at which curves `returns` (..., T) reach `height`, infinite if never."""
    return np.asarray(np.where(returns >= height, steps, np.inf).min(axis=-1))


def exact_p(x: Floats, y: Floats) -> float:
    """Of the two-sided Mann–Whitney test of `x` (R,) against `y` (Q,), from all their orders."""
    return float(scipy.stats.mannwhitneyu(x, y, alternative="two-sided", method="exact").pvalue)


def area_under_curve(steps: Floats | Integers, returns: Floats) -> Floats:
    """Mean height of curves `returns` (..., T) over increasing `steps` (T,): trapezoid area over span.

    In the unit of `returns`. Raises `InvalidData` for fewer than two points or steps that do not rise.
    """
    if len(steps) < 2 or returns.shape[-1] != len(steps) or not np.all(np.diff(steps) > 0):
        raise InvalidData(f"steps {steps.shape} must rise, with 2 points or more, as many as {returns.shape}")
    return np.asarray(np.trapezoid(returns, steps, axis=-1) / (steps[-1] - steps[0]))

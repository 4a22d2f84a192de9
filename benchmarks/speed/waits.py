"""Minutes until the oracle is good: recorded learning curves × the pace measured here. Needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aihf_control.arrays import Floats, Integers
from aihf_control.errors import InvalidData
from aihf_control.statistics import FINAL_EVALUATIONS, interquartile_mean, steps_to
from aihf_control.words import NOTHING, markdown_table
from benchmarks.compare_learners import read
from benchmarks.speed.rows import Row

RESULTS = Path(__file__).parents[2] / "results"
LEVELS = {"hopper": 3_000, "halfcheetah": 6_000}
"""The return to be reached, on the tasks that have one."""
SEEDS, BATCH, HIDDEN = 5, 128, (256, 256)
"""Of PRESET=reference, with which the curves were recorded."""
COLUMNS = ("task", "learner", "precision", "seeds_at_once", "batch", "seed_steps_per_second", "level",
           "steps", "recorded_steps", "minutes", "curve")  # fmt: skip
"""Of waits.csv."""


@dataclass(frozen=True)
class Learner:
    """Who is timed, and whose curve says how many steps it needs: a study in `results/` and a name there."""

    name: str
    library: str
    critic: str
    curve: str
    whose: str
    """For people: the curve is its own, or that of the same algorithm here."""


NORMALISED, PLAIN = "learner/batch-norm", "learner-plain/plain"
LEARNERS = (
    Learner("aihf_control, batch-norm", "aihf_control", "batch-norm", NORMALISED, "its own"),
    Learner("aihf_control, plain", "aihf_control", "plain", PLAIN, "its own"),
    Learner("Stable-Baselines3, SAC", "stable_baselines3", "plain", PLAIN, "of aihf_control, plain"),
    Learner("sb3-contrib, CrossQ", "sb3_contrib", "batch-norm", NORMALISED, "of aihf_control, batch-norm"),
)
RULE = (
    "A level is reached at the first evaluation where the IQM over seeds of each seed's mean over its last "
    f"{FINAL_EVALUATIONS} evaluations, 5,000 steps apart, is at least the level. Minutes are {SEEDS} seeds × "
    "steps / seed-steps a second, with a process of one thread on each core, as `make bench` fills them: "
    "training alone, evaluations not counted."
)
CURVES = (
    "The curves are recorded, not measured here: of `results/learner/` (5 seeds) and of "
    f"`results/learner-plain/` (3 seeds, raw observations), 200,000 steps, batch {BATCH}, bfloat16. Of "
    "Stable-Baselines3's SAC and sb3-contrib's CrossQ none were recorded: each is given the curve of the "
    "same algorithm here, whose update equals theirs to 1e-9 in float64 (`tests/learn/test_sac.py`, "
    "`tests/learn/test_batch_norm.py`), of CrossQ but for its actor, which is normalised there: level with "
    "one that is not on HalfCheetah (`results/learner-search/`). CrossQ is timed with critics as wide as "
    "ours, not with its default of 1,024."
)


@dataclass(frozen=True)
class Reach:
    """When a recorded curve reached a level; `steps` is None if it did not within `recorded` steps."""

    steps: int | None
    recorded: int


@dataclass(frozen=True)
class Wait:
    """A learner's measured pace and its recorded curve."""

    row: Row
    learner: Learner
    level: int
    reach: Reach
    at_once: str
    """`2 × 5`: processes × seeds in each."""
    timing: str

    @property
    def minutes(self) -> float:
        """Until `SEEDS` seeds are there, or are through the curve that does not get there."""
        steps = self.reach.recorded if self.reach.steps is None else self.reach.steps
        return SEEDS * steps / self.row.seed_steps_per_second / 60


def reach(steps: Integers, returns: Floats, level: float) -> Reach:
    """When curves `returns` (seeds, T) at `steps` (T,) reach `level`, by `RULE`."""
    window = min(FINAL_EVALUATIONS, len(steps))
    smooth = np.lib.stride_tricks.sliding_window_view(returns, window, axis=-1).mean(-1)
    first = float(steps_to(level, steps[window - 1 :], interquartile_mean(smooth, axis=0)))
    return Reach(int(first) if np.isfinite(first) else None, int(steps[-1]))


def recorded(task: str, results: Path = RESULTS) -> dict[str, Reach]:
    """Of each recorded curve on a task, when it reaches the task's level. Raises `InvalidData`."""
    found = {}
    for curve in sorted({learner.curve for learner in LEARNERS}):
        study, name = curve.split("/")
        for each in read(results / study):
            if (each.task, each.critic) == (task, name):
                found[curve] = reach(each.steps, each.returns, LEVELS[task])
        if curve not in found:
            raise InvalidData(f"{results / study}: has no curve of {name} on {task}: restore the folder")
    return found


def section(waits: Sequence[Wait], task: str) -> list[str]:
    """The lines of speed.md for a task."""
    mine = [wait for wait in waits if wait.row.task == task]
    if not mine:
        return []
    header = ("Learner", "Precision", "Seeds at once", "Seed-steps/s", f"Steps to {LEVELS[task]:,}",
              f"Minutes, {SEEDS} seeds", "Curve", "Timed")  # fmt: skip
    table = markdown_table(header, [_cells(wait) for wait in mine], "<<>>>><<")
    return ["", f"### Minutes until the oracle returns {LEVELS[task]:,}", "", table]


def _cells(wait: Wait) -> tuple[str, ...]:
    reached = wait.reach.steps
    return (
        wait.learner.name,
        wait.row.precision,
        wait.at_once,
        f"{wait.row.seed_steps_per_second:,.0f}",
        f"not within {wait.reach.recorded:,}" if reached is None else f"{reached:,}",
        f"over {wait.minutes:,.0f}" if reached is None else f"{wait.minutes:,.1f}",
        wait.learner.whose,
        wait.timing or NOTHING,
    )


def csv_text(waits: Sequence[Wait]) -> str:
    """waits.csv: steps and minutes are empty where the curve does not reach the level."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for wait in waits:
        row, reached = wait.row, wait.reach.steps
        writer.writerow(
            (row.task, wait.learner.name, row.precision, row.seeds, row.batch,
             f"{row.seed_steps_per_second:.2f}", wait.level, "" if reached is None else reached,
             wait.reach.recorded, "" if reached is None else f"{wait.minutes:.2f}", wait.learner.curve)
        )  # fmt: skip
    return buffer.getvalue()

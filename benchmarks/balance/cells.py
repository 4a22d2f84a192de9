"""The balance's cells: what is trained in each, and AIHF's contrast with the best method of one source."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.errors import InvalidData
from aihf_control.report.results import TaskResults, read_results
from aihf_control.runs.stored import INDEX
from aihf_control.statistics import RANGE_BELOW_SEEDS, Interval, stratified_bootstrap

METHODS = ("aihf", "rlhf", "preferences", "irl", "bc", "ipl")
ALIKE = ("rlhf", "bc", "ipl")
"""What starts from the clone in any case: trained once, with the start `own`, and counted in both."""
STARTS = {
    "own": "each from its own start: AIHF and IRL from random",
    "clone": "all from the same clone, with the same KL to it",
}
SOURCES = {"own": ("rlhf", "preferences", "irl"), "clone": ("rlhf", "irl")}
"""What AIHF is compared with by start: the best of those whose reward hears one source. `preferences` is RLHF
from a random start like AIHF: where a clone is worth nothing, a win over RLHF alone is one over its start."""
DEMONSTRATIONS = {
    "1": ("1 expert episode", ("--feedback.demonstration-transitions", "1000")),
    "10": ("10 expert episodes", ()),
    "mixed": ("10 episodes, half medium", ("--demo-mix", "0.5")),
}
PREFERENCES = {
    "clean": ("20,000 clean pairs", ()),
    "noisy": ("500 pairs, 30% wrong", ("--feedback.pairs", "500", "--label-error", "0.3")),
}
UNFINISHED = "not all run yet"
CELLS = tuple("-".join(parts) for parts in itertools.product(STARTS, DEMONSTRATIONS, PREFERENCES))


def methods(cell: str) -> tuple[str, ...]:
    """What is trained in a cell."""
    return METHODS if cell.startswith("own") else ("aihf", "irl")


def options(cell: str) -> tuple[str, ...]:
    """What `aihf bench` is told of a cell."""
    start, shown, pairs = cell.split("-")
    begin = ("--settings.start", "clone") if start == "clone" else ()
    return (*begin, *DEMONSTRATIONS[shown][1], *PREFERENCES[pairs][1])


def read_cells(results: Path) -> list[tuple[str, TaskResults]]:
    """Each cell that has results with its tasks, in order. Raises `InvalidData` if none has."""
    found = [cell for cell in CELLS if (results / cell / INDEX).is_file()]
    known = {(cell, task.task): task for cell in found for task in read_results(results / cell).tasks}
    cells = [(cell, with_alike(task, known.get((_own(cell), name)))) for (cell, name), task in known.items()]
    if not cells:
        raise InvalidData(f"{results}: no cell has results yet; `make balance-runs` trains them")
    return cells


def _own(cell: str) -> str:
    return "-".join(("own", *cell.split("-")[1:]))


def with_alike(task: TaskResults, own: TaskResults | None) -> TaskResults:
    """A task's results with those that do not depend on the start, if they are of the same feedback."""
    if own is None or own.feedback.sha256 != task.feedback.sha256:
        return task
    there = {results.method for results in task.methods if results.runs}
    more = [results for results in own.methods if results.method in set(ALIKE) - there]
    return replace(task, methods=(*(r for r in task.methods if r.method in there), *more))


def contrast(task: TaskResults, sources: tuple[str, ...]) -> Floats:
    """(seeds,) AIHF's final return less that of the best source, paired by seed; empty without them."""
    by_method = {results.method: results for results in task.methods if results.runs}
    needed = ("aihf", *sources)
    if not by_method.keys() >= set(needed):
        return np.empty(0)
    finals = {name: dict(zip(by_method[name].seeds, by_method[name].final, strict=True)) for name in needed}
    seeds = sorted(set.intersection(*(set(final) for final in finals.values())))
    return np.array([finals["aihf"][s] - max(finals[name][s] for name in sources) for s in seeds])


def mean_interval(values: Floats) -> Interval:
    """The mean over seeds with its bootstrap interval."""
    return stratified_bootstrap(values[:, None], lambda scores: scores.mean((1, 2)), np.random.default_rng(0))


def verdict(values: Floats) -> str:
    """In one word, from the interval alone; `UNFINISHED` without values."""
    if not len(values):
        return UNFINISHED
    if len(values) < RANGE_BELOW_SEEDS:
        return f"open: under {RANGE_BELOW_SEEDS} seeds"
    interval = mean_interval(values)
    return "above" if interval.low > 0 else "below" if interval.high < 0 else "open"

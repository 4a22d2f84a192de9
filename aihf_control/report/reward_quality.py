"""What the learned rewards know, against the true reward: a grid of quantities by tasks.

It shows why a method stalls: a reward that ranks its training data well may say nothing of what the
policy does with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aihf_control.arrays import Floats, Integers
from aihf_control.methods.table import learns_reward, line_of
from aihf_control.report.layout import Words, lay_out
from aihf_control.report.panel_grid import (
    PENS,
    footer,
    legend_handles,
    panel_title,
    reference_handle,
    x_axis,
)
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.report.style import REFERENCE_COLOUR, fixed_style, method_colour
from aihf_control.statistics import RANGE_BELOW_SEEDS, seed_interval

HEIGHT = 1.45  # inches, of a panel


@dataclass(frozen=True)
class Quantity:
    """A row of the grid: a column of `progress.csv`, drawn solid, and one drawn dashed."""

    title: str
    column: str
    dashed: str | None
    low: float
    high: float
    """What the axis shows at least; it grows with the data, alike for all tasks."""
    chance: float
    """What a reward that knows nothing scores."""

    @property
    def columns(self) -> list[str]:
        """Both columns."""
        return [self.column] if self.dashed is None else [self.column, self.dashed]


QUANTITIES = (
    Quantity("Held-out preference\naccuracy", "reward_accuracy", None, 0.4, 1.0, 0.5),
    *(
        Quantity(f"Correlation on\n{words}", f"pearson_{source}", f"spearman_{source}", -0.2, 1.0, 0.0)
        for source, words in (
            ("demonstrations", "demonstrations"),
            ("preferences", "preference data"),
            ("policy", "the policy's states"),
        )
    ),
    Quantity("EPIC distance\n(0: the true reward)", "epic_distance", None, 0.0, 0.75, 0.5**0.5),
)


def measured(results: MethodResults, column: str) -> tuple[Integers, Floats] | None:
    """`column` of the finished runs: the steps (T,) at which every seed has a value, and those (seeds, T).

    None if there is no such step: the runs are older than the column.
    """
    if not results.finished or any(column not in run.progress for run in results.finished):
        return None
    values = np.stack([run.progress[column].to_numpy(np.float64) for run in results.finished])
    whole = np.isfinite(values).all(axis=0)
    return (results.steps[whole], values[:, whole]) if whole.any() else None


def _rewarded(task: TaskResults) -> list[MethodResults]:
    """Methods with a learned reward, AIHF last, on top."""
    found = [results for results in task.methods if results.runs and learns_reward(results.method)]
    return sorted(found, key=lambda results: results.method == "aihf")


def _cell(
    axes: Axes, quantity: Quantity, task: TaskResults, methods: Sequence[str], bootstrap_seed: int
) -> None:
    """One quantity on one task, a line a method."""
    for results in _rewarded(task):
        colour, width = method_colour(results.method, methods), PENS[line_of(results.method)].width
        for column, dashed in ((quantity.column, False), (quantity.dashed, True)):
            found = measured(results, column) if column else None
            if found is None:
                continue
            band = seed_interval(found[1], np.random.default_rng(bootstrap_seed))
            if dashed:
                axes.plot(found[0], band.estimate, color=colour, linewidth=0.5 * width, linestyle=(0, (4, 2)))
            else:
                axes.fill_between(found[0], band.low, band.high, color=colour, alpha=0.15, linewidth=0)
                axes.plot(found[0], band.estimate, color=colour, linewidth=0.85 * width)
    axes.axhline(quantity.chance, color=REFERENCE_COLOUR, linewidth=1.1, linestyle=":", zorder=1.5)


def _same_height(row: Sequence[Axes], quantity: Quantity) -> None:
    """One y axis for a row: what the quantity asks for, and all that is drawn."""
    lows, highs = zip(*((axes.dataLim.y0, axes.dataLim.y1) for axes in row), strict=True)
    low, high = min(quantity.low, *lows), max(quantity.high, *highs)
    margin = 0.04 * (high - low)
    for axes in row:
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _last_step(task: TaskResults) -> int:
    return max((int(results.steps[-1]) for results in _rewarded(task)), default=1)


def _subtitle(study: StudyResults, methods: Sequence[str], shown: Sequence[Quantity]) -> str:
    counts = [
        len(r.finished) for t in study.tasks for r in _rewarded(t) if r.method in methods and r.finished
    ]
    kind = "95% stratified bootstrap" if min(counts) >= RANGE_BELOW_SEEDS else "range"
    if min(counts) < RANGE_BELOW_SEEDS <= max(counts):
        kind = f"95% stratified bootstrap, range under {RANGE_BELOW_SEEDS} seeds"
    said = (
        "Learned against true reward at each evaluation. Line: interquartile mean over finished seeds; "
        f"band: {kind}."
    )
    if any(quantity.dashed for quantity in shown):
        said += " Correlations: solid Pearson, with band; dashed Spearman."
    lacking = [quantity.title.replace("\n", " ") for quantity in QUANTITIES if quantity not in shown]
    if lacking:
        said += f" Not recorded by these runs: {'; '.join(lacking)}."
    return said


def _learned(study: StudyResults, columns: Sequence[str]) -> list[str]:
    """The methods of which some run recorded one of `columns`, in order."""
    found = {
        results.method
        for task in study.tasks
        for results in _rewarded(task)
        if any(measured(results, column) for column in columns)
    }
    return [method for method in study.methods if method in found]


def reward_panels(study: StudyResults, bootstrap_seed: int = 0) -> Figure | None:
    """Accuracy, correlations and EPIC distance of every learned reward; None if no run recorded any.

    Rows that no run has, as of older studies, are left out, and named.
    """
    shown = [quantity for quantity in QUANTITIES if _learned(study, quantity.columns)]
    if not shown:
        return None
    methods = _learned(study, [column for quantity in shown for column in quantity.columns])
    with fixed_style():
        nothing = reference_handle("A reward that knows nothing", ":")
        words = Words(
            title=f"{study.name}: what do the learned rewards know?",
            subtitle=_subtitle(study, methods, shown),
            footer=footer(study, methods, [_last_step(task) for task in study.tasks]),
            legend=[*legend_handles(study.methods, methods, {}), nothing],
        )
        figure, grid = lay_out(len(shown), len(study.tasks), HEIGHT, words)
        for row, quantity in zip(grid, shown, strict=True):
            for axes, task in zip(row, study.tasks, strict=True):
                _cell(axes, quantity, task, study.methods, bootstrap_seed)
                x_axis(axes, _last_step(task))
                axes.tick_params(labelbottom=row is grid[-1], labelsize=8.5)
            _same_height(row, quantity)
            row[0].set_ylabel(quantity.title, fontsize=8.5)
        figure.align_ylabels([row[0] for row in grid])
        for axes, task in zip(grid[0], study.tasks, strict=True):
            panel_title(axes, task.task)
        for axes in grid[-1]:
            axes.set_xlabel("SAC steps")
        return figure

"""Figure 5: one panel a task, return while learning, one legend for all."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import METHODS, axis_of, line_of, method_label
from aihf_control.report.panel_grid import (
    CLONED,
    DEMONSTRATIONS,
    PENS,
    Words,
    drawn_methods,
    footer,
    lay_out,
    legend_handles,
    panel_title,
    reference_handle,
    x_axis,
)
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.report.style import (
    REFERENCE_COLOUR,
    SHORT_PRESETS,
    draw_curve,
    ends_early,
    fit_height,
    fixed_style,
    method_colour,
    spread,
    steps_label,
    what_is_drawn,
)
from aihf_control.statistics import RANGE_BELOW_SEEDS, interquartile_mean

HEIGHT = 3.2  # inches, of a panel
NUMBER_GAP = 0.045  # of a panel's height, between two numbers right of it
LEGEND = {name: row.legend for name, row in METHODS.items()}


def _curves(task: TaskResults, methods: Sequence[str]) -> list[MethodResults]:
    """The results of `methods` that have a curve, as they are drawn: thick over thin lines, AIHF on top."""
    found = [results for results in task.methods if results.runs and results.method in methods]
    curves = [results for results in found if axis_of(results.method) != "none"]
    return sorted(curves, key=lambda results: (results.method == "aihf", line_of(results.method) == "thick"))


def _last_step(task: TaskResults, methods: Sequence[str]) -> int:
    return max((int(results.steps[-1]) for results in _curves(task, methods)), default=1)


def _panel(axes: Axes, task: TaskResults, study: StudyResults, bootstrap_seed: int) -> None:
    methods = drawn_methods(study)
    last_step = _last_step(task, methods)
    references = [(task.feedback.demonstrations_return, DEMONSTRATIONS)]
    for results in task.methods:
        if results.runs and axis_of(results.method) == "none":
            references.append((float(interquartile_mean(results.final)), CLONED))
    ends = [(height, REFERENCE_COLOUR) for height, _ in references]
    for height, dashes in references:
        axes.axhline(height, color=REFERENCE_COLOUR, linewidth=1.1, linestyle=dashes, zorder=1.5)
    for results in _curves(task, methods):
        colour = method_colour(results.method, study.methods)
        draw_curve(axes, results, colour, last_step, PENS[line_of(results.method)], bootstrap_seed)
        ends.append((float(interquartile_mean(results.final)), colour))
    x_axis(axes, last_step)
    fit_height(axes, [height for height, _ in references])
    _final_scores(axes, ends)
    panel_title(axes, task.task)
    axes.set_xlabel(steps_label(methods))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _final_scores(axes: Axes, ends: Sequence[tuple[float, str]]) -> None:
    """Each number in its line's colour right of the panel, tied to its height there."""
    low, high = axes.get_ylim()
    starts = [(height - low) / (high - low) for height, _ in ends]
    for (height, colour), start, end in zip(ends, starts, spread(starts, NUMBER_GAP), strict=True):
        axes.plot(
            [1.0, 1.025], [start, end], color=colour, linewidth=0.8, transform=axes.transAxes, clip_on=False
        )
        place = {"va": "center", "color": colour, "fontsize": 7.5}
        axes.text(1.032, end, f"{height:,.0f}", transform=axes.transAxes, fontdict=place)


def _title(study: StudyResults) -> str:
    presets = dict.fromkeys(task.preset for task in study.tasks)
    short = [preset for preset in presets if preset in SHORT_PRESETS]
    if short:
        return f"Return while learning: a {short[0]} run, too short to compare methods"
    return "Return while learning from demonstrations and preferences"


def _subtitle(study: StudyResults, methods: Sequence[str]) -> str:
    """What lines and bands are, which curves end early, and which panels are missing."""
    curves = [(task, results) for task in study.tasks for results in _curves(task, methods)]
    thick = [results for _, results in curves if line_of(results.method) == "thick"]
    parts = [what_is_drawn(thick)] if thick else []
    if any(results.method == "irl" and len(results.runs) < RANGE_BELOW_SEEDS for _, results in curves):
        parts.append("IRL: line and band alone.")
    if any(results.method == "oracle" for _, results in curves):
        parts.append("Oracle: line alone.")
    early = {
        f"{method_label(results.method)} {ends_early(results)}": None
        for task, results in curves
        if results.steps[-1] < _last_step(task, methods)
    }
    if early:
        parts.append(f"Dotted: {'; '.join(early)}, and held.")
    parts.append("Numbers: final scores, of each seed the mean over its last evaluations.")
    if study.missing_tasks:
        parts.append(f"No results yet: {', '.join(map(task_title, study.missing_tasks))}.")
    if study.idle_tasks:
        parts.append(f"Not applicable: {', '.join(map(task_title, study.idle_tasks))}, which cannot fall.")
    return " ".join(parts)


def figure5(study: StudyResults, bootstrap_seed: int = 0) -> Figure:
    """Return against SAC steps, one panel a task, for every method but the constant rewards.

    IPL is drawn over its own updates, and like every method that ends early flat and marked after.
    """
    with fixed_style():
        methods = drawn_methods(study)
        demonstrations = reference_handle("Demonstrations' mean", DEMONSTRATIONS)
        words = Words(
            title=_title(study),
            subtitle=_subtitle(study, methods),
            footer=footer(study, methods, [_last_step(task, methods) for task in study.tasks]),
            legend=[*legend_handles(study, methods, LEGEND), demonstrations],
        )
        figure, grid = lay_out(1, len(study.tasks), HEIGHT, words)
        for axes, task in zip(grid[0], study.tasks, strict=True):
            _panel(axes, task, study, bootstrap_seed)
        grid[0][0].set_ylabel("Return in the standard environment")
        return figure

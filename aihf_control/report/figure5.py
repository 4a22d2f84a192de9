"""Figure 5: one panel a task, return while learning, one legend for all; below, if there is one, the study in
which all methods start from the same clone. Against SAC steps, and against environment steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from aihf_control.methods.table import METHODS, axis_of, line_of
from aihf_control.report.environment_steps import outside_sac, over_environment_steps
from aihf_control.report.figure_words import heading, note, subtitle, title
from aihf_control.report.layout import Words, lay_out
from aihf_control.report.panel_grid import (
    CLONED,
    DEMONSTRATIONS,
    PENS,
    curves_of,
    drawn_methods,
    footer,
    last_step,
    legend_handles,
    panel_title,
    reference_handle,
    x_axis,
)
from aihf_control.report.results import StudyResults, TaskResults
from aihf_control.report.style import (
    QUIET,
    REFERENCE_COLOUR,
    draw_curve,
    fit_height,
    fixed_style,
    method_colour,
    spread,
    steps_label,
)
from aihf_control.report.tables import Tables
from aihf_control.statistics import interquartile_mean

HEIGHT = 2.7  # inches, of a panel
NUMBER_GAP = 0.05  # of a panel's height, between two numbers right of it
LEGEND = {name: row.legend for name, row in METHODS.items()}
Ends = list[tuple[float, str]]
"""Heights at a panel's right, with their colours."""


def _panel(
    axes: Axes, task: TaskResults, methods: Sequence[str], known: Sequence[str], bootstrap_seed: int
) -> Ends:
    """The curves and levels of one task; returns the final scores."""
    last = last_step(task, methods)
    references = [(task.feedback.demonstrations_return, DEMONSTRATIONS)]
    for results in task.methods:
        if results.runs and axis_of(results.method) == "none":
            references.append((float(interquartile_mean(results.final)), CLONED))
    ends = [(height, REFERENCE_COLOUR) for height, _ in references]
    for height, dashes in references:
        axes.axhline(height, color=REFERENCE_COLOUR, linewidth=1.1, linestyle=dashes, zorder=1.5)
    for results in curves_of(task, methods):
        colour, pen = method_colour(results.method, known), PENS[line_of(results.method)]
        final = float(interquartile_mean(results.final))
        if results.steps[-1]:
            draw_curve(axes, results, colour, last, pen, bootstrap_seed)
        else:  # it took no steps of this kind
            axes.plot([0, last], [final, final], color=colour, linewidth=pen.held, linestyle=":")
        ends.append((final, colour))
    x_axis(axes, last)
    fit_height(axes, [height for height, _ in references])
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return ends


def _final_scores(axes: Axes, ends: Ends) -> None:
    """Each number in its line's colour right of the panel, tied to its height there."""
    low, high = axes.get_ylim()
    starts = [(height - low) / (high - low) for height, _ in ends]
    for (height, colour), start, end in zip(ends, starts, spread(starts, NUMBER_GAP), strict=True):
        axes.plot(
            [1.0, 1.025], [start, end], color=colour, linewidth=0.8, transform=axes.transAxes, clip_on=False
        )
        place = {"va": "center", "color": colour, "fontsize": 7.5}
        axes.text(1.032, end, f"{height:,.0f}", transform=axes.transAxes, fontdict=place)


def _absent(axes: Axes, study: StudyResults, task: str) -> None:
    """In place of a panel that the other row has."""
    axes.set_axis_off()
    said = "Not applicable: it cannot fall" if task in study.idle_tasks else "No results yet"
    axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", color=QUIET, fontsize=8.5)


def _columns(
    grid: Sequence[Sequence[Axes]], studies: Sequence[StudyResults], known: Sequence[str], seed: int
) -> None:
    """Every panel; those of one task have one height, so that two rows can be compared by eye."""
    for column, name in enumerate(_tasks(studies)):
        drawn: list[tuple[Axes, Ends]] = []
        for row, study in zip(grid, studies, strict=True):
            task = next((task for task in study.tasks if task.task == name), None)
            panel_title(row[column], name)
            if task is None:
                _absent(row[column], study, name)
            else:
                drawn.append((row[column], _panel(row[column], task, drawn_methods(study), known, seed)))
        lows, highs = zip(*(axes.get_ylim() for axes, _ in drawn), strict=True)
        for axes, ends in drawn:
            axes.set_ylim(min(lows), max(highs))
            _final_scores(axes, ends)


def _tasks(studies: Sequence[StudyResults]) -> list[str]:
    return list(dict.fromkeys(task.task for study in studies for task in study.tasks))


def _figure(tables: Tables, environment: bool, bootstrap_seed: int) -> Figure:
    parts = tables.parts
    studies = [over_environment_steps(part.study) if environment else part.study for part in parts]
    methods = list(dict.fromkeys(method for study in studies for method in drawn_methods(study)))
    known = list(dict.fromkeys(method for study in studies for method in study.methods))
    rows = [(heading(part, environment), note(part, environment)) for part in parts]
    first = [rows[0][1]] if len(rows) == 1 else []
    words = Words(
        title=title(parts, environment),
        subtitle=" ".join([*filter(None, first), subtitle(studies, methods, environment)]),
        footer=[line for part in parts for line in _footer(part.study)],
        legend=[
            *legend_handles(known, methods, LEGEND),
            reference_handle("Demonstrations' mean", DEMONSTRATIONS),
        ],
        rows=rows if len(rows) > 1 else [],
    )
    with fixed_style():
        figure, grid = lay_out(len(parts), len(_tasks(studies)), HEIGHT, words)
        _columns(grid, studies, known, bootstrap_seed)
        for row, study in zip(grid, studies, strict=True):
            shown = [axes for axes in row if axes.axison]
            shown[0].set_ylabel("Return in the standard environment", fontsize=8.5)
            for axes in shown:
                label = "Environment steps" if environment else steps_label(drawn_methods(study))
                axes.set_xlabel(label, fontsize=8.5)
        return figure


def _footer(study: StudyResults) -> list[str]:
    methods = drawn_methods(study)
    return footer(study, methods, [last_step(task, methods) for task in study.tasks])


def figure5(tables: Tables, bootstrap_seed: int = 0) -> Figure:
    """Return against SAC steps, one panel a task, for every method but the constant rewards.

    IPL is drawn over its own updates, and like every method that ends early flat and marked after. A second
    row has the panels of `tables.matched`.
    """
    return _figure(tables, False, bootstrap_seed)


def environment_figure(tables: Tables, bootstrap_seed: int = 0) -> Figure | None:
    """The same rows against the environment steps that each method had taken; None where SAC's steps are all
    that any method took."""
    if not any(set(outside_sac(part.study)) & set(drawn_methods(part.study)) for part in tables.parts):
        return None
    return _figure(tables, True, bootstrap_seed)

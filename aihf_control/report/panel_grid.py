"""How the figures of several panels are laid out: words above and below, one legend, a grid of axes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, line_of, method_label
from aihf_control.report.results import MethodResults, StudyResults
from aihf_control.report.style import (
    FAINT,
    QUIET,
    REFERENCE_COLOUR,
    Pen,
    bands,
    compact,
    method_colour,
    new_figure,
)
from aihf_control.words import seed_list

Dashes = Literal["-", "--", "-.", ":"]

PENS = {
    "thick": Pen(),
    "thin": Pen(width=1.2, held=1.0, dot=3.5, band=0.10, seeds=False),
    "faint": Pen(width=1.1, held=1.0, dot=3.5, band=0.0, seeds=False),
}
"""By the method's kind of line."""
DEMONSTRATIONS: Dashes = "--"
CLONED: Dashes = "-."
"""Of behaviour cloning, a flat line."""

LEFT, PANEL, GAP, RIGHT, BETWEEN = 0.85, 3.6, 1.05, 0.55, 0.34  # inches: margins, a panel's width, gaps
NARROWEST = 8.0  # inches; the words need them
LARGE, SMALL = 8.0, 6.5  # points, of subtitle and footer
MEAN_LETTER = 0.6  # of the font's size; commands have many capitals
COMMANDS = 2  # so many are written out; all of them are in PROVENANCE.md


@dataclass(frozen=True)
class Words:
    """All that is written around the panels."""

    title: str
    subtitle: str
    footer: Sequence[str]
    legend: Sequence[Line2D]


def drawn_methods(study: StudyResults) -> list[str]:
    """What the figures show, of the methods that have runs."""
    return [m for m in study.methods if line_of(m) != "none" and study.of(m)]


def reference_handle(label: str, dashes: Dashes) -> Line2D:
    """A thin grey line for the legend."""
    return Line2D([], [], color=REFERENCE_COLOUR, linewidth=1.1, linestyle=dashes, label=label)


def legend_handles(study: StudyResults, methods: Sequence[str], names: Mapping[str, str]) -> list[Line2D]:
    """A line for each of `methods`, looking as in the panels, under its name in `names` or its label."""
    handles = []
    for method in methods:
        name = names.get(method, method_label(method))
        if axis_of(method) == "none":
            handles.append(reference_handle(name, CLONED))
        else:
            colour = method_colour(method, study.methods)
            width = PENS[line_of(method)].width
            handles.append(Line2D([], [], color=colour, linewidth=width, label=name))
    return handles


def footer(
    study: StudyResults, methods: Sequence[str], last_steps: Sequence[int], band: str = ""
) -> list[str]:
    """Commands; study, seeds, steps and what the band is, if not one over the seeds of a task; data."""
    groups: dict[str, list[str]] = {}
    drawn: list[MethodResults] = []
    for task in study.tasks:
        for results in task.methods:
            if results.runs and results.method in methods:
                failed = f" ({len(results.failed)} failed)" if results.failed else ""
                name = f"{method_label(results.method)} on {task_title(task.task)}"
                groups.setdefault(seed_list(results.seeds) + failed, []).append(name)
                drawn.append(results)
    usual = max(groups, key=lambda seeds: len(groups[seeds]))
    others = [f"{seeds} for {', '.join(names)}" for seeds, names in groups.items() if seeds != usual]
    steps = " and ".join(f"{step:,}" for step in sorted(set(last_steps)))
    episodes = " and ".join(str(n) for n in sorted({task.evaluation_episodes for task in study.tasks}))
    facts = [
        f"study {study.name}",
        "; ".join([f"seeds {usual}", *others]),
        f"{steps} steps",
        band or bands(drawn),
        f"{episodes} evaluation episodes a seed",
    ]
    data = ", ".join(f"{task.task} {task.feedback.sha256[:12]}" for task in study.tasks)
    commands = list(dict.fromkeys(command for task in study.tasks for command in task.commands))
    more = len(commands) - COMMANDS
    rest = [f"{more} more command{'s' if more > 1 else ''}, in PROVENANCE.md"] if more > 0 else []
    return ["; ".join([*commands[:COMMANDS], *rest]), "  ·  ".join(facts), f"feedback {data}"]


def x_axis(axes: Axes, last_step: int) -> None:
    """Steps from 0 to the end, in short: 100k, 200k."""
    axes.set_xlim(0, last_step)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def panel_title(axes: Axes, task: str) -> None:
    """The task's name, above its panel."""
    axes.set_title(task_title(task), loc="left", fontsize=10.5, weight="bold", color="#2E2E2E")


def _width(columns: int) -> float:
    return max(NARROWEST, LEFT + RIGHT + columns * PANEL + GAP * (columns - 1))


def _wrapped(columns: int, words: Sequence[str], size: float) -> list[str]:
    letters = int((_width(columns) - LEFT - RIGHT) * 72 / (MEAN_LETTER * size))
    return [line for part in words for line in textwrap.wrap(part, letters)]


def _legend_columns(columns: int, legend: Sequence[Line2D]) -> int:
    """How many entries stand side by side above so many panels, in equal rows, as the longest fits."""
    widest = max(len(str(handle.get_label())) for handle in legend) * MEAN_LETTER * 8.5 / 72 + 0.5
    fitting = max(1, int((_width(columns) - LEFT) / widest))
    rows = -(-len(legend) // min(fitting, 3 if columns < 3 else 4))
    return -(-len(legend) // rows)


def lay_out(rows: int, columns: int, panel_height: float, words: Words) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `rows` × `columns` panels, as tall in inches as they and all words need, and its axes."""
    subtitle, last = _wrapped(columns, [words.subtitle], LARGE), _wrapped(columns, words.footer, SMALL)
    across = _legend_columns(columns, words.legend)
    legend_top = 0.62 + 0.155 * len(subtitle)
    above, below = legend_top + 0.2 * -(-len(words.legend) // across) + 0.32, 0.72 + 0.125 * len(last)
    width, height = _width(columns), above + below + rows * panel_height + BETWEEN * (rows - 1)
    panel = (width - LEFT - RIGHT - GAP * (columns - 1)) / columns
    figure = new_figure(width, height)
    figure.subplots_adjust(LEFT / width, below / height, 1 - RIGHT / width, 1 - above / height)
    figure.subplots_adjust(wspace=GAP / panel, hspace=BETWEEN / panel_height)
    left = LEFT / width
    figure.text(left, 1 - 0.28 / height, words.title, fontsize=13, weight="bold", va="center")
    place = {"fontsize": LARGE, "color": QUIET, "va": "top"}
    figure.text(left, 1 - 0.47 / height, "\n".join(subtitle), fontdict=place, linespacing=1.35)
    figure.text(left, 0.12 / height, "\n".join(last), fontsize=SMALL, color=FAINT, va="bottom")
    figure.legend(
        handles=list(words.legend),
        loc="upper left",
        bbox_to_anchor=(left, 1 - legend_top / height),
        ncols=across,
        frameon=False,
        fontsize=8.5,
        handlelength=2.0,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
    )
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]

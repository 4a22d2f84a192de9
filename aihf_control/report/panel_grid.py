"""What the panels of all figures share: pens, entries of the legend, the footer, titles and the x axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, line_of, method_label
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.report.style import (
    REFERENCE_COLOUR,
    Pen,
    bands,
    compact,
    method_colour,
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

TICKS = 8.5  # points
COMMANDS = 2  # so many are written out; all of them are in PROVENANCE.md


def drawn_methods(study: StudyResults) -> list[str]:
    """What the figures show, of the methods that have runs."""
    return [m for m in study.methods if line_of(m) != "none" and study.of(m)]


def curves_of(task: TaskResults, methods: Sequence[str]) -> list[MethodResults]:
    """The results of `methods` that have a curve, as they are drawn: thick over thin lines, AIHF on top."""
    found = [results for results in task.methods if results.runs and results.method in methods]
    curves = [results for results in found if axis_of(results.method) != "none"]
    return sorted(curves, key=lambda results: (results.method == "aihf", line_of(results.method) == "thick"))


def last_step(task: TaskResults, methods: Sequence[str]) -> int:
    """Where the panel of a task ends: with the longest of its curves."""
    return max((int(results.steps[-1]) for results in curves_of(task, methods)), default=0) or 1


def reference_handle(label: str, dashes: Dashes) -> Line2D:
    """A thin grey line for the legend."""
    return Line2D([], [], color=REFERENCE_COLOUR, linewidth=1.1, linestyle=dashes, label=label)


def legend_handles(known: Sequence[str], methods: Sequence[str], names: Mapping[str, str]) -> list[Line2D]:
    """A line for each of `methods`, looking as in the panels, under its name in `names` or its label; `known`
    are all that colours were given to."""
    handles = []
    for method in methods:
        name = names.get(method, method_label(method))
        if axis_of(method) == "none":
            handles.append(reference_handle(name, CLONED))
        else:
            colour = method_colour(method, known)
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
        _on_one_line(band or bands(drawn)),
        _on_one_line(f"{episodes} evaluation episodes a seed"),
    ]
    data = ", ".join(f"{task.task} {task.feedback.sha256[:12]}" for task in study.tasks)
    commands = list(dict.fromkeys(command for task in study.tasks for command in task.commands))
    more = len(commands) - COMMANDS
    rest = [f"{more} more command{'s' if more > 1 else ''}, in PROVENANCE.md"] if more > 0 else []
    return ["; ".join([*commands[:COMMANDS], *rest]), "  ·  ".join(facts), f"feedback {data}"]


def _on_one_line(words: str) -> str:
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def x_axis(axes: Axes, last_step: int) -> None:
    """Steps from 0 to the end, in short: 100k, 200k."""
    axes.set_xlim(0, last_step)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.tick_params(labelsize=TICKS)


def panel_title(axes: Axes, task: str) -> None:
    """The task's name, above its panel."""
    axes.set_title(task_title(task), loc="left", fontsize=9.5, weight="bold", color="#2E2E2E")

"""The figure of one task: return while learning, every line named at its right end."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, method_label
from aihf_control.report.results import MethodResults, StudyResults
from aihf_control.report.style import (
    FAINT,
    QUIET,
    REFERENCE_COLOUR,
    SHORT_PRESETS,
    Pen,
    draw_curve,
    ends_early,
    fit_height,
    fixed_style,
    footer,
    method_colour,
    new_figure,
    spread,
    steps_label,
    what_is_drawn,
)
from aihf_control.statistics import interquartile_mean

WIDTH, HEIGHT = 10.2, 5.6  # inches
LEFT = 0.106  # of the width: the axes' and all texts' left edge
LABEL_TOP = 0.965  # of the axes' height: the highest a label may stand, clear of the subtitle
LABEL_GAP = 0.085  # of the axes' height, between two labels at the right


@dataclass(frozen=True)
class _Label:
    """What stands at the right end of a line: its height in data units, a name and a detail."""

    height: float
    name: str
    detail: str
    colour: str


def _seed_count(results: MethodResults) -> str:
    count = len(results.runs)
    failed = f", {len(results.failed)} failed" if results.failed else ""
    return f"{count} seed{'s' if count > 1 else ''}{failed}"


def _draw_method(axes: Axes, results: MethodResults, colour: str, last_step: int, seed: int) -> _Label:
    final = draw_curve(axes, results, colour, last_step, Pen(), seed)
    early = f" ({ends_early(results)})" if results.steps[-1] < last_step else ""
    return _Label(final, method_label(results.method), _seed_count(results) + early, colour)


def _draw_reference(axes: Axes, height: float, name: str, detail: str, dashes: str) -> _Label:
    axes.axhline(height, color=REFERENCE_COLOUR, linewidth=1.2, linestyle=dashes, zorder=1.5)
    return _Label(height, name, detail, REFERENCE_COLOUR)


def _place_labels(axes: Axes, labels: Sequence[_Label]) -> None:
    """Names in the right margin, each tied to the end of its line; they are the legend."""
    low, high = axes.get_ylim()
    fractions = [(label.height - low) / (high - low) for label in labels]
    for label, start, end in zip(labels, fractions, spread(fractions, LABEL_GAP, LABEL_TOP), strict=True):
        axes.plot(
            [1.0, 1.012, 1.03],
            [start, end, end],
            color=label.colour,
            linewidth=1,
            transform=axes.transAxes,
            clip_on=False,
        )
        for text, lift, anchor, colour, size, weight in (
            (label.name, 0.003, "bottom", label.colour, 9.5, "bold"),
            (label.detail, -0.003, "top", QUIET, 7.5, "normal"),
        ):
            place = {"va": anchor, "color": colour, "fontsize": size, "weight": weight}
            axes.text(1.036, end + lift, text, transform=axes.transAxes, fontdict=place)


def _title(study: StudyResults) -> str:
    task = task_title(study.task)
    if study.preset in SHORT_PRESETS:
        return f"{task}: a {study.preset} run, too short to compare methods"
    return f"{task}: return while learning"


def _frame(figure: Figure, axes: Axes, study: StudyResults, drawn: Sequence[MethodResults]) -> None:
    """Title, subtitle, axis labels and the footer, which grows upward with its lines."""
    lines = [line for part in footer(study, drawn) for line in textwrap.wrap(part, 160)]
    bottom = 0.78 + 0.13 * len(lines)
    figure.subplots_adjust(left=LEFT, right=0.73, top=1 - 0.72 / HEIGHT, bottom=bottom / HEIGHT)
    figure.text(LEFT, 1 - 0.3 / HEIGHT, _title(study), fontsize=13, weight="bold", va="center")
    figure.text(LEFT, 1 - 0.54 / HEIGHT, what_is_drawn(drawn), fontsize=8, color=QUIET, va="center")
    figure.text(LEFT, 0.12 / HEIGHT, "\n".join(lines), fontsize=6.5, color=FAINT, va="bottom")
    axes.set_xlabel(steps_label([results.method for results in drawn]))
    episodes = f"({study.evaluation_episodes} evaluation episodes a seed)"
    axes.set_ylabel(f"Return in the standard environment\n{episodes}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def learning_curves(study: StudyResults, bootstrap_seed: int = 0) -> Figure:
    """Return against SAC steps, one line a method, with the demonstrations and BC as references.

    Methods without an ended run are left out; `bc` is a horizontal line, never a curve. Every band's
    bootstrap starts from its own generator of `bootstrap_seed`, so no method changes another's band.
    """
    with fixed_style():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_subplot()
        drawn = [results for results in study.methods if results.runs]
        curves = [results for results in drawn if axis_of(results.method) != "none"]
        last_step = max((int(results.steps[-1]) for results in curves), default=1)
        names = [results.method for results in study.methods]
        labels = [
            _draw_method(axes, results, method_colour(results.method, names), last_step, bootstrap_seed)
            for results in curves
        ]
        demonstrations = study.feedback.demonstrations_return
        labels.append(
            _draw_reference(axes, demonstrations, "Demonstrations", f"mean {demonstrations:,.0f}", "--")
        )
        for results in drawn:
            if axis_of(results.method) == "none":
                height = float(interquartile_mean(results.returns[:, 0]))
                detail = f"{height:,.0f}, {_seed_count(results)}"
                labels.append(_draw_reference(axes, height, method_label(results.method), detail, "-."))
        axes.set_xlim(0, last_step)
        fit_height(axes, [label.height for label in labels])
        _frame(figure, axes, study, drawn)
        _place_labels(axes, labels)
        return figure

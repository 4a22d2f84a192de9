"""Figures of a study, from its run directories alone: Matplotlib's object API on Agg, no pyplot.

The same results give the same bytes: the style is fixed here, whatever the user's matplotlibrc says,
and no file carries a date or a version.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from scipy.optimize import isotonic_regression

from aihf_control.results import ONE_ROW_METHODS, MethodResults, StudyResults, method_label, seed_list
from aihf_control.statistics import RANGE_BELOW_SEEDS, RESAMPLES, interquartile_mean, seed_interval
from aihf_control.tasks import TASKS

COLOURS = {
    "aihf": "#E8710A",
    "rlhf": "#0B6BB8",
    "ipl": "#9B5FC0",
    "irl": "#00917C",
    "oracle": "#3D3D3D",
    "bc": "#8A8A8A",
}
OTHER_COLOURS = ("#B0862B", "#C2456F", "#56B4E9")
REFERENCE_COLOUR = "#6E6E6E"
SHORT_PRESETS = ("smoke", "quick")

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#8C8C8C",
    "xtick.color": "#4A4A4A",
    "ytick.color": "#4A4A4A",
    "axes.labelcolor": "#2E2E2E",
    "text.parse_math": False,  # a "$" in a command is a dollar
    "pdf.fonttype": 42,
    "svg.hashsalt": "aihf",
}

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


@contextmanager
def _fixed_style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def compact(steps: int) -> str:
    """`10_000` → 10k, `1_500` → 1.5k, `2_000_000` → 2M."""
    for unit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if steps >= unit:
            return f"{steps / unit:g}{suffix}"
    return str(steps)


def _colour(method: str, methods: Sequence[str]) -> str:
    others = [name for name in methods if name not in COLOURS]
    return COLOURS.get(method) or OTHER_COLOURS[others.index(method) % len(OTHER_COLOURS)]


def _seed_count(results: MethodResults) -> str:
    count = len(results.runs)
    failed = f", {len(results.failed)} failed" if results.failed else ""
    return f"{count} seed{'s' if count > 1 else ''}{failed}"


def _draw_method(axes: Axes, results: MethodResults, colour: str, last_step: int, seed: int) -> _Label:
    """The curve of one method: seeds or band, IQM line, and its flat continuation if it ends early."""
    steps, interval = results.steps, seed_interval(results.returns, np.random.default_rng(seed))
    if len(results.runs) < RANGE_BELOW_SEEDS:
        axes.plot(steps, results.returns.T, color=colour, linewidth=0.8, alpha=0.55)
    axes.fill_between(steps, interval.low, interval.high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(steps, interval.estimate, color=colour, linewidth=2.2, solid_capstyle="round")
    final, detail = float(interval.estimate[-1]), _seed_count(results)
    if steps[-1] < last_step:
        axes.plot([steps[-1], last_step], [final, final], color=colour, linewidth=1.8, linestyle=":")
        axes.plot(steps[-1], final, "o", color=colour, markersize=6, markeredgecolor="white")
        unit = "updates" if results.method == "ipl" else "steps"
        detail += f" (ended at {compact(int(steps[-1]))} {unit})"
    return _Label(final, method_label(results.method), detail, colour)


def _draw_reference(axes: Axes, height: float, name: str, detail: str, dashes: str) -> _Label:
    axes.axhline(height, color=REFERENCE_COLOUR, linewidth=1.2, linestyle=dashes, zorder=1.5)
    return _Label(height, name, detail, REFERENCE_COLOUR)


def spread(heights: Sequence[float], gap: float, top: float = 1.0) -> list[float]:
    """`heights` (shares of the axes' height), moved as little as possible (least squares) until all are
    `gap` apart, in the same order, then into [0, `top`].
    """
    order = np.argsort(heights, kind="stable")
    ladder = gap * np.arange(len(heights))
    rungs = isotonic_regression(np.asarray(heights, float)[order] - ladder).x
    result = np.empty(len(heights))
    result[order] = np.clip(rungs, 0.0, max(0.0, top - gap * (len(heights) - 1))) + ladder
    return result.tolist()


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
            (label.detail, -0.003, "top", "#5A5A5A", 7.5, "normal"),
        ):
            place = {"va": anchor, "color": colour, "fontsize": size, "weight": weight}
            axes.text(1.036, end + lift, text, transform=axes.transAxes, fontdict=place)


def _bands(drawn: Sequence[MethodResults]) -> str:
    """The kind of interval, for the footer: "band: …", with who has which if the methods differ."""
    counts = [len(results.runs) for results in drawn]
    kinds = []
    if min(counts) < RANGE_BELOW_SEEDS:
        kinds.append(f"range (min–max) under {RANGE_BELOW_SEEDS} seeds")
    if max(counts) >= RANGE_BELOW_SEEDS:
        kinds.append(f"95% stratified bootstrap over seeds, {RESAMPLES:,} resamples")
    return "band: " + "; ".join(kinds)


def _subtitle(drawn: Sequence[MethodResults]) -> str:
    few = [len(results.runs) < RANGE_BELOW_SEEDS for results in drawn]
    if all(few):
        return "Line: interquartile mean over seeds. Thin lines: every seed. Band: range over seeds, min–max."
    if not any(few):
        return "Line: interquartile mean over seeds. Band: 95% stratified-bootstrap interval over seeds."
    return (
        "Line: interquartile mean over seeds. Band: 95% stratified-bootstrap interval; "
        f"under {RANGE_BELOW_SEEDS} seeds every seed, thin, and their range."
    )


def _footer(study: StudyResults, drawn: Sequence[MethodResults]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for results in drawn:
        groups.setdefault(seed_list(results.seeds), []).append(method_label(results.method))
    if len(groups) == 1:
        seeds = next(iter(groups))
    else:
        seeds = "; ".join(f"{', '.join(names)} {numbers}" for numbers, names in groups.items())
    sha = study.feedback.sha256[:12]
    return ["; ".join(study.commands), f"seeds {seeds}  ·  feedback {sha}  ·  {_bands(drawn)}"]


def _title(study: StudyResults) -> str:
    task = TASKS[study.task].env_id if study.task in TASKS else study.task
    if study.preset in SHORT_PRESETS:
        return f"{task}: a {study.preset} run, too short to compare methods"
    return f"{task}: return while learning"


def _frame(figure: Figure, axes: Axes, study: StudyResults, drawn: Sequence[MethodResults]) -> None:
    """Title, subtitle, axis labels and the footer, which grows upward with its lines."""
    lines = [line for part in _footer(study, drawn) for line in textwrap.wrap(part, 160)]
    bottom = 0.78 + 0.13 * len(lines)
    figure.subplots_adjust(left=LEFT, right=0.73, top=1 - 0.72 / HEIGHT, bottom=bottom / HEIGHT)
    figure.text(LEFT, 1 - 0.3 / HEIGHT, _title(study), fontsize=13, weight="bold", va="center")
    figure.text(LEFT, 1 - 0.54 / HEIGHT, _subtitle(drawn), fontsize=8, color="#5A5A5A", va="center")
    figure.text(LEFT, 0.12 / HEIGHT, "\n".join(lines), fontsize=6.5, color="#7A7A7A", va="bottom")
    axes.set_xlabel("SAC steps (gradient updates for IPL)")
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
    with _fixed_style():
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        drawn = [results for results in study.methods if results.runs]
        curves = [results for results in drawn if results.method not in ONE_ROW_METHODS]
        last_step = max((int(results.steps[-1]) for results in curves), default=1)
        names = [results.method for results in study.methods]
        labels = [
            _draw_method(axes, results, _colour(results.method, names), last_step, bootstrap_seed)
            for results in curves
        ]
        demonstrations = study.feedback.demonstrations_return
        labels.append(
            _draw_reference(axes, demonstrations, "Demonstrations", f"mean {demonstrations:,.0f}", "--")
        )
        for results in drawn:
            if results.method in ONE_ROW_METHODS:
                height = float(interquartile_mean(results.returns[:, 0]))
                detail = f"{height:,.0f}, {_seed_count(results)}"
                labels.append(_draw_reference(axes, height, method_label(results.method), detail, "-."))
        axes.set_xlim(0, last_step)
        _fit_height(axes, labels)
        _frame(figure, axes, study, drawn)
        _place_labels(axes, labels)
        return figure


def _fit_height(axes: Axes, labels: Sequence[_Label]) -> None:
    """Let the y axis hold zero, all that was drawn and the references, with a little room."""
    low, high = axes.get_ylim()
    low, high = min(0.0, low), max(high, *(label.height for label in labels))
    axes.set_ylim(low, high + 0.03 * (high - low))


def render(figure: Figure, kind: str) -> bytes:
    """`figure` as `png` (150 dpi) or `pdf`, without dates or versions, so that bytes can be compared."""
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    buffer = io.BytesIO()
    with _fixed_style():
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata[kind])
    return buffer.getvalue()

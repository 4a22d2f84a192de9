"""What the figures share: style, colours, one method's curve, the words for seeds and bands. No pyplot.

The same results give the same bytes: the style is fixed here, whatever the user's matplotlibrc says,
and no file carries a date or a version.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aihf_control.methods.table import METHODS, OTHER_COLOURS, axis_of, method_label
from aihf_control.report.results import MethodResults
from aihf_control.statistics import RANGE_BELOW_SEEDS, RESAMPLES, seed_interval

REFERENCE_COLOUR = "#6E6E6E"
QUIET, FAINT = "#5A5A5A", "#7A7A7A"
"""Of second lines, and of footers."""

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


@dataclass(frozen=True)
class Pen:
    """How a method's curve is drawn: the width of its line, and what is shown of its seeds."""

    width: float = 2.2
    held: float = 1.8
    """Width of the dotted line after an early end, which a dot marks."""
    dot: float = 6.0
    band: float = 0.15
    """Opacity of the band; 0 for none."""
    seeds: bool = True
    """Whether every seed is drawn when they are few."""


@contextmanager
def fixed_style() -> Iterator[None]:
    """Draw in `STYLE`, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, with a canvas that knows how large text is."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def compact(steps: float) -> str:
    """`10_000` → 10k, `1_500` → 1.5k, `2_000_000` → 2M."""
    for unit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if steps >= unit:
            return f"{steps / unit:g}{suffix}"
    return f"{steps:g}"


def steps_label(methods: Sequence[str]) -> str:
    """Of the axis that the curves of `methods` share."""
    own = [method_label(method) for method in methods if axis_of(method) == "updates"]
    return f"SAC steps (gradient updates for {own[0] if len(own) == 1 else 'some'})" if own else "SAC steps"


def method_colour(method: str, methods: Sequence[str]) -> str:
    """The colour of `method`; one that is not built in gets the next free one among `methods`."""
    others = [name for name in methods if name not in METHODS]
    if method in METHODS:
        return METHODS[method].colour
    return OTHER_COLOURS[others.index(method) % len(OTHER_COLOURS)]


def draw_curve(
    axes: Axes, results: MethodResults, colour: str, last_step: int, pen: Pen, bootstrap_seed: int
) -> float:
    """One method's IQM line with its seeds and band, flat and marked to `last_step` if it ends earlier.

    Returns the height of its end.
    """
    steps, interval = results.steps, seed_interval(results.returns, np.random.default_rng(bootstrap_seed))
    if pen.seeds and len(results.runs) < RANGE_BELOW_SEEDS:
        axes.plot(steps, results.returns.T, color=colour, linewidth=0.8, alpha=0.55)
    if pen.band:
        axes.fill_between(steps, interval.low, interval.high, color=colour, alpha=pen.band, linewidth=0)
    axes.plot(steps, interval.estimate, color=colour, linewidth=pen.width, solid_capstyle="round")
    final = float(interval.estimate[-1])
    if steps[-1] < last_step:
        axes.plot([steps[-1], last_step], [final, final], color=colour, linewidth=pen.held, linestyle=":")
        axes.plot(steps[-1], final, "o", color=colour, markersize=pen.dot, markeredgecolor="white")
    return final


def ends_early(results: MethodResults) -> str:
    """Words for a curve that stops before the others: "ended at 14k updates"."""
    unit = axis_of(results.method)
    return f"ended at {compact(int(results.steps[-1]))} {unit}"


def spread(heights: Sequence[float], gap: float, top: float = 1.0) -> list[float]:
    """`heights` (shares of the axes' height), moved as little as possible (least squares) until all are
    `gap` apart, in the same order, then into [0, `top`].
    """
    order = np.argsort(heights, kind="stable")
    ladder = gap * np.arange(len(heights))
    rungs = scipy.optimize.isotonic_regression(np.asarray(heights, float)[order] - ladder).x
    result = np.empty(len(heights))
    result[order] = np.clip(rungs, 0.0, max(0.0, top - gap * (len(heights) - 1))) + ladder
    return result.tolist()


def fit_height(axes: Axes, heights: Sequence[float]) -> None:
    """Let the y axis hold zero, all that was drawn and the references, with a little room."""
    low, high = axes.get_ylim()
    low, high = min(0.0, low), max(high, *heights)
    axes.set_ylim(low, high + 0.03 * (high - low))


def bands(drawn: Sequence[MethodResults]) -> str:
    """The kind of interval, for a footer: "band: …", with who has which if the methods differ."""
    counts = [len(results.runs) for results in drawn]
    kinds = []
    if min(counts) < RANGE_BELOW_SEEDS:
        kinds.append(f"range (min–max) under {RANGE_BELOW_SEEDS} seeds")
    if max(counts) >= RANGE_BELOW_SEEDS:
        kinds.append(f"95% stratified bootstrap over seeds, {RESAMPLES:,} resamples")
    return "band: " + "; ".join(kinds)


def what_is_drawn(drawn: Sequence[MethodResults]) -> str:
    """What lines and bands are, for a subtitle."""
    few = [len(results.runs) < RANGE_BELOW_SEEDS for results in drawn]
    if all(few):
        return "Line: interquartile mean over seeds. Thin lines: every seed. Band: range over seeds, min–max."
    if not any(few):
        return "Line: interquartile mean over seeds. Band: 95% stratified-bootstrap interval over seeds."
    return (
        "Line: interquartile mean over seeds. Band: 95% stratified-bootstrap interval; "
        f"under {RANGE_BELOW_SEEDS} seeds every seed, thin, and their range."
    )


def render(figure: Figure, kind: str) -> bytes:
    """`figure` as `png` (150 dpi) or `pdf`, without dates or versions, so that bytes can be compared."""
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    buffer = io.BytesIO()
    with fixed_style():
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata[kind])
    return buffer.getvalue()

"""The figure of `make theory`: a panel for the lemma, the theorem, consistency and the special cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from aihf_control.report.style import FAINT, QUIET, fixed_style, new_figure
from benchmarks.theory import consistency, convergence, lemma
from benchmarks.theory.statement import Statement

ORANGE, BLUE, GREEN, PURPLE, RED, GREY = "#E8710A", "#0B6BB8", "#00917C", "#9B5FC0", "#C2456F", "#6E6E6E"
ALIGNMENTS = {
    1: ("1 soft-Q step a round", ORANGE),
    2: ("2 soft-Q steps", PURPLE),
    5: ("5 soft-Q steps", BLUE),
    convergence.POLICY_ITERATION: ("1 soft policy iteration", GREEN),
}
SOURCES = {
    consistency.DEMONSTRATIONS: BLUE,
    consistency.PREFERENCES: GREEN,
    consistency.BOTH: ORANGE,
}
LEAST = 1e-17
"""Where an error of exactly 0 is drawn."""
WIDTH, HEIGHT = 14.0, 10.0
LEFT, RIGHT = 0.02, 0.525
"""Where the columns' titles begin, as a share of the width."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw(
    errors: pd.DataFrame, rates: pd.DataFrame, estimates: pd.DataFrame, special: Sequence[Statement]
) -> Figure:
    """From the tables of `lemma`, `convergence` (σ = ½ is drawn) and `consistency`, and special cases."""
    with fixed_style():
        figure = new_figure(WIDTH, HEIGHT)
        figure.text(LEFT, 0.965, "AIHF's theory, in worlds small enough to be solved", size=16, weight="bold")
        _lemma(figure.add_axes((0.065, 0.565, 0.385, 0.275)), errors)
        _theorem(figure.add_axes((0.57, 0.565, 0.28, 0.275)), rates[rates.sigma == 0.5])
        _consistency(figure.add_axes((0.065, 0.06, 0.29, 0.315)), estimates)
        _special(figure.add_axes((0.765, 0.06, 0.22, 0.315)), [each for each in special if each.short])
    return figure


def _title(axes: Axes, left: float, title: str, subtitle: str) -> None:
    figure, top = axes.figure, axes.get_position().y1
    figure.text(left, top + 0.056, title, size=12, weight="bold")
    figure.text(left, top + 0.048, subtitle, size=9.2, color=QUIET, linespacing=1.35, va="top")


def _powers(axis: Axis, lowest: int, highest: int, every: int = 1) -> None:
    """Ticks at powers of ten, written without mathtext, which the style leaves off."""
    powers = range(lowest, highest + 1, every)
    labels = ["1" if power == 0 else f"10{str(power).translate(SUPERSCRIPTS)}" for power in powers]
    axis.set_ticks([10.0**power for power in powers], labels)
    axis.set_minor_locator(NullLocator())


def _counts(axis: Axis, values: Sequence[int]) -> None:
    axis.set_ticks(values, [f"{value:,}" for value in values])
    axis.set_minor_locator(NullLocator())


def _lemma(axes: Axes, errors: pd.DataFrame) -> None:
    colours = dict(zip(lemma.GRADIENTS, (ORANGE, RED, PURPLE, GREY), strict=True))
    for name, rows in errors.groupby("gradient", sort=False):
        wide = rows.pivot(index="step", columns="world", values="error")
        steps = wide.index.to_numpy()
        axes.fill_between(
            steps, wide.min(axis=1), wide.max(axis=1), color=colours[name], alpha=0.15, linewidth=0
        )
        style = (0, (3, 3)) if name == "without 1/β" else "-"
        axes.plot(steps, wide.median(axis=1), color=colours[name], linewidth=2, linestyle=style)
    axes.set(xscale="log", yscale="log", ylim=(3e-12, 300), xlabel="step of the finite differences",
             ylabel="relative error of ∇L1")  # fmt: skip
    _powers(axes.xaxis, -9, -1)
    _powers(axes.yaxis, -10, 2, every=2)
    for name, across in (("sign flipped", 1.2e-9), ("wrong discount", 3e-7), ("without 1/β", 1e-4)):
        axes.text(across, 14, name, color=colours[name], size=9)
    axes.text(8e-7, 3e-8, "Lemma 4.1", color=ORANGE, weight="bold")
    axes.text(4e-3, 2e-9, "grows as step²: the\ndifferences' own error", color=FAINT, size=8.5, ha="left")
    axes.text(1.1e-9, 2e-9, "rounding", color=FAINT, size=8.5)
    _title(
        axes,
        LEFT,
        "Lemma 4.1: the likelihood's gradient is a difference of feature sums",
        "Each formula against finite differences of the exact likelihood. Line: median of "
        f"{errors.world.nunique()} random worlds;\n"
        "band: all of them. Three formulas that are wrong on purpose stay where they are: the check would "
        "notice.",
    )


def _theorem(axes: Axes, rates: pd.DataFrame) -> None:
    for alignment, (label, colour) in ALIGNMENTS.items():
        rows = rates[rates.alignment == alignment]
        axes.plot(rows.rounds, rows.gap, "o-", color=colour, linewidth=2, markersize=4)
        axes.text(rows.rounds.iloc[-1] * 1.15, rows.gap.iloc[-1], label, color=colour, va="center", size=9)
        axes.plot(rows.rounds, rows.gradient, "s--", color=GREY, linewidth=1.2, markersize=3)
    last = rates[rates.alignment == 1]
    rounds = np.array([rates.rounds.min(), rates.rounds.max()], float)
    axes.text(rounds[-1] * 1.15, 1.5 * last.gradient.iloc[-1], "‖∇L‖², all four", color=GREY, size=9)
    line = 12.0 * (rounds / rounds[0]) ** -0.5
    axes.plot(rounds, line, color="black", linewidth=1, linestyle=":")
    axes.text(rounds[-1] * 1.15, line[-1], "1/√K, the theorem's rate", size=9, va="center")
    axes.set(xscale="log", yscale="log", xlabel="rounds K, each one policy improvement and one reward step",
             ylabel="average over the K rounds")  # fmt: skip
    _counts(axes.xaxis, sorted(set(rates.rounds)))
    _powers(axes.yaxis, -3, 1)
    _title(
        axes,
        RIGHT,
        "Theorem 4.1: both converge, though neither is ever solved",
        "Algorithm 1 with sampled gradients, step ∝ 1/√K. Solid: policy gap max |log π_k − log π_θk|,\n"
        "by how far a round improves the policy. Dashed: the squared norm of the reward's gradient.",
    )


def _consistency(axes: Axes, estimates: pd.DataFrame) -> None:
    table = consistency.means(estimates, "kl")
    for source, colour in SOURCES.items():
        rows = table[table.source == source]
        width = 2.6 if source == consistency.BOTH else 2
        axes.fill_between(rows["size"], rows.low, rows.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(rows["size"], rows["mean"], "o-", color=colour, linewidth=width, markersize=4)
        label = source if source == consistency.BOTH else f"{source} alone"
        above = {consistency.DEMONSTRATIONS: 1.13, consistency.PREFERENCES: 0.87}.get(source, 1.0)
        axes.text(rows["size"].iloc[-1] * 1.12, rows["mean"].iloc[-1] * above, label, color=colour, size=9.5,
                  weight="bold" if source == consistency.BOTH else "normal", va="center")  # fmt: skip
    data = f"N demonstrated trajectories, {consistency.PAIRS_PER_DEMONSTRATION}·N labelled pairs"
    axes.set(xscale="log", yscale="log", ylabel="KL from the demonstrator", xlabel=data)
    _counts(axes.xaxis, sorted(set(table["size"])))
    _powers(axes.yaxis, -3, -1)
    _title(
        axes,
        LEFT,
        "Consistency: both sources together beat either alone",
        "Noisy demonstrations and noisy labels of one true reward; L1 + L2, L1 or L2 is maximised.\n"
        f"Line: mean of {estimates.repeat.nunique()} data sets; band: 95% bootstrap interval.",
    )


def _special(axes: Axes, special: Sequence[Statement]) -> None:
    ordered = [each for each in special if not each.at_least] + [each for each in special if each.at_least]
    for height, each in enumerate(reversed(ordered)):
        colour = PURPLE if each.at_least else GREEN
        measured = max(each.measured, LEAST)
        axes.plot([each.bound, 30 if each.at_least else LEAST], [height, height], color=colour, alpha=0.18,
                  linewidth=9, solid_capstyle="butt")  # fmt: skip
        axes.plot(
            measured, height, "o" if each.holds else "X", color=colour if each.holds else RED, markersize=7
        )
    axes.set_yticks(range(len(ordered)), [each.short for each in reversed(ordered)])
    axes.tick_params(axis="y", length=0)
    axes.set(xscale="log", xlim=(LEAST, 30), xlabel="distance from what theory says")
    _powers(axes.xaxis, -16, 0, every=4)
    axes.grid(visible=False, axis="y")
    _title(
        axes,
        RIGHT,
        "Special cases: each method ends where theory says",
        "Each is solved by itself. Dot: measured; bar: where it must lie. Green: must agree, to rounding "
        "or to\nthe optimiser's tolerance. Purple: must differ: what these methods do not recover.",
    )

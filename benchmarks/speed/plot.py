"""The figure of `make speed`: a row of panels a task, everything against the number of seeds. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from aihf_control.envs.tasks import TASKS
from aihf_control.report.style import STYLE, spread
from benchmarks.speed.report import Report, targets
from benchmarks.speed.rows import (
    ENVIRONMENTS,
    LIMIT,
    OURS,
    REFERENCE,
    SB3,
    SB3_ALL,
    SBX,
    UPDATE,
    Row,
    curve,
    describe_knee,
    knee,
    tasks,
)

ORANGE, LIGHT, BLUE, PURPLE, GREY, GREEN = "#E8710A", "#F0A868", "#0B6BB8", "#9B5FC0", "#3D3D3D", "#00917C"
QUIET = "#6E6E6E"
WIDTH, ROW_HEIGHT, TOP, BOTTOM = 15.0, 4.0, 1.75, 0.8  # inches
LEFT = 0.05  # of the width
FAR = 4.0  # a rate more than so many times all others is named, not drawn
LABEL_GAP = 0.062  # of the axes' height


Value = Callable[[Row], float | None]


@dataclass(frozen=True)
class _Label:
    height: float
    text: str
    colour: str


def _seed_axis(axes: Axes, rows: Sequence[Row]) -> None:
    counts = sorted({row.seeds for row in rows if row.implementation == OURS})
    shown = [count for count in counts if count & (count - 1) == 0]
    axes.set_xscale("log", base=2)
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seeds trained at once")


def _log_height(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, in full."""
    low, high = axes.get_ylim()
    steps = [digit * 10**power for power in range(-1, 8) for digit in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _line(
    axes: Axes,
    rows: Sequence[Row],
    value: Value,
    colour: str,
    style: str,
    width: float,
) -> None:
    points = [(row.seeds, height) for row in rows if (height := value(row)) is not None]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, style, color=colour, lw=width, marker="o" if width > 2 else "", markersize=4.5)


def _name(axes: Axes, labels: Sequence[_Label]) -> None:
    """Each line's name at its right end."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform((1, label.height))[1]) for label in labels]
    for label, start, end in zip(labels, heights, spread(heights, LABEL_GAP), strict=True):
        axes.plot(
            [1.0, 1.015, 1.035], [start, end, end], color=label.colour, lw=0.9, transform=axes.transAxes,
            clip_on=False,
        )  # fmt: skip
        axes.text(
            1.045, end, label.text, color=label.colour, fontsize=8, va="center", transform=axes.transAxes
        )


def _throughput(axes: Axes, report: Report, task: str) -> None:
    rows, precision = report.rows, report.default_precision

    def rate(row: Row) -> float:
        return row.seed_steps_per_second

    lines = [
        (LIMIT, f"limit, {precision}", GREY, ":", 1.6),
        (UPDATE, "aihf_control, update alone", LIGHT, "--", 1.4),
        (OURS, f"aihf_control, {precision}", ORANGE, "-", 2.4),
        (ENVIRONMENTS, "environments alone", GREEN, "--", 1.2),
    ]
    flat = [
        (SB3_ALL, "SB3, a process a core", BLUE, "-"),
        (SB3, "SB3, one process", BLUE, "--"),
        (SBX, "SBX, one process", PURPLE, "--"),
    ]
    drawn = {name: curve(rows, task, name, None if name == ENVIRONMENTS else precision) for name, *_ in lines}
    highest = max(rate(row) for name, part in drawn.items() if name != ENVIRONMENTS for row in part)
    beyond = drawn[ENVIRONMENTS]
    if beyond and min(map(rate, beyond)) > FAR * highest:
        span = f"{min(map(rate, beyond)):,.0f}–{max(map(rate, beyond)):,.0f}"
        axes.text(0.02, 0.97, f"environments alone: {span}, above this scale", transform=axes.transAxes,
                  fontsize=7.5, color=GREEN, va="top")  # fmt: skip
        drawn[ENVIRONMENTS] = []
    labels = []
    axes.set_yscale("log")
    _seed_axis(axes, rows)
    for name, text, colour, style, width in lines:
        if drawn[name]:
            _line(axes, drawn[name], rate, colour, style, width)
            labels.append(_Label(rate(drawn[name][-1]), text, colour))
    for name, text, colour, style in flat:
        for row in curve(rows, task, name):
            axes.axhline(rate(row), color=colour, linestyle=style, linewidth=1.4)
            labels.append(_Label(rate(row), f"{text}: {rate(row):,.0f}", colour))
    for row in curve(rows, task, OURS):
        if row.precision != precision:
            _diamond(axes, row, rate(row))
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.15, high * 1.35)
    _log_height(axes)
    _mark_knee(axes, curve(rows, task, OURS, precision))
    _name(axes, labels)


def _mark_knee(axes: Axes, ours: Sequence[Row]) -> None:
    seeds = knee(ours)
    if seeds is not None:
        height = next(row.seed_steps_per_second for row in ours if row.seeds == seeds)
        axes.plot(seeds, height, "o", markersize=12, markerfacecolor="none", markeredgecolor=ORANGE)
        axes.annotate(f"knee: {seeds}", (seeds, height), (9, -13), textcoords="offset points",
                      fontsize=8.5, weight="bold", color=ORANGE)  # fmt: skip


def _along(axes: Axes, height: float, text: str, colour: str, *, above: bool) -> None:
    """The name of a horizontal line, at its right end, on the side that no curve needs."""
    axes.annotate(text, (0.99, height), (0, 3 if above else -3), xycoords=axes.get_yaxis_transform(),
                  textcoords="offset points", ha="right", va="bottom" if above else "top", fontsize=7.5,
                  color=colour)  # fmt: skip


def _diamond(axes: Axes, row: Row, height: float) -> None:
    """Another precision than the default, at the one number of seeds where it was measured."""
    axes.plot(row.seeds, height, "D", color="white", markeredgecolor=ORANGE, markersize=6)
    axes.annotate(row.precision, (row.seeds, height), (-8, 0), textcoords="offset points", ha="right",
                  va="center", fontsize=7.5, color=ORANGE)  # fmt: skip


def _relative(
    axes: Axes,
    report: Report,
    task: str,
    value: Value,
    bound: float | None,
    text: str,
) -> None:
    """One quantity of ours, other precisions as diamonds, and the target as a line."""
    ours = curve(report.rows, task, OURS, report.default_precision)
    _seed_axis(axes, report.rows)
    _line(axes, ours, value, ORANGE, "-", 2.4)
    for row in curve(report.rows, task, OURS):
        height = value(row)
        if row.precision != report.default_precision and height is not None:
            _diamond(axes, row, height)
    if bound is not None:
        axes.axhline(bound, color=QUIET, linestyle="--", linewidth=1.1)
        last = next((height for row in reversed(ours) if (height := value(row)) is not None), 0.0)
        _along(axes, bound, text, QUIET, above=last <= bound)


def _panels(figure: Figure, axes: Sequence[Axes], report: Report, task: str) -> None:
    throughput, ratio, share, memory = axes
    promised = targets(report.rows, task, report.default_precision, cuda=report.cuda)
    goals = {goal.bound: goal for goal in promised}
    _throughput(throughput, report, task)

    def target(bound: float, text: str) -> tuple[float | None, str]:
        return (bound, f"{text}: {goals[bound].verdict}") if bound in goals else (None, "")

    _relative(ratio, report, task, lambda row: row.ratio_to_sb3, *target(2.5, f"target at {REFERENCE} seeds"))
    ratio.axhline(1, color=BLUE, linewidth=1.2)
    ratio.set_ylim(0, ratio.get_ylim()[1] * 1.08)
    _along(ratio, 1, "SB3, a process a core", BLUE, above=True)
    _relative(
        share, report, task, lambda row: row.share_of_limit, *target(0.6, f"target at {REFERENCE} seeds")
    )
    share.set_ylim(0, max(1.0, share.get_ylim()[1]))
    share.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _relative(memory, report, task, lambda row: row.peak_memory_mib, None, "")
    memory.set_yscale("log")
    _log_height(memory)
    memory_name = "Peak memory, MiB" + (" on the GPU" if report.cuda else "")
    names = ("Seed-steps per second", "Times SB3 on all cores", "Share of the limit", memory_name)
    for panel, name in zip(axes, names, strict=True):
        panel.set_title(name, loc="left", fontsize=10, color="#2E2E2E")
    title = TASKS[task].env_id if task in TASKS else task
    ours = curve(report.rows, task, OURS, report.default_precision)
    place, lift = throughput.get_position(), 0.42 / figure.get_figheight()
    figure.text(LEFT, place.y1 + lift, f"{title}: {describe_knee(ours)}", fontsize=11.5, weight="bold")


def draw(report: Report) -> Figure:
    """Throughput with SB3 and the limit, ratio to SB3, share of the limit and peak memory, task by task."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        names = tasks(report.rows)
        height = TOP + BOTTOM + ROW_HEIGHT * len(names)
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            len(names), 5, width_ratios=(1.9, 0.5, 1, 1, 1), left=LEFT, right=0.988, wspace=0.24,
            hspace=0.48, top=1 - TOP / height, bottom=BOTTOM / height,
        )  # fmt: skip
        for number, task in enumerate(names):
            axes = [figure.add_subplot(grid[number, column]) for column in (0, 2, 3, 4)]
            _panels(figure, axes, report, task)
        title = f"SAC training speed on {report.machine}"
        figure.text(LEFT, 1 - 0.36 / height, title, fontsize=15, weight="bold")
        subtitle = (
            "One update per environment step, environments included, batch "
            f"{report.rows[0].batch}; medians of interleaved repeats. Hollow diamond: another precision.\n"
            "Limit: as if an update took only its matrix products, whose rate was measured here. "
            "Knee: doubling the seeds gains less than 10%."
        )
        figure.text(LEFT, 1 - 0.56 / height, subtitle, fontsize=9, color="#5A5A5A", va="top")
        footer = "\n".join(textwrap.wrap(f"{report.command}, {report.date}; {report.versions}", 220))
        figure.text(LEFT, 0.15 / height, footer, fontsize=7, color="#7A7A7A")
        return figure

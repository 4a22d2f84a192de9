"""Where words and panels of a figure stand: above and below, one legend, a grid of axes.

As wide as three panels, a figure is read at the width of a README, 830 pixels, where 7 points are 8 pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aihf_control.report.style import FAINT, QUIET, new_figure

LEFT, PANEL, GAP, RIGHT = 0.8, 2.2, 1.02, 0.55  # inches: margins, a panel's width, the gap beside it
NARROWEST = 8.0  # inches; the words need them
NAME, AXIS, BETWEEN = 0.32, 0.62, 0.34  # inches: a panel's name, what is below its axis, rows that share it
TITLE, HEADING, LARGE, LEGEND, SMALL = 12.0, 10.5, 8.0, 8.0, 7.0  # points; the footer is small
TITLE_LINE, LARGE_LINE, LEGEND_LINE, SMALL_LINE = 0.22, 0.155, 0.19, 0.135  # inches
MEAN_LETTER = 0.6  # of the font's size; commands have many capitals


@dataclass(frozen=True)
class Words:
    """All that is written around the panels."""

    title: str
    subtitle: str
    footer: Sequence[str]
    legend: Sequence[Line2D]
    rows: Sequence[tuple[str, str]] = ()
    """A heading and what it says above every row of panels, each of which then has its own x axis."""


def _width(columns: int) -> float:
    return max(NARROWEST, LEFT + RIGHT + columns * PANEL + GAP * (columns - 1))


def _wrapped(columns: int, words: Sequence[str], size: float) -> list[str]:
    letters = int((_width(columns) - LEFT - RIGHT) * 72 / (MEAN_LETTER * size))
    return [line for part in words for line in textwrap.wrap(part, letters)]


def _legend_columns(columns: int, legend: Sequence[Line2D]) -> int:
    """How many entries stand side by side above so many panels, in equal rows, as the longest fits."""
    widest = max(len(str(handle.get_label())) for handle in legend) * 0.55 * LEGEND / 72 + 0.5
    fitting = max(1, int((_width(columns) - LEFT) / widest))
    rows = -(-len(legend) // min(fitting, 3 if columns < 3 else 4))
    return -(-len(legend) // rows)


def lay_out(rows: int, columns: int, panel_height: float, words: Words) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `rows` × `columns` panels, as tall in inches as they and all words need, and its axes."""
    title, subtitle = (
        _wrapped(columns, [words.title], 1.1 * TITLE),
        _wrapped(columns, [words.subtitle], LARGE),
    )
    last = _wrapped(columns, words.footer, SMALL)
    headings = [(name, _wrapped(columns, [said], LARGE)) for name, said in words.rows]
    across = _legend_columns(columns, words.legend)
    title_end = 0.17 + TITLE_LINE * len(title)
    legend_top = title_end + 0.23 + LARGE_LINE * len(subtitle)
    heading = max((0.34 + LARGE_LINE * len(lines) for _, lines in headings), default=0.0)
    above = legend_top + LEGEND_LINE * -(-len(words.legend) // across) + heading + NAME
    below, between = AXIS + 0.1 + SMALL_LINE * len(last), AXIS + heading + NAME if headings else BETWEEN
    width, height = _width(columns), above + below + rows * panel_height + between * (rows - 1)
    panel = (width - LEFT - RIGHT - GAP * (columns - 1)) / columns
    figure = new_figure(width, height)
    figure.subplots_adjust(LEFT / width, below / height, 1 - RIGHT / width, 1 - above / height)
    figure.subplots_adjust(wspace=GAP / panel, hspace=between / panel_height)
    left = LEFT / width

    def write(top: float, lines: Sequence[str], size: float, bold: bool = False) -> None:
        style = {"fontsize": size, "va": "top", "weight": "bold" if bold else "normal"}
        colour = "black" if bold else QUIET
        figure.text(left, 1 - top / height, "\n".join(lines), fontdict=style, color=colour, linespacing=1.35)

    write(0.17, title, TITLE, bold=True)
    write(title_end + 0.08, subtitle, LARGE)
    for row, (name, lines) in enumerate(headings):
        top = above - NAME - heading + row * (panel_height + between) + 0.12
        write(top, [name], HEADING, bold=True)
        write(top + 0.2, lines, LARGE)
    figure.text(left, 0.12 / height, "\n".join(last), fontsize=SMALL, color=FAINT, va="bottom")
    figure.legend(
        handles=list(words.legend),
        loc="upper left",
        bbox_to_anchor=(left, 1 - legend_top / height),
        ncols=across,
        frameon=False,
        fontsize=LEGEND,
        handlelength=2.0,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
    )
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]

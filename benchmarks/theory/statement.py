"""One claim with its number: what was measured, and the bound it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from aihf_control.words import markdown_table


@dataclass(frozen=True)
class Statement:
    """`measured` must be at most `bound`, or at least, for a check that must notice something wrong."""

    part: str
    text: str
    measured: float
    bound: float
    at_least: bool = False
    short: str = ""
    """Its name in the figure, where it is drawn."""

    @property
    def holds(self) -> bool:
        """Of a number that is not one, False."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def as_table(statements: Sequence[Statement]) -> pd.DataFrame:
    """A row a statement; numbers to three digits, so that a table says no more than it should."""
    rows = [
        {
            "part": each.part,
            "statement": each.text,
            "measured": float(f"{each.measured:.3g}"),
            "tolerance": f"{'≥' if each.at_least else '≤'} {each.bound:g}",
            "holds": each.holds,
        }
        for each in statements
    ]
    return pd.DataFrame(rows)


def as_markdown(table: pd.DataFrame) -> str:
    """The table for readers, a section a part."""
    lines = [
        "# Theory one can run",
        "",
        "`make theory` measures this in a minute, without torch or MuJoCo, in random worlds of 3 to 5",
        "states. A row with ≥ must notice something. The theorem's rates are quoted from memory of",
        "2406.06874 and 2210.01808.",
    ]
    for part, rows in table.groupby("part", sort=False):
        cells = [
            (row.statement, f"{row.measured:.3g}", row.tolerance, "yes" if row.holds else "no")
            for row in rows.itertuples()
        ]
        header = ("statement", "measured", "tolerance", "holds")
        lines += ["", f"## {part}", "", markdown_table(header, cells, "<<<<")]
    return "\n".join(lines) + "\n"

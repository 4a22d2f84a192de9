"""How a return, a duration, a list of seeds and a table are written for people (standard library only)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTHING = "–"
"""Where there is no number yet."""
NOT_APPLICABLE = "n/a"
"""Where there never is one."""
TERMINAL = 100
"""Characters of a line that tables keep to."""


def number(value: float) -> str:
    """A return for people: whole from 100 on, else with one decimal."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def share(value: float) -> str:
    """A normalised score or a probability for people."""
    return f"{round(value, 2) + 0.0:.2f}"  # never -0.00


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal of `TERMINAL` characters, columns aligned; those that do not fit beside the
    others come below them, after the first one again."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    parts = [[0]]
    for column, width in enumerate(widths[1:], 1):
        if len(parts[-1]) > 1 and sum(widths[other] + 2 for other in parts[-1]) + width > TERMINAL:
            parts.append([0])
        parts[-1].append(column)
    return "\n\n".join("\n".join(_aligned(line, widths, part) for line in lines) for part in parts)


def _aligned(line: Sequence[str], widths: Sequence[int], columns: Sequence[int]) -> str:
    return "  ".join(line[column].ljust(widths[column]) for column in columns).rstrip()


ALIGNED = {"<": "---", ">": "--:"}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """The same as Markdown; `align` has a character a column, < for left and > for right."""
    rule = "|" + "|".join(ALIGNED[side] for side in align) + "|" if align else _row(["---"] * len(header))
    return "\n".join([_row(header), rule, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def seed_list(seeds: Sequence[int]) -> str:
    """Sorted seeds for people: `0, 1, 2, 3, 7` → "0–3, 7"."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `3 min`, `2 h 05 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

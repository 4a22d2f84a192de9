"""The rows of `make speed` and what follows from them. Needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

OURS, UPDATE, ENVIRONMENTS, LIMIT = (
    "aihf_control",
    "aihf_control update alone",
    "environments alone",
    "limit",
)
SB3, SB3_ALL, SBX = "sb3", "sb3 one process per core", "sbx"
REFERENCE = 8
"""The number of seeds at which the CPU targets are set and the other precisions are measured."""
KNEE_GAIN = 1.1
KNEE = "the knee is the number of seeds that gains less than 10% throughput by doubling"


@dataclass(frozen=True)
class Row:
    """A line of speed.csv. None where a column means nothing, or was not measured."""

    task: str
    implementation: str
    seeds: int
    batch: int
    precision: str
    seed_steps_per_second: float
    """Median over repeats. A seed-step is one environment step and one update of one seed."""
    ratio_to_sb3: float | None = None
    share_of_limit: float | None = None
    peak_memory_mib: float | None = None


COLUMNS = tuple(field.name for field in fields(Row))


def csv_text(rows: Sequence[Row]) -> str:
    """speed.csv: numbers rounded as they are shown, nothing for None."""
    digits = {"seed_steps_per_second": 2, "ratio_to_sb3": 3, "share_of_limit": 3, "peak_memory_mib": 1}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = {name: getattr(row, name) for name in COLUMNS}
        for name, places in digits.items():
            values[name] = "" if values[name] is None else f"{values[name]:.{places}f}"
        writer.writerow(values.values())
    return buffer.getvalue()


def read_csv(path: Path) -> list[Row]:
    """The inverse of `csv_text`."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    with path.open(newline="") as file:
        return [
            Row(
                line["task"],
                line["implementation"],
                int(line["seeds"]),
                int(line["batch"]),
                line["precision"],
                float(line["seed_steps_per_second"]),
                number(line["ratio_to_sb3"]),
                number(line["share_of_limit"]),
                number(line["peak_memory_mib"]),
            )
            for line in csv.DictReader(file)
        ]


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Fill `ratio_to_sb3` of what runs end to end and `share_of_limit` of ours, all rounded as written."""
    rows = [replace(row, seed_steps_per_second=round(row.seed_steps_per_second, 2)) for row in rows]
    sb3 = {row.task: row.seed_steps_per_second for row in rows if row.implementation == SB3_ALL}
    limits = {
        (row.task, row.seeds, row.precision): row.seed_steps_per_second
        for row in rows
        if row.implementation == LIMIT
    }

    def fill(row: Row) -> Row:
        ends = row.implementation in (OURS, SB3, SB3_ALL, SBX)
        base = sb3.get(row.task) if ends else None
        limit = limits.get((row.task, row.seeds, row.precision))
        limit = limit if row.implementation in (OURS, UPDATE) else None
        rate = row.seed_steps_per_second
        ratio, share = base and round(rate / base, 3), limit and round(rate / limit, 3)
        return replace(row, ratio_to_sb3=ratio, share_of_limit=share)

    return [fill(row) for row in rows]


def tasks(rows: Sequence[Row]) -> list[str]:
    """The tasks, in the order of their rows."""
    return list(dict.fromkeys(row.task for row in rows))


def curve(rows: Sequence[Row], task: str, implementation: str, precision: str | None = None) -> list[Row]:
    """A task's rows of one implementation, by seeds; of every precision if None."""
    chosen = [
        row
        for row in rows
        if (row.task, row.implementation) == (task, implementation) and precision in (None, row.precision)
    ]
    return sorted(chosen, key=lambda row: row.seeds)


def knee(rows: Sequence[Row]) -> int | None:
    """The first number of seeds whose double gains less than 10% throughput; None if there is none."""
    rates = {row.seeds: row.seed_steps_per_second for row in rows}
    for seeds in sorted(rates):
        if 2 * seeds in rates and rates[2 * seeds] / rates[seeds] < KNEE_GAIN:
            return seeds
    return None


def describe_knee(rows: Sequence[Row]) -> str:
    """In a few words."""
    seeds = knee(rows)
    if seeds is None:
        last = max((row.seeds for row in rows), default=0)
        return f"no knee up to {last} seeds"
    return f"knee at {seeds} seed{'s' if seeds > 1 else ''}"

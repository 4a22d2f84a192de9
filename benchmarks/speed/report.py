"""The rows of `make speed`, what follows from them, and the page that says so. Needs no torch."""

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


@dataclass(frozen=True)
class Report:
    """The rows of a run, and what a reader needs to believe them."""

    rows: tuple[Row, ...]
    timing: tuple[str, ...]
    """For each row, how it was timed: repeats, steps, range."""
    default_precision: str
    cuda: bool
    command: str
    date: str
    machine: str
    versions: str
    notes: tuple[str, ...]
    """Choices made while measuring."""
    dropped: tuple[str, ...]
    """What was left out, and why."""


@dataclass(frozen=True)
class Target:
    """A number that the suite promises to reach; `value` is None where it was not measured."""

    text: str
    value: float | None
    bound: float

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.value >= self.bound else "not met"


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


def targets(rows: Sequence[Row], task: str, precision: str, *, cuda: bool) -> list[Target]:
    """What is promised: on a CPU against SB3 and the limit, on a GPU, for Hopper, in steps a second."""
    ours = {row.seeds: row for row in curve(rows, task, OURS, precision)}
    if not cuda:
        row = ours.get(REFERENCE)
        ratio, share = (row.ratio_to_sb3, row.share_of_limit) if row else (None, None)
        return [
            Target(f"at least 2.5 × SB3 on the same cores, {REFERENCE} seeds", ratio, 2.5),
            Target(f"at least 60% of the limit, {REFERENCE} seeds", share, 0.6),
        ]
    if task != "hopper":
        return []
    rates = {seeds: row.seed_steps_per_second for seeds, row in ours.items()}
    ten = rates[10] / 10 if 10 in rates else None
    return [
        Target("at least 1,000 updates a second, 1 seed", rates.get(1), 1_000),
        Target("at least 1,500 lock-step updates a second, 10 seeds", ten, 1_500),
        Target("at least 60,000 seed-steps a second, 128 seeds", rates.get(128), 60_000),
    ]


def describe_knee(rows: Sequence[Row]) -> str:
    """In a few words."""
    seeds = knee(rows)
    if seeds is None:
        last = max((row.seeds for row in rows), default=0)
        return f"no knee up to {last} seeds"
    return f"knee at {seeds} seed{'s' if seeds > 1 else ''}"


def _cell(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _table(report: Report, task: str) -> list[str]:
    names = (
        ["Implementation", "Seeds", "Precision", "Seed-steps/s", "× SB3", "Share of limit"],
        ["Peak memory, MiB", "Timed"],
    )
    header = [*names[0], *names[1]]
    lines = ["| " + " | ".join(header) + " |", "|---|--:|---|--:|--:|--:|--:|---|"]
    for row, timing in zip(report.rows, report.timing, strict=True):
        if row.task == task:
            cells = (
                row.implementation,
                str(row.seeds),
                row.precision,
                _cell(row.seed_steps_per_second, ",.1f" if row.seed_steps_per_second < 1_000 else ",.0f"),
                _cell(row.ratio_to_sb3, ".2f"),
                _cell(row.share_of_limit, ".0%"),
                _cell(row.peak_memory_mib, ",.0f"),
                timing,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(report: Report) -> str:
    """speed.md: targets, knee and table of every task, then how the numbers came about."""
    batch = report.rows[0].batch
    lines = [
        f"# Speed: {report.machine}",
        "",
        f"`{report.command}`, {report.date}; {report.versions}. Batch {batch}, default precision "
        f"{report.default_precision}, one SAC update per environment step, environments included.",
        "",
        "![Throughput, ratio to SB3, share of the limit and peak memory against seeds](speed.png)",
    ]
    for task in tasks(report.rows):
        ours = curve(report.rows, task, OURS, report.default_precision)
        lines += ["", f"## {task}", "", f"{describe_knee(ours).capitalize()}; {KNEE}.", ""]
        goals = targets(report.rows, task, report.default_precision, cuda=report.cuda)
        if goals:
            lines += ["| Target | Reached | |", "|---|--:|---|"]
            for goal in goals:
                style = ".2f" if goal.bound >= 1 else ".1%"
                style = ",.0f" if goal.bound >= 100 else style
                lines.append(f"| {goal.text} | {_cell(goal.value, style)} | **{goal.verdict}** |")
            lines.append("")
        lines += _table(report, task)
    lines += ["", "## How it was measured", ""] + [f"- {note}" for note in report.notes]
    lines += ["", "## What was left out", ""] + [f"- {line}" for line in report.dropped or ("Nothing.",)]
    return "\n".join(lines) + "\n"

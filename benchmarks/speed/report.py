"""The page of `make speed`: what was promised, what was measured and how. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aihf_control.words import NOTHING, markdown_table
from benchmarks.speed import rounds, waits
from benchmarks.speed.rounds import Round
from benchmarks.speed.rows import KNEE, OURS, REFERENCE, Row, curve, describe_knee, tasks
from benchmarks.speed.waits import Wait


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
    waits: tuple[Wait, ...] = ()
    rounds: tuple[Round, ...] = ()


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


def _cell(value: float | None, style: str) -> str:
    return NOTHING if value is None else format(value, style)


def _targets(report: Report, task: str) -> list[str]:
    goals = targets(report.rows, task, report.default_precision, cuda=report.cuda)
    cells = []
    for goal in goals:
        style = ".2f" if goal.bound >= 1 else ".1%"
        style = ",.0f" if goal.bound >= 100 else style
        cells.append((goal.text, _cell(goal.value, style), goal.verdict))
    return [markdown_table(("Target", "Reached", "Verdict"), cells, "<><"), ""] if goals else []


def _table(report: Report, task: str) -> str:
    header = ("Implementation", "Seeds", "Precision", "Seed-steps/s", "× SB3", "Share of limit",
              "Peak memory, MiB", "Timed")  # fmt: skip
    cells = [
        (
            row.implementation,
            str(row.seeds),
            row.precision,
            _cell(row.seed_steps_per_second, ",.1f" if row.seed_steps_per_second < 1_000 else ",.0f"),
            _cell(row.ratio_to_sb3, ".2f"),
            _cell(row.share_of_limit, ".0%"),
            _cell(row.peak_memory_mib, ",.0f"),
            timing,
        )
        for row, timing in zip(report.rows, report.timing, strict=True)
        if row.task == task
    ]
    return markdown_table(header, cells, "<><>>>><")


def markdown(report: Report) -> str:
    """speed.md: waits, rounds, targets, knee and table of every task, then how the numbers came about."""
    batch = report.rows[0].batch
    lines = [
        f"# Speed: {report.machine}",
        "",
        f"`{report.command}`, {report.date}; {report.versions}. Default precision "
        f"{report.default_precision}, one SAC update per environment step, environments included.",
        "",
        "![Throughput, ratio to SB3, share of the limit and peak memory against seeds](speed.png)",
    ]
    for task in tasks(report.rows):
        ours = curve(report.rows, task, OURS, report.default_precision)
        lines += ["", f"## {task}"]
        lines += waits.section(report.waits, task) + rounds.section(report.rounds, task)
        lines += ["", f"### Seed-steps a second, plain critics, batch {batch}"]
        lines += ["", f"{describe_knee(ours).capitalize()}; {KNEE}.", ""]
        lines += [*_targets(report, task), _table(report, task)]
    lines += ["", "## How it was measured", ""] + [f"- {note}" for note in report.notes]
    lines += ["", "## What was left out", ""] + [f"- {line}" for line in report.dropped or ("Nothing.",)]
    return "\n".join(lines) + "\n"

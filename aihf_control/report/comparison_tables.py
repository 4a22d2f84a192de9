"""The tables of a comparison: Markdown for people, CSV at full precision, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.report.comparison import OURS, Comparison, Line, overall_lines, task_lines
from aihf_control.report.findings import findings
from aihf_control.report.tables import NOTHING, Score, notes, number
from aihf_control.statistics import CONFIDENCE, RANGE_BELOW_SEEDS, RESAMPLES
from aihf_control.words import seed_list

ALL = "All tasks"
FEW = "*"
"""Marks a bootstrap interval of few seeds."""
TASK_HEADER = ("Method", "Seeds", "Final return", "Area under curve", "Normalised score", "P(AIHF > method)")
ALL_HEADER = ("Method", "Tasks", "Runs", "Normalised score", "Normalised area", "P(AIHF > method)")

Form = Callable[[float], str]


@dataclass(frozen=True)
class Tables:
    """The lines of every task, those over all tasks, and what they say."""

    comparison: Comparison
    tasks: tuple[tuple[Line, ...], ...]
    overall: tuple[Line, ...]
    findings: tuple[str, ...]


def tabulate(comparison: Comparison, bootstrap_seed: int = 0) -> Tables:
    """Compute all numbers, once."""
    tasks = tuple(task_lines(comparison, task, bootstrap_seed) for task in comparison.tasks)
    overall = overall_lines(comparison, bootstrap_seed)
    return Tables(comparison, tasks, overall, tuple(findings(comparison, tasks, overall)))


def share(value: float) -> str:
    """A normalised score or a probability for people."""
    return f"{round(value, 2) + 0.0:.2f}"  # never -0.00


def bracketed(score: Score | None, form: Form) -> str:
    """`1,820 [1,520 to 2,120]`; a range says so, few seeds are marked."""
    if score is None:
        return NOTHING
    if score.interval == "one seed":
        return f"{form(score.estimate)} (one seed)"
    word = "range " if score.interval == "range" else ""
    mark = FEW if score.interval == "few seeds" else ""
    return f"{form(score.estimate)} [{word}{form(score.low)} to {form(score.high)}]{mark}"


def _seeds(line: Line) -> str:
    finished = sum(len(results.finished) for results in line.results)
    failed = sum(len(results.failed) for results in line.results)
    missing = sum(len(results.missing) for results in line.results)
    words = [f"{failed} failed"] * bool(failed) + [f"{missing} missing"] * bool(missing)
    return f"{finished + failed}" + (f" ({', '.join(words)})" if words else "")


def task_cells(line: Line) -> list[str]:
    """A row of one task, under `TASK_HEADER`."""
    scores = ((line.final, number), (line.area, number), (line.normalised, share), (line.improvement, share))
    return [method_label(line.method), _seeds(line), *(bracketed(score, form) for score, form in scores)]


def overall_cells(line: Line) -> list[str]:
    """A row over all tasks, under `ALL_HEADER`."""
    scores = (line.normalised, line.normalised_area, line.improvement)
    cells = [method_label(line.method), str(len(line.tasks)), _seeds(line)]
    return cells + [bracketed(score, share) for score in scores]


def gaps(comparison: Comparison) -> list[str]:
    """What failed, what is missing, and what therefore is not compared: a sentence each."""
    lines = [f"{task_title(task)}: no run has ended." for task in comparison.missing_tasks]
    for task in comparison.tasks:
        absent = [results.method for results in task.methods if not results.runs and not results.missing]
        if absent:
            lines.append(f"{task_title(task.task)}: no run of {', '.join(map(method_label, absent))}.")
        lines += [
            f"{task_title(task.task)}, {note}" for note in notes(task) if not note.endswith("no run found.")
        ]
        if task.references is None:
            lines.append(f"{task_title(task.task)}: no references recorded, so no normalised score.")
    for method in comparison.methods:
        counts = {len(results.runs) for _, results in comparison.of(method)}
        if len(counts) > 1:
            lines.append(f"{method_label(method)} has more seeds on some tasks, which weigh more over all.")
    return lines


def preamble(comparison: Comparison) -> str:
    """What the columns mean."""
    ours = "" if OURS in comparison.methods and comparison.of(OURS) else " There is no run of AIHF."
    return (
        f"Interquartile means over seeds with, in brackets, {CONFIDENCE:.0%} stratified-bootstrap intervals "
        f"({RESAMPLES:,} resamples). Under {RANGE_BELOW_SEEDS} seeds a return's brackets hold minimum and "
        "maximum, and say *range*; what pools tasks or compares methods keeps its bootstrap interval, then "
        "too narrow and marked \\*. The final return is that of the last evaluation in the standard "
        "environment; the area under the curve is its mean height over the method's own steps (SAC steps; "
        "gradient updates for IPL). Normalised score: (return − random) / (expert − random), the expert "
        "being the demonstrations' policy. P(AIHF > method): the chance that a run of AIHF ends above a run "
        "of the method, ties counting half, averaged over the tasks where both have runs. A failed seed "
        f"scores as a random policy from its failure on, and is counted.{ours} Each task's own table, with "
        "wall times, is in its folder; `PROVENANCE.md` says how the runs were made."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in line) + " |"
        for line in lines
    )


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown(tables: Tables) -> str:
    """`table.md`."""
    comparison = tables.comparison
    parts = [f"# {comparison.study}: all tasks", preamble(comparison)]
    if tables.findings:
        parts += ["## What the numbers say", bullets(tables.findings)]
    for task, lines in zip(comparison.tasks, tables.tasks, strict=True):
        steps = max(int(results.steps[-1]) for results in task.methods if results.runs)
        parts += [
            f"## {task_title(task.task)}",
            f"{steps:,} steps; {task.evaluation_episodes} evaluation episodes a seed; demonstrations' mean "
            f"return {number(task.feedback.demonstrations_return)}.",
            table(TASK_HEADER, [task_cells(line) for line in lines]),
        ]
    if len(comparison.tasks) > 1:
        parts += [f"## {ALL}", table(ALL_HEADER, [overall_cells(line) for line in tables.overall])]
    missing = gaps(comparison)
    if missing:
        parts += ["## Failed and missing", bullets(missing)]
    return "\n\n".join(parts) + "\n"


def text(tables: Tables) -> str:
    """The tables and sentences for a terminal."""
    parts = []
    headed = [
        (task_title(task.task), TASK_HEADER, [task_cells(line) for line in lines])
        for task, lines in zip(tables.comparison.tasks, tables.tasks, strict=True)
    ]
    if len(headed) > 1:
        headed.append((ALL, ALL_HEADER, [overall_cells(line) for line in tables.overall]))
    for title, header, rows in headed:
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        lines = [list(header), ["-" * width for width in widths], *rows]
        padded = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        parts.append("\n".join([title, *padded]))
    parts.append("\n".join([*tables.findings, *gaps(tables.comparison)]))
    return "\n\n".join(parts)


SCORES = ("final_return", "area_under_curve", "normalised_score", "normalised_area", "aihf_improvement")


def csv_text(tables: Tables) -> str:
    """`table.csv`: full precision, a row a task and method, then those of the task `all`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["task", "method", "tasks", "seeds", "seeds_finished", "seeds_failed", "seeds_missing"]
        + [f"{score}_{part}" for score in SCORES for part in ("estimate", "low", "high", "interval")]
    )
    named = [
        (task.task, lines) for task, lines in zip(tables.comparison.tasks, tables.tasks, strict=True)
    ] + [("all", tables.overall)]
    for name, lines in named:
        for line in lines:
            counts = [
                sum(len(part) for part in parts)
                for parts in (
                    [results.finished for results in line.results],
                    [results.failed for results in line.results],
                    [results.missing for results in line.results],
                )
            ]
            seeds = seed_list(line.results[0].seeds) if name != "all" else None
            cells: list[object] = []
            for score in (line.final, line.area, line.normalised, line.normalised_area, line.improvement):
                cells += [score.estimate, score.low, score.high, score.interval] if score else [None] * 4
            writer.writerow([name, line.method, len(line.tasks), seeds, *counts, *cells])
    return buffer.getvalue()

"""The tables of a study: Markdown for people, CSV at full precision, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.report.findings import findings
from aihf_control.report.results import StudyResults, TaskResults
from aihf_control.report.scores import OURS, Cost, Line, Score, overall_lines, task_lines
from aihf_control.statistics import CONFIDENCE, RANGE_BELOW_SEEDS, RESAMPLES
from aihf_control.words import NOTHING, duration, markdown_table, number, seed_list, text_table

ALL = "All tasks"
FEW = "*"
"""Marks a bootstrap interval of few seeds."""
COSTS = ("Steps", "Environment steps", "Wall time a seed")
TASK_HEADER = (
    "Method", "Seeds", "Final return", "Area under curve", "Normalised score", "P(AIHF > method)",
    "Reward accuracy", *COSTS,
)  # fmt: skip
ALL_HEADER = ("Method", "Tasks", "Runs", "Normalised score", "Normalised area", "P(AIHF > method)", *COSTS)

Form = Callable[[float], str]


@dataclass(frozen=True)
class Tables:
    """The lines of every task, those over all tasks, and what they say."""

    study: StudyResults
    tasks: tuple[tuple[Line, ...], ...]
    overall: tuple[Line, ...]
    findings: tuple[str, ...]


def tabulate(study: StudyResults, bootstrap_seed: int = 0) -> Tables:
    """Compute all numbers, once."""
    tasks = tuple(task_lines(study, task, bootstrap_seed) for task in study.tasks)
    overall = overall_lines(study, bootstrap_seed)
    return Tables(study, tasks, overall, tuple(findings(study, tasks, overall)))


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
    cells = [method_label(line.method), _seeds(line), *(bracketed(score, form) for score, form in scores)]
    accuracy = line.cost and line.cost.reward_accuracy
    return [*cells, NOTHING if accuracy is None else f"{accuracy:.3f}", *_cost_cells(line)]


def _cost_cells(line: Line) -> list[str]:
    """Under `COSTS`."""
    if line.cost is None:
        return [NOTHING] * len(COSTS)
    environment = line.cost.environment_steps
    shown = NOTHING if environment is None else f"{environment:,.0f}"
    return [f"{line.cost.steps:,}", shown, duration(line.cost.wall_seconds)]


def overall_cells(line: Line) -> list[str]:
    """A row over all tasks, under `ALL_HEADER`."""
    scores = (line.normalised, line.normalised_area, line.improvement)
    cells = [method_label(line.method), str(len(line.tasks)), _seeds(line)]
    return [*cells, *(bracketed(score, share) for score in scores), *_cost_cells(line)]


def notes(task: TaskResults) -> list[str]:
    """One sentence a seed that failed or moved, and a method whose seeds are missing."""
    lines = []
    for results in task.methods:
        name = method_label(results.method)
        for run in results.failed:
            reason = run.status.reason or "no reason recorded"
            lines.append(
                f"{name} seed {run.config.seed} failed at step {run.status.failed_at_step:,}: {reason}. "
                "It counts with the random policy's return from there on."
            )
        for run in results.runs:
            lines += [
                f"{name} seed {run.config.seed} moved after step {move.step:,} from {move.before} to "
                f"{move.after}: its numbers are not those of either alone, to the last bit."
                for move in run.config.moved or ()
            ]
        if results.missing:
            lines.append(
                f"{name}: seeds {seed_list(results.missing)} are running or missing, and not counted."
            )
    return lines


def gaps(study: StudyResults) -> list[str]:
    """What failed, what is missing, and what therefore is not compared: a sentence each."""
    lines = [f"{task_title(task)}: no run has ended." for task in study.missing_tasks]
    for task in study.tasks:
        absent = [results.method for results in task.methods if not results.runs and not results.missing]
        if absent:
            lines.append(f"{task_title(task.task)}: no run of {', '.join(map(method_label, absent))}.")
        lines += [f"{task_title(task.task)}, {note}" for note in notes(task)]
        if task.references is None:
            lines.append(f"{task_title(task.task)}: no references recorded, so no normalised score.")
    for method in study.methods:
        counts = {len(results.runs) for _, results in study.of(method)}
        if len(counts) > 1:
            lines.append(f"{method_label(method)} has more seeds on some tasks, which weigh more over all.")
    return lines


def preamble(study: StudyResults) -> str:
    """What the columns mean."""
    ours = "" if OURS in study.methods and study.of(OURS) else " There is no run of AIHF."
    return (
        f"Interquartile means over seeds with, in brackets, {CONFIDENCE:.0%} stratified-bootstrap intervals "
        f"({RESAMPLES:,} resamples). Under {RANGE_BELOW_SEEDS} seeds a return's brackets hold minimum and "
        "maximum, and say *range*; what pools tasks or compares methods keeps its bootstrap interval, then "
        "too narrow and marked \\*. The final return is that of the last evaluation in the standard "
        "environment; the area under the curve is its mean height over the method's own steps (SAC steps; "
        "gradient updates for IPL). Normalised score: (return − random) / (expert − random), the expert "
        "being the demonstrations' policy. P(AIHF > method): the chance that a run of AIHF ends above a run "
        "of the method, ties counting half, averaged over the tasks where both have runs. A failed seed "
        f"scores as a random policy from its failure on, and is counted.{ours} Reward accuracy is on "
        "held-out pairs; it and environment steps are means over finished seeds. The wall time of a seed is "
        "its share of its batch's. `PROVENANCE.md` says how the runs were made."
    )


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown(tables: Tables) -> str:
    """`table.md`."""
    study = tables.study
    parts = [f"# {study.name}", preamble(study)]
    if tables.findings:
        parts += ["## What the numbers say", bullets(tables.findings)]
    for task, lines in zip(study.tasks, tables.tasks, strict=True):
        steps = max(int(results.steps[-1]) for results in task.methods if results.runs)
        parts += [
            f"## {task_title(task.task)}",
            f"{steps:,} steps; {task.evaluation_episodes} evaluation episodes a seed; demonstrations' mean "
            f"return {number(task.feedback.demonstrations_return)}.",
            markdown_table(TASK_HEADER, [task_cells(line) for line in lines]),
        ]
    if len(study.tasks) > 1:
        parts += [f"## {ALL}", markdown_table(ALL_HEADER, [overall_cells(line) for line in tables.overall])]
    missing = gaps(study)
    if missing:
        parts += ["## Failed and missing", bullets(missing)]
    return "\n\n".join(parts) + "\n"


def text(tables: Tables) -> str:
    """The tables and sentences for a terminal."""
    parts = []
    headed: list[tuple[str, tuple[str, ...], list[list[str]]]] = [
        (task_title(task.task), TASK_HEADER, [task_cells(line) for line in lines])
        for task, lines in zip(tables.study.tasks, tables.tasks, strict=True)
    ]
    if len(headed) > 1:
        headed.append((ALL, ALL_HEADER, [overall_cells(line) for line in tables.overall]))
    parts += [f"{title}\n{text_table(header, rows)}" for title, header, rows in headed]
    parts.append("\n".join([*tables.findings, *gaps(tables.study)]))
    return "\n\n".join(parts)


SCORES = ("final_return", "area_under_curve", "normalised_score", "normalised_area", "aihf_improvement")


def csv_text(tables: Tables) -> str:
    """`table.csv`: full precision, a row a task and method, then those of the task `all`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["task", "method", "tasks", "seeds", "seeds_finished", "seeds_failed", "seeds_missing"]
        + [f"{score}_{part}" for score in SCORES for part in ("estimate", "low", "high", "interval")]
        + [field.name for field in fields(Cost)]
    )
    named = [(task.task, lines) for task, lines in zip(tables.study.tasks, tables.tasks, strict=True)] + [
        ("all", tables.overall)
    ]
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
            cost = astuple(line.cost) if line.cost else [None] * len(fields(Cost))
            writer.writerow([name, line.method, len(line.tasks), seeds, *counts, *cells, *cost])
    return buffer.getvalue()

"""The tables of a study: Markdown for people, CSV at full precision, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, learns_reward, method_label
from aihf_control.report.findings import findings
from aihf_control.report.results import StudyResults, TaskResults
from aihf_control.report.scores import (
    OURS,
    REACHED,
    Cost,
    Line,
    Score,
    overall_lines,
    task_lines,
)
from aihf_control.statistics import CONFIDENCE, FINAL_EVALUATIONS, RANGE_BELOW_SEEDS, RESAMPLES
from aihf_control.words import (
    NOT_APPLICABLE,
    NOTHING,
    duration,
    markdown_table,
    number,
    seed_list,
    share,
    text_table,
)

ALL = "All tasks"
COSTS = ("Steps", "Environment steps", "Wall time a seed")
TASK_HEADER = (
    "Method", "Seeds", "Final return", "Area under curve", f"Steps to {REACHED:.0%}", "Normalised score",
    "P(AIHF > method)", "Reward accuracy", *COSTS,
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


def bracketed(score: Score | None, form: Form) -> str:
    """`1,820 [1,520 to 2,120]`; a range says so."""
    if score is None:
        return NOTHING
    if score.interval == "one seed":
        return f"{form(score.estimate)} (one seed)"
    word = "range " if score.interval == "range" else ""
    return f"{form(score.estimate)} [{word}{form(score.low)} to {form(score.high)}]"


def reach(line: Line) -> str:
    """`120,000`; "120,000 (4 of 5)" where not every seed came so far."""
    if line.reached is None:
        return NOT_APPLICABLE if line.cost else NOTHING
    seeds = len(line.results[0].runs)
    some = f" ({line.reached.seeds} of {seeds})" if 0 < line.reached.seeds < seeds else ""
    return (NOTHING if line.reached.steps is None else f"{line.reached.steps:,.0f}") + some


def chance(line: Line) -> str:
    """`0.93 [0.80 to 1.00], p = 0.008`."""
    if line.improvement is not None:
        return str(line.improvement)
    return NOT_APPLICABLE if line.method == OURS and line.cost else NOTHING


def area(line: Line, score: Score | None, form: Form) -> str:
    """As `bracketed`; a method that is done once it has begun has none."""
    never = line.cost and axis_of(line.method) == "none"
    return NOT_APPLICABLE if never else bracketed(score, form)


def accuracy(line: Line) -> str:
    """On held-out pairs, of a method that learns a reward."""
    value = line.cost and line.cost.reward_accuracy
    absent = NOTHING if learns_reward(line.method) or not line.cost else NOT_APPLICABLE
    return absent if value is None else f"{value:.3f}"


def _seeds(line: Line) -> str:
    finished = sum(len(results.finished) for results in line.results)
    failed = sum(len(results.failed) for results in line.results)
    missing = sum(len(results.missing) for results in line.results)
    words = [f"{failed} failed"] * bool(failed) + [f"{missing} missing"] * bool(missing)
    return f"{finished + failed}" + (f" ({', '.join(words)})" if words else "")


def task_cells(line: Line) -> list[str]:
    """A row of one task, under `TASK_HEADER`."""
    return [
        method_label(line.method),
        _seeds(line),
        bracketed(line.final, number),
        area(line, line.area, number),
        reach(line),
        bracketed(line.normalised, share),
        chance(line),
        accuracy(line),
        *_cost_cells(line),
    ]


def _cost_cells(line: Line) -> list[str]:
    """Under `COSTS`."""
    if line.cost is None:
        return [NOTHING] * len(COSTS)
    environment = line.cost.environment_steps
    shown = NOTHING if environment is None else f"{environment:,.0f}"
    return [f"{line.cost.steps:,}", shown, duration(line.cost.wall_seconds)]


def overall_cells(line: Line) -> list[str]:
    """A row over all tasks, under `ALL_HEADER`."""
    scores = [bracketed(line.normalised, share), area(line, line.normalised_area, share)]
    cells = [method_label(line.method), str(len(line.tasks)), _seeds(line), *scores]
    return [*cells, chance(line), *_cost_cells(line)]


def notes(task: TaskResults) -> list[str]:
    """One sentence a seed that failed, moved or lost a graph, and a method whose seeds are missing."""
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
            lines += [f"{name} seed {run.config.seed}: {fault}." for fault in run.config.graphs_off or ()]
        if results.missing:
            lines.append(
                f"{name}: seeds {seed_list(results.missing)} are running or missing, and not counted."
            )
    return lines


def gaps(study: StudyResults) -> list[str]:
    """What failed, what is missing, and what therefore is not compared: a sentence each."""
    lines = [f"{task_title(task)}: no run has ended." for task in study.missing_tasks]
    lines += [
        f"{task_title(task)}: not applicable, for its robot cannot fall: both horizon rules are one."
        for task in study.idle_tasks
    ]
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
        f"({RESAMPLES:,} resamples); under {RANGE_BELOW_SEEDS} seeds minimum and maximum, which say *range*. "
        "A final return is a seed's mean over the last tenth of its evaluations, at least "
        f"{FINAL_EVALUATIONS}, in the standard environment. The area under the curve is its mean height over "
        "the method's own steps (SAC steps; gradient updates for methods without an environment). "
        f"Steps to {REACHED:.0%}: the median over seeds of the first evaluation at {REACHED:.0%} of the "
        f"demonstrations' mean, {NOTHING} if half of the seeds never reached it. "
        f"{NOT_APPLICABLE}: there is no such number. "
        "Normalised score: (return − random) / (expert − random), the expert "
        "being the demonstrations' policy. P(AIHF > method): the chance that a run of AIHF ends above a run "
        "of the method, ties counting half, averaged over the tasks where both have runs, and on one "
        "task the p of the exact two-sided Mann–Whitney test. AIHF is said to be above a method where the "
        "interval is all above one half, below it where all below; under "
        f"{RANGE_BELOW_SEEDS} seeds there is no verdict. A failed seed "
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


SCORES = ("final_return", "area_under_curve", "normalised_score", "normalised_area")


def csv_text(tables: Tables) -> str:
    """`table.csv`: full precision, a row a task and method, then those of the task `all`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["task", "method", "tasks", "seeds", "seeds_finished", "seeds_failed", "seeds_missing"]
        + [f"{score}_{part}" for score in SCORES for part in ("estimate", "low", "high", "interval")]
        + [f"aihf_improvement_{part}" for part in ("estimate", "low", "high", "p")]
        + ["steps_to_90_percent", "seeds_to_90_percent", *(field.name for field in fields(Cost))]
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
            for score in (line.final, line.area, line.normalised, line.normalised_area):
                cells += [score.estimate, score.low, score.high, score.interval] if score else [None] * 4
            chances = line.improvement
            cells += [chances.estimate, chances.low, chances.high, chances.p] if chances else [None] * 4
            cells += astuple(line.reached) if line.reached else [None] * 2
            cells += astuple(line.cost) if line.cost else [None] * len(fields(Cost))
            writer.writerow([name, line.method, len(line.tasks), seeds, *counts, *cells])
    return buffer.getvalue()

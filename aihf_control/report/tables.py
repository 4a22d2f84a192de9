"""The tables of a study, their cells and sentences, as Markdown and for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, learns_reward, method_label
from aihf_control.report.claims import Claim, claim, rivals_of
from aihf_control.report.findings import findings
from aihf_control.report.results import StudyResults, TaskResults
from aihf_control.report.scores import (
    OURS,
    REACHED,
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
MATCHED = "Matched alignment"
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
    claim: Claim | None
    """What they make of the paper's; in words it is the first of `findings`."""
    matched: Tables | None = None
    """Of the study beside this one in which all methods start from the same clone."""

    @property
    def parts(self) -> list[Tables]:
        """These, and those of the matched study if there is one."""
        return [self, self.matched] if self.matched else [self]


def tabulate(study: StudyResults, bootstrap_seed: int = 0, matched: StudyResults | None = None) -> Tables:
    """Compute all numbers, once."""
    tasks = tuple(task_lines(study, task, bootstrap_seed) for task in study.tasks)
    overall = overall_lines(study, bootstrap_seed)
    claimed = claim(study, tasks, overall)
    beside = tabulate(matched, bootstrap_seed) if matched else None
    claims = [str(one) for one in (claimed, beside and beside.claim) if one]
    said = (*claims, *findings(study, tasks, overall))
    return Tables(study, tasks, overall, said, claimed, beside)


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
    expected = (OURS, *rivals_of(study)) if study.from_one_clone else ()
    for task in study.tasks:
        absent = [
            results.method
            for results in task.methods
            if not results.runs and not results.missing and (not expected or results.method in expected)
        ]
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
        f"{FINAL_EVALUATIONS} but never the start's, in the standard environment. "
        "The area under the curve is its mean height over the method's own steps (SAC steps; gradient "
        "updates for methods without an environment). "
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


def matched_notes(tables: Tables) -> list[str]:
    """What the matched study is, and on which tasks it learned from other feedback."""
    assert tables.matched is not None
    lines = [
        "All methods start from the same clone of the demonstrations, held to it by the same β·KL, so that "
        "they differ in their reward alone; columns as above."
    ]
    here = {task.task: task.feedback.sha256 for task in tables.study.tasks}
    for task in tables.matched.study.tasks:
        if here.get(task.task, task.feedback.sha256) != task.feedback.sha256:
            lines.append(f"{task_title(task.task)}: its feedback is not that of {tables.study.name}.")
    return lines


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown(tables: Tables) -> str:
    """`table.md`."""
    parts = [f"# {tables.study.name}", preamble(tables.study)]
    for part in tables.parts:
        study = part.study
        if part is not tables:
            parts += [f"# {MATCHED}: {study.name}", " ".join(matched_notes(tables))]
        if part.findings:
            parts += ["## What the numbers say", bullets(part.findings)]
        for task, lines in zip(study.tasks, part.tasks, strict=True):
            steps = max(int(results.steps[-1]) for results in task.methods if results.runs)
            parts += [
                f"## {task_title(task.task)}",
                f"{steps:,} steps; {task.evaluation_episodes} evaluation episodes a seed; demonstrations' "
                f"mean return {number(task.feedback.demonstrations_return)}.",
                markdown_table(TASK_HEADER, [task_cells(line) for line in lines]),
            ]
        if len(study.tasks) > 1:
            parts += [f"## {ALL}", markdown_table(ALL_HEADER, [overall_cells(line) for line in part.overall])]
        missing = gaps(study)
        if missing:
            parts += ["## Failed and missing", bullets(missing)]
    return "\n\n".join(parts) + "\n"


def text(tables: Tables) -> str:
    """The tables and sentences for a terminal."""
    parts = []
    for part in tables.parts:
        if part is not tables:
            parts.append(f"{MATCHED}: {part.study.name}")
        headed: list[tuple[str, tuple[str, ...], list[list[str]]]] = [
            (task_title(task.task), TASK_HEADER, [task_cells(line) for line in lines])
            for task, lines in zip(part.study.tasks, part.tasks, strict=True)
        ]
        if len(headed) > 1:
            headed.append((ALL, ALL_HEADER, [overall_cells(line) for line in part.overall]))
        parts += [f"{title}\n{text_table(header, rows)}" for title, header, rows in headed]
        parts.append("\n".join([*part.findings, *gaps(part.study)]))
    return "\n\n".join(parts)

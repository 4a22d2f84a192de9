"""`PROVENANCE.md`: how the runs of a study were made, read from their own records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, method_label
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.report.tables import bullets
from aihf_control.runs.files import build
from aihf_control.runs.records import FeedbackRecord, Run
from aihf_control.runs.stored import stored_runs
from aihf_control.words import duration, markdown_table, seed_list

UNKNOWN = "not recorded"
REFERENCE = "figure5"
"""The committed study with whose feedback that of every other study is compared."""


@dataclass(frozen=True)
class CodeRecord:
    """What a method that is not built in was, as its runs recorded it."""

    object: str
    file: str
    sha256: str
    package: str
    version: str


@dataclass(frozen=True)
class Taught:
    """The part of a run's `config.json` that says what it learned from."""

    feedback: FeedbackRecord


@dataclass(frozen=True)
class Origin:
    """The part of `config.json` that says where a run came from; older runs lack some of it."""

    command: str
    device: str | None
    threads: int | None
    """Of older runs; newer ones have one thread, always."""
    commit: str | None
    versions: dict[str, str] | None
    code: CodeRecord | None
    settings: dict[str, object]


def origin(run: Run) -> Origin:
    """Read it. Raises `InvalidData`, naming the field."""
    return run.read(Origin)


def _batches(results: MethodResults) -> list[list[Run]]:
    """The runs that ended, by the batch they ran in."""
    batches: dict[tuple[int, ...], list[Run]] = {}
    for run in results.runs:
        batches.setdefault(run.config.batch, []).append(run)
    return list(batches.values())


def _device(made: Origin) -> str:
    """With the threads, and the precision of the updates, as far as a run recorded them."""
    learner = made.settings.get("sac")
    precision = learner.get("precision") if isinstance(learner, dict) else None
    threads = f"{made.threads} threads" if made.threads else None
    return ", ".join(str(part) for part in (made.device or UNKNOWN, threads, precision) if part)


def _batch_cells(
    task: TaskResults, results: MethodResults, runs: Sequence[Run], commands: Sequence[str]
) -> list[str]:
    first = origin(runs[0])
    config = runs[0].config
    failed = [run.config.seed for run in runs if run.failed]
    seeds = seed_list([run.config.seed for run in runs]) + (
        f" (failed: {seed_list(failed)})" if failed else ""
    )
    commit = f"`{first.commit[:12]}{first.commit[40:]}`" if first.commit else UNKNOWN
    wall = duration(max(run.status.wall_seconds for run in runs))
    return [
        task_title(task.task),
        method_label(config.method),
        seeds,
        f"{int(results.steps[-1]):,}",
        _device(first),
        wall,
        commit,
        str(1 + commands.index(config.command)),
    ]


def _versions(runs: Sequence[Run]) -> list[str]:
    """Every set of versions that runs were made with, and how many were."""
    counts: dict[str, int] = {}
    for run in runs:
        versions = origin(run).versions
        words = ", ".join(f"{name} {version}" for name, version in versions.items()) if versions else UNKNOWN
        counts[words] = counts.get(words, 0) + 1
    return [f"{count} run{'s' if count > 1 else ''}: {words}" for words, count in counts.items()]


def unlike_reference(results: Path, task: str, sha256: str) -> str:
    """Words for a task's feedback that is not bit for bit the reference study's; "" if it is, or if that
    study is not in `results`. Raises `InvalidData`."""
    for run in stored_runs(results / REFERENCE):
        if run.task != task:
            continue
        theirs = build(run.config_place, Taught, run.config).feedback.sha256
        return "" if theirs == sha256 else f"not bit for bit that of the study {REFERENCE}, `{theirs[:12]}`"
    return ""


def _data(task: TaskResults, results: Path) -> str:
    feedback, references, own = task.feedback, task.references, task.feedback_sets > 1
    sets = f"{task.feedback_sets} sets of feedback, one a seed, of hashes with the" if own else "feedback"
    words = "" if own else unlike_reference(results, task.task, feedback.sha256)
    unlike = f", {words}" if words else ""
    known = "no references recorded"
    if references is not None:
        known = f"references: random policy {references.random:.6g}, expert {references.expert:.6g}"
    return (
        f"{task_title(task.task)}: {sets} sha256 `{feedback.sha256}`{unlike}; {feedback.demonstrations:,} "
        f"demonstration transitions of mean return {feedback.demonstrations_return:.6g}, {feedback.pairs:,} "
        f"pairs of {feedback.segment_length}-step segments; {known}; {task.evaluation_episodes} evaluation "
        "episodes a seed"
    )


def _codes(runs: Sequence[Run]) -> list[str]:
    found: dict[str, None] = {}
    for run in runs:
        code = origin(run).code
        if code is not None:
            package = f" of {code.package} {code.version}" if code.package else ""
            said = f"`{code.object}` in `{code.file}`{package}, sha256 `{code.sha256}`"
            found[f"{method_label(run.config.method)}: {said}"] = None
    return list(found)


def _scale(study: StudyResults, runs: Sequence[Run]) -> str:
    """How large the study is, in one sentence."""
    seeds = [len(results.runs) for task in study.tasks for results in task.methods if results.runs]
    steps = [
        int(results.steps[-1])
        for task in study.tasks
        for results in task.methods
        if results.runs and axis_of(results.method) != "none"
    ]
    seconds = sum(
        max(run.status.wall_seconds for run in batch)
        for task in study.tasks
        for results in task.methods
        for batch in _batches(results)
    )
    failed = sum(run.failed for run in runs)
    names = ", ".join(task_title(task.task) for task in study.tasks)
    presets = ", ".join(dict.fromkeys(task.preset for task in study.tasks))
    return (
        f"{len(runs)} runs ({failed} failed) on {names}: {_span(seeds)} seeds a method, {_span(steps)} steps "
        f"a run, {duration(seconds)} of wall time, preset {presets}."
    )


def _span(values: Sequence[int]) -> str:
    if not values:
        return "no"
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def provenance(study: StudyResults, results: Path) -> str:
    """`PROVENANCE.md`: all of it read from the runs' own `config.json` and `status.json`.

    `results` is the folder of all studies' reports, where the reference study is if it is there.
    """
    pairs = [(task, results) for task in study.tasks for results in task.methods]
    runs = [run for _, results in pairs for run in results.runs]
    header = ("Task", "Method", "Seeds", "Steps", "Device", "Wall time of the batch", "Commit", "Command")
    commands = list(dict.fromkeys(run.config.command for run in runs))
    rows = [
        _batch_cells(task, results, batch, commands) for task, results in pairs for batch in _batches(results)
    ]
    parts = [
        f"# {study.name}: where the numbers come from",
        f"{_scale(study, runs)} Written by `make figure5` from each run's `config.json` and `status.json`.",
        "## Commands",
        "\n".join(f"{number}. `{command}`" for number, command in enumerate(commands, 1)),
        "## Batches",
        "Seeds of one row ran as one tensor program, to the step given, their command under the defaults of "
        "their commit. One that ends in `-dirty` had changes beside it.",
        markdown_table(header, rows),
        "## Data",
        bullets([_data(task, results) for task in study.tasks]),
        "## Versions",
        bullets(_versions(runs)),
    ]
    codes = _codes(runs)
    if codes:
        parts += ["## Methods from outside the package", bullets(codes)]
    return "\n\n".join(parts) + "\n"

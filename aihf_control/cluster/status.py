"""How far a study is: its tasks × methods, read from the run directories and the plans of its sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aihf_control.cluster.plan import Group
from aihf_control.cluster.submissions import FOLDER, last_lines, log_of, read_attempts, read_submissions
from aihf_control.envs.tasks import task_title
from aihf_control.errors import InvalidData
from aihf_control.methods.table import method_label, total_steps
from aihf_control.runs.folder import RunPaths, Status, read_config, read_status
from aihf_control.runs.locks import is_held
from aihf_control.words import NOTHING, duration, seed_list, text_table

State = Literal["done", "failed", "running", "stopped", "waiting"]
STATES: tuple[State, ...] = ("done", "failed", "running", "stopped", "waiting")
HEADER = ("Task", "Method", "Seeds", "Done", "Failed", "Running", "Stopped", "Waiting", "Steps", "Time left")
LEGEND = (
    "Failed: given up at a step, in every table as that (NaN, divergence). Stopped: begun, and no process "
    "has it now. Waiting: planned and not begun."
)


@dataclass(frozen=True)
class SeedProgress:
    """One seed: `step` of `steps`, `seconds_left` while it runs."""

    seed: int
    state: State
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True)
class MethodProgress:
    """All seeds of a method on a task that were begun or planned."""

    task: str
    method: str
    seeds: tuple[SeedProgress, ...]

    def of(self, state: State) -> list[int]:
        """The seeds in `state`."""
        return [seed.seed for seed in self.seeds if seed.state == state]


@dataclass(frozen=True)
class Lost:
    """A job that was given up, or of which nothing is left to say but its log."""

    group: Group
    status: int
    deaths: int
    log: Path


@dataclass(frozen=True)
class StudyProgress:
    """Everything `aihf status` says."""

    folder: Path
    methods: tuple[MethodProgress, ...]
    lost: tuple[Lost, ...]

    @property
    def done(self) -> bool:
        """Whether no seed is left to train; a failed one has ended."""
        return all(seed.state in ("done", "failed") for line in self.methods for seed in line.seeds)


def read_progress(study: Path) -> StudyProgress:
    """Look at `results/runs/<study>`. Raises `InvalidData` for a folder without runs and for broken files."""
    submissions = read_submissions(study) if study.is_dir() else []
    seeds: dict[tuple[str, str], set[int]] = {}
    for folder in sorted(study.glob("*/*/seed_*")):
        number = folder.name.removeprefix("seed_")
        if folder.parts[-3] != FOLDER and number.isdecimal():
            seeds.setdefault((folder.parts[-3], folder.parts[-2]), set()).add(int(number))
    for _, submission in submissions:
        for group in submission.groups:
            seeds.setdefault((group.task, group.method), set()).update(group.seeds)
    if not seeds:
        raise InvalidData(
            f"{study}: no run and no sweep here; give a study's folder, as results/runs/figure5"
        )
    methods = tuple(
        MethodProgress(task, method, tuple(_seed(study, task, method, seed) for seed in sorted(numbers)))
        for (task, method), numbers in seeds.items()
    )
    lost: dict[Group, Lost] = {}
    for folder, submission in submissions:  # what a later sweep took up is not lost
        jobs = submission.jobs or [""] * len(submission.groups)
        for group, job in zip(submission.groups, jobs, strict=True):
            lost.pop(group, None)
            attempts = read_attempts(folder, group)
            if attempts.given_up is not None:
                lost[group] = Lost(group, attempts.given_up, attempts.deaths, log_of(folder, group, job))
    unfinished = {(line.task, line.method, seed) for line in methods for seed in _open_seeds(line)}
    kept = [
        one
        for one in lost.values()
        if any((one.group.task, one.group.method, s) in unfinished for s in one.group.seeds)
    ]
    return StudyProgress(study, methods, tuple(kept))


def _open_seeds(line: MethodProgress) -> list[int]:
    return [seed.seed for seed in line.seeds if seed.state not in ("done", "failed")]


def _seed(study: Path, task: str, method: str, seed: int) -> SeedProgress:
    folder = RunPaths(study.parent, study.name, task, method).seed(seed)
    config, status = read_config(folder), read_status(folder)
    if config is None:
        return SeedProgress(seed, "running" if is_held(folder) else "waiting")
    steps = total_steps(config)
    if status is None:
        return SeedProgress(seed, "running" if is_held(folder) else "stopped", 0, steps)
    if status.ended:
        failed = status.failed_at_step
        return SeedProgress(seed, "failed" if failed is not None else "done", failed or status.step, steps)
    if is_held(folder):
        return SeedProgress(seed, "running", status.step, steps, _seconds_left(status, steps))
    return SeedProgress(seed, "stopped", status.step, steps)


def _seconds_left(status: Status, steps: int) -> float | None:
    return (steps - status.step) * status.wall_seconds / status.step if status.step else None


def table(progress: StudyProgress) -> str:
    """For a terminal: a line a task × method, what it means, and the jobs that were lost with their ends."""
    lines = [text_table(HEADER, [_cells(line) for line in progress.methods]), "", LEGEND]
    return "\n".join([*lines, *_summary(progress), *_lost_lines(progress.lost)])


def _cells(line: MethodProgress) -> list[str]:
    counts = [str(len(line.of(state)) or NOTHING) for state in STATES]
    begun = [seed.step for seed in line.seeds if seed.state != "waiting"] or [0]
    low, high = min(begun), max(begun)
    steps = max(seed.steps for seed in line.seeds)
    reached = f"{low:,}" if low == high else f"{low:,}–{high:,}"
    left = [seed.seconds_left for seed in line.seeds if seed.seconds_left is not None]
    title, label = task_title(line.task), method_label(line.method)
    numbers = seed_list([seed.seed for seed in line.seeds])
    return [title, label, numbers, *counts, f"{reached} of {steps:,}" if steps else reached,
            duration(max(left)) if left else NOTHING]  # fmt: skip


def _summary(progress: StudyProgress) -> Iterator[str]:
    states = [seed.state for line in progress.methods for seed in line.seeds]
    ended = states.count("done") + states.count("failed")
    yield f"{ended} of {len(states)} runs have ended" + (", all of them." if progress.done else ".")


def _lost_lines(lost: Sequence[Lost]) -> Iterator[str]:
    for one in lost:
        deaths = f"died {one.deaths} times, was" if one.deaths > 1 else "was"
        yield ""
        yield f"{one.group.name} {deaths} given up with exit status {one.status}. The end of {one.log}:"
        yield from (f"    {line}" for line in last_lines(one.log) or ["(there is no log)"])

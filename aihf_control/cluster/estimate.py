"""How long jobs will take, from the pace of runs that were made before."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aihf_control.cluster.plan import Group
from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.runs.stored import stored_runs
from aihf_control.words import NOTHING, duration, seed_list, text_table

Kind = Literal["GPU", "CPU"]
HEADER = ("Task", "Method", "Jobs", "Seeds of each", "Steps a seed", "Measured pace", "Each job", "All")


@dataclass(frozen=True)
class Pace:
    """Seconds a step of one seed, measured over `steps` steps of a batch of `batch` seeds."""

    seconds: float
    batch: int
    steps: int


def paces(folders: Iterable[Path], kind: Kind) -> dict[tuple[str, str], Pace]:
    """(task, method) → the pace of a run in one of the studies' `folders` on such a device.

    Of several, the longest, and of those the first found. Broken runs are passed over: this is an
    estimate, and who reads them for a result will be told.
    """
    found: dict[tuple[str, str], Pace] = {}
    for folder in folders:
        for run in stored_runs(folder, strict=False):
            status = run.status
            if status is None or not status.step or status.wall_seconds <= 0:
                continue
            if str(run.config.get("device")).startswith("cpu") != (kind == "CPU"):
                continue
            key = run.task, str(run.config.get("method"))
            seconds = status.wall_seconds / status.step / status.batch_size
            pace = Pace(seconds, status.batch_size, status.step)
            if key not in found or pace.steps > found[key].steps:
                found[key] = pace
    return found


def longest_first(
    groups: Sequence[Group], steps: dict[str, int], known: dict[tuple[str, str], Pace]
) -> tuple[Group, ...]:
    """The order to start jobs in: a long one that comes last would leave the other cores idle.

    Still, jobs of the first seeds come first, so that half a study has something to compare. A method whose
    pace is not known counts as the slowest of the known ones.
    """
    slowest = max((pace.seconds for pace in known.values()), default=1.0)

    def seconds(group: Group) -> float:
        pace = known.get((group.task, group.method))
        return steps[group.method] * len(group.seeds) * (pace.seconds if pace else slowest)

    return tuple(sorted(groups, key=lambda group: (min(group.seeds), -seconds(group))))


def estimate(
    groups: Sequence[Group],
    tasks: Sequence[str],
    steps: dict[str, int],
    known: dict[tuple[str, str], Pace],
    kind: Kind,
) -> str:
    """What a person checks before a sweep starts, in the order of `tasks` and of the methods in `steps`."""
    rows, total, unknown = [], 0.0, []
    for task, method in itertools.product(tasks, steps):
        jobs = [group for group in groups if (group.task, group.method) == (task, method)]
        if not jobs:
            continue
        pace, count = known.get((task, method)), steps[method]
        seconds = [pace.seconds * count * len(job.seeds) if pace else 0.0 for job in jobs]
        total += sum(seconds)
        if pace is None and count:
            unknown.append(f"{method_label(method)} on {task_title(task)}")
        rows.append(
            [
                task_title(task),
                method_label(method),
                str(len(jobs)),
                " | ".join(seed_list(job.seeds) for job in jobs),
                f"{count:,}",
                f"{1 / pace.seconds:,.0f} seed-steps/s, {pace.batch} seeds" if pace else NOTHING,
                duration(max(seconds)) if pace else "not known" if count else "minutes",
                duration(sum(seconds)) if pace else "not known" if count else "minutes",
            ]
        )
    runs = sum(len(group.seeds) for group in groups)
    said = f"{len(groups)} jobs, {runs} runs. {_total(total, unknown, kind)}"
    return f"{text_table(HEADER, rows)}\n\n{said}"


def _total(seconds: float, unknown: Sequence[str], kind: Kind) -> str:
    hours = f"{seconds / 3600:,.1f} {kind} hours" if seconds >= 3600 else f"{duration(seconds)} of one {kind}"
    if not unknown:
        return f"About {hours} in all, at the pace of earlier runs."
    measured = f"About {hours} without them." if seconds else ""
    return f"No run on a {kind} tells yet how long these take: {', '.join(unknown)}. {measured}".rstrip()

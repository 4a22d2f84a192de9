"""A study cut into jobs: one for each task, method and group of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aihf_control.runs.folder import RunPaths, find_batches, read_status
from aihf_control.words import seed_list

SEEDS_PER_JOB = 10
"""The most seeds of a job, whatever the machine: a batch is part of what a run's numbers depend on."""


@dataclass(frozen=True)
class Group:
    """One job: a method's seeds on a task, trained as one batch."""

    task: str
    method: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of its files and in messages: `hopper-aihf-0-9`."""
        return f"{self.task}-{self.method}-{seed_range(self.seeds).replace(',', '_')}"


def seed_range(seeds: Sequence[int]) -> str:
    """`(0, 1, 2, 7)` → `0-2,7`, the inverse of `values.parse_seeds`."""
    return seed_list(sorted(seeds)).replace("–", "-").replace(" ", "")


def plan(
    runs: Path, study: str, tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int], size: int
) -> tuple[Group, ...]:
    """Jobs for what is not finished in `runs/<study>`, each of at most `size` seeds.

    A batch that was begun is a job as it was recorded, whatever `size`: it is resumed whole. Jobs of the
    first seeds come first, over all tasks and methods, so that half a sweep has something to compare.
    """
    groups = []
    for task in tasks:
        for method in methods:
            paths = RunPaths(runs, study, task, method)
            begun = [batch for batch in find_batches(paths) if set(batch) & set(seeds)]
            statuses = {seed: read_status(paths.seed(seed)) for seed in sorted({*seeds}.difference(*begun))}
            new = tuple(seed for seed, status in statuses.items() if status is None or not status.ended)
            batches = [*begun, *(new[first : first + size] for first in range(0, len(new), size))]
            groups += [Group(task, method, batch) for batch in batches]
    return tuple(sorted(groups, key=lambda group: min(group.seeds)))


def job_arguments(group: Group, task: str, method: str, study: str, others: Sequence[str]) -> list[str]:
    """What `aihf` is given for a group's job.

    `task` and `method` are the group's as ENV and METHODS name them; `others` are the options that all jobs
    share.
    """
    axes = ["--env", task, "--methods", method, "--seeds", seed_range(group.seeds), "--study", study]
    return ["job", *axes, *others]

"""`aihf sweep`, which runs a study's jobs here or on Slurm, and `aihf status`: how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from aihf_control.cli import values
from aihf_control.cli.bench import Bench
from aihf_control.cli.study_command import Axes, say, typed_command, variable
from aihf_control.cluster import slurm, status
from aihf_control.cluster.estimate import Kind, estimate
from aihf_control.cluster.job_line import HAS_LINES
from aihf_control.cluster.plan import SEEDS_PER_JOB, Group
from aihf_control.cluster.submissions import read_submission, write_submission
from aihf_control.errors import InvalidChoice


@dataclass(frozen=True)
class Sweep(Bench):
    """Run a study as jobs, one for each task × method × group of seeds, on Slurm or on this machine."""

    cluster: Annotated[str, variable("CLUSTER")] = "local"
    seeds_per_job: Annotated[int, variable("SEEDS_PER_JOB")] = SEEDS_PER_JOB
    partition: Annotated[str | None, variable("PARTITION")] = None
    account: Annotated[str | None, variable("ACCOUNT")] = None
    gpus: Annotated[int, variable("GPUS")] = 0
    cpus: Annotated[int, variable("CPUS")] = 1
    memory: Annotated[int | None, variable("MEMORY")] = None
    time: Annotated[str, variable("TIME")] = "4:00:00"
    dry_run: Annotated[bool, variable("DRY_RUN")] = False

    def run(self) -> int:
        """Check, plan, hand over; 1 if a job was given up. Locally it waits for the end and reports."""
        self.check()
        axes = self.axes() if self.dry_run else self._prepared()
        groups = self.groups(axes, self.seeds_per_job)
        if groups:
            say(f"{axes.study} on {self.cluster}, {typed_command()}\n")
            tasks = [task.name for task in axes.tasks]
            say(estimate(groups, tasks, self.steps_of(axes), self.known_paces(axes), self.kind()))
        if self.dry_run:
            say("Nothing was started: this was a dry run.")
            return 0
        return self._submit(axes, groups) if self.cluster == "slurm" else self.run_here(axes, groups)

    def check(self) -> None:
        """As of every `StudyCommand`; what is of one cluster is refused for another."""
        super().check()
        if self.cluster == "local":
            given = {"PARTITION": self.partition, "ACCOUNT": self.account, "GPUS": self.gpus}
            others = {"CPUS": self.cpus > 1, "MEMORY": self.memory}
            wrong = [name for name, value in {**given, **others}.items() if value]
            if wrong:
                raise InvalidChoice(f"{wrong[0]} is of CLUSTER=slurm: leave it out, or add CLUSTER=slurm")
            if not HAS_LINES:
                raise InvalidChoice("CLUSTER=local needs Linux or macOS: `aihf bench` trains without jobs")
            return
        if self.gpus not in (0, 1):
            raise InvalidChoice(f"GPUS={self.gpus}: a job is one batch on one GPU, or on none: 0 or 1")
        if self.device == "cuda" and not self.gpus:
            raise InvalidChoice("DEVICE=cuda: a job on Slurm has a GPU only with GPUS=1")
        if self.jobs is not None:
            raise InvalidChoice("JOBS is of CLUSTER=local: on Slurm leave it out, the cluster decides")
        if self.force_new:
            raise InvalidChoice("FORCE_NEW=1 compares runs with this machine: on Slurm, use STUDY=name")
        slurm.need_slurm()

    def kind(self) -> Kind:
        """On Slurm not what this machine has."""
        if self.cluster == "slurm":
            return "GPU" if self.gpus else "CPU"
        return super().kind()

    def arguments(self, axes: Axes, group: Group) -> list[str]:
        """On Slurm with the device that was asked of it; it may requeue a job on a node of another kind."""
        others: list[str] = []
        if self.cluster == "slurm":
            others += [] if self.other_device else ["--other-device"]
            others += ["--device", "cuda" if self.gpus else "cpu"] if self.device == "auto" else []
        return [*super().arguments(axes, group), *others]

    def _prepared(self) -> Axes:
        """Datasets and feedback built here, as a node may be without network; other settings refused."""
        if self.cluster == "slurm":  # whose devices are not this machine's: its jobs compare
            self.feedbacks()
            return self.axes()
        return replace(self.axes(), study=self.planned()[0][0].name)

    def _submit(self, axes: Axes, groups: Sequence[Group]) -> int:
        if not groups:
            say(f"{axes.study}: all of these runs have ended already")
            return 0
        folder = self.submit_plan(axes, groups, self.cluster)
        resources = slurm.Resources(
            self.partition, self.account, self.gpus, self.cpus, self.memory, values.parse_minutes(self.time)
        )
        jobs = [slurm.BenchJob(tuple(self.arguments(axes, group)), typed_command()) for group in groups]
        ids = slurm.submit(folder, f"aihf-{axes.study}", jobs, resources)
        write_submission(folder, replace(read_submission(folder), jobs=ids))
        study = folder.parents[1]
        array = ids[0].partition("_")[0]
        say(f"submitted {len(ids)} jobs as {array}; `aihf status {study}` says how far they are")
        return 0


@dataclass(frozen=True)
class StatusOf:
    """Say how far a study's runs are, those of its sweeps that have not begun among them."""

    study: tyro.conf.Positional[Path]
    """The study's folder, as results/runs/figure5."""

    def run(self) -> int:
        """0 if all runs have ended, 1 if not."""
        progress = status.read_progress(self.study.resolve())
        say(status.table(progress))
        return 0 if progress.done else 1

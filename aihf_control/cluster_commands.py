"""`aihf sweep`, which cuts a study into jobs, and `aihf status`, which says how far they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import tyro

from aihf_control import choices, monitor, slurm
from aihf_control.choices import InvalidChoice, choose
from aihf_control.commands import Axes, Bench, report_task, report_tasks, say, typed_command
from aihf_control.estimate import Kind, estimate, paces
from aihf_control.local_jobs import LocalJobs
from aihf_control.machine import choose_device
from aihf_control.preparation import Folders
from aihf_control.submissions import Submission, new_folder, now, write_submission
from aihf_control.sweep import Group, bench_arguments, plan


@dataclass(frozen=True)
class Sweep(Bench):
    """Run a study as jobs, one for each task × method × group of seeds, on Slurm or on this machine."""

    cluster: str = "local"
    """local: as many jobs at once as there are GPUs or cores; slurm: one array job."""
    seeds_per_job: int = 10
    """A group of seeds is trained as one batch."""
    cpus: int = 1
    """Cores of a job, and threads of its learner."""
    partition: str | None = None
    """Of Slurm."""
    account: str | None = None
    """Of Slurm."""
    gpus: int = 0
    """Of a job, with Slurm: 0 or 1."""
    memory: int | None = None
    """GB of a job, with Slurm; the cluster's own default if not given."""
    time: str = "4:00:00"
    """Limit of a job, with Slurm; one that has not ended by then goes on in the queue's next turn."""
    dry_run: bool = False
    """Print the plan and what it will cost; start nothing, write nothing."""
    shared: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Options that every job gets as they are."""

    def run(self) -> int:
        """Check, plan, hand over; 1 if a job was given up. Locally it waits for the end and reports."""
        self._check()
        axes, folders = self.axes(), Folders(self.root)
        if not self.dry_run:
            axes = self._prepared(axes)
        tasks, methods = [task.name for task in axes.tasks], [method.name for method in axes.methods]
        groups = plan(folders.runs, axes.study, tasks, methods, axes.seeds, self.seeds_per_job)
        if not groups:
            say(f"{axes.study}: all of these runs have ended already")
            return 0
        say(f"{axes.study} on {self.cluster}, {typed_command()}\n")
        say(self._estimate(axes, groups, folders))
        if self.dry_run:
            say("Nothing was started: this was a dry run.")
            return 0
        folder = new_folder(folders.runs / axes.study)
        submission = Submission(axes.study, typed_command(), self.cluster, now(), groups)
        write_submission(folder, submission)
        if self.cluster == "slurm":
            return self._submit(folder, submission, axes)
        return self._run_here(folder, groups, axes, folders)

    def _check(self) -> None:
        choose("CLUSTER", self.cluster, choices.CLUSTERS)
        choices.parse_count("SEEDS_PER_JOB", str(self.seeds_per_job))
        choices.parse_count("CPUS", str(self.cpus))
        given = {"PARTITION": self.partition, "ACCOUNT": self.account}
        for variable, value in given.items():
            if value is not None:
                choices.parse_slurm_name(variable, value)
        if self.cluster == "local":
            wrong = [
                name for name, value in {**given, "GPUS": self.gpus, "MEMORY": self.memory}.items() if value
            ]
            if wrong:
                raise InvalidChoice(f"{wrong[0]} is of CLUSTER=slurm: leave it out, or add CLUSTER=slurm")
            return
        if self.gpus not in (0, 1):
            raise InvalidChoice(f"GPUS={self.gpus}: a job is one batch on one GPU, or on none: 0 or 1")
        if self.force_new:
            raise InvalidChoice("FORCE_NEW=1 compares runs with this machine: on Slurm, use STUDY=name")
        choices.parse_minutes(self.time)
        slurm.need_slurm()

    def _prepared(self, axes: Axes) -> Axes:
        """Datasets and feedback built here, as a node may be without network; other settings refused."""
        if self.cluster == "slurm":  # whose devices and threads are not this machine's: its jobs compare
            self.feedbacks()
            return axes
        torch.set_num_threads(self.cpus)  # as in a job
        return replace(axes, study=self.planned()[0][0].name)

    def _kind(self) -> Kind:
        if self.cluster == "slurm":
            return "GPU" if self.gpus else "CPU"
        return (
            "GPU" if choose_device(choose("DEVICE", self.device, choices.DEVICES)).type == "cuda" else "CPU"
        )

    def _estimate(self, axes: Axes, groups: Sequence[Group], folders: Folders) -> str:
        record = {"steps": self.sized_settings().steps, "settings": asdict(self.settings)}
        steps = {m.name: monitor.total_steps(record | {"method": m.name}) for m in axes.methods}
        results = folders.root / "results"
        known = paces([folders.runs / axes.study, *results.glob("*"), *folders.runs.glob("*")], self._kind())
        return estimate(groups, [task.name for task in axes.tasks], steps, known, self._kind())

    def _arguments(self, axes: Axes, group: Group) -> list[str]:
        entry = next(method.entry for method in axes.methods if method.name == group.method)
        others = list(self.shared)
        if self.cluster == "slurm":  # which may requeue a job on a node of another kind
            others += [] if self.other_device else ["--other-device"]
            others += ["--device", "cuda" if self.gpus else "cpu"] if self.device == "auto" else []
        return bench_arguments(group, entry, axes.study, others)

    def _submit(self, folder: Path, submission: Submission, axes: Axes) -> int:
        resources = slurm.Resources(
            self.partition, self.account, self.gpus, self.cpus, self.memory, choices.parse_minutes(self.time)
        )
        jobs = [
            slurm.BenchJob(tuple(self._arguments(axes, group)), submission.command)
            for group in submission.groups
        ]
        ids = slurm.submit(folder, f"aihf-{axes.study}", jobs, resources)
        write_submission(folder, replace(submission, jobs=ids))
        study = folder.parents[1]
        array = ids[0].partition("_")[0]
        say(f"submitted {len(ids)} jobs as {array}; `aihf status {study}` says how far they are")
        return 0

    def _run_here(self, folder: Path, groups: Sequence[Group], axes: Axes, folders: Folders) -> int:
        jobs = LocalJobs(folder, partial(_command_line, self, axes), self._places(), say)
        given_up = jobs.run(groups)
        for task in axes.tasks:
            report_task(axes.study, task, [method.name for method in axes.methods], folders)
        if len(axes.tasks) > 1:
            report_tasks(axes.study, folders)
        return 1 if given_up else 0

    def _places(self) -> list[dict[str, str]]:
        """The environments of the jobs that run at once: a GPU each, or `cpus` cores each."""
        shared = {"OMP_NUM_THREADS": str(self.cpus), "AIHF_COMMAND": typed_command()}
        if self._kind() == "GPU":
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            names = visible if visible != [""] else map(str, range(torch.cuda.device_count()))
            return [shared | {"CUDA_VISIBLE_DEVICES": name} for name in names]
        cores = len(os.sched_getaffinity(0))
        return [shared] * max(1, cores // self.cpus)


def _command_line(sweep: Sweep, axes: Axes, group: Group) -> list[str]:
    return [sys.executable, "-m", "aihf_control", *sweep._arguments(axes, group)]


@dataclass(frozen=True)
class _NotShared:
    """Options of a sweep that a job does not get, or gets anew."""

    task: str = ""
    methods: str = ""
    seeds: str = ""
    study: str = ""
    force_new: bool = False
    report: bool = True
    cluster: str = ""
    seeds_per_job: int = 1
    cpus: int = 1
    partition: str = ""
    account: str = ""
    gpus: int = 0
    memory: int = 1
    time: str = ""
    dry_run: bool = False


def shared_options(options: Sequence[str]) -> tuple[str, ...]:
    """Those of a sweep's `options` that each of its jobs gets as they are."""
    return tuple(tyro.cli(_NotShared, args=list(options), return_unknown_args=True, add_help=False)[1])


@dataclass(frozen=True)
class StatusOf:
    """Say how far a study's runs are, those of its sweeps that have not begun among them."""

    study: tyro.conf.Positional[Path]
    """The study's folder, as results/runs/figure5."""

    def run(self) -> int:
        """0 if all runs have ended, 1 if not."""
        progress = monitor.read_progress(self.study.resolve())
        say(monitor.table(progress))
        return 0 if progress.done else 1

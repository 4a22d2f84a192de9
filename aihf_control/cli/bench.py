"""`aihf bench`: a study trained on this machine, as jobs of one thread on a CPU, and its report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, make_dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

import tyro

from aihf_control.cli.effects import refuse_unused
from aihf_control.cli.study_command import Axes, StudyCommand, say, typed_command, variable
from aihf_control.cluster.estimate import Kind, Pace, longest_first, paces
from aihf_control.cluster.job_display import JobDisplay
from aihf_control.cluster.job_line import HAS_LINES
from aihf_control.cluster.local import LocalJobs
from aihf_control.cluster.plan import SEEDS_PER_JOB, Group, job_arguments, plan
from aihf_control.cluster.submissions import Submission, new_folder, now, write_submission
from aihf_control.envs.external import entry_of
from aihf_control.errors import InvalidChoice
from aihf_control.hardware import ONE_THREAD, usable_cores
from aihf_control.methods.table import total_steps
from aihf_control.report.results import NoResults
from aihf_control.report.write import write_report
from aihf_control.runs.folder import RunPaths, clean_up_ended
from aihf_control.runs.locks import refuse_held
from aihf_control.study.machine import choose_device, visible_gpus
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS

AIHF: tuple[str, ...] = (sys.executable, "-m", "aihf_control")
"""How a job is started on this machine."""


@dataclass(frozen=True)
class Bench(StudyCommand):
    """Train the methods over several seeds and write the figure and the table."""

    jobs: Annotated[int | None, variable("JOBS")] = None
    shared: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Options that every job gets as they are."""

    @classmethod
    def from_options(cls, name: str, options: Sequence[str]) -> Self:
        """As of every `StudyCommand`."""
        return replace(super().from_options(name, options), shared=shared_options(cls, options))

    def run(self) -> int:
        """Check every value, then build what is missing, train what is unfinished, report; 1 if a job was
        given up."""
        self.check()
        planned = self.planned()
        axes = replace(self.axes(), study=planned[0][0].name)
        if self.kind() == "CPU" and HAS_LINES:
            return self.run_here(axes, self.groups(axes, SEEDS_PER_JOB))
        self.train(planned)  # one batch after the other in this process
        return self.report(axes)

    def check(self) -> None:
        """As of every `StudyCommand`."""
        super().check()
        methods = [method.name for method in self.axes().methods]
        refuse_unused(methods, self.settings, PRESETS[self.preset].settings)
        if self.jobs is not None and type(self) is Bench and self.kind() == "GPU":
            raise InvalidChoice("JOBS: on a GPU bench is one process; `aihf sweep` runs jobs there")

    def kind(self) -> Kind:
        """What trains."""
        return "GPU" if choose_device(self.device).type == "cuda" else "CPU"

    def groups(self, axes: Axes, size: int) -> tuple[Group, ...]:
        """A job each, at most `size` seeds, the longest first as far as earlier runs tell."""
        tasks, methods = [task.name for task in axes.tasks], [method.name for method in axes.methods]
        groups = plan(Folders(self.root).runs, axes.study, tasks, methods, axes.seeds, size)
        return longest_first(groups, self.steps_of(axes), self.known_paces(axes))

    def steps_of(self, axes: Axes) -> dict[str, int]:
        """Of each method, in its own count."""
        record = {"steps": self.sized_settings().steps, "settings": asdict(self.settings)}
        return {m.name: total_steps(record | {"method": m.name}) for m in axes.methods}

    def known_paces(self, axes: Axes) -> dict[tuple[str, str], Pace]:
        """Of this study's runs, of committed ones and of all others here."""
        folders = Folders(self.root)
        results = [*(folders.root / "results").glob("*"), *folders.runs.glob("*")]
        return paces([folders.runs / axes.study, *results], self.kind())

    def run_here(self, axes: Axes, groups: Sequence[Group]) -> int:
        """Run the jobs on this machine and report; 1 if one was given up."""
        folders = Folders(self.root)
        for paths in _method_folders(axes, folders):
            clean_up_ended(paths)
        if not groups:
            say(f"{axes.study}: all of these runs have ended already")
            return self.report(axes)
        refuse_held(
            RunPaths(folders.runs, axes.study, group.task, group.method).seed(seed)
            for group in groups
            for seed in group.seeds
        )
        folder = self.submit_plan(axes, groups)
        places = self._places()
        say(f"{axes.study}: {len(groups)} jobs, {min(len(places), len(groups))} at once, logs in {folder}")

        def command(group: Group) -> list[str]:
            return [*AIHF, *self.arguments(axes, group)]

        given_up = LocalJobs(folder, command, places, JobDisplay(say)).run(groups)
        self.report(axes)
        return 1 if given_up else 0

    def submit_plan(self, axes: Axes, groups: Sequence[Group], cluster: str = "local") -> Path:
        """Write what is handed over; returns the folder of the logs."""
        folder = new_folder(Folders(self.root).runs / axes.study)
        write_submission(folder, Submission(axes.study, typed_command(), cluster, now(), tuple(groups)))
        return folder

    def arguments(self, axes: Axes, group: Group) -> list[str]:
        """What `aihf` is given for a group's job."""
        entry = next(method.entry for method in axes.methods if method.name == group.method)
        return job_arguments(group, entry_of(group.task), entry, axes.study, self.shared)

    def report(self, axes: Axes) -> int:
        """Write the figure and the tables of all that the study has, and print the tables."""
        try:
            say("\n" + write_report(Folders(self.root).runs / axes.study).text)
        except NoResults as nothing:  # as after jobs that were all given up
            say(f"\n{nothing}")
        return 0

    def _places(self) -> list[dict[str, str]]:
        """The environments of the jobs that run at once: a core each, or a GPU."""
        shared = ONE_THREAD | {"AIHF_COMMAND": typed_command()}
        if self.kind() == "CPU":
            return [shared] * (self.jobs or usable_cores())
        gpus = visible_gpus()
        names = islice(cycle(gpus), self.jobs or len(gpus))
        return [shared | {"CUDA_VISIBLE_DEVICES": name} for name in names]


def _method_folders(axes: Axes, folders: Folders) -> Iterator[RunPaths]:
    for task in axes.tasks:
        for method in axes.methods:
            yield RunPaths(folders.runs, axes.study, task.name, method.name)


def shared_options(kind: type[Bench], options: Sequence[str]) -> tuple[str, ...]:
    """Those of `options` that each job gets as they are: all but a group's own, and what plans the jobs."""
    shared = {field.name for field in fields(StudyCommand)} | {"shared"}
    shared -= {"env", "methods", "seeds", "study", "force_new"}
    types = get_type_hints(kind, include_extras=True)
    others = [(row.name, types[row.name], row.default) for row in fields(kind) if row.name not in shared]
    others_alone: Any = make_dataclass("OthersAlone", others)
    return tuple(tyro.cli(others_alone, args=options, return_unknown_args=True, add_help=False)[1])

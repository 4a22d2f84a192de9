"""The commands that work in this process: each is a dataclass, parsed by tyro; the work is done elsewhere."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from aihf_control import choices
from aihf_control.choices import ChosenMethod, InvalidChoice, choose
from aihf_control.comparison_report import write_comparison
from aihf_control.experiment import (
    Study,
    check_study,
    name_beside,
    on_device,
    run_study,
    train_policies,
)
from aihf_control.feedback import FeedbackConfig
from aihf_control.machine import choose_device
from aihf_control.methods.settings import Settings
from aihf_control.plugins import register
from aihf_control.preparation import FeedbackSource, Folders, build_data, import_preferences, make_feedback
from aihf_control.presets import PRESETS
from aihf_control.report import write_report
from aihf_control.results import recorded_methods
from aihf_control.tasks import TASKS, Task
from aihf_control.types import Feedback, InvalidData


def say(line: str) -> None:
    """Print one line to the user at once."""
    print(line, flush=True)


def _task(name: str) -> Task:
    return TASKS[choose("ENV", name, TASKS)]


def _tasks(name: str) -> tuple[Task, ...]:
    return tuple(TASKS[task] for task in choices.parse_tasks(name))


def _need_policies(tasks: Sequence[Task], folders: Folders) -> None:
    """Before anything is made for any task: name those that nothing can be made for."""
    lacking = [t.name for t in tasks if not (folders.policies(t) / "manifest.json").is_file()]
    if lacking:
        raise InvalidData(
            f"ENV: no reference policies of {' and '.join(lacking)} in {folders.root / 'data' / 'policies'}: "
            f"train them with {' and '.join(f'`aihf data train --task {name}`' for name in lacking)}"
        )


def typed_command() -> str:
    """What the user typed: `make` hands its own line on."""
    return os.environ.get("AIHF_COMMAND") or shlex.join(["aihf", *sys.argv[1:]])


def report_task(study: str, task: Task, methods: Sequence[str], folders: Folders) -> None:
    """Write a task's figure and table, and print the table."""
    runs = folders.runs / study / task.name
    say("\n" + write_report(runs, study, task.name, methods, folders.report(study, task)).text)


def report_tasks(study: str, folders: Folders) -> None:
    """Write the comparison over the tasks of a study that were reported, and print its tables."""
    compared = folders.root / "results" / study
    say("\n" + write_comparison(compared, study, compared).text)


@dataclass(frozen=True)
class Axes:
    """What is compared, under the study's name."""

    tasks: tuple[Task, ...]
    methods: tuple[ChosenMethod, ...]
    seeds: tuple[int, ...]
    study: str


@dataclass(frozen=True)
class Bench:
    """Train the methods over several seeds and write the figure and the table."""

    task: str
    """hopper, halfcheetah, walker2d, or all: the three, one after the other; swimmer and ant once their
    policies are trained."""
    preset: str = "quick"
    """smoke (minutes), quick (an hour on two cores), reference (hours) or paper (a GPU)."""
    methods: str | None = None
    """Comma-separated, your own as my_method.py:MyMethod (docs/your_method.md); else the preset's."""
    seeds: str | None = None
    """As 0-2 or 0,3,7; the preset's if not given."""
    steps: int | None = None
    """SAC steps a seed; the preset's if not given."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: str = "auto"
    """Of the updates: float32, bfloat16, or auto: bfloat16 where the device multiplies it natively."""
    environments: str = "auto"
    """serial, workers (processes), envpool (the extra `fast`), or auto: serial beside a CPU learner."""
    study: str | None = None
    """Name of the results' folder; the preset's if not given."""
    demonstrations: str | None = None
    """Minari id to take the demonstrations from, instead of the task's expert tier."""
    preferences: tuple[str, ...] = ()
    """Minari ids to cut the preference pairs from, instead of the task's simple and medium tiers."""
    preference_file: Path | None = None
    """Labels of people, a file that `aihf preferences import` wrote, instead of a simulated teacher's."""
    force_new: bool = False
    """Where runs of that name were made in another way, start over beside them, as NAME-2; nothing is
    overwritten."""
    other_device: bool = False
    """Let runs that were begun on another device, or with other threads, go on here; they are marked as
    moved, in every table."""
    tensorboard: bool = False
    """Also write TensorBoard events beside each run."""
    report: bool = True
    """Write the figure and the table at the end; the jobs of a sweep leave them to `aihf report`."""
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose `data/` and `results/` are used."""
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)
    settings: Settings = field(default_factory=Settings)

    def run(self) -> int:
        """Check every value, then build what is missing, train what is unfinished, and report."""
        folders = Folders(self.root)
        planned = self.planned()
        for study, feedback in planned:
            run_study(study, feedback, folders, say, _event_writer() if self.tensorboard else None)
            if self.report:
                report_task(study.name, study.task, study.methods, folders)
        if self.report and len(planned) > 1:
            report_tasks(planned[0][0].name, folders)
        return 0

    def axes(self) -> Axes:
        """What is compared; raises `InvalidChoice` for a name that is not known."""
        preset = PRESETS[self.preset]
        chosen = choices.parse_methods(self.methods or ",".join(preset.methods))
        seeds = choices.parse_seeds(self.seeds) if self.seeds else preset.seeds
        return Axes(_tasks(self.task), chosen, seeds, choices.parse_study(self.study or preset.study))

    def planned(self) -> list[tuple[Study, Feedback]]:
        """Each task's study with its feedback, built if it is missing; nothing stands in the way of these."""
        axes, folders = self.axes(), Folders(self.root)
        device = choose_device(choose("DEVICE", self.device, choices.DEVICES))
        settings = on_device(self.sized_settings(), device, self.precision, self.environments)
        methods, name = register(axes.methods), axes.study
        feedbacks = self.feedbacks()
        studies = [
            Study(
                name,
                self.preset,
                task,
                methods,
                axes.seeds,
                settings,
                device,
                typed_command(),
                self.other_device,
            )
            for task in axes.tasks
        ]
        planned = list(zip(studies, feedbacks, strict=True))
        if self.force_new:
            name = name_beside(planned, folders)
            planned = [(replace(study, name=name), feedback) for study, feedback in planned]
        for study, feedback in planned:
            check_study(study, feedback, folders)
        return planned

    def sized_settings(self) -> Settings:
        """The settings with the steps that were asked for."""
        return replace(self.settings, steps=self.steps) if self.steps else self.settings

    def feedbacks(self) -> list[Feedback]:
        """Of each task; what is missing is built."""
        tasks, folders = _tasks(self.task), Folders(self.root)
        source = self._feedback_source(tasks, folders)
        return [self._feedback(task, source, folders) for task in tasks]

    def _feedback_source(self, tasks: Sequence[Task], folders: Folders) -> FeedbackSource:
        given = (self.demonstrations, self.preferences, self.preference_file)
        if len(tasks) > 1 and any(given):
            raise InvalidChoice(
                "ENV=all: --demonstrations, --preferences and --preference-file are of one task: name it"
            )
        if not (self.demonstrations and (self.preferences or self.preference_file)):
            _need_policies(tasks, folders)
        return _source(self)

    def _feedback(self, task: Task, source: FeedbackSource, folders: Folders) -> Feedback:
        feedback, folder = make_feedback(task, source, folders, say)
        say(f"feedback {feedback.sha256[:12]} in {folder}")
        return feedback


@dataclass(frozen=True)
class DataTrain:
    """Train a task's reference policies on the true reward, and choose the three tiers."""

    task: str
    seeds: str = "1000-1003"
    """From 1000 up, so that no reported run is the agent that made the data."""
    steps: int = 300_000
    device: str = "auto"
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Resumable; the policies are chosen when the last seed has finished."""
        task, folders = _task(self.task), Folders(self.root)
        device = choose_device(choose("DEVICE", self.device, choices.DEVICES))
        path = train_policies(
            task, choices.parse_seeds(self.seeds), self.steps, device, folders, say, typed_command()
        )
        say(f"wrote {path}")
        return 0


@dataclass(frozen=True)
class DataBuild:
    """Roll a task's committed policies out into Minari datasets under `data/minari/`."""

    task: str
    """One, or all: hopper, halfcheetah and walker2d."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Replaces datasets that are there."""
        tasks, folders = _tasks(self.task), Folders(self.root)
        _need_policies(tasks, folders)
        for task in tasks:
            build_data(task, folders, say)
        return 0


@dataclass(frozen=True)
class FeedbackBuild:
    """Write demonstrations and preference pairs as .npz files with a manifest."""

    task: str
    demonstrations: str | None = None
    """Minari id; the task's expert tier if not given."""
    preferences: tuple[str, ...] = ()
    """Minari ids; the task's simple and medium tiers if not given."""
    preference_file: Path | None = None
    """Labels of people, a file that `aihf preferences import` wrote, instead of a simulated teacher's."""
    root: Path = field(default_factory=Folders.default_root)
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)

    def run(self) -> int:
        """What was built before is only named."""
        feedback, folder = make_feedback(_task(self.task), _source(self), Folders(self.root), say)
        say(f"feedback {feedback.sha256[:12]} in {folder}")
        return 0


@dataclass(frozen=True)
class PreferencesImport:
    """Check preferences that people labelled and make them a --preference-file for every method."""

    file: tyro.conf.Positional[Path]
    """.npz with obs_1, obs_2, action_1, action_2 and label: 0 first, 1 second, 0.5 a tie."""
    task: str
    evaluation: Path | None = None
    """A second such file, of which every pair is held out: it measures the reward and trains none."""
    held_out_share: float = 0.1
    """Without it, the share of pairs held out at random."""
    seed: int = 0
    """Of that choice."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Writes nothing if anything is wrong."""
        if not 0.0 < self.held_out_share < 1.0:
            raise InvalidChoice(f"--held-out-share is {self.held_out_share}, not between 0 and 1")
        path, people = import_preferences(
            _task(self.task), self.file, self.evaluation, self.held_out_share, self.seed, Folders(self.root)
        )
        say(people.counts())
        say(f"{people.actions.shape[2] - 1} steps of each count: what follows the last is not in the file")
        say(f"wrote {path}: give it as --preference-file (PREFERENCE_FILE=)")
        return 0


def _source(command: Bench | FeedbackBuild) -> FeedbackSource:
    if command.preferences and command.preference_file:
        raise InvalidChoice("--preferences and --preference-file are two sources of the same: give one")
    return FeedbackSource(
        command.demonstrations, command.preferences or None, command.feedback, command.preference_file
    )


@dataclass(frozen=True)
class Report:
    """Redraw a study's figure and table from its progress.csv files."""

    task: str
    study: str = "bench"
    methods: str | None = None
    """Comma-separated names, of which files need not be there any more; all that have runs if not given."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Trains nothing."""
        task, folders, study = _task(self.task), Folders(self.root), choices.parse_study(self.study)
        runs = folders.runs / study / task.name
        there = recorded_methods(runs)
        methods = choices.parse_recorded(self.methods, there) if self.methods else there
        say(write_report(runs, study, task.name, methods, folders.report(study, task)).text)
        return 0


def _event_writer() -> Callable[..., None]:
    from aihf_control.events import write_events

    return write_events

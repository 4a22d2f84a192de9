"""`aihf …`: each command is a dataclass, parsed by tyro; the work is done elsewhere."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from aihf_control import choices
from aihf_control.choices import InvalidChoice, choose
from aihf_control.comparison_report import write_comparison
from aihf_control.environment_steps import BrokenEnvironments
from aihf_control.experiment import (
    Study,
    check_study,
    name_beside,
    on_device,
    run_study,
    train_policies,
)
from aihf_control.feedback import FeedbackConfig
from aihf_control.locks import Locked
from aihf_control.machine import choose_device
from aihf_control.methods.settings import Settings
from aihf_control.plugins import register
from aihf_control.preparation import FeedbackSource, Folders, build_data, make_feedback
from aihf_control.presets import PRESETS
from aihf_control.records import InvalidResults
from aihf_control.report import write_report
from aihf_control.results import recorded_methods
from aihf_control.runs import InvalidRun
from aihf_control.signals import REQUEUE_ME, Preempted, interruptible
from aihf_control.tasks import TASKS, Task
from aihf_control.types import Feedback, InvalidData

ERRORS = (InvalidChoice, InvalidData, InvalidResults, InvalidRun, Locked, BrokenEnvironments, OSError)
"""What a user can mend: one line each, without a traceback."""


def _say(line: str) -> None:
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


def _command() -> str:
    """What the user typed: `make` hands its own line on."""
    return os.environ.get("AIHF_COMMAND") or shlex.join(["aihf", *sys.argv[1:]])


@dataclass(frozen=True)
class Bench:
    """Train the methods over several seeds and write the figure and the table."""

    task: str
    """hopper, halfcheetah, walker2d, or all: the three, one after the other; swimmer and ant once their
    policies are trained."""
    preset: str = "quick"
    """smoke (minutes), quick (half an hour on two cores), reference (hours) or paper (a GPU)."""
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
    force_new: bool = False
    """Where runs of that name were made in another way, start over beside them, as NAME-2; nothing is
    overwritten."""
    tensorboard: bool = False
    """Also write TensorBoard events beside each run."""
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose `data/` and `results/` are used."""
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)
    settings: Settings = field(default_factory=Settings)

    def run(self) -> None:
        """Check every value, then build what is missing, train what is unfinished, and report."""
        tasks, folders, preset = _tasks(self.task), Folders(self.root), PRESETS[self.preset]
        chosen = choices.parse_methods(self.methods or ",".join(preset.methods))
        seeds = choices.parse_seeds(self.seeds) if self.seeds else preset.seeds
        device = choose_device(choose("DEVICE", self.device, choices.DEVICES))
        settings = on_device(self.settings, device, self.precision, self.environments)
        settings = replace(settings, steps=self.steps) if self.steps else settings
        name = choices.parse_study(self.study or preset.study)
        source = self._feedback_source(tasks, folders)
        methods = register(chosen)
        planned = [
            (
                Study(name, self.preset, task, methods, seeds, settings, device, _command()),
                self._feedback(task, source, folders),
            )
            for task in tasks
        ]
        if self.force_new:
            name = name_beside(planned, folders)
            planned = [(replace(study, name=name), feedback) for study, feedback in planned]
        for study, feedback in planned:
            check_study(study, feedback, folders)
        for study, feedback in planned:
            run_study(study, feedback, folders, _say, _event_writer() if self.tensorboard else None)
            task, runs = study.task, folders.runs / name / study.task.name
            _say("\n" + write_report(runs, name, task.name, methods, folders.report(name, task)).text)
        if len(tasks) > 1:
            compared = folders.report(name, tasks[0]).parent
            _say("\n" + write_comparison(compared, name, compared).text)

    def _feedback_source(self, tasks: Sequence[Task], folders: Folders) -> FeedbackSource:
        if len(tasks) > 1 and (self.demonstrations or self.preferences):
            raise InvalidChoice("ENV=all: --demonstrations and --preferences are of one task: name that one")
        if not (self.demonstrations and self.preferences):
            _need_policies(tasks, folders)
        return FeedbackSource(self.demonstrations, self.preferences or None, self.feedback)

    def _feedback(self, task: Task, source: FeedbackSource, folders: Folders) -> Feedback:
        feedback, folder = make_feedback(task, source, folders, _say)
        _say(f"feedback {feedback.sha256[:12]} in {folder}")
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

    def run(self) -> None:
        """Resumable; the policies are chosen when the last seed has finished."""
        task, folders = _task(self.task), Folders(self.root)
        device = choose_device(choose("DEVICE", self.device, choices.DEVICES))
        path = train_policies(
            task, choices.parse_seeds(self.seeds), self.steps, device, folders, _say, _command()
        )
        _say(f"wrote {path}")


@dataclass(frozen=True)
class DataBuild:
    """Roll a task's committed policies out into Minari datasets under `data/minari/`."""

    task: str
    """One, or all: hopper, halfcheetah and walker2d."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> None:
        """Replaces datasets that are there."""
        tasks, folders = _tasks(self.task), Folders(self.root)
        _need_policies(tasks, folders)
        for task in tasks:
            build_data(task, folders, _say)


@dataclass(frozen=True)
class FeedbackBuild:
    """Write demonstrations and preference pairs as .npz files with a manifest."""

    task: str
    demonstrations: str | None = None
    """Minari id; the task's expert tier if not given."""
    preferences: tuple[str, ...] = ()
    """Minari ids; the task's simple and medium tiers if not given."""
    root: Path = field(default_factory=Folders.default_root)
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)

    def run(self) -> None:
        """What was built before is only named."""
        source = FeedbackSource(self.demonstrations, self.preferences or None, self.feedback)
        feedback, folder = make_feedback(_task(self.task), source, Folders(self.root), _say)
        _say(f"feedback {feedback.sha256[:12]} in {folder}")


@dataclass(frozen=True)
class Report:
    """Redraw a study's figure and table from its progress.csv files."""

    task: str
    study: str = "bench"
    methods: str | None = None
    """Comma-separated names, of which files need not be there any more; all that have runs if not given."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> None:
        """Trains nothing."""
        task, folders, study = _task(self.task), Folders(self.root), choices.parse_study(self.study)
        runs = folders.runs / study / task.name
        there = recorded_methods(runs)
        methods = choices.parse_recorded(self.methods, there) if self.methods else there
        _say(write_report(runs, study, task.name, methods, folders.report(study, task)).text)


def _event_writer() -> Callable[..., None]:
    from aihf_control.events import write_events

    return write_events


Command = Bench | DataTrain | DataBuild | FeedbackBuild | Report
COMMANDS: dict[str, type[Command]] = {
    "bench": Bench,
    "data train": DataTrain,
    "data build": DataBuild,
    "feedback build": FeedbackBuild,
    "report": Report,
}


def parse(arguments: list[str]) -> Command:
    """The command that `arguments` name; raises `InvalidChoice`, or exits after `--help`."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return _parse_command(name, arguments[words:])
    if arguments and not arguments[0].startswith("-"):
        choose("aihf command", " ".join(arguments[:1]), COMMANDS)
    lines = [f"  aihf {name:<16}{kind.__doc__}" for name, kind in COMMANDS.items()]
    print("\n".join(["Usage: aihf COMMAND [OPTIONS], with --help for a command's options", *lines]))
    raise SystemExit(0 if set(arguments) & {"-h", "--help"} else 2)


def _parse_command(name: str, options: list[str]) -> Command:
    kind, default = COMMANDS[name], None
    if kind is Bench:  # the preset decides the other defaults, so it is read first
        preset = tyro.cli(_PresetOnly, args=options, return_unknown_args=True, add_help=False)[0].preset
        choose("PRESET", preset, choices.PRESETS)
        default = replace(_no_task(), preset=preset, settings=PRESETS[preset].settings)
    command = tyro.cli(kind, args=options, prog=f"aihf {name}", default=default)
    assert isinstance(command, kind)
    return command


@dataclass(frozen=True)
class _PresetOnly:
    preset: Annotated[str, tyro.conf.arg(help="")] = "quick"


def _no_task() -> Bench:
    return Bench(task=tyro.MISSING)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 after an error, 75 for "requeue me", 130 after Ctrl-C."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        with interruptible():
            command.run()
    except Preempted as stop:
        print(f"aihf: {stop}", file=sys.stderr)
        return REQUEUE_ME
    except KeyboardInterrupt:
        print("\naihf: interrupted: the same command goes on from the last round", file=sys.stderr)
        return 130
    except ERRORS as error:
        print(f"aihf: {error}", file=sys.stderr)
        return 2
    return 0

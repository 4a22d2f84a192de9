"""A study as it is asked for on the command line, and the job that trains a piece of it in this process."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

import tyro

from aihf_control.cli import values
from aihf_control.cli.variables import SWITCHES, VARIABLES
from aihf_control.cluster.job_line import Starter
from aihf_control.data.feedback import OF_THE_TEACHER, FeedbackConfig
from aihf_control.data.types import Feedback
from aihf_control.envs.backends import choose_backend
from aihf_control.envs.external import entry_of, open_task
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.methods.external import register
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import ChosenMethod
from aihf_control.report.provenance import unlike_reference
from aihf_control.runs.progress import Listener
from aihf_control.study.machine import choose_device
from aihf_control.study.prepare import FeedbackSource, Folders, make_feedback
from aihf_control.study.presets import PRESETS
from aihf_control.study.study import FeedbackOf, Study, check_study, name_beside, on_device, run_study
from aihf_control.study.tracking import Tracker, Tracking, open_tracker


def say(line: str) -> None:
    """Print one line to the user at once."""
    print(line, flush=True)


def find_task(name: str) -> Task:
    """Of ENV, one; raises `InvalidChoice`."""
    if name == "all":
        raise InvalidChoice("ENV=all is three tasks: name the one")
    return open_task(*values.parse_tasks(name))


def find_tasks(name: str) -> tuple[Task, ...]:
    """Of ENV, where `all` is three; raises `InvalidChoice`."""
    return tuple(open_task(task) for task in values.parse_tasks(name))


def need_policies(tasks: Sequence[Task], folders: Folders) -> None:
    """Before anything is made for any task: name those that nothing can be made for."""
    lacking = [t.name for t in tasks if not (folders.policies(t) / "manifest.json").is_file()]
    if lacking:
        commands = " and ".join(f"`aihf data train --env {entry_of(name)}`" for name in lacking)
        raise InvalidData(
            f"ENV: no reference policies of {' and '.join(lacking)} in {folders.root / 'data' / 'policies'}: "
            f"train them with {commands}, or give --demonstrations and --preferences of your own"
        )


def typed_command() -> str:
    """What the user typed: `make` hands its own line on."""
    return os.environ.get("AIHF_COMMAND") or shlex.join(["aihf", *sys.argv[1:]])


def variable(name: str) -> Any:
    """The flag of one of make's variables, explained by the same words."""
    row = VARIABLES[name]
    hint = f"(default: {row.default})"
    if name in SWITCHES:
        return tyro.conf.arg(help=row.meaning, help_behavior_hint="")
    return tyro.conf.arg(help=row.meaning, metavar=row.metavar, help_behavior_hint=hint)


@dataclass(frozen=True)
class Axes:
    """What is compared, under the study's name."""

    tasks: tuple[Task, ...]
    methods: tuple[ChosenMethod, ...]
    seeds: tuple[int, ...]
    study: str


def feedback_source(
    demonstrations: str | None, preferences: str | None, file: Path | None, config: FeedbackConfig
) -> FeedbackSource:
    """From the options of a command; raises `InvalidChoice` for two sources of one thing."""
    names = None if preferences is None else values.parse_datasets("PREFERENCES", preferences)
    if names and file:
        raise InvalidChoice("--preferences and --preference-file are two sources of the same: give one")
    if file is not None:
        values.parse_file("PREFERENCE_FILE", str(file))
        default = FeedbackConfig()
        for name in OF_THE_TEACHER:
            if getattr(config, name) != getattr(default, name):
                option = name.replace("_", "-") + (", as LABEL_ERROR," if name == "teacher" else "")
                raise InvalidChoice(
                    f"--feedback.{option} is of a simulated teacher, but --preference-file {file} holds the "
                    "labels of people: leave one of them out"
                )
    return FeedbackSource(demonstrations, names, config, file)


@dataclass(frozen=True)
class StudyCommand:
    """What bench, sweep and their jobs are told of a study."""

    env: Annotated[str, variable("ENV")] = "hopper"
    preset: Annotated[str, variable("PRESET")] = "quick"
    methods: Annotated[str | None, variable("METHODS")] = None
    seeds: Annotated[str | None, variable("SEEDS")] = None
    steps: Annotated[int | None, variable("STEPS")] = None
    device: Annotated[str, variable("DEVICE")] = "auto"
    precision: Annotated[str, variable("PRECISION")] = "auto"
    environments: Annotated[str, variable("ENVIRONMENTS")] = "auto"
    study: Annotated[str | None, variable("STUDY")] = None
    demonstrations: Annotated[str | None, variable("DEMONSTRATIONS")] = None
    preferences: Annotated[str | None, variable("PREFERENCES")] = None
    preference_file: Annotated[Path | None, variable("PREFERENCE_FILE")] = None
    force_new: Annotated[bool, variable("FORCE_NEW")] = False
    other_device: Annotated[bool, variable("OTHER_DEVICE")] = False
    track: Annotated[str | None, variable("TRACK")] = None
    tensorboard: Annotated[bool, variable("TENSORBOARD")] = False
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose `data/` and `results/` are used."""
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_options(cls, name: str, options: Sequence[str]) -> Self:
        """What `aihf NAME OPTIONS` asks for; the preset decides the other defaults, so it is read first."""
        preset = tyro.cli(_PresetOnly, args=options, return_unknown_args=True, add_help=False)[0].preset
        VARIABLES["PRESET"].check(preset)
        default = cls(preset=preset, settings=PRESETS[preset].settings, feedback=PRESETS[preset].feedback)
        if "--help-all" in options:
            options = ["--help"]
        elif {"-h", "--help"} & {*options}:
            about = f"{(cls.__doc__ or '').strip()}\n\n{MORE}"
            tyro.cli(_without_settings(cls), args=["--help"], prog=f"aihf {name}", description=about)
        return tyro.cli(cls, args=options, prog=f"aihf {name}", default=default)

    def check(self) -> None:
        """Raise `InvalidChoice` for what no job could do, before anything is built or started."""
        for name, row in VARIABLES.items():
            value: Any = getattr(self, name.lower(), None)
            if value is not None and name not in SWITCHES:
                row.check(str(value))
        if self.environments != "auto":
            choose_backend(self.environments, "")
        self.sized_settings()
        feedback_source(self.demonstrations, self.preferences, self.preference_file, self.feedback)
        self._trackers()

    def axes(self) -> Axes:
        """What is compared; raises `InvalidChoice` for a name that is not known."""
        preset = PRESETS[self.preset]
        chosen = values.parse_methods(",".join(preset.methods) if self.methods is None else self.methods)
        seeds = preset.seeds if self.seeds is None else values.parse_seeds(self.seeds)
        study = values.parse_study(preset.study if self.study is None else self.study)
        return Axes(find_tasks(self.env), chosen, seeds, study)

    def planned(self) -> list[tuple[Study, FeedbackOf]]:
        """Each task's study with its feedback, built if it is missing; nothing stands in the way of these."""
        axes, folders = self.axes(), Folders(self.root)
        device = choose_device(self.device)
        sized = self.sized_settings()
        methods, name = register(axes.methods), axes.study
        feedbacks = self.feedbacks()
        studies = [
            Study(
                name,
                self.preset,
                task,
                methods,
                axes.seeds,
                on_device(sized, device, self.precision, self.environments, task.name),
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

    def train(self, planned: Sequence[tuple[Study, FeedbackOf]], listener: Listener | None = None) -> None:
        """Train in this process what is unfinished; `listener` is told how far it is."""
        with closing(Tracking(self._trackers(), say)) as tracking:
            for study, feedback in planned:
                run_study(study, feedback, Folders(self.root), say, tracking, listener)

    def _trackers(self) -> dict[str, Tracker]:
        """Those asked for; raises `InvalidChoice` where an extra is missing, or does not fit to the rest."""
        names = values.parse_trackers(self.track) if self.track is not None else ()
        opened: dict[str, Tracker] = {}
        for name in dict.fromkeys(["tensorboard"] * self.tensorboard + list(names)):
            try:
                opened[name] = open_tracker(name)
            except ImportError as error:
                asked = "TENSORBOARD=1" if name not in names else f"TRACK={self.track}"
                how = f"pip install -c constraints.txt -e '.[{name}]'"
                raise InvalidChoice(f"{asked} needs the extra {name} ({error}): {how}") from None
        return opened

    def sized_settings(self) -> Settings:
        """The settings with the steps that were asked for."""
        return self.settings if self.steps is None else replace(self.settings, steps=self.steps)

    def feedbacks(self) -> list[FeedbackOf]:
        """Of each task, and there of each seed; what is missing is built."""
        tasks, folders = find_tasks(self.env), Folders(self.root)
        source = self._feedback_source(tasks, folders)
        return [self._feedback(task, source, folders) for task in tasks]

    def _feedback_source(self, tasks: Sequence[Task], folders: Folders) -> FeedbackSource:
        given = (self.demonstrations, self.preferences, self.preference_file)
        if len(tasks) > 1 and any(given):
            raise InvalidChoice(
                "ENV=all: --demonstrations, --preferences and --preference-file are of one task: name it"
            )
        if not (self.demonstrations and (self.preferences or self.preference_file)):
            need_policies(tasks, folders)
        return feedback_source(*given, self.feedback)

    def _feedback(self, task: Task, source: FeedbackSource, folders: Folders) -> FeedbackOf:
        made: dict[int, Feedback] = {}

        def of(seed: int) -> Feedback:
            one = seed if self.feedback.seed is None else self.feedback.seed
            if one not in made:
                made[one], folder = make_feedback(task, source, folders, say, one)
                sha = made[one].sha256
                unlike = "" if one else unlike_reference(folders.root / "results", task.name, sha)
                say(f"feedback {sha[:12]} of seed {one} in {folder}{unlike and f', {unlike}'}")
            return made[one]

        for seed in self.axes().seeds:
            of(seed)
        return of


MORE = (
    "--help-all also lists every setting of the feedback, the learner and the methods, as\n"
    "--settings.sac.batch-size, with its default in the preset that is given."
)


def _without_settings(kind: type[StudyCommand]) -> Any:
    """What most need of a command: make's variables, those of nested settings among them."""
    types = get_type_hints(kind, include_extras=True)
    known = [row for row in fields(kind) if row.name.upper() in VARIABLES]
    nested = ("DEMO_MIX", "DEMO_NOISE", "LABEL_ERROR")
    return make_dataclass(
        kind.__name__,
        [(row.name, types[row.name], row.default) for row in known]
        + [(name.lower(), Annotated[float, variable(name)], 0.0) for name in nested],
    )


@dataclass(frozen=True)
class _PresetOnly:
    preset: str = "quick"


@dataclass(frozen=True)
class Job(StudyCommand):
    """Train one task, one method and a group of seeds in this process: what bench and sweep start."""

    starter: int | None = None
    """For who starts it on this machine: the descriptor of its end of their line (`job_line.py`)."""

    def run(self) -> int:
        """Train what is unfinished; who started it reports."""
        self.check()
        starter = Starter(self.starter) if self.starter is not None else None
        self.train(self.planned(), starter.tell if starter else None)
        return 0

"""`aihf …`: the commands by name, and what the exit status says."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from aihf_control.cli import values
from aihf_control.cli.bench import Bench
from aihf_control.cli.data import DataBuild, DataTrain, FeedbackBuild, PreferencesImport, Report
from aihf_control.cli.label import Label, PreferencesRender
from aihf_control.cli.study_command import Job, StudyCommand
from aihf_control.cli.sweep import StatusOf, Sweep, shared_options
from aihf_control.cli.video import Video
from aihf_control.envs.environments import BrokenEnvironments
from aihf_control.errors import InvalidChoice, InvalidData, choose
from aihf_control.runs.locks import Locked
from aihf_control.runs.signals import REQUEUE_ME, Preempted, interruptible
from aihf_control.study.presets import PRESETS

ERRORS = (InvalidChoice, InvalidData, Locked, BrokenEnvironments, OSError)
"""What a user can mend: one line each, without a traceback."""


Command = (
    Bench
    | Job
    | Sweep
    | StatusOf
    | DataTrain
    | DataBuild
    | FeedbackBuild
    | PreferencesImport
    | Report
    | Video
    | Label
    | PreferencesRender
)
COMMANDS: dict[str, type[Command]] = {
    "bench": Bench,
    "sweep": Sweep,
    "job": Job,
    "status": StatusOf,
    "data train": DataTrain,
    "data build": DataBuild,
    "feedback build": FeedbackBuild,
    "preferences import": PreferencesImport,
    "preferences render": PreferencesRender,
    "report": Report,
    "video": Video,
    "label": Label,
}


def parse(arguments: list[str]) -> Command:
    """The command that `arguments` name; raises `InvalidChoice`, or exits after `--help`."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return _parse_command(name, arguments[words:])
    if arguments and not arguments[0].startswith("-"):
        choose("aihf command", " ".join(arguments[:1]), COMMANDS)
    lines = [f"  aihf {name:<20}{kind.__doc__}" for name, kind in COMMANDS.items()]
    print("\n".join(["Usage: aihf COMMAND [OPTIONS], with --help for a command's options", *lines]))
    raise SystemExit(0 if set(arguments) & {"-h", "--help"} else 2)


def _parse_command(name: str, options: list[str]) -> Command:
    kind, default = COMMANDS[name], None
    if issubclass(kind, StudyCommand):  # the preset decides the other defaults, so it is read first
        preset = tyro.cli(_PresetOnly, args=options, return_unknown_args=True, add_help=False)[0].preset
        choose("PRESET", preset, values.PRESETS)
        default = replace(kind(task=tyro.MISSING), preset=preset, settings=PRESETS[preset].settings)
    command = tyro.cli(kind, args=options, prog=f"aihf {name}", default=default)
    assert isinstance(command, kind)
    return replace(command, shared=shared_options(options)) if isinstance(command, Bench) else command


@dataclass(frozen=True)
class _PresetOnly:
    preset: Annotated[str, tyro.conf.arg(help="")] = "quick"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 after an error, 75 for "requeue me", 130 after Ctrl-C.

    1 says that a study, of which `aihf status` tells, is not done: a job was given up, or has yet to run.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        with interruptible():
            return command.run()
    except Preempted as stop:
        print(f"aihf: {stop}", file=sys.stderr)
        return REQUEUE_ME
    except KeyboardInterrupt:
        print("\naihf: interrupted: the same command goes on from the last round", file=sys.stderr)
        return 130
    except ERRORS as error:
        print(f"aihf: {error}", file=sys.stderr)
        return 2

"""`aihf …`: the commands by name, and what the exit status says."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, cast

from aihf_control import __version__
from aihf_control.cli.surroundings import settle
from aihf_control.cli.variables import in_flags, present_names, typed_by_make
from aihf_control.errors import UserError, choose
from aihf_control.runs.signals import REQUEUE_ME, Preempted, interruptible

COMMANDS: dict[str, tuple[str, str]] = {
    "bench": ("bench:Bench", "Train the methods over several seeds and write the figure and the table."),
    "sweep": ("sweep:Sweep", "Run a study as jobs, on Slurm or on this machine."),
    "job": ("study_command:Job", "Train a group of seeds in this process: what bench and sweep start."),
    "status": ("sweep:StatusOf", "Say how far a study's runs are."),
    "data train": ("data:DataTrain", "Train a task's reference policies on the true reward."),
    "data build": ("data:DataBuild", "Roll a task's reference policies out into Minari datasets."),
    "data push": ("data:DataPush", "Write a study and its feedback into a folder or an archive."),
    "data pull": ("data:DataPull", "Take such a study from a folder or an archive."),
    "feedback build": ("data:FeedbackBuild", "Write demonstrations and preference pairs as .npz files."),
    "preferences import": ("data:PreferencesImport", "Make people's labels a --preference-file."),
    "preferences render": ("label:PreferencesRender", "Show a preference file's pairs as pictures."),
    "label": ("label:Label", "Let people compare segments, in a browser on this machine."),
    "report": ("data:Report", "Redraw a study's figures and tables."),
    "results add": ("data:ResultsAdd", "Take a study's ended runs into committed results."),
    "doctor": ("doctor:Doctor", "Say what this machine has, what would be used, and what is wrong."),
    "video": ("video:Video", "Film a run's saved policy."),
}
"""The class in this folder, imported when it is asked for: `aihf --help` needs no torch."""


SHUT = 141
"""Exit status where nobody reads the output: 128 and the number of SIGPIPE."""


class Command(Protocol):
    """A dataclass whose fields are its flags."""

    def run(self) -> int:
        """Returns the exit status."""


def parse(arguments: list[str]) -> Command:
    """The command that `arguments` name; raises `InvalidChoice`, or exits after `--help` and `--version`."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            module, _, attribute = COMMANDS[name][0].partition(":")
            kind = getattr(import_module(f"aihf_control.cli.{module}"), attribute)
            return _read(name, kind, list(present_names(arguments[words:])))
    if arguments == ["--version"]:
        print(f"aihf_control {__version__}")
        raise SystemExit(0)
    if arguments and not arguments[0].startswith("-") and not _begins(arguments[0]):
        choose("aihf command", " ".join(arguments[:1]), COMMANDS)
    of = [name for name in COMMANDS if name.startswith(f"{arguments[0]} ")] if arguments else []
    lines = [f"  aihf {name:<20}{COMMANDS[name][1]}" for name in of or COMMANDS]
    print("\n".join(["Usage: aihf COMMAND [OPTIONS], with --help for a command's options", *lines]))
    raise SystemExit(0 if set(arguments) & {"-h", "--help"} else 2)


def _begins(word: str) -> bool:
    """Whether commands begin with `word` and have a second one."""
    return any(name.startswith(f"{word} ") for name in COMMANDS)


def _tell(line: str) -> None:
    """To standard error, if that is still there."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _read(name: str, kind: Any, options: list[str]) -> Command:
    if hasattr(kind, "from_options"):
        return cast(Command, kind.from_options(name, options))
    import tyro

    return cast(Command, tyro.cli(kind, args=options, prog=f"aihf {name}"))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 after an error, 75 for "requeue me", 130 after Ctrl-C.

    1 says that a study, of which `aihf status` tells, is not done: a job was given up, or has yet to run; 141
    that nobody reads the output.
    """
    given = sys.argv[1:] if arguments is None else arguments
    name = next((name for words in (2, 1) if (name := " ".join(given[:words])) in COMMANDS), "")
    if wrong := settle(name):
        _tell(f"aihf: {wrong}")
        return 2
    try:
        command = parse(given)
        with interruptible():
            return command.run()
    except Preempted as stop:
        _tell(f"aihf: {stop}")
        return REQUEUE_ME
    except KeyboardInterrupt:
        _tell("\naihf: interrupted: the same command goes on from the last round")
        return 130
    except BrokenPipeError:
        _tell("aihf: nobody reads standard output any more; the same command goes on from the last round")
        with suppress(OSError, ValueError):  # nor does the interpreter write there at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SHUT
    except (UserError, OSError) as error:
        message = str(error) if typed_by_make() else in_flags(str(error))
        _tell(f"aihf: {message}")
        return 2

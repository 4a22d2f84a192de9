"""`aihf bench` with the toy task in hopper's place: `python toy_bench.py bench --env hopper …`.

Its methods take a few tenths of a second, its jobs some seconds to start. `start` runs a piece of work
in a copy of this process, which can be killed, starved or told to stop without importing everything anew.
"""

import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import toy

from aihf_control.cli import bench
from aihf_control.cli import main as cli
from aihf_control.cli import study_command as study_commands
from aihf_control.envs.tasks import TASKS
from aihf_control.methods.settings import Settings
from aihf_control.runs.files import TEMPORARY_PREFIX
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS, Preset
from aihf_control.study.study import Study, run_study
from aihf_control.study.training import Observer

TASK = replace(toy.TASK, name="hopper")
SEEDS = (0, 1)
ROUND_STEPS = 4
SECONDS = 120.0
"""How long a busy machine may take over anything that a test waits for."""


def settings(rounds: int) -> Settings:
    """The toy's settings, in rounds of four steps with networks of eight units."""
    full = toy.SETTINGS
    return replace(
        full,
        steps=rounds * ROUND_STEPS,
        round_steps=ROUND_STEPS,
        sac=replace(full.sac, hidden=(8, 8), batch_size=8, random_steps=4, learning_starts=2),
        cloning=replace(full.cloning, steps=20, batch_size=8),
        reward=replace(full.reward, hidden=(8, 8), rows_per_step=8),
        aihf=replace(full.aihf, reward_steps=2, rollout_episodes=2),
    )


def small_study(
    methods: tuple[str, ...] = ("aihf",), rounds: int = 3, seeds: tuple[int, ...] = SEEDS
) -> Study:
    return Study(
        "bench", "quick", TASK, methods, seeds, settings(rounds), torch.device("cpu"), "toy_bench.py"
    )


def train(root: Path, study: Study, observer: Observer | None = None) -> None:
    run_study(study, toy.feedback(), Folders(root), print, observer)


def aihf(arguments: list[str], rounds: int = 30) -> int:
    """The command line, for the rest of this process and in its jobs with the toy as its hopper."""
    TASKS["hopper"] = TASK
    PRESETS["quick"] = Preset("bench", ("aihf",), SEEDS, settings(rounds))
    known = {"need_policies": lambda *_: None, "make_feedback": lambda *_: (toy.feedback(), "the toy's")}
    for name, stand_in in known.items():
        setattr(study_commands, name, stand_in)
    bench.AIHF = (sys.executable, __file__)
    os.environ["TOY_ROUNDS"] = str(rounds)
    return cli.main(arguments)


def start(work: Callable[[], object], log: Path) -> int:
    """Begin `work` in a copy of this process that writes to `log`; returns its pid.

    It ends with the status that `work` returns, or 1 after an error, of which `log` has the last word.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        # in the background of a shell Ctrl-C is ignored, and so it would be here
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = 1
        try:
            _be_beside_a_gpu()
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
            status = int(work() or 0)  # type: ignore[call-overload]
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pid


def _be_beside_a_gpu() -> None:
    """As in a copy of a process that has used one: it is there, and to ask for it again is an error."""

    def refuse() -> None:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")

    torch.cuda.is_available, torch.cuda._lazy_init = (lambda: True), refuse


def ended(pid: int, within: float = SECONDS) -> int:
    """The exit status of a child, negative for a signal; after `within` seconds it is killed for -9."""
    deadline = time.monotonic() + within
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def at_file_operation(number: int, action: Callable[[], object]) -> None:
    """Do `action` at this process's `number`-th write, fsync or replace from now on; half a write is done."""
    count = 0

    def wrap(function: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                if writes:
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                action()
            return function(*arguments)

        return wrapped

    for name in ("write", "fsync", "replace"):
        setattr(os, name, wrap(getattr(os, name), name == "write"))


def numbers(root: Path) -> dict[str, bytes]:
    """All of a study's files that may not differ between identical runs; of policies, the weights."""
    runs = root / "results" / "runs"
    files = (*runs.rglob("progress.csv"), *runs.rglob("reward.safetensors"))
    found = {str(path.relative_to(runs)): path.read_bytes() for path in files}
    for path in runs.rglob("policy.zip"):
        with zipfile.ZipFile(path) as archive:
            found[str(path.relative_to(runs))] = archive.read("policy.pth")
    return found


def leftovers(root: Path) -> list[Path]:
    """Half-written files, locks and checkpoints, of which a finished study has none."""
    patterns = (f"{TEMPORARY_PREFIX}*", "lock.json", "checkpoint_*")
    return [path for pattern in patterns for path in root.rglob(pattern)]


if __name__ == "__main__":
    sys.exit(aihf(sys.argv[1:], int(os.environ.get("TOY_ROUNDS", "30"))))

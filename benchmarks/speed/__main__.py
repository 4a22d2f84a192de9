"""`make speed`: seed-steps a second, against Stable-Baselines3 and against what the machine could do at best.

Every contestant has a process of its own and they work in turns, round after round, so that whatever
else the machine does meanwhile hits all of them alike. `runners` holds what is timed, `contestants` its
processes, `match` who plays when, `sweep` and `learners` who plays; `round_run` times one round of AIHF.
`waits`, `rounds`, `rows`, `report` and `plot` say what is made of it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import tyro

from aihf_control.cli.surroundings import settle
from aihf_control.envs.backends import choose_backend
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import UserError, choose
from aihf_control.hardware import DEVICES
from aihf_control.report.style import render
from aihf_control.runs.files import make_folder, write_atomically
from aihf_control.study.machine import choose_device, choose_precision, describe_device, processor, versions
from benchmarks.speed import rounds, waits
from benchmarks.speed.contestants import Failed
from benchmarks.speed.learners import Learners
from benchmarks.speed.match import Match
from benchmarks.speed.plot import draw
from benchmarks.speed.report import Report, markdown
from benchmarks.speed.round_run import RoundSpec
from benchmarks.speed.round_run import measure as measure_round
from benchmarks.speed.rounds import Round
from benchmarks.speed.rows import OURS, Row, csv_text, with_ratios
from benchmarks.speed.runners import Spec
from benchmarks.speed.sweep import Sweep
from benchmarks.speed.waits import CURVES, LEVELS, RULE, Wait, recorded

BEGAN = time.monotonic()
USED = 0.97  # of the time: the rest is for drawing
WHOLE_TASK = 180.0  # seconds for a task, below which there is time for the rows by seeds alone
WAITS_SHARE = 0.3  # of what is left for the task after its round


@dataclass(frozen=True)
class Options:
    """Measure training speed; writes speed.md, .png and .csv, waits.csv and round.csv to OUTPUT/<device>/."""

    tasks: str = "hopper,halfcheetah"
    """Comma-separated."""
    device: str = "auto"
    """auto, cpu or cuda."""
    minutes: float = 14.0
    """For all tasks together; where they are short, the largest numbers of seeds are left out, and under 3 a
    task the waits and the round."""
    output: Path = Path(__file__).parents[2] / "results" / "runs" / "speed"
    """The committed page is in results/speed."""
    precision: str = "auto"
    """Of aihf_control's rows; at 8 seeds every other precision is measured too."""
    environments: str = "auto"
    """The backend that steps aihf_control's environments."""
    seeds: tuple[int, ...] = (1, 2, 4, 8, 10, 16, 32, 64, 128)
    """10 is measured on a GPU alone, where a target is set for it."""
    batch: int = 256
    """Of the rows by seeds, as `hidden`; the waits have those of the recorded curves, 128 and 256, 256."""
    hidden: tuple[int, ...] = (256, 256)
    repeats: int = 5
    stored: int = Spec.stored
    """Transitions in every replay memory beforehand."""


def slug(name: str) -> str:
    """`NVIDIA H200` → `nvidia-h200`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def measure(options: Options, command: str) -> Path:
    """Measure every task and write the report after each; returns its folder."""
    tasks = [TASKS[choose("tasks", name.strip(), TASKS)] for name in options.tasks.split(",")]
    device = choose_device(choose("device", options.device, DEVICES))
    backend = choose_backend(options.environments, device.type)
    precision = choose_precision(options.precision, device)
    folder = options.output / (slug(describe_device(device)) if device.type == "cuda" else "cpu")
    make_folder(folder)
    seeds = [count for count in options.seeds if count != 10 or device.type == "cuda"]
    found = Found(_method(options, backend))
    for number, task in enumerate(tasks):
        spec = Spec(
            OURS,
            task.name,
            device.type,
            threads=torch.get_num_threads(),
            precision=precision,
            batch=options.batch,
            hidden=options.hidden,
            stored=options.stored,
            environments=backend,
        )
        left = BEGAN + 60 * USED * options.minutes - time.monotonic()
        deadline = time.monotonic() + left / (len(tasks) - number)
        if deadline - time.monotonic() < WHOLE_TASK:
            found.dropped.append(f"{task.name}: the waits and the round, for lack of time")
        else:
            found.measure_round(spec)
            found.measure_waits(task, spec, options, deadline)
        found.measure_sweep(Sweep(task, spec, seeds, options.repeats), deadline)
        _write(folder, found, precision, device, command)
    return folder


@dataclass
class Found:
    """What was measured so far."""

    notes: list[str]
    timed: list[tuple[Row, str]] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def measure_round(self, spec: Spec) -> None:
        """Add a round of AIHF; what cannot be measured is left out."""
        _say(f"{spec.task}: a round of AIHF")
        try:
            measured = RoundSpec(spec.task, spec.device, spec.precision, spec.environments)
            self.rounds.append(measure_round(measured))
        except (UserError, OSError, BrokenProcessPool, torch.OutOfMemoryError) as error:
            self.dropped.append(f"{spec.task}: a round: {str(error).splitlines()[0]}")

    def measure_waits(self, task: Task, spec: Spec, options: Options, deadline: float) -> None:
        """Add the learners' paces with their recorded curves, in `WAITS_SHARE` of the time."""
        if task.name not in LEVELS:
            self.dropped.append(f"{task.name}: minutes until a return, for which no level is set")
            return
        native = choose_precision("auto", torch.device(spec.device))
        precisions = tuple(dict.fromkeys((native, "float32")))
        match = Learners(task, spec, precisions, options.repeats)
        now = time.monotonic()
        until = now + WAITS_SHARE * (deadline - now)
        with suppress(Failed):  # why is among what it dropped
            self.waits += match.waits(until, _say, recorded(task.name))
        self._take_said(match)

    def measure_sweep(self, match: Sweep, deadline: float) -> None:
        """Add the rows by number of seeds."""
        self.timed += match.measure(deadline, _say)
        self._take_said(match)

    def _take_said(self, match: Match) -> None:
        self.notes += match.notes
        self.dropped += match.dropped


def _write(folder: Path, found: Found, precision: str, device: torch.device, command: str) -> None:
    of_waits = [RULE, CURVES] if found.waits else []
    report = Report(
        rows=tuple(with_ratios([row for row, _ in found.timed])),
        timing=tuple(timing for _, timing in found.timed),
        default_precision=precision,
        cuda=device.type == "cuda",
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=_machine(device),
        versions=_versions(),
        notes=tuple(dict.fromkeys([*of_waits, *rounds.note(found.rounds), *found.notes])),
        dropped=tuple(found.dropped),
        waits=tuple(found.waits),
        rounds=tuple(found.rounds),
    )
    write_atomically(folder / "speed.csv", csv_text(report.rows).encode())
    write_atomically(folder / "waits.csv", waits.csv_text(report.waits).encode())
    write_atomically(folder / "round.csv", rounds.csv_text(report.rounds).encode())
    write_atomically(folder / "speed.md", markdown(report).encode())
    write_atomically(folder / "speed.png", render(draw(report), "png"))


def _say(line: str) -> None:
    print(f"{time.monotonic() - BEGAN:4.0f} s  {line}", flush=True)


def _method(options: Options, backend: str) -> list[str]:
    room = ", ".join(
        f"{(2 * task.observation_size + task.action_size + 2) * 4 * 1e6 / 2**20:.0f} MiB ({name})"
        for name, task in TASKS.items()
        if name in options.tasks
    )
    return [
        f"Every contestant has a process of its own, warmed up, with {options.stored:,} transitions in "
        "replay. They work in turns, one at a time, there and back through the list; a row is the median of "
        'its repeats, and "Timed" gives the repeats, the fewest steps in one, and the range.',
        "`aihf_control` is what a method calls for a round: reset, act, step, store, sample, update. Each "
        "call draws the random numbers of 100 updates, so repeats under 100 steps, of many seeds, "
        "understate it by a few percent.",
        "`sb3 one process per core` is as many independent processes as aihf_control has threads, with one "
        "thread each, started together, their rates added; × SB3 is against that row.",
        "The limit is the measured rate of `torch.bmm` at the update's shapes (2 networks a seed, batch × "
        "hidden × hidden, in that row's precision), divided by the counted floating-point operations of an "
        "update. Environments, sampling and everything elementwise would have to be free to reach it.",
        "Peak memory is what the process added to its start, on a GPU what PyTorch allocated there. Replay "
        f"has room for 20,000 transitions a seed; a full million takes {room} more a seed.",
        f"aihf_control's environments: {backend}.",
    ]


def _machine(device: torch.device) -> str:
    cores = torch.get_num_threads()
    flags = ", AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else ""
    described = f"{processor()}, {cores} core{'s' if cores > 1 else ''}{flags}"
    return f"{describe_device(device)}, {described}" if device.type == "cuda" else described


def _versions() -> str:
    known = versions()
    for name in ("sb3-contrib", "sbx-rl", "envpool"):
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    return ", ".join(f"{name} {number}" for name, number in known.items() if name != "minari")


def main() -> int:
    """The command line; exits with 2 after a wrong value."""
    settle()
    options = tyro.cli(Options, prog="python -m benchmarks.speed")
    command = os.environ.get("AIHF_COMMAND") or shlex.join(
        ["python", "-m", "benchmarks.speed", *sys.argv[1:]]
    )
    try:
        folder = measure(options, command)
    except (UserError, Failed, OSError) as error:
        print(f"speed: {error}", file=sys.stderr)
        return 2
    print((folder / "speed.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make gpu-check`: is a GPU's work right, and how fast is it?

On a CPU (`DEVICE=cpu`) the same path at a small scale, where there are no graphs to check. What is found out
is a row of one table, written after each to OUTPUT/<device>/gpu.md and gpu.csv, so that a call that is cut
short keeps what it has. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import gc
import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro

from aihf_control.cli.surroundings import settle
from aihf_control.data.teacher import Teacher, make_pairs
from aihf_control.data.types import Episode, Feedback, Transitions
from aihf_control.envs.backends import Steps, choose_backend
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import UserError
from aihf_control.learn.cuda_graphs import FAULTS
from aihf_control.learn.graph_check import check_graphs
from aihf_control.learn.randomness import UPDATES_PER_DRAW
from aihf_control.learn.sac import ARITHMETIC, CRITICS, SACConfig
from aihf_control.learn.sac_loop import Exploration, SACLoop
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS
from aihf_control.runs.files import make_folder, write_atomically
from aihf_control.study.machine import choose_device, choose_precision, commit, describe_device, versions
from aihf_control.study.prepare import FeedbackSource, Folders, make_feedback
from aihf_control.study.presets import PRESETS
from aihf_control.study.study import Study, on_device, run_study
from aihf_control.study.training import BatchRun

PARTS = ("tests", "graphs", "bits", "speed", "paper")

TARGETS = {1: 1_000.0, 10: 1_500.0}
"""Lock-step updates a second on a GPU, by seeds; at 128 the target is in seed-steps, with environments."""
LARGEST_TARGET = 128, 60_000.0
PAPER_MINUTES = 20.0
"""Of 10 seeds × 1,000,000 steps."""


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    seeds: tuple[int, ...]
    """Of the table of milliseconds."""
    calls: int
    """Timed, of each thing."""
    paper_seeds: int
    paper_steps: int
    stored: int


FULL = Scale((1, 10, 64, 128), 500, 10, 100_000, 2_000)
SMALL = Scale((1, 2), 20, 2, 400, 300)


@dataclass(frozen=True)
class Options:
    """Check a device; writes gpu.md and gpu.csv to OUTPUT/<device>/."""

    device: str = "auto"
    """auto, cpu or cuda; on a CPU all is small, and shows that it runs."""
    parts: tuple[str, ...] = PARTS
    """Which, of tests, graphs, bits, speed and paper."""
    env: str = "hopper"
    """Task of the milliseconds and of the paper's run."""
    output: Path = Path(__file__).parents[1] / "results" / "gpu"
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose policies and datasets the paper's run learns from."""


@dataclass(frozen=True)
class Row:
    """One thing that was found out."""

    part: str
    what: str
    found: str
    verdict: str
    """ok, failed, met, not met, or nothing where nothing was asked."""
    seconds: float


class Table:
    """What was found so far, kept on disk from row to row."""

    def __init__(self, folder: Path, heading: str) -> None:
        self.rows: list[Row] = []
        self._folder, self._heading = folder, heading
        make_folder(folder)

    def add(self, part: str, what: str, find: Callable[[], tuple[str, str]]) -> None:
        """Find one thing out; what breaks is a failure of its own."""
        began = time.monotonic()
        try:
            found, verdict = find()
        except Exception as error:  # whatever a driver makes of it: the rest is worth knowing all the same
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            found, verdict = kind + (str(error).splitlines() or [""])[0][:200], "failed"
        row = Row(part, what, found, verdict, time.monotonic() - began)
        self.rows.append(row)
        print(f"{row.part:<8}{row.what:<42}{row.verdict:<9}{row.found}", flush=True)
        write_atomically(self._folder / "gpu.md", self.markdown().encode())
        write_atomically(self._folder / "gpu.csv", self.csv().encode())

    def markdown(self) -> str:
        """The heading and the table."""
        lines = ["| part | what | found | verdict | s |", "| --- | --- | --- | --- | --- |"]
        for row in self.rows:
            cells = (row.part, row.what, row.found, row.verdict, f"{row.seconds:.1f}")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join([self._heading, "", *lines, ""])

    def csv(self) -> str:
        """A line a row."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("part", "what", "found", "verdict", "seconds"))
        writer.writerows((r.part, r.what, r.found, r.verdict, round(r.seconds, 3)) for r in self.rows)
        return buffer.getvalue()


def gpu_tests() -> tuple[str, str]:
    """pytest's own count of the tests marked `gpu`."""
    line = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(line, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [done.stderr.strip()])[
        -1
    ], "ok" if done.returncode == 0 else "failed"


def graphs(critic: str, precision: str, device: torch.device) -> tuple[str, str]:
    """Replayed updates against plain ones."""
    if device.type != "cuda":
        faults = check_graphs(SACConfig(critic, hidden=(16, 16), batch_size=16, precision=precision), device)
        return "; ".join(faults) or "no graphs on a CPU: all is called", "failed" if faults else "ok"
    faults = check_graphs(SACConfig(critic, precision=precision), device)
    return "; ".join(faults) or "replayed as called", "failed" if faults else "ok"


class Stopped(Exception):
    """In place of a kill."""


def bits(name: str, precision: str, task: Task, feedback: Feedback, device: torch.device) -> tuple[str, str]:
    """A small study of a method twice, once more interrupted and resumed, and once without graphs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run = partial(small_study, name, precision, task, feedback, device)
        FAULTS.clear()
        first, again = run(root / "first"), run(root / "again")
        resumed = first
        if METHODS[name].axis != "none":
            with suppress(Stopped):
                run(root / "resumed", stop=True)
            resumed = run(root / "resumed")
        plain = run(root / "plain", graphs=False)
        off = [line for path in root.rglob("config.json") if '"graphs_off"' in (line := path.read_text())]
    said = [f"{other} {'equal' if numbers == first else 'DIFFERENT'}" for other, numbers in (
        ("again", again), ("resumed", resumed), ("without graphs", plain))]  # fmt: skip
    said += ["graphs were OFF"] if off else []
    # without graphs a library may choose another algorithm, which rounds differently: said, and no fault
    wrong = again != first or resumed != first or off
    return ", ".join(said), "failed" if wrong else "ok"


def small_study(
    name: str, precision: str, task: Task, feedback: Feedback, device: torch.device, root: Path, *,
    graphs: bool = True, stop: bool = False,
) -> dict[str, bytes]:  # fmt: skip
    """What it wrote that must not differ."""
    smoke = PRESETS["smoke"].settings
    settings = replace(
        smoke,
        steps=200,
        round_steps=100,
        evaluation_episodes=1,
        environments="serial",
        cuda_graphs=graphs,
        sac=replace(smoke.sac, hidden=(32, 32), batch_size=32, precision=precision, random_steps=20,
                    learning_starts=20),
        cloning=replace(smoke.cloning, steps=50),
        reward=replace(smoke.reward, rows_per_step=64),
        aihf=replace(smoke.aihf, reward_steps=5, rollout_episodes=1),
        rlhf=replace(smoke.rlhf, reward_steps=50),
        from_clone=replace(smoke.from_clone, warm_up_steps=40),
    )  # fmt: skip

    def stop_once(run: BatchRun, step: int) -> None:
        if stop and step == settings.round_steps:
            raise Stopped

    study = Study("gpu-check", "smoke", task, (name,), (0, 1), settings, device, "make gpu-check")
    run_study(study, feedback, Folders(root), lambda line: None, stop_once)
    runs = Folders(root).runs
    files = [path for kind in ("progress.csv", "*.safetensors") for path in sorted(runs.rglob(kind))]
    return {str(path.relative_to(runs)): path.read_bytes() for path in files}


def made_up(task: Task) -> Feedback:
    """Random episodes: where bits and seconds count, what is learned does not."""
    rng = np.random.default_rng(0)

    def episode(steps: int) -> Episode:
        observations = rng.standard_normal((steps + 1, task.observation_size))
        actions = rng.uniform(-1, 1, (steps, task.action_size))
        return Episode(observations, actions, rng.standard_normal(steps), terminated=True)

    pools = [[episode(60) for _ in range(8)] for _ in range(3)]
    pairs = [
        make_pairs(pool, Transitions.from_episodes(pool), count=20, length=10, teacher=Teacher(), rng=rng)
        for pool in pools[1:]
    ]
    return Feedback(tuple(pools[0]), pairs[0], pairs[1], sha256="made up")


def milliseconds(task: Task, seeds: int, precision: str, scale: Scale, device: torch.device) -> Iterator[
    tuple[str, Callable[[], tuple[str, str]]]
]:  # fmt: skip
    """Of S learners as `aihf bench` makes them: an update, an action, a step stored, and a whole step."""
    loop = SACLoop(
        task, SACConfig(precision=precision, learning_starts=100), range(seeds), 20_000, device,
        fixed_horizon=False, environments=choose_backend("auto", device.type),
    )  # fmt: skip
    try:
        width = loop.replay.rows.shape[-1]
        loop.replay.extend(torch.rand(seeds, scale.stored, width).to(device))
        loop.updates.begin_round(0)
        loop.updates.draw()
        here = np.zeros((seeds, task.observation_size), np.float32)
        loop._acting.begin_round(0, here)
        loop._acting.draw()
        actions, no = np.zeros((seeds, task.action_size), np.float32), np.zeros(seeds, bool)
        taken = Steps(here, here, np.zeros(seeds), no, no)
        delay, rounds = loop.sac.policy_delay, iter(range(1, 100))

        def update(index: int) -> None:
            loop.updates.update(index % UPDATES_PER_DRAW, None, critic_only=(index + 1) % delay != 0)

        def run(count: int) -> None:
            loop.run(next(rounds), count, 10_000, Exploration(), None)

        target = TARGETS.get(seeds, 0.0) if device.type == "cuda" else 0.0
        each = partial(timed, calls=scale.calls, device=device)
        yield "update", lambda: told(each(one_by_one(update)), seeds, target)
        yield (
            "act",
            lambda: told(each(one_by_one(lambda i: loop._acting.act(i % UPDATES_PER_DRAW))), seeds),
        )
        yield (
            "store",
            lambda: told(each(one_by_one(lambda _: loop._store(here, actions, taken))), seeds),
        )
        large = LARGEST_TARGET[1] / seeds if device.type == "cuda" and seeds == LARGEST_TARGET[0] else 0.0
        yield "step", lambda: told(each(run), seeds, large)
    finally:
        loop.envs.close()


def one_by_one(work: Callable[[int], object]) -> Callable[[int], None]:
    """`work(0)`, `work(1)`, … as one call."""

    def all_of(count: int) -> None:
        for index in range(count):
            work(index)

    return all_of


def timed(work: Callable[[int], None], *, calls: int, device: torch.device) -> float:
    """Seconds a call, after a tenth as many to warm up and every trial of a graph."""
    work(max(calls // 10, 100) if device.type == "cuda" else max(calls // 10, 1))
    wait(device)
    began = time.perf_counter()
    work(calls)
    wait(device)
    return (time.perf_counter() - began) / calls


def wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def told(seconds: float, seeds: int, target: float = 0.0) -> tuple[str, str]:
    """Milliseconds, what they come to, and whether that is what was aimed at, in calls a second."""
    found = f"{1e3 * seconds:.3f} ms, {1 / seconds:,.0f}/s, {seeds / seconds:,.0f} seed-steps/s"
    if not target:
        return found, ""
    return f"{found}, target {target:,.0f}/s", "met" if 1 / seconds >= target else "not met"


def paper(task: Task, feedback: Feedback, scale: Scale, device: torch.device) -> tuple[str, str]:
    """AIHF as `PRESET=paper` trains it, over fewer steps, and how long all of it would take."""
    full = PRESETS["paper"].settings
    on_gpu = device.type == "cuda"
    settings = replace(full, steps=scale.paper_steps) if on_gpu else shrunk(full, scale.paper_steps)
    settings = on_device(settings, device, "auto", "auto")
    study = Study("gpu-check", "paper", task, ("aihf",), tuple(range(scale.paper_seeds)), settings, device,
                  "make gpu-check")  # fmt: skip
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_study(study, feedback, Folders(Path(folder)), lambda line: None)
    seconds = time.monotonic() - began
    seeds, steps = scale.paper_seeds, scale.paper_steps
    found = (
        f"{seeds} seeds × {steps:,} steps in {seconds:,.0f} s, {seeds * steps / seconds:,.0f} seed-steps/s"
    )
    if not on_gpu:
        return found, "ok"
    minutes = seconds / 60 * full.steps / scale.paper_steps
    return (
        f"{found}: {minutes:.0f} min for {full.steps:,} steps",
        "met" if minutes <= PAPER_MINUTES else "not met",
    )


def shrunk(settings: Settings, steps: int) -> Settings:
    """The same path in seconds on a CPU."""
    return replace(
        settings,
        steps=steps,
        round_steps=steps // 2,
        evaluation_episodes=1,
        sac=replace(settings.sac, hidden=(32, 32), batch_size=32, random_steps=50, learning_starts=50),
        aihf=replace(settings.aihf, reward_steps=5, rollout_episodes=1),
    )


def check(options: Options) -> Table:
    """Every part; the table is complete on disk at any moment."""
    device, task = choose_device(options.device), TASKS[options.env]
    scale = FULL if device.type == "cuda" else SMALL
    name = describe_device(device)
    folder = options.output / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    made = ", ".join(f"{key} {value}" for key, value in versions().items())
    table = Table(folder, f"# {name}\n\n{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {made}.")
    precisions, feedback = list(ARITHMETIC), made_up(task)
    for part in options.parts:
        if part == "tests":
            table.add(part, "tests marked gpu", gpu_tests)
        elif part == "graphs":
            for critic in CRITICS:
                for precision in precisions:
                    table.add(part, f"{critic} {precision}", partial(graphs, critic, precision, device))
        elif part == "bits":
            precision = choose_precision("auto", device)
            for method in METHODS:
                find_bits = partial(bits, method, precision, task, feedback, device)
                table.add(part, f"{method} {precision}", find_bits)
        elif part == "speed":
            for seeds in scale.seeds:
                for precision in precisions:
                    for what, find in milliseconds(task, seeds, precision, scale, device):
                        table.add(part, f"{what}, {seeds} seeds, {precision}", find)
                    gc.collect()
        elif part == "paper":
            if device.type == "cuda":  # where an evaluation takes as long as a policy keeps from falling
                feedback, _ = make_feedback(task, FeedbackSource(), Folders(options.root), print)
            table.add(part, "AIHF as PRESET=paper", partial(paper, task, feedback, scale, device))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        table.add("memory", "largest", lambda: (f"{peak:,.0f} MiB", ""))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if something failed; a target that is not met is no failure."""
    settle()
    options = tyro.cli(Options, args=arguments, prog="gpu-check")
    try:
        table = check(options)
    except (UserError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    return int(any(row.verdict == "failed" for row in table.rows))


if __name__ == "__main__":
    sys.exit(main())

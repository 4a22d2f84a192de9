"""How fast is a device: milliseconds of the parts of a step, and a run of the paper's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from aihf_control.data.types import Feedback
from aihf_control.envs.backends import Steps, choose_backend
from aihf_control.envs.tasks import Task
from aihf_control.learn.randomness import UPDATES_PER_DRAW
from aihf_control.learn.sac import SACConfig
from aihf_control.learn.sac_loop import Exploration, SACLoop
from aihf_control.methods.settings import Settings
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS
from aihf_control.study.study import Study, on_device, run_study

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

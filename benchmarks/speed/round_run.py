"""A round of AIHF with a stopwatch, in a process of its own."""

from __future__ import annotations

import io
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from aihf_control.data.collect import roll_out
from aihf_control.data.dataset_ids import TIERS
from aihf_control.data.feedback import FeedbackConfig, build_feedback
from aihf_control.data.types import Feedback
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.reward_diagnostics import RewardDiagnostics
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sb3 import load_actor
from aihf_control.methods.aihf import AIHF
from aihf_control.methods.method import Context
from aihf_control.methods.settings import Settings
from aihf_control.runs.folder import RunPaths
from aihf_control.runs.locks import SeedLock
from aihf_control.study.machine import keep_freed_memory, use_one_thread
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS
from aihf_control.study.reference_policies import load_policy
from aihf_control.study.training import BatchRun
from benchmarks.speed.rounds import Round

REFERENCE = PRESETS["reference"]


@dataclass(frozen=True)
class RoundSpec:
    """Which round: `steps` of it are measured, of `settings`, whose own number of steps is the round's."""

    task: str
    device: str
    precision: str
    environments: str
    steps: int = 500
    seeds: tuple[int, ...] = REFERENCE.seeds
    settings: Settings = REFERENCE.settings
    feedback: FeedbackConfig = REFERENCE.feedback


class Stopwatch:
    """Seconds by part; what a part spends within another is not that one's."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock, self._parts, self._since = clock, list[str](), 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def begin(self, name: str) -> None:
        self._charge()
        self._parts.append(name)

    def end(self) -> None:
        self._charge()
        self._parts.pop()

    def time(self, owner: object, function: str, name: str) -> None:
        """From here on `owner`'s function, an object's or a class's, is the part `name`."""
        plain = getattr(owner, function)

        @wraps(plain)
        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return plain(*given, **named)

        setattr(owner, function, timed)

    def _charge(self) -> None:
        now = self._clock()
        if self._parts:
            self.seconds[self._parts[-1]] += now - self._since
        self._since = now


def measure(spec: RoundSpec) -> Round:
    """The round, measured in a process that ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds = pool.submit(seconds_of, spec).result()
    return Round(spec.task, spec.precision, len(spec.seeds), spec.settings.round_steps, spec.steps, seconds)


def seconds_of(spec: RoundSpec) -> dict[str, float]:
    """Seconds of each part. It changes classes, so it has to have the process for itself."""
    use_one_thread()
    keep_freed_memory()
    task, device = TASKS[spec.task], torch.device(spec.device)
    settings = replace(
        spec.settings,
        steps=spec.steps,
        round_steps=spec.steps,
        environments=spec.environments,
        # every step has its update, as in all rounds but the first
        sac=replace(spec.settings.sac, precision=spec.precision, random_steps=0, learning_starts=1),
    )
    folder = Folders(Folders.default_root()).policies(task)
    tables = FeedbackTables(_feedback(task, folder, spec.feedback), settings.aihf.trajectory_discount, device)
    context = Context(task, spec.seeds, settings, tables, device)
    watch = Stopwatch(_clock(device))
    expert = load_actor(folder / "expert.zip", task).to(device)

    def observe(run: BatchRun, step: int) -> None:
        if step == 0:
            assert isinstance(run.method, AIHF)
            _time_parts(watch, run.method, expert)
            watch.begin("checkpoint and records")
        else:
            watch.end()

    with TemporaryDirectory() as root, redirect_stderr(io.StringIO()):
        paths = RunPaths(Path(root), "speed", task.name, "aihf")
        with SeedLock([paths.seed(seed) for seed in spec.seeds]) as lock:
            BatchRun(paths, context, lock, observe).run()
    return dict(watch.seconds)


def _clock(device: torch.device) -> Callable[[], float]:
    """A clock that waits for the GPU's work, which is the part's that began it."""
    if device.type == "cpu":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def _time_parts(watch: Stopwatch, method: AIHF, expert: SquashedGaussianActor) -> None:
    """Time every part of `method`'s round and of its evaluation, with `expert` in its policy's place."""
    loop = method.loop
    _put(expert, method.actor)
    if method.context.device.type == "cpu":  # on a GPU they run at the same time, and are one part
        watch.time(loop.updates, "update", "updates")
        for verb in ("reset", "begin", "finish"):
            watch.time(loop.envs, verb, "environments")
    align = loop.run

    def run(*given: Any) -> Any:
        metrics = align(*given)
        _put(expert, method.actor)
        return metrics

    setattr(loop, "run", run)  # noqa: B010 – a method of this one object
    watch.time(loop, "run", "acting and replay" if method.context.device.type == "cpu" else "alignment")
    watch.time(method.roller, "play", "rollouts")
    watch.time(method, "roll_out", "rollouts")
    watch.time(method, "run_round", "reward learning")
    watch.time(Roller, "play", "evaluation")  # but for the one above, which is timed already
    watch.time(RewardDiagnostics, "measure", "diagnostics")


@torch.no_grad()
def _put(expert: SquashedGaussianActor, actor: SquashedGaussianActor) -> None:
    """Let all seeds of `actor` act as the one of `expert`."""
    actor.standardise.set(expert.standardise.mean, expert.standardise.std)
    for ours, theirs in zip(actor.body.layers(), expert.body.layers(), strict=True):
        for part, shown in zip(ours, theirs, strict=True):
            part.copy_(shown.expand_as(part))


def _feedback(task: Task, folder: Path, config: FeedbackConfig) -> Feedback:
    """As many demonstrations and pairs as a study has, of few episodes of the reference policies."""
    simple, medium, expert = (
        roll_out(
            task, load_policy(task, tier, folder), transitions=config.demonstration_transitions, seed=seed
        )
        for seed, tier in enumerate(TIERS)
    )
    return build_feedback(config, expert, (), [simple, medium])

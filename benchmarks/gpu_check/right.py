"""Is the work of a device right: its tests, replayed graphs against plain calls, and bits from run to run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from aihf_control.data.teacher import Teacher, make_pairs
from aihf_control.data.types import Episode, Feedback, Transitions
from aihf_control.envs.tasks import Task
from aihf_control.learn.cuda_graphs import FAULTS
from aihf_control.learn.graph_check import check_graphs
from aihf_control.learn.sac import SACConfig
from aihf_control.methods.table import METHODS
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS
from aihf_control.study.study import Study, run_study
from aihf_control.study.training import BatchRun


def gpu_tests() -> tuple[str, str]:
    """pytest's own count of the tests marked `gpu`, out of the files that have some: to collect all of the
    suite takes longer."""
    root = Path(__file__).parents[2]
    marked = [str(path) for path in sorted(root.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text()]
    line = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *marked]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    return last, "ok" if done.returncode == 0 else "failed"


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

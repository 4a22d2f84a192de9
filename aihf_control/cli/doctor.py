"""`aihf doctor`: what this machine has, what would be used, and what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from aihf_control.cli.study_command import say
from aihf_control.envs.backends import choose_backend, make_environments
from aihf_control.envs.render import Camera, NoPictures
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import UserError
from aihf_control.hardware import ONE_THREAD, usable_cores
from aihf_control.learn.cuda_graphs import GRAPHS, TRIED
from aihf_control.learn.graph_check import check_graphs
from aihf_control.learn.sac import SACConfig
from aihf_control.runs.locks import LOCK_NAME, is_held
from aihf_control.study.machine import (
    choose_device,
    choose_precision,
    describe_device,
    gpu_problem,
    visible_gpus,
)
from aihf_control.study.prepare import Folders

SMALLEST_DISK = 2**30
"""Bytes that a study of a few seeds may take."""

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at. A note is no fault, and may be a surprise."""

    verdict: str
    name: str
    found: str


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, what would be used, and what is wrong."""

    device: str = "auto"
    """auto, cpu or cuda: what to look at."""
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose `results/` is used."""

    def run(self) -> int:
        """Prints a line for each thing; 1 if one is a problem."""
        device = choose_device(self.device)
        lines = []
        for line in examine(device, self.root):
            say(f"{line.verdict:<9}{line.name:<14}{line.found}")
            lines.append(line)
        return int(any(line.verdict == PROBLEM for line in lines))


def examine(device: torch.device, root: Path) -> Iterator[Line]:
    """Everything; a check that breaks is a problem of its own, and the others go on."""
    checks: dict[str, Callable[[], Line]] = {
        "device": lambda: _device(device),
        "GPUs": _gpus,
        "precision": lambda: Line(OK, "precision", choose_precision("auto", device)),
        "graphs": lambda: _graphs(device),
        "cores": _cores,
        "threads": lambda: _threads(device),
        "environments": lambda: _environments(device),
        "MuJoCo": _simulator,
        "GL": _pictures,
        "disk": lambda: _disk(root),
        "locks": lambda: _locks(root),
    }
    for name, check in checks.items():
        try:
            yield check()
        except Exception as error:  # whatever a driver or a package makes of it
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            yield Line(PROBLEM, name, kind + (str(error).splitlines() or [""])[0])
    kept = "one process" if device.type == "cuda" else f"{usable_cores()} jobs of one thread"
    yield Line(OK, "so", f"`aihf bench` would train on {describe_device(device)}, as {kept}")


def _device(device: torch.device) -> Line:
    found = f"{describe_device(device)}, PyTorch {torch.__version__}"
    if device.type != "cuda":
        return Line(OK, "device", found)
    free, total = torch.cuda.mem_get_info(device)
    found += f", {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return Line(OK if free > total / 2 else NOTE, "device", found)


def _gpus() -> Line:
    problem = gpu_problem()
    if problem is None:
        return Line(OK, "GPUs", ", ".join(visible_gpus()))
    there = Path("/proc/driver/nvidia/version").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    return Line(PROBLEM if there else OK, "GPUs", f"none can be used: {problem}")


def _graphs(device: torch.device) -> Line:
    if device.type not in GRAPHS:
        return Line(OK, "graphs", "none on a CPU: every step is called")
    faults = check_graphs(replace(SACConfig(), precision=choose_precision("auto", device)), device)
    if faults:
        return Line(PROBLEM, "graphs", f"{'; '.join(faults)}. Training goes on without them, and slower")
    return Line(OK, "graphs", f"{TRIED} replayed updates are {TRIED} plain ones, of either kind")


def _cores() -> Line:
    allowed, there = usable_cores(), os.cpu_count() or 1
    found = f"{allowed} allowed by affinity and cgroup, of {there}"
    return Line(OK if allowed == there else NOTE, "cores", found)


def _threads(device: torch.device) -> Line:
    unset = [name for name in ONE_THREAD if os.environ.get(name, "1") != "1"]
    ignored = f"; {' and '.join(unset)} of this shell is not used" if unset else ""
    return Line(NOTE if unset else OK, "threads", f"1 a job on a {device.type.upper()}{ignored}")


def _environments(device: torch.device) -> Line:
    used = choose_backend("auto", device.type)
    there = find_spec("envpool") is not None
    pool = f"EnvPool {version('envpool')}" if there else "no EnvPool (the extra `fast`)"
    return Line(NOTE if device.type == "cuda" and not there else OK, "environments", f"{used}; {pool}")


def _simulator() -> Line:
    """A step of Hopper."""
    task = TASKS["hopper"]
    envs = make_environments(task, 1, "serial", fixed_horizon=False, autoreset=True)
    try:
        envs.reset([0])
        envs.begin(np.zeros((1, task.action_size), np.float32))
        envs.finish()
        (fault,) = envs.faults()
    finally:
        envs.close()
    return Line(
        PROBLEM if fault else OK, "MuJoCo", f"{version('mujoco')}, {fault or 'a step of Hopper taken'}"
    )


def _pictures() -> Line:
    try:
        Camera(TASKS["hopper"], 64, 48).close()
    except NoPictures as missing:
        return Line(NOTE, "GL", str(missing))
    return Line(OK, "GL", "draws without a screen: `aihf video` and `aihf label` work")


def _disk(root: Path) -> Line:
    folder = next(path for path in (root / "results", root, *root.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free for {folder}"
    if not os.access(folder, os.W_OK):
        return Line(PROBLEM, "disk", f"{folder} cannot be written to")
    return Line(OK if free > SMALLEST_DISK else PROBLEM, "disk", found)


def _locks(root: Path) -> Line:
    folders = [path.parent for path in Folders(root).runs.rglob(LOCK_NAME)]
    held = [folder for folder in folders if is_held(folder)]
    left = len(folders) - len(held)
    found = f"{len(held)} seeds in training" + (
        f", {left} locks that the next run takes over" if left else ""
    )
    return Line(NOTE if folders else OK, "locks", found)

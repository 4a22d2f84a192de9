"""Training of a task's reference policies, from which its data is rolled out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidData
from aihf_control.learn.sac import SACConfig
from aihf_control.learn.sb3 import save_policy
from aihf_control.methods.settings import Settings
from aihf_control.runs.folder import RunPaths
from aihf_control.study import machine, reference_policies
from aihf_control.study.prepare import Folders, Say
from aihf_control.study.study import Study, on_device, run_study
from aihf_control.study.training import BatchRun

TRAINING_BATCH = 128
"""Batch size of the runs that make the reference policies."""


def train_policies(
    task: Task, seeds: tuple[int, ...], steps: int, device: torch.device, folders: Folders, say: Say,
    command: str,
) -> Path:  # fmt: skip
    """Train the task's oracle on `seeds`, a snapshot at each evaluation, and write the chosen policies."""
    if min(seeds) < reference_policies.FIRST_TRAINING_SEED:
        raise InvalidData(f"SEEDS: {min(seeds)} may be reported; train data on seeds from 1000 up")
    settings = replace(Settings(steps=steps), sac=SACConfig(batch_size=TRAINING_BATCH))
    settings = on_device(settings, device, "auto", "auto", task.name)
    study = Study("data", "data", task, ("oracle",), seeds, settings, device, command)
    run_study(study, None, folders, say, observer=_snapshot)
    paths = RunPaths(folders.runs, study.name, task.name, "oracle")
    candidates = [
        reference_policies.Candidate(
            _snapshot_path(paths.seed(seed), row.step), seed, row.step, row.return_mean
        )
        for seed in seeds
        for row in pd.read_csv(paths.seed(seed) / "progress.csv").itertuples()
    ]
    return reference_policies.write_policies(
        task, candidates, folders.own_policies(task), command=command, versions=machine.versions()
    )


def _snapshot_path(folder: Path, step: int) -> Path:
    return folder / "snapshots" / f"step_{step:08d}.zip"


def _snapshot(run: BatchRun, step: int) -> None:
    for member, seed in enumerate(run.context.seeds):
        path = _snapshot_path(run.paths.seed(seed), step)
        path.parent.mkdir(exist_ok=True)
        save_policy(path, run.context.task, run.method.actor, member)

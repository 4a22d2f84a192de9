"""Every method in every arithmetic and with every critic: what `auto` chooses elsewhere must run here too."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import toy
from toy_study import study

from aihf_control.learn.sac import ARITHMETIC, CRITICS
from aihf_control.learn.sb3 import load_actor
from aihf_control.methods.table import METHODS
from aihf_control.runs.folder import RunPaths, read_status
from aihf_control.study.prepare import Folders
from aihf_control.study.study import run_study

SEEDS = (0, 1)


@pytest.mark.parametrize("precision", list(ARITHMETIC))
@pytest.mark.parametrize("critic", list(CRITICS))
def test_a_small_study_of_every_method_ends_in_policies_and_finite_numbers(
    precision: str, critic: str, tmp_path: Path
) -> None:
    sac = replace(toy.SETTINGS.sac, precision=precision, critic=critic)
    aihf = replace(toy.SETTINGS.aihf, reward_steps=5)
    rlhf = replace(toy.SETTINGS.rlhf, reward_steps=20)
    settings = replace(toy.SETTINGS, steps=150, round_steps=75, sac=sac, aihf=aihf, rlhf=rlhf)
    made = replace(study(tuple(METHODS), SEEDS), settings=settings)
    run_study(made, toy.feedback(), Folders(tmp_path), lambda line: None)
    for method in METHODS:
        paths = RunPaths(Folders(tmp_path).runs, made.name, toy.TASK.name, method)
        for seed in SEEDS:
            status = read_status(paths.seed(seed))
            assert status is not None and status.state == "finished", (method, seed, status)
            table = pd.read_csv(paths.seed(seed) / "progress.csv")
            assert math.isfinite(table["return_mean"].iloc[-1])
            assert load_actor(paths.seed(seed) / "policy.zip", toy.TASK).body.finite().all()

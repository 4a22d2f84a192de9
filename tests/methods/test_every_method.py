"""Every method in every arithmetic and with every critic: what `auto` chooses elsewhere must run here too."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from toy_study import study

from aihf_control.data.feedback import build_feedback
from aihf_control.learn.sac import ARITHMETIC, CRITICS
from aihf_control.learn.sb3 import load_actor
from aihf_control.methods.table import METHODS
from aihf_control.runs.folder import RunPaths, read_status
from aihf_control.study.prepare import Folders
from aihf_control.study.presets import PRESETS
from aihf_control.study.study import run_study
from aihf_control.study.training import BatchRun

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


def test_the_authors_regime_runs_at_toy_scale(tmp_path: Path) -> None:
    """Tier steps, one reward step a round on everything at once, a temperature that stays 0.2."""
    preset = PRESETS["authors"]
    rng = np.random.default_rng(0)
    tiers = [toy.episodes(20, means, 0.3, rng) for means in ((-0.5, 0.5), (0.0, 0.0), toy.BEST)]
    config = replace(preset.feedback, demonstration_transitions=2, pairs=40, held_out_pairs=10)
    feedback = build_feedback(config, tiers[-1], (), tiers)
    sac = replace(preset.settings.sac, hidden=(8, 8), random_steps=20, learning_starts=10)
    settings = replace(preset.settings, steps=100, round_steps=50, evaluation_episodes=1, sac=sac)
    made = replace(study(preset.methods, SEEDS), settings=settings)
    temperatures = []

    def observe(run: BatchRun, step: int) -> None:
        assert run.method.sac is not None
        temperatures.append(run.method.sac.log_temperature.exp().tolist())

    run_study(made, feedback, Folders(tmp_path), lambda line: None, observer=observe)
    np.testing.assert_allclose(temperatures, 0.2, rtol=1e-6)
    for method in preset.methods:
        table = pd.read_csv(
            RunPaths(Folders(tmp_path).runs, made.name, "toy", method).seed(1) / "progress.csv"
        )
        assert table["step"].tolist() == [0, 50, 100] and table["return_mean"].notna().all()

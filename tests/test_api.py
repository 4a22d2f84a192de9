"""The package from Python: its public names, and the examples run as a user runs them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from safetensors import safe_open
from safetensors.torch import load_file

import aihf_control
from aihf_control import load_policy, load_reward, read_study, train
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidData
from aihf_control.report.results import NoResults

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SETTINGS = replace(toy.SETTINGS, steps=150, round_steps=75, aihf=replace(toy.SETTINGS.aihf, reward_steps=5))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two seeds of AIHF on the toy task, trained from Python."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "toy", toy.TASK)
        yield train("aihf", "toy", toy.feedback(), folder=folder, seeds=(0, 1), settings=SETTINGS)


@pytest.fixture(autouse=True)
def toy_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "toy", toy.TASK)


def test_every_public_name_is_there() -> None:
    assert all(getattr(aihf_control, name) is not None for name in aihf_control.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aihf_control.nothing


def test_importing_the_package_and_drawing_need_no_torch() -> None:
    code = (
        "import sys, aihf_control; from aihf_control import read_study, TASKS, METHODS; "
        "import aihf_control.report.write; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_study_is_one_table(runs: Path) -> None:
    table = read_study(runs.parents[1])
    assert table.columns[:6].tolist() == ["study", "task", "method", "seed", "step", "return_mean"]
    assert table.groupby("seed")["step"].apply(list).tolist() == [[0, 75, 150]] * 2
    own = pd.read_csv(runs / "seed_1" / "progress.csv")
    assert table[table.seed == 1]["return_mean"].tolist() == own["return_mean"].tolist()
    with pytest.raises(NoResults, match="has no runs"):
        read_study(runs / "seed_0")


def test_the_saved_policy_and_reward_are_functions_of_arrays(runs: Path) -> None:
    observations, actions = np.eye(2), np.array([[0.3], [-0.2]])
    acted = load_policy(runs / "seed_0")(observations)
    assert acted.shape == (2, 1) and (np.abs(acted) <= 1).all()
    rewards = load_reward(runs / "seed_0")(observations, actions)
    saved = {name: tensor.numpy() for name, tensor in load_file(runs / "seed_0/reward.safetensors").items()}
    # by hand, for the two rows: standardise, two hidden layers of ReLU, and the bound of ±10
    x = np.hstack([(observations - saved["observation_mean"]) / saved["observation_std"], actions])
    for layer in range(2):
        x = np.maximum(x @ saved[f"weight_{layer}"] + saved[f"bias_{layer}"], 0)
    expected = 10 * np.tanh((x @ saved["weight_2"] + saved["bias_2"])[:, 0] / 10)
    np.testing.assert_allclose(rewards, expected)
    alone = shutil.copy(runs / "seed_0/reward.safetensors", runs / "alone.safetensors")
    np.testing.assert_array_equal(load_reward(alone)(observations, actions), rewards)
    with safe_open(alone, "numpy") as file:
        about = json.loads(file.metadata()["aihf_control"])
    assert about["bound"] == 10 and about["settings"]["hidden"] == [32, 32] and about["task"] == "toy"
    with pytest.raises(InvalidData, match="holds no learned reward"):
        load_reward(runs)


def test_examples_are_short() -> None:
    assert len(EXAMPLES) == 6
    assert all(len(path.read_text().splitlines()) < 40 for path in EXAMPLES)


def test_the_statistics_example_on_scores_by_hand(tmp_path: Path) -> None:
    rows = [
        (name, task, seed, score + seed)
        for name, score in (("better", 10.0), ("worse", 0.0))
        for task in ("a", "b")
        for seed in range(5)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["algorithm", "task", "seed", "score"]).to_csv(path, index=False)
    said = example("statistics_of_your_csv.py", str(path))
    assert "better: IQM 12.000 [" in said  # 10 to 14, the middle half around 12
    assert "P(better > worse) = 1.00 [1.00 to 1.00]" in said


@pytest.mark.slow
def test_the_training_example_and_the_scores_of_its_reward(tmp_path: Path) -> None:
    assert "step" in example("train_aihf.py", str(tmp_path), "1500")
    run = tmp_path / "results/runs/script/hopper/aihf/seed_0"
    assert "learned return" in example("score_states.py", str(run))


def example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

"""A study as its user sees it: repeatable, resumable, extendable, and honest about failures."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import toy
from safetensors.torch import load_file
from toy_study import study

from aihf_control.errors import InvalidData
from aihf_control.report.results import read_results
from aihf_control.report.tables import notes, tabulate, text
from aihf_control.study.prepare import Folders
from aihf_control.study.study import run_study
from aihf_control.study.training import BatchRun

SCRIPT = Path(__file__).parents[1] / "support" / "toy_study.py"


def run(root: Path, methods: str, kill_at: str = "") -> int:
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT), str(root), methods, *([kill_at] if kill_at else [])]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the runs that must not differ between identical runs."""
    runs = root / "results" / "runs"
    files = (*runs.rglob("progress.csv"), *runs.rglob("*.safetensors"))
    return {str(path.relative_to(runs)): path.read_bytes() for path in files}


def policies(root: Path) -> dict[str, torch.Tensor]:
    import io
    import zipfile

    weights: dict[str, torch.Tensor] = {}
    for path in sorted((root / "results" / "runs").rglob("policy.zip")):
        with zipfile.ZipFile(path) as archive:
            state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
        weights |= {f"{path.parts[-3:-1]} {name}": value for name, value in state.items()}
    return weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    assert run(root, "aihf,ipl") == 0
    return root


def test_the_same_command_twice_gives_the_same_numbers(whole: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "aihf,ipl") == 0
    assert contents(tmp_path) == contents(whole)
    assert len(contents(whole)) == 3 + 2 * 3  # progress of 2 × 3 seeds, reward of AIHF's


@pytest.mark.parametrize("method", ["aihf", "ipl"])
def test_a_killed_run_resumes_to_the_same_numbers(whole: Path, tmp_path: Path, method: str) -> None:
    assert run(tmp_path, method, kill_at="300") == -9
    folder = tmp_path / "results" / "runs" / "test" / "toy" / method
    progress = pd.read_csv(folder / "seed_0" / "progress.csv")
    assert progress["step"].tolist() == [0, 100, 200, 300]
    assert json.loads((folder / "seed_0" / "status.json").read_text())["state"] == "running"
    assert run(tmp_path, method) == 0
    expected = {name: value for name, value in contents(whole).items() if f"/{method}/" in name}
    assert contents(tmp_path) == expected
    resumed, uninterrupted = policies(tmp_path), policies(whole)
    assert all(torch.equal(value, uninterrupted[name]) for name, value in resumed.items())
    assert not list(folder.glob("checkpoint_*"))


def test_a_finished_study_trains_nothing_and_can_grow(tmp_path: Path) -> None:
    lines: list[str] = []
    folders = Folders(tmp_path)
    run_study(study(("bc",), (0, 1)), toy.feedback(), folders, lines.append)
    before = contents(tmp_path)
    run_study(study(("bc",), (0, 1, 2)), toy.feedback(), folders, lines.append)
    assert lines == ["bc: seeds 0, 1 are finished already"]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    config = json.loads((tmp_path / "results/runs/test/toy/bc/seed_2/config.json").read_text())
    assert config["batch"] == [2]
    assert config["feedback"]["sha256"] == "toy"


def test_other_settings_are_refused(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    run_study(study(("bc",)), toy.feedback(), folders, print)
    before = contents(tmp_path)
    other = study(("bc",))
    other = replace(other, settings=replace(other.settings, evaluation_episodes=3))
    with pytest.raises(InvalidData, match=r"settings.evaluation_episodes: 2 there, 3 now"):
        run_study(other, toy.feedback(), folders, print)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "bfloat16"}, "trained with precision float32.*use PRECISION=float32"),
        ({"environments": "workers"}, "trained with environments serial.*use ENVIRONMENTS=serial"),
    ],
)
def test_what_is_compared_shares_precision_and_simulator(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    folders, settings = Folders(tmp_path), study(("bc",)).settings
    run_study(study(("bc",)), toy.feedback(), folders, print)
    if "precision" in change:
        settings = replace(settings, sac=replace(settings.sac, precision=change["precision"]))
    else:
        settings = replace(settings, environments=change["environments"])
    with pytest.raises(InvalidData, match=message):
        run_study(replace(study(("oracle",)), settings=settings), toy.feedback(), folders, print)
    assert not (tmp_path / "results/runs/test/toy/oracle").exists()


def spoil_actor(run: BatchRun) -> None:
    run.method.actor.body.layers()[0][0][1] = torch.nan


def spoil_reward(run: BatchRun) -> None:
    assert run.method.reward_model is not None
    run.method.reward_model.body.layers()[0][0][1] = torch.nan


def spoil_values(run: BatchRun) -> None:
    critic = run.method.loop.sac.critic  # type: ignore[attr-defined]
    critic.body.layers()[-1][1].view(3, 2, -1)[1] = 3e6  # the last biases of seed 1's twins


@pytest.fixture(scope="module")
def unspoilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("unspoilt")
    run_study(study(("oracle", "aihf")), toy.feedback(), Folders(root), print)
    return contents(root)


@pytest.mark.parametrize(
    ("method", "spoil", "reason"),
    [
        ("oracle", spoil_actor, "not finite"),
        ("aihf", spoil_actor, "not finite"),
        ("aihf", spoil_reward, "not finite"),
        ("oracle", spoil_values, "|Q| = "),
    ],
)
def test_a_failed_seed_stays_in_the_records_and_harms_no_other(
    tmp_path: Path,
    unspoilt: dict[str, bytes],
    method: str,
    spoil: Callable[[BatchRun], None],
    reason: str,
) -> None:
    def observe(run: BatchRun, step: int) -> None:
        if step == 200:
            with torch.no_grad():
                spoil(run)

    run_study(study((method,)), toy.feedback(), Folders(tmp_path), print, observer=observe)
    for seed in (0, 2):
        name = f"test/toy/{method}/seed_{seed}/progress.csv"
        assert contents(tmp_path)[name] == unspoilt[name]
    folder = tmp_path / f"results/runs/test/toy/{method}/seed_1"
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["failed_at_step"]) == ("failed", 300)
    assert reason in status["reason"]
    assert pd.read_csv(folder / "progress.csv")["step"].tolist() == [0, 100, 200]
    results = read_results(tmp_path / "results/runs/test")
    assert f"seed 1 failed at step 300: {status['reason']}" in notes(results.tasks[0])[0]
    assert "3 (1 failed)" in text(tabulate(results))


def test_a_short_offline_run_is_evaluated_ten_times_on_its_way(tmp_path: Path) -> None:
    """Also where every seed fails, and no finished one says which evaluations there should have been."""

    def observe(run: BatchRun, step: int) -> None:
        if step == 120:
            for layer in range(2):
                run.method.actor.body.layers()[layer][0].data.fill_(torch.nan)

    planned = study(("ipl",))
    settings = replace(planned.settings, ipl=replace(planned.settings.ipl, updates=295))
    for root, observer in ((tmp_path / "whole", None), (tmp_path / "failed", observe)):
        run_study(replace(planned, settings=settings), toy.feedback(), Folders(root), print, observer)
        ((_, results),) = read_results(root / "results/runs/test").of("ipl")
        assert results.steps.tolist() == [*range(0, 271, 30), 295]
        assert len(results.failed) == (0 if observer is None else 3)


def test_the_kept_reward_is_the_seeds_own(whole: Path) -> None:
    rewards = [
        load_file(whole / f"results/runs/test/toy/aihf/seed_{seed}/reward.safetensors") for seed in range(3)
    ]
    assert rewards[0]["weight_0"].shape == (3, 32)  # (observation, action) → hidden
    assert not torch.equal(rewards[0]["weight_0"], rewards[1]["weight_0"])

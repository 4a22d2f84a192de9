"""The committed reference policies are what their manifest says, and how the next ones are chosen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aihf_control.data.datasets import TIERS
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidData
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sb3 import load_actor
from aihf_control.study import reference_policies
from aihf_control.study.reference_policies import (
    SHARES,
    Candidate,
    choose_tiers,
    load_policy,
    read_manifest,
    references,
)

HOPPER = TASKS["hopper"]
FOLDER = Path(__file__).parents[2] / "data" / "policies" / "hopper"


def test_hoppers_tiers_are_in_their_ranges() -> None:
    manifest = read_manifest(HOPPER, FOLDER)
    entries = {tier: manifest.policy(tier) for tier in TIERS}
    returns = {tier: entry.return_mean for tier, entry in entries.items()}
    assert returns["expert"] >= 3_000
    for tier, (low, high) in SHARES.items():
        assert low <= returns[tier] / returns["expert"] <= high
    assert all(entry.seed >= 1_000 and entry.episodes == 20 for entry in entries.values())
    reference = references(HOPPER, FOLDER)
    assert reference is not None and reference.expert == returns["expert"]


def test_the_expert_walks_as_well_as_its_manifest_says() -> None:
    entry = read_manifest(HOPPER, FOLDER).policies.expert
    actor = load_actor(FOLDER / "expert.zip", HOPPER)
    roller = Roller(HOPPER, [0], 3, fixed_horizon=False)
    with torch.no_grad():
        returns = roller.play(actor.mode, "test", 0).returns[0]
    # its 20 episodes had a deviation of 18, so three others lie well within 150 of their mean
    np.testing.assert_allclose(returns, entry.return_mean, atol=150)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "hopper")
    shutil.copy(FOLDER / "simple.zip", tmp_path / "hopper" / "expert.zip")
    with pytest.raises(InvalidData, match="is missing or not the file that manifest"):
        load_policy(HOPPER, "expert", tmp_path / "hopper")
    with pytest.raises(InvalidData, match="aihf data train --env walker2d"):
        load_policy(TASKS["walker2d"], "expert", tmp_path)
    manifest = tmp_path / "hopper" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"environment": "Ant-v5"}))
    with pytest.raises(InvalidData, match="'Ant-v5', hopper is Hopper-v5"):
        load_policy(HOPPER, "expert", tmp_path / "hopper")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is not a JSON object"),
        ('{"environment": "Hopper-v5"}', "references is None"),
        (
            '{"environment": "Hopper-v5", "references": {"random": NaN, "expert": 1}}',
            "references.random is nan",
        ),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InvalidData, match=f"manifest.json: {message}"):
        references(HOPPER, tmp_path)


def test_choice_of_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best measured anew is the expert, though another had the luckier record."""
    recorded = {"lucky": 1_010.0, "best": 1_000.0, "low": 180.0, "middle": 470.0, "between": 700.0}
    measured = recorded | {"lucky": 600.0}
    monkeypatch.setattr(reference_policies, "load_actor", lambda path, task: path.name)
    monkeypatch.setattr(
        reference_policies, "measure", lambda task, actor, purpose: np.array([measured[actor]])
    )
    candidates = [Candidate(Path(name), 1000, 5_000, value) for name, value in recorded.items()]
    chosen = choose_tiers(HOPPER, candidates)
    assert {tier: choice.path.name for tier, choice in chosen.items()} == {
        "expert": "best",
        "simple": "low",
        "medium": "middle",
    }

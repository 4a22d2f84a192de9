"""From policies to feedback, on the real Hopper with the committed policies."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from foreign import HOPPER, build_foreign

from aihf_control.data import datasets
from aihf_control.data.feedback import FeedbackConfig
from aihf_control.envs.tasks import TASKS
from aihf_control.study import prepare as preparation
from aihf_control.study.prepare import FeedbackSource, Folders, make_feedback


def test_feedback_is_the_same_whatever_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the committed policies on, in a few episodes."""
    task, found, before = TASKS["hopper"], [], torch.get_num_threads()
    monkeypatch.setattr(preparation, "TRANSITIONS", {"simple": 4_000, "medium": 500, "expert": 1_500})
    checkout = Path(__file__).parents[2]
    config = FeedbackConfig(demonstration_transitions=1_000, pairs=2_000, held_out_pairs=200)
    for threads in (1, 2):
        root = tmp_path / str(threads)
        monkeypatch.setenv("AIHF_MINARI_ROOT", str(root / "minari"))
        (root / "data").mkdir(parents=True)
        (root / "data" / "policies").symlink_to(checkout / "data" / "policies")
        torch.set_num_threads(threads)
        try:
            source = FeedbackSource(config=config)
            found.append(make_feedback(task, source, Folders(root), print)[0].sha256)
        finally:
            torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.fixture
def minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three datasets from elsewhere, of random episodes of Hopper."""
    for number in range(3):
        build_foreign(tmp_path / "minari", f"lab/hopper/{number}-v0", seed=number)
    monkeypatch.setenv("AIHF_MINARI_ROOT", str(tmp_path / "minari"))
    return tmp_path / "minari"


def test_feedback_is_found_by_the_content_of_its_sources(
    minari: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, pool, other = (f"lab/hopper/{number}-v0" for number in range(3))
    config = FeedbackConfig(demonstration_transitions=50, pairs=20, held_out_pairs=5, segment_length=5)

    def made(preferences: str = pool) -> tuple[str, Path]:
        feedback, folder = make_feedback(
            HOPPER, FeedbackSource(shown, (preferences,), config), Folders(tmp_path), print
        )
        return feedback.sha256, folder

    first = made()
    assert made() == first
    assert json.loads((first[1] / "manifest.json").read_text())["sources"]["contents"] == {
        name: datasets.content_of(name, minari) for name in (shown, pool)
    }
    kept = tmp_path / "kept"
    shutil.copytree(minari / pool, kept)
    shutil.rmtree(minari / pool)
    shutil.copytree(minari / other, minari / pool)  # replaced under its id
    assert made()[0] != first[0]
    shutil.rmtree(minari / pool)
    monkeypatch.setattr(datasets.minari, "download_dataset", lambda name: pytest.fail("no network"))
    with pytest.raises(BaseException, match="no network"):  # removed: fetched again, not taken as read
        made()
    shutil.copytree(kept, minari / pool)
    assert made() == first
    monkeypatch.setenv("AIHF_MINARI_ROOT", str(tmp_path / "elsewhere"))  # another root
    for name, source in ((shown, shown), (pool, other)):
        shutil.copytree(minari / source, tmp_path / "elsewhere" / name)
    assert made()[0] != first[0]

"""From policies to feedback, on the real Hopper with the committed policies."""

from pathlib import Path

import pytest
import torch

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

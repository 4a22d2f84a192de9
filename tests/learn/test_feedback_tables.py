"""Feedback of its own for every seed: tables of several members give each seed its own rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy

from aihf_control.data.types import Feedback, Transitions
from aihf_control.errors import InvalidData
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.methods.method import Context
from aihf_control.methods.settings import RLHFConfig
from aihf_control.methods.table import METHODS

SAME = toy.feedback(0)


def own(seed: int) -> Feedback:
    """Of one seed: other demonstrations, as many as the seed says, other pairs; the same held-out pairs."""
    made = toy.feedback(seed)
    shown = made.demonstrations[: 60 + 10 * seed]
    return replace(made, demonstrations=shown, held_out=SAME.held_out, sha256=str(seed))


def test_each_seed_reads_its_own_steps_and_pairs() -> None:
    members = [own(seed) for seed in (1, 2, 3)]
    tables = FeedbackTables(members, 0.9, "cpu")
    rows, numbers = [[0, 5, 100], [1, 2, 3], [7, 7, 179]], [[0, 3], [4, 5], [499, 0]]
    batch, weights = tables.demonstrated.sample(torch.tensor(rows))
    drawn = tables.pairs.pairs(torch.tensor(numbers))
    for member, feedback in enumerate(members):
        shown, chosen = Transitions.from_episodes(feedback.demonstrations), rows[member]
        np.testing.assert_array_equal(batch.observations[member], shown.observations[chosen])
        np.testing.assert_array_equal(batch.actions[member], shown.actions[chosen])
        # two steps an episode: 0.9^t over the number of episodes, times steps over rows drawn
        expected = [0.9 ** (row % 2) / len(feedback.demonstrations) * len(shown) / 3 for row in chosen]
        np.testing.assert_allclose(weights[member], expected, rtol=1e-6)
        for side, segments in (
            (drawn.preferred, feedback.pairs.preferred),
            (drawn.rejected, feedback.pairs.rejected),
        ):
            got = side.steps.actions[member].view(2, 2)
            starts = segments.starts[numbers[member]]
            np.testing.assert_array_equal(got[:, 0], segments.steps.actions[starts, 0])
            np.testing.assert_array_equal(got[:, 1], segments.steps.actions[starts + 1, 0])
    seen = [
        np.concatenate([Transitions.from_episodes(f.demonstrations).observations,
                        f.pairs.preferred.steps.observations])
        for f in members
    ]  # fmt: skip
    np.testing.assert_allclose(tables.observation_mean[:, 0], [o.mean(0) for o in seen], rtol=1e-6)


def test_what_members_share_is_held_once() -> None:
    shared = [replace(own(seed), pairs=SAME.pairs) for seed in (1, 2)]
    tables = FeedbackTables(shared, 1.0, "cpu")
    assert len(tables.pairs.steps._columns[0]) == len(SAME.pairs.preferred.steps)
    assert len(FeedbackTables([SAME] * 3, 1.0, "cpu").demonstrated.weights) == 1


def test_held_out_pairs_and_numbers_of_pairs_must_agree() -> None:
    with pytest.raises(InvalidData, match="held-out pairs of two seeds differ"):
        FeedbackTables([SAME, replace(toy.feedback(1), sha256="1")], 1.0, "cpu")
    fewer = replace(
        SAME.pairs.preferred,
        starts=SAME.pairs.preferred.starts[:9],
        lengths=SAME.pairs.preferred.lengths[:9],
    )
    other = replace(SAME.pairs, preferred=fewer, rejected=fewer, confidence=SAME.pairs.confidence[:9])
    with pytest.raises(InvalidData, match="500, 9 pairs: give each as many"):
        FeedbackTables([SAME, replace(SAME, pairs=other, sha256="1")], 1.0, "cpu")


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.axis != "none"])
def test_a_seed_learns_the_same_beside_seeds_with_other_feedback(name: str) -> None:
    """As one of three, and alone, to the rounding of batched products."""
    settings = replace(toy.SETTINGS, steps=200, rlhf=RLHFConfig(reward_steps=50))
    policies = []
    for seeds in ((1, 2, 3), (2,)):
        tables = FeedbackTables([own(seed) for seed in seeds], 1.0, "cpu")
        method = METHODS[name](Context(toy.TASK, seeds, settings, tables, torch.device("cpu")))
        method.start()
        method.run_round(0, 100)
        actions = method.actor.mode(torch.eye(2).expand(len(seeds), 2, 2)).detach()
        policies.append(actions[seeds.index(2)])
        method.close()
    torch.testing.assert_close(policies[0], policies[1], atol=2e-2, rtol=0)

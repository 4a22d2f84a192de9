"""The weights of the policy's own steps, against sums over trajectories done by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aihf_control.learn.agent_steps import AgentSteps
from aihf_control.learn.replay import Batch
from aihf_control.learn.rollouts import Rollouts

DISCOUNT = 0.5
LENGTHS = ((3, 1, 2), (1, 1, 4))  # of the episodes of two seeds
EXPECTED = (
    # observation = the step's number in the seed's memory; Σ γ^t · number, mean over three episodes
    ((0 + 0.5 * 1 + 0.25 * 2) + 3 + (4 + 0.5 * 5)) / 3,
    (0 + 1 + (2 + 0.5 * 3 + 0.25 * 4 + 0.125 * 5)) / 3,
)


def from_replay() -> AgentSteps:
    """Six consecutive steps a seed; an episode's last step leads where the next row does not begin."""
    numbers = torch.arange(6.0).expand(2, 6)
    following = numbers + 1
    for seed, lengths in enumerate(LENGTHS):
        following[seed, np.cumsum(lengths) - 1] = -7.0
    ones = torch.ones(2, 6)
    steps = Batch(numbers.unsqueeze(-1), -numbers.unsqueeze(-1), ones, following.unsqueeze(-1), ones)
    return AgentSteps.from_replay(steps, DISCOUNT)


def from_rollouts() -> AgentSteps:
    """The same episodes, padded to four steps."""
    observations = np.full((2, 3, 4, 1), 99.0)
    for seed, lengths in enumerate(LENGTHS):
        starts = np.cumsum((0, *lengths))
        for episode, length in enumerate(lengths):
            observations[seed, episode, :length, 0] = starts[episode] + np.arange(length)
    counts = np.array(LENGTHS)
    zeros = np.zeros((2, 3, 4))
    return AgentSteps.from_rollouts(
        Rollouts(observations, -observations, zeros, counts, observations[:, :, 0], zeros[..., 0] > 0),
        DISCOUNT,
        torch.device("cpu"),
    )


@pytest.mark.parametrize("steps", [from_replay(), from_rollouts()], ids=["replay", "rollouts"])
def test_a_draw_of_every_step_gives_the_mean_discounted_sum_of_an_episode(steps: AgentSteps) -> None:
    every = (torch.arange(6, dtype=torch.float64) / 6).expand(2, 6)
    observations, actions, weights = steps.sample(every)
    assert torch.equal(actions, -observations)
    sums: Tensor = (weights * observations.squeeze(-1)).sum(1)
    torch.testing.assert_close(sums, torch.tensor(EXPECTED))


@pytest.mark.parametrize("steps", [from_replay(), from_rollouts()], ids=["replay", "rollouts"])
def test_a_few_steps_estimate_the_same_sum(steps: AgentSteps) -> None:
    draws = torch.rand(2, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    observations, _, weights = steps.sample(draws)
    torch.testing.assert_close(
        (weights * observations.squeeze(-1)).sum(1), torch.tensor(EXPECTED), rtol=0.05, atol=0
    )

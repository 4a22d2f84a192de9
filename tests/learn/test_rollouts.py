"""Rollouts against a plain Gymnasium loop."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from aihf_control.envs.tasks import TASKS
from aihf_control.learn.randomness import derive
from aihf_control.learn.rollouts import Roller, Rollouts

HOPPER = replace(TASKS["hopper"], horizon=30)
SEEDS, EPISODES = (4, 9), 3


def gains() -> Tensor:
    """One linear policy a seed, (S, O, A); Hopper falls under both within some twenty steps."""
    return 0.5 * torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0))


def linear(observations: Tensor) -> Tensor:
    return torch.tanh(torch.einsum("seo,soa->sea", observations, gains()))


def plain_loop(seed: int, episode: int, gain: Tensor) -> tuple[list, list, list, bool]:
    """Observations (one more than the rest), actions, rewards of one episode, as anyone would write it, and
    whether it was terminated."""
    env = gym.make("Hopper-v5", max_episode_steps=HOPPER.horizon)
    observation, _ = env.reset(seed=derive(seed, f"check/{episode}", 2) % 2**31)
    observations, actions, rewards, done = [], [], [], False
    while not done:
        seen = observation.astype(np.float32)
        action = torch.tanh(torch.from_numpy(seen) @ gain).numpy()
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(seen)
        actions.append(action)
        rewards.append(float(reward))
        done = terminated or truncated
    env.close()
    return [*observations, observation.astype(np.float32)], actions, rewards, terminated


def test_rollouts_equal_a_plain_gymnasium_loop_and_are_zero_after_it() -> None:
    roller = Roller(HOPPER, SEEDS, EPISODES, fixed_horizon=False)
    rollouts = roller.play(linear, "check", 2)
    assert rollouts.observations.shape == (2, EPISODES, rollouts.lengths.max(), 11)
    assert len(set(rollouts.lengths.flatten().tolist())) > 1  # or there would be no padding to look at
    for s, seed in enumerate(SEEDS):
        for e in range(EPISODES):
            observations, actions, rewards, terminated = plain_loop(seed, e, gains()[s])
            last = observations.pop()
            length = rollouts.lengths[s, e]
            assert length == len(rewards)
            episode = (rollouts.observations, rollouts.actions, rollouts.rewards)
            for ours, plain in zip(episode, (observations, actions, rewards), strict=True):
                # policies in a batch and alone round differently, and a simulator amplifies it
                np.testing.assert_allclose(ours[s, e, :length], plain, rtol=1e-4, atol=1e-4)
                assert not ours[s, e, length:].any()
            np.testing.assert_allclose(rollouts.final[s, e], last, rtol=1e-4, atol=1e-4)
            assert rollouts.terminated[s, e] == terminated
            assert rollouts.returns[s, e] == pytest.approx(sum(rewards), rel=1e-4)
    assert roller.faults() == [None, None]
    roller.close()


def test_returns_and_valid_by_hand() -> None:
    rewards = np.array([[[1.0, 2.0, 4.0], [8.0, 0.0, 0.0]]], np.float32)
    empty = np.zeros((1, 2, 3, 1), np.float32)
    ended = np.array([[False, True]])
    rollouts = Rollouts(empty, empty, rewards, np.array([[3, 1]]), empty[:, :, 0], ended)
    assert rollouts.returns.tolist() == [[7.0, 8.0]]
    assert rollouts.valid.tolist() == [[[True, True, True], [True, False, False]]]


def test_a_fixed_horizon_plays_a_fallen_robot_to_the_time_limit() -> None:
    roller = Roller(HOPPER, SEEDS, 1, fixed_horizon=True)
    rollouts = roller.play(linear, "check", 2)
    assert rollouts.lengths.tolist() == [[30], [30]]
    assert rollouts.valid.all()
    roller.close()


def test_episodes_depend_on_seed_purpose_round_and_number_alone() -> None:
    short = replace(HOPPER, horizon=2)
    together = Roller(short, SEEDS, 2, fixed_horizon=False)
    alone = Roller(short, SEEDS[1:], 1, fixed_horizon=False)

    def starts(roller: Roller, purpose: str, round: int) -> np.ndarray:
        still = roller.play(lambda o: torch.zeros(*o.shape[:2], 3), purpose, round)
        return still.observations[:, :, 0]

    first = starts(together, "check", 0)
    assert len(np.unique(first.reshape(4, 11), axis=0)) == 4
    np.testing.assert_array_equal(starts(alone, "check", 0)[0, 0], first[1, 0])
    assert not np.array_equal(starts(together, "check", 1), first)
    assert not np.array_equal(starts(together, "rollout", 0), first)
    np.testing.assert_array_equal(starts(together, "check", 0), first)
    together.close()
    alone.close()


@pytest.mark.filterwarnings("ignore:.*The reward is a NaN value")
def test_a_policy_that_is_not_finite_is_a_fault_of_its_seed_alone() -> None:
    roller = Roller(HOPPER, SEEDS, 2, fixed_horizon=False)
    broken = torch.tensor([1.0, torch.nan]).view(2, 1, 1)
    rollouts = roller.play(lambda observations: linear(observations) * broken, "check", 2)
    assert roller.faults() == [None, "the action is not finite"]
    assert np.isfinite(rollouts.returns[0]).all()
    roller.close()

"""The controls, where what they must learn can be worked out by hand."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import toy

from aihf_control.envs.tasks import Task
from aihf_control.learn.rollouts import Roller
from aihf_control.methods.controls import KnownReward
from aihf_control.methods.method import Context
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS

SEEDS = (0, 1)


class Door(gym.Env[np.ndarray, np.ndarray]):
    """A positive action leaves, which ends the episode; its own reward is 100 for leaving."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.ones(1), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        leaves = bool(action[0] > 0)
        return np.ones(1), 100.0 * leaves, leaves, False, {}


gym.register("aihf_toy/Door-v0", entry_point="test_controls:Door")
DOOR = Task("door", "aihf_toy/Door-v0", observation_size=1, action_size=1, can_fall=False, horizon=20)


def trained(name: str, task: Task, settings: Settings, rounds: int) -> KnownReward:
    method = METHODS[name](Context(task, SEEDS, settings, None, torch.device("cpu")))
    assert isinstance(method, KnownReward)
    for round in range(rounds):
        method.run_round(round, settings.round_steps)
    method.close()
    return method


@pytest.mark.parametrize(("name", "length"), [("constant_plus", 20), ("constant_minus", 1)])
def test_plus_stays_and_minus_leaves(name: str, length: int) -> None:
    """Whatever the environment pays: +1 a step is best drawn for ever, −1 a step is best ended at once."""
    method = trained(name, DOOR, toy.SETTINGS, rounds=4)
    roller = Roller(DOOR, SEEDS, 1, fixed_horizon=False)
    with torch.no_grad():
        assert (roller.play(method.actor.mode, "test", 0).lengths == length).all()
    roller.close()


@pytest.mark.parametrize(("name", "sign"), [("constant_plus", 1.0), ("constant_minus", -1.0)])
def test_the_value_counts_the_steps_that_are_left(name: str, sign: float) -> None:
    """Two steps, discount 0.9 and no entropy to speak of: ±1 at the last step and ±(1 + 0.9) at the first."""
    sac = replace(toy.SETTINGS.sac, initial_temperature=1e-6)
    method = trained(name, toy.TASK, replace(toy.SETTINGS, sac=sac), rounds=10)
    states = torch.eye(2).expand(len(SEEDS), 2, 2)
    with torch.no_grad():
        values = method.critic(states, torch.zeros(len(SEEDS), 2, 1))  # (S, twins, states)
    expected = sign * torch.tensor([1.9, 1.0]).expand_as(values)
    torch.testing.assert_close(values, expected, atol=0.15, rtol=0)


def test_the_reward_is_one_number_a_step() -> None:
    method = METHODS["constant_minus"](Context(toy.TASK, SEEDS, toy.SETTINGS, None, torch.device("cpu")))
    assert isinstance(method, KnownReward)
    rewards = method.constant(torch.zeros(2, 5, 2), torch.zeros(2, 5, 1))
    assert rewards.shape == (2, 5) and (rewards == -1).all()
    assert not method.learns_reward and method.reward_model is None
    method.close()

"""A point that is pushed to the origin, as a task of one's own: docs/your_data.md goes on from here."""

import gymnasium as gym
import numpy as np

from aihf_control import Task


class Push(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        self.state = np.concatenate([self.np_random.uniform(-1, 1, 2), np.zeros(2)])
        return self.state.copy(), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        self.state[2:] = 0.9 * self.state[2:] + 0.05 * action
        self.state[:2] += self.state[2:]
        return self.state.copy(), -float(np.abs(self.state[:2]).sum()), False, False, {}


gym.register("mine/Push-v0", f"{__name__}:Push", max_episode_steps=100)
TASK = Task("push", "mine/Push-v0", observation_size=4, action_size=2, can_fall=False, horizon=100)

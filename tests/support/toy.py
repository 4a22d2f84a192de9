"""A two-step environment whose best actions are known, and feedback about it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from aihf_control.data.teacher import Teacher, make_pairs
from aihf_control.data.types import Episode, Feedback, Transitions
from aihf_control.envs.tasks import Task
from aihf_control.learn.cloning import CloningConfig
from aihf_control.learn.reward import RewardConfig
from aihf_control.learn.sac import SACConfig
from aihf_control.methods.settings import (
    AIHFConfig,
    CPLConfig,
    DirectAIHFConfig,
    FromCloneConfig,
    IPLConfig,
    RLHFConfig,
    SelfPlayConfig,
    Settings,
)

BEST = (0.5, -0.5)
"""The action that is worth 0 at each of the two steps; another is worth minus its squared distance."""


class TwoStep(gym.Env[np.ndarray, np.ndarray]):
    """Observes which step it is; ends after the second."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = -((float(action[0]) - BEST[self.step_number]) ** 2)
        self.step_number += 1
        return self._observation(), reward, self.step_number == 2, False, {}

    def _observation(self) -> np.ndarray:
        return np.eye(2)[self.step_number] if self.step_number < 2 else np.zeros(2)


gym.register("aihf_toy/TwoStep-v0", entry_point="toy:TwoStep")
TASK = Task("toy", "aihf_toy/TwoStep-v0", observation_size=2, action_size=1, can_fall=False, horizon=2)

SETTINGS = Settings(
    steps=1_000,
    round_steps=100,
    evaluation_episodes=2,
    sac=SACConfig(hidden=(32, 32), batch_size=64, learning_rate=3e-3, random_steps=100, learning_starts=50,
                  initial_temperature=0.1, polyak=0.05, discount=0.9),
    cloning=CloningConfig(steps=200, batch_size=64, learning_rate=3e-3),
    reward=RewardConfig(hidden=(32, 32), learning_rate=1e-3, rows_per_step=64, lipschitz=3.0,
                        gradient_penalty=20.0, magnitude_penalty=0.1),
    aihf=AIHFConfig(reward_steps=50, rollout_episodes=20, demonstration_weight=2.0),
    rlhf=RLHFConfig(reward_steps=1_500),
    from_clone=FromCloneConfig(divergence_weight=0.05, width=0.3, learning_rate=1e-3, warm_up_steps=100),
    ipl=IPLConfig(pairs_per_update=32, transitions_per_update=64, regularisation=0.1, temperature=0.1,
                  demonstration_share=0.5),
    cpl=CPLConfig(learning_rate=1e-3),
    direct_aihf=DirectAIHFConfig(transitions_per_update=64, learning_rate=1e-3, demonstration_weight=0.3),
    selfplay_aihf=SelfPlayConfig(transitions_per_update=64, learning_rate=1e-3),
)  # fmt: skip


def episodes(
    count: int, means: tuple[float, float], spread: float, rng: np.random.Generator
) -> list[Episode]:
    """Episodes with actions uniform within `spread` of `means`."""
    made = []
    for _ in range(count):
        actions = np.clip(means + rng.uniform(-spread, spread, 2), -1, 1)
        rewards = -((actions - BEST) ** 2)
        observations = np.array([[1, 0], [0, 1], [0, 0]], np.float64)
        made.append(Episode(observations, actions[:, None], rewards, terminated=True))
    return made


def feedback(seed: int = 0) -> Feedback:
    """Demonstrations halfway to the best actions (return near −0.2) and pairs of random episodes (−1.2)."""
    rng = np.random.default_rng(seed)
    shown = episodes(100, (0.25, -0.25), 0.3, rng)
    random, held_out = episodes(400, (0.0, 0.0), 1.0, rng), episodes(100, (0.0, 0.0), 1.0, rng)
    pairs = [
        make_pairs(e, Transitions.from_episodes(e), count=n, length=2, teacher=Teacher(), rng=rng)
        for e, n in ((random, 500), (held_out, 200))
    ]
    return Feedback(tuple(shown), pairs[0], pairs[1], sha256="toy")

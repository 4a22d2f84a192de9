"""Rollouts of S policies in E environments each, in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from aihf_control.randomness import derive
from aihf_control.tasks import Task, make_env

if TYPE_CHECKING:
    import gymnasium as gym

Act = Callable[[Tensor], Tensor]
"""Observations (S, E, O) → actions (S, E, A) in [-1, 1]."""


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of S policies, padded to the longest: `observations` (S, E, T, O), `actions`
    (S, E, T, A), true `rewards` (S, E, T), `lengths` (S, E); padding is zero."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """(S, E) undiscounted true returns."""
        return self.rewards.sum(-1, dtype=np.float64)

    @property
    def valid(self) -> np.ndarray:
        """(S, E, T) whether a step was played."""
        return np.arange(self.rewards.shape[-1]) < self.lengths[..., None]


class Roller:
    """Plays whole episodes, every one from a reset seeded by `(seed, purpose, round, episode)`."""

    def __init__(self, task: Task, seeds: Sequence[int], episodes: int, *, fixed_horizon: bool) -> None:
        self.task, self.seeds, self.episodes = task, tuple(seeds), episodes
        self._envs = [
            [make_env(task, fixed_horizon=fixed_horizon) for _ in range(episodes)] for _ in self.seeds
        ]

    def play(self, act: Act, purpose: str, round: int, device: torch.device | str = "cpu") -> Rollouts:
        """One episode in every environment; environments that are done wait for the others."""
        shape = (len(self.seeds), self.episodes)
        current = np.zeros((*shape, self.task.observation_size), np.float32)
        for (s, e), env in self._each():
            episode_seed = derive(self.seeds[s], f"{purpose}/{e}", round) % 2**31
            current[s, e] = env.reset(seed=episode_seed)[0]
        alive, lengths = np.ones(shape, bool), np.zeros(shape, np.int64)
        columns: tuple[list[np.ndarray], ...] = ([], [], [])
        while alive.any():
            actions = act(torch.from_numpy(current).to(device)).cpu().numpy()
            rewards = np.zeros(shape, np.float32)
            seen = np.where(alive[..., None], current, 0)
            lengths += alive
            for (s, e), env in self._each():
                if alive[s, e]:
                    observation, reward, terminated, truncated, _ = env.step(actions[s, e])
                    current[s, e], rewards[s, e] = observation, reward
                    alive[s, e] = not (terminated or truncated)
            played = np.arange(len(columns[0]), len(columns[0]) + 1) < lengths[..., None]
            for column, values in zip(columns, (seen, np.where(played, actions, 0), rewards), strict=True):
                column.append(values)
        observations, played_actions, true_rewards = (np.stack(column, axis=2) for column in columns)
        return Rollouts(observations, played_actions, true_rewards, lengths)

    def faults(self) -> list[str | None]:
        """The first simulator fault of each seed, if any."""
        faults = ([env.get_wrapper_attr("fault") for env in row] for row in self._envs)
        return [next(filter(None, row), None) for row in faults]

    def close(self) -> None:
        """Close every environment."""
        for _, env in self._each():
            env.close()

    def _each(self) -> Iterator[tuple[tuple[int, int], gym.Env]]:
        return (((s, e), env) for s, row in enumerate(self._envs) for e, env in enumerate(row))

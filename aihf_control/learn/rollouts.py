"""Rollouts of S policies in E environments each, in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aihf_control.envs.backends import make_environments
from aihf_control.envs.tasks import Task
from aihf_control.learn.randomness import derive
from aihf_control.learn.replay import Batch

Act = Callable[[Tensor], Tensor]
"""Observations (S, E, O) → actions (S, E, A) in [-1, 1]."""


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of S policies, padded to the longest: `observations` (S, E, T, O), `actions`
    (S, E, T, A), true `rewards` (S, E, T), `lengths` (S, E); padding is zero. `final` (S, E, O) is each
    episode's last observation, on which nobody acted, and `terminated` (S, E) whether it ended there."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    final: np.ndarray
    terminated: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """(S, E) undiscounted true returns."""
        return self.rewards.sum(-1, dtype=np.float64)

    @property
    def valid(self) -> np.ndarray:
        """(S, E, T) whether a step was played."""
        return np.arange(self.rewards.shape[-1]) < self.lengths[..., None]

    def steps(self, episodes: np.ndarray, times: np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """The transitions at `times` of `episodes`, both (S, B), of each seed; anything where none was."""
        seeds, longest = np.arange(len(episodes))[:, None], self.rewards.shape[-1]
        last = times >= self.lengths[seeds, episodes] - 1
        now, then = np.minimum(times, longest - 1), np.minimum(times + 1, longest - 1)
        here = seeds, episodes, now
        following = np.where(
            last[..., None], self.final[seeds, episodes], self.observations[seeds, episodes, then]
        )
        masks = 1 - (last & self.terminated[seeds, episodes]).astype(np.float32)
        columns = (self.observations[here], self.actions[here], self.rewards[here], following, masks)
        return Batch(*(torch.from_numpy(column).to(device) for column in columns))


class Roller:
    """Plays whole episodes, every one from a reset seeded by `(seed, purpose, round, episode)`."""

    def __init__(
        self,
        task: Task,
        seeds: Sequence[int],
        episodes: int,
        *,
        fixed_horizon: bool,
        environments: str = "serial",
    ) -> None:
        self.task, self.seeds, self.episodes = task, tuple(seeds), episodes
        backend = "workers" if environments == "envpool" else environments  # always Gymnasium's own
        self._envs = make_environments(
            task, len(seeds) * episodes, backend, fixed_horizon=fixed_horizon, autoreset=False
        )

    def play(self, act: Act, purpose: str, round: int, device: torch.device | str = "cpu") -> Rollouts:
        """One episode in every environment; environments that are done wait for the others."""
        shape = (len(self.seeds), self.episodes)
        resets = [
            derive(seed, f"{purpose}/{episode}", round) % 2**31
            for seed in self.seeds
            for episode in range(self.episodes)
        ]
        current = self._envs.reset(resets)
        alive, lengths = np.ones(len(resets), bool), np.zeros(len(resets), np.int64)
        final, terminated = current, np.zeros(len(resets), bool)
        columns: tuple[list[np.ndarray], ...] = ([], [], [])
        while alive.any():
            observations = torch.from_numpy(current.reshape(*shape, -1)).to(device)
            actions = act(observations).cpu().numpy().reshape(len(resets), -1)
            self._envs.begin(actions, alive)
            taken = self._envs.finish()
            lengths += alive
            played = alive[:, None]
            rows = (np.where(played, current, 0), np.where(played, actions, 0), taken.rewards)
            for column, values in zip(columns, rows, strict=True):
                column.append(values.astype(np.float32))
            final = np.where(played, taken.final, final)
            terminated |= alive & taken.terminated
            current, alive = taken.final, alive & ~(taken.terminated | taken.truncated)
        stacked = (np.stack(column, axis=1) for column in columns)
        observed, played_actions, rewards = (column.reshape(*shape, *column.shape[1:]) for column in stacked)
        return Rollouts(
            observed,
            played_actions,
            rewards,
            lengths.reshape(shape),
            final.reshape(*shape, -1),
            terminated.reshape(shape),
        )

    def faults(self) -> list[str | None]:
        """The first simulator fault of each seed, if any."""
        faults = self._envs.faults()
        rows = [faults[i : i + self.episodes] for i in range(0, len(faults), self.episodes)]
        return [next(filter(None, row), None) for row in rows]

    def close(self) -> None:
        """Close every environment."""
        self._envs.close()

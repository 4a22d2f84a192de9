"""Replay memory for S seeds in lockstep, on the learner's device."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B transitions of each of S seeds: `observations` (S, B, O), `actions` (S, B, A), `rewards` (S, B),
    `next_observations` (S, B, O), `masks` (S, B): 0 on termination only."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    masks: Tensor

    @staticmethod
    def joined(*batches: Batch) -> Batch:
        """The transitions of all `batches`, in order."""
        names = (field.name for field in fields(Batch))
        return Batch(*(torch.cat([getattr(batch, name) for batch in batches], dim=1) for name in names))


class ReplayBuffer:
    """A ring of `capacity` steps for each of S seeds, (S, capacity, ·), one row a transition.

    A row packs `observation, next_observation, action, reward, mask`, so that a batch is one gather.
    """

    def __init__(
        self,
        seeds: int,
        capacity: int,
        observations: int,
        actions: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.widths = (observations, observations, actions, 1, 1)
        self.rows = torch.zeros(seeds, capacity, sum(self.widths), device=device)
        self.capacity, self.size, self._next = capacity, 0, 0
        self._offsets = torch.arange(seeds, device=device).unsqueeze(1) * capacity

    @staticmethod
    def columns(
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_observations: np.ndarray,
        masks: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        """One step of every seed, (S, O), (S, A), (S,), (S, O), (S,), as a packed row's parts (S, ·)."""
        return observations, next_observations, actions, rewards[:, None], masks[:, None]

    def extend(self, rows: Tensor) -> None:
        """Append packed rows (S, n, width) of n steps, oldest first."""
        for start in range(0, rows.shape[1], self.capacity):
            block = rows[:, start : start + self.capacity]
            head = min(block.shape[1], self.capacity - self._next)
            self.rows[:, self._next : self._next + head] = block[:, :head]
            self.rows[:, : block.shape[1] - head] = block[:, head:]
            self._next = (self._next + block.shape[1]) % self.capacity
            self.size = min(self.size + block.shape[1], self.capacity)

    def latest(self, count: int) -> Tensor:
        """The last `count` packed rows, oldest first, (S, count, width); `count` ≤ `size`."""
        positions = (self._next - count + torch.arange(count, device=self.rows.device)) % self.capacity
        return self.rows[:, positions]

    def batch(self, rows: Tensor) -> Batch:
        """The transitions at `rows` (S, B), each seed's from its own memory."""
        return self.unpack(self.rows.view(-1, self.rows.shape[-1])[rows + self._offsets])

    def unpack(self, rows: Tensor) -> Batch:
        """Packed rows (S, B, width) as a `Batch`."""
        observations, next_observations, actions, rewards, masks = rows.split(self.widths, dim=-1)
        return Batch(observations, actions, rewards.squeeze(-1), next_observations, masks.squeeze(-1))

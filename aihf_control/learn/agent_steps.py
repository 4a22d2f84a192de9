"""The policy's side of L1 (Lemma 4.1): its own steps, with weights that make sums `E_τ~π[Σ_t γ^t r]`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aihf_control.learn.replay import Batch
from aihf_control.learn.rollouts import Rollouts


@dataclass(frozen=True)
class AgentSteps:
    """Packed `rows` (S, N, O + A + 1) of observation, action and weight, of which each seed's first `counts`
    (S, 1) are real."""

    rows: Tensor
    counts: Tensor
    observation_size: int

    @staticmethod
    def from_rollouts(rollouts: Rollouts, discount: float, device: torch.device) -> AgentSteps:
        """Each seed's episodes weigh the same."""
        seeds, episodes, time = rollouts.rewards.shape
        weights = np.broadcast_to(discount ** np.arange(time) / episodes, (seeds, episodes, time))
        columns = (rollouts.observations, rollouts.actions, weights[..., None])
        packed = np.concatenate([c.reshape(seeds, episodes * time, -1) for c in columns], axis=-1)
        # each seed's played steps first, so that an index below its count is a step of its own
        order = np.argsort(~rollouts.valid.reshape(seeds, -1), axis=1, kind="stable")
        packed = np.take_along_axis(packed, order[..., None], axis=1).astype(np.float32)
        counts = torch.as_tensor(rollouts.lengths.sum(1, keepdims=True), device=device)
        return AgentSteps(torch.as_tensor(packed, device=device), counts, rollouts.observations.shape[-1])

    @staticmethod
    def from_replay(steps: Batch, discount: float) -> AgentSteps:
        """Consecutive steps (S, N, ·) of replay: an episode ends where the next row starts elsewhere."""
        following, observations = steps.next_observations, steps.observations
        starts = torch.ones_like(steps.rewards, dtype=torch.bool)
        starts[:, 1:] = (following[:, :-1] != observations[:, 1:]).any(-1)
        places = torch.arange(starts.shape[1], device=starts.device).expand_as(starts)
        time = places - (places * starts).cummax(1).values
        weights = discount**time / starts.sum(1, keepdim=True)
        rows = torch.cat([observations, steps.actions, weights.unsqueeze(-1).float()], dim=-1)
        return AgentSteps(rows, starts.new_full((len(starts), 1), starts.shape[1], dtype=torch.int64),
                           observations.shape[-1])  # fmt: skip

    def sample(self, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations, actions and unbiased weights of steps drawn by `uniforms` (S, B) in [0, 1)."""
        chosen = (uniforms * self.counts).long().unsqueeze(-1)
        rows = self.rows.gather(1, chosen.expand(*chosen.shape[:2], self.rows.shape[-1]))
        size, width = self.observation_size, self.rows.shape[-1]
        observations, actions, weights = rows.split((size, width - size - 1, 1), dim=-1)
        share = self.counts.float() / uniforms.shape[1]
        return observations, actions, weights.squeeze(-1) * share

"""Feedback on the learner's device, and the minibatches that each seed draws from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aihf_control.data.types import Episode, Feedback, PreferencePairs, Transitions
from aihf_control.learn.replay import Batch

SMALLEST_STD = 1e-3
"""Added to the standard deviation of observations, so that a constant one is no division by zero."""


@dataclass(frozen=True)
class SegmentBatch:
    """P segments of L steps of each of S seeds: `steps` holds (S, P·L, ·) rows, segment by segment,
    and `valid` (S, P, L) is 0 on padding."""

    steps: Batch
    valid: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """(S, P·L) values of the steps → (S, P) undiscounted sums over each segment's real steps."""
        return (values.view(self.valid.shape) * self.valid).sum(-1)


@dataclass(frozen=True)
class PairBatch:
    """P pairs of segments of each of S seeds, with `confidence` (S, P) in the preference."""

    preferred: SegmentBatch
    rejected: SegmentBatch
    confidence: Tensor


class StepTable:
    """`Transitions` as tensors (N, ·) on a device: one copy, which every seed reads."""

    def __init__(self, steps: Transitions, device: torch.device | str) -> None:
        names = ("observations", "actions", "rewards", "next_observations", "masks")
        columns = (torch.as_tensor(getattr(steps, name), device=device) for name in names)
        self._columns = tuple(column.float() for column in columns)

    @staticmethod
    def joined(*tables: StepTable) -> StepTable:
        """The rows of all `tables`, in order."""
        whole = copy.copy(tables[0])
        whole._columns = tuple(torch.cat(c) for c in zip(*(t._columns for t in tables), strict=True))
        return whole

    def __len__(self) -> int:
        return len(self._columns[0])

    def rows(self, indices: Tensor) -> Batch:
        """The rows at `indices` (S, B)."""
        return Batch(*(column[indices] for column in self._columns))


class PairTable:
    """Labelled pairs over a `StepTable` on a device."""

    def __init__(self, pairs: PreferencePairs, device: torch.device | str) -> None:
        self.steps = StepTable(pairs.preferred.steps, device)
        self.confidence = torch.as_tensor(pairs.confidence, device=device, dtype=torch.float32)
        self._sides = tuple(
            tuple(torch.as_tensor(array, device=device) for array in side.rows())
            for side in (pairs.preferred, pairs.rejected)
        )

    def __len__(self) -> int:
        return len(self.confidence)

    def returns(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(S, N) values of the table's steps → (S, pairs) sums of the preferred and the rejected segments."""
        preferred, rejected = ((values[:, rows] * valid).sum(-1) for rows, valid in self._sides)
        return preferred, rejected

    def pairs(self, indices: Tensor) -> PairBatch:
        """The pairs at `indices` (S, P)."""
        sides = []
        for rows, valid in self._sides:
            steps = self.steps.rows(rows[indices].flatten(1))
            sides.append(SegmentBatch(steps, valid[indices].to(steps.rewards.dtype)))
        return PairBatch(sides[0], sides[1], self.confidence[indices])


class Demonstrated:
    """Demonstrated steps on a device, each with its weight in `E_τ[Σ_t γ^t r]` (Lemma 4.1)."""

    def __init__(self, episodes: tuple[Episode, ...], discount: float, device: torch.device | str) -> None:
        self.steps = StepTable(Transitions.from_episodes(episodes), device)
        weights = np.concatenate([discount ** np.arange(len(episode)) for episode in episodes])
        self.weights = torch.as_tensor(weights / len(episodes), device=device, dtype=torch.float32)

    def sample(self, indices: Tensor) -> tuple[Batch, Tensor]:
        """Rows at `indices` (S, B), uniform over the table, and weights (S, B) that make the weighted sum of
        a minibatch an unbiased estimate of the whole sum."""
        share = len(self.weights) / indices.shape[1]
        return self.steps.rows(indices), self.weights[indices] * share


class FeedbackTables:
    """All of a run's feedback on one device."""

    def __init__(self, feedback: Feedback, demonstration_discount: float, device: torch.device | str) -> None:
        self.demonstrated = Demonstrated(feedback.demonstrations, demonstration_discount, device)
        self.pairs = PairTable(feedback.pairs, device)
        self.held_out = PairTable(feedback.held_out, device)
        observations = np.concatenate(
            [
                Transitions.from_episodes(feedback.demonstrations).observations,
                feedback.pairs.preferred.steps.observations,
            ]
        )
        self.observation_mean = torch.as_tensor(observations.mean(0), device=device)
        self.observation_std = torch.as_tensor(observations.std(0) + SMALLEST_STD, device=device)

"""Feedback on the learner's device, and the minibatches that each seed draws from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aihf_control.data.types import Episode, Feedback, PreferencePairs, Transitions
from aihf_control.errors import InvalidData
from aihf_control.learn.replay import Batch

COLUMNS = ("observations", "actions", "rewards", "next_observations", "masks")
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

    def steps(self) -> tuple[Tensor, Tensor]:
        """Observations and actions (S, 2·P·L, ·) of the preferred segments and then of the rejected ones."""
        sides = (self.preferred.steps, self.rejected.steps)
        return (
            torch.cat([side.observations for side in sides], dim=1),
            torch.cat([side.actions for side in sides], dim=1),
        )


class StepTable:
    """`Transitions` as tensors on a device, one table a member: M = 1, which all seeds read, or M = S.

    The members lie end to end in one set of columns; what several of them hold is there once.
    """

    def __init__(self, members: Sequence[Transitions], device: torch.device | str) -> None:
        first: dict[bytes, int] = {}
        kept: list[Transitions] = []
        offsets, total = [], 0
        for member in members:
            content = hashlib.sha256(b"".join(getattr(member, name).tobytes() for name in COLUMNS)).digest()
            if content not in first:
                first[content], total = total, total + len(member)
                kept.append(member)
            offsets.append(first[content])
        columns = (np.concatenate([getattr(member, name) for member in kept]) for name in COLUMNS)
        self._columns = tuple(torch.as_tensor(column, device=device).float() for column in columns)
        self.offsets = torch.tensor(offsets, device=device).unsqueeze(1)
        self.counts = tuple(len(member) for member in members)
        """Steps of each member."""
        self.sizes = torch.tensor(self.counts, device=device).unsqueeze(1)
        """The same, (M, 1), on the device."""

    def rows(self, indices: Tensor) -> Batch:
        """The rows at `indices` (S, B), each seed's counted in its own member."""
        places = indices + self.offsets
        return Batch(*(column[places] for column in self._columns))


class PairTable:
    """Labelled pairs over a `StepTable` on a device, as many for each member."""

    def __init__(self, members: Sequence[PreferencePairs], device: torch.device | str) -> None:
        if len({len(pairs) for pairs in members}) > 1:
            counts = ", ".join(str(len(pairs)) for pairs in members)
            raise InvalidData(f"the seeds have {counts} pairs: give each as many")
        self.steps = StepTable([pairs.preferred.steps for pairs in members], device)
        confidence = np.stack([pairs.confidence for pairs in members])
        self.confidence = torch.as_tensor(confidence, device=device, dtype=torch.float32)
        """(M, pairs)."""
        horizon = max(side.horizon for pairs in members for side in (pairs.preferred, pairs.rejected))
        self._times = torch.arange(horizon, device=device)
        self._sides = tuple(
            tuple(torch.as_tensor(np.stack(column), device=device) for column in zip(*side, strict=True))
            for side in (
                [(pairs.preferred.starts, pairs.preferred.lengths) for pairs in members],
                [(pairs.rejected.starts, pairs.rejected.lengths) for pairs in members],
            )
        )

    def __len__(self) -> int:
        return self.confidence.shape[1]

    def returns(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(S, N) values of the steps of a table of one member → (S, pairs) sums of the preferred and the
        rejected segments."""
        sums = []
        for starts, lengths in self._sides:
            (rows,), (valid,) = self._windows(starts, lengths)
            sums.append((values[:, rows] * valid).sum(-1))
        return sums[0], sums[1]

    def pairs(self, indices: Tensor) -> PairBatch:
        """The pairs at `indices` (S, P)."""
        sides = []
        for starts, lengths in self._sides:
            rows, valid = self._windows(*(self._of(column, indices) for column in (starts, lengths)))
            steps = self.steps.rows(rows.flatten(1))
            sides.append(SegmentBatch(steps, valid.to(steps.rewards.dtype)))
        return PairBatch(sides[0], sides[1], self._of(self.confidence, indices))

    def _windows(self, starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(M, P) starts and lengths → row numbers, padded by a segment's last, and `valid`, (M, P, L)."""
        lengths = lengths.unsqueeze(-1)
        return starts.unsqueeze(-1) + torch.minimum(self._times, lengths - 1), self._times < lengths

    @staticmethod
    def _of(column: Tensor, indices: Tensor) -> Tensor:
        """(M, pairs) → (S, P)."""
        return column.expand(len(indices), -1).gather(1, indices)


class Demonstrated:
    """Demonstrated steps on a device, each with its weight in `E_τ[Σ_t γ^t r]` (Lemma 4.1)."""

    def __init__(
        self, members: Sequence[tuple[Episode, ...]], discount: float, device: torch.device | str
    ) -> None:
        self.steps = StepTable([Transitions.from_episodes(episodes) for episodes in members], device)
        weights = np.zeros((len(members), max(self.steps.counts)), np.float32)
        for row, episodes in zip(weights, members, strict=True):
            each = np.concatenate([discount ** np.arange(len(episode)) for episode in episodes])
            row[: len(each)] = each / len(episodes)
        self.weights = torch.as_tensor(weights, device=device)
        """(M, N), 0 beyond a member's steps."""

    def sample(self, indices: Tensor) -> tuple[Batch, Tensor]:
        """Rows at `indices` (S, B), uniform over the table, and weights (S, B) that make the weighted sum of
        a minibatch an unbiased estimate of the whole sum."""
        weights = self.weights.expand(len(indices), -1).gather(1, indices)
        return self.steps.rows(indices), weights * (self.steps.sizes / indices.shape[1])


class FeedbackTables:
    """All of a batch's feedback on one device: one for all seeds, or one for each, in their order.

    The held-out pairs are the same for all, or `InvalidData` is raised: they compare the seeds.
    """

    def __init__(
        self,
        feedback: Feedback | Sequence[Feedback],
        demonstration_discount: float,
        device: torch.device | str,
    ) -> None:
        members = [feedback] if isinstance(feedback, Feedback) else list(feedback)
        if len({member.sha256 for member in members}) == 1:
            members = members[:1]
        first = members[0].held_out
        if not all(_same_pairs(first, member.held_out) for member in members):
            raise InvalidData("the held-out pairs of two seeds differ: they must be the same for all")
        self.demonstrated = Demonstrated([m.demonstrations for m in members], demonstration_discount, device)
        self.pairs = PairTable([member.pairs for member in members], device)
        self.held_out = PairTable([first], device)
        observations = [
            np.concatenate(
                [
                    Transitions.from_episodes(member.demonstrations).observations,
                    member.pairs.preferred.steps.observations,
                ]
            )
            for member in members
        ]
        means = np.stack([seen.mean(0) for seen in observations])[:, None]
        stds = np.stack([seen.std(0) for seen in observations])[:, None]
        self.observation_mean = torch.as_tensor(means, device=device)
        """(M, 1, O), of all that a seed may learn from."""
        self.observation_std = torch.as_tensor(stds, device=device) + SMALLEST_STD


def _same_pairs(first: PreferencePairs, other: PreferencePairs) -> bool:
    return first is other or (
        np.array_equal(first.preferred.starts, other.preferred.starts)
        and np.array_equal(first.rejected.starts, other.rejected.starts)
        and np.array_equal(first.confidence, other.confidence)
        and np.array_equal(first.preferred.steps.observations, other.preferred.steps.observations)
        and np.array_equal(first.preferred.steps.actions, other.preferred.steps.actions)
    )

"""The data every method learns from: frozen NumPy containers, validated once, when they are made.

Shapes use `T` steps of an episode, `N` steps of a table, `P` segments or pairs, `O` observation
and `A` action dimensions. Observations are in the units of the environment, actions in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aihf_control.arrays import Floats, Integers, require_finite, require_shape
from aihf_control.envs.actions import ActionRange
from aihf_control.errors import InvalidData

ACTION_SLACK = 1.1e-5
"""By which an action from outside may leave [-1, 1], as float32's 1.00001 does, before it is clipped."""


def clip_actions(name: str, actions: NDArray[Any], bounds: ActionRange) -> tuple[Floats, int]:
    """Actions (…, A) from outside in float64, from their own bounds to [-1, 1] and clipped there, and how
    many numbers were. Raises `InvalidData`, naming the first index, for one beyond that is no rounding."""
    given = np.asarray(actions, dtype=np.float64)
    unit, beyond = bounds.unit(given), (given < bounds.low) | (given > bounds.high)
    if (far := np.abs(unit) > 1.0 + ACTION_SLACK).any():
        index = tuple(int(i) for i in np.argwhere(far)[0])
        raise InvalidData(f"{name}{list(index)} is {given[index]}, outside of the actions' range, {bounds}")
    return unit.clip(-1.0, 1.0), int(beyond.sum())


def clipped_words(count: int, of: int) -> str:
    """For people, how many numbers of how many `clip_actions` has changed."""
    return f"{count} of {of} action numbers, beyond [-1, 1] by at most {ACTION_SLACK}, are clipped"


@dataclass(frozen=True)
class Episode:
    """One episode of `T` ≥ 1 steps: `observations` (T+1, O), `actions` (T, A), `rewards` (T,).

    `terminated` tells whether the environment ended it (as opposed to a time limit or a cut).
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    terminated: bool

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0:
            raise InvalidData("actions is empty: an episode needs at least one step")
        require_shape("observations", self.observations, (steps + 1, None))
        require_shape("actions", self.actions, (steps, None))
        require_shape("rewards", self.rewards, (steps,))
        for name in ("observations", "actions", "rewards"):
            require_finite(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of the true rewards."""
        return float(self.rewards.sum())


@dataclass(frozen=True)
class Transitions:
    """A table of `N` steps in float32: `observations`, `next_observations` (N, O), `actions` (N, A),
    true `rewards` (N,) and `masks` (N,): 0 where the environment terminated, else 1.

    `next_observations` is the final observation of its step, never the one after a reset.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    next_observations: Floats
    masks: Floats

    def __post_init__(self) -> None:
        steps = len(self.actions)
        require_shape("observations", self.observations, (steps, None))
        require_shape("actions", self.actions, (steps, None))
        require_shape("rewards", self.rewards, (steps,))
        require_shape("next_observations", self.next_observations, self.observations.shape)
        require_shape("masks", self.masks, (steps,))
        for name in ("observations", "actions", "rewards", "next_observations", "masks"):
            require_finite(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.actions)

    @staticmethod
    def from_episodes(episodes: Sequence[Episode]) -> Transitions:
        """Lay `episodes` end to end, in order."""
        if not episodes:
            raise InvalidData("no episodes")
        masks = [np.ones(len(episode)) for episode in episodes]
        for mask, episode in zip(masks, episodes, strict=True):
            mask[-1] = 0.0 if episode.terminated else 1.0
        columns = (
            [episode.observations[:-1] for episode in episodes],
            [episode.actions for episode in episodes],
            [episode.rewards for episode in episodes],
            [episode.observations[1:] for episode in episodes],
            masks,
        )
        return Transitions(*(np.concatenate(column).astype(np.float32) for column in columns))

    @staticmethod
    def concatenate(tables: Sequence[Transitions]) -> Transitions:
        """One table out of several of the same widths."""
        names = ("observations", "actions", "rewards", "next_observations", "masks")
        return Transitions(*(np.concatenate([getattr(t, name) for t in tables]) for name in names))


@dataclass(frozen=True)
class Segments:
    """`P` windows into the table `steps`: rows `starts[i] … starts[i] + lengths[i] - 1`.

    Windows never cross an episode's end, so the next observation of a window's last step is
    `steps.next_observations` of its last row. A window shorter than `horizon` is padded when it is
    gathered, and `valid` (below) marks the real steps.
    """

    steps: Transitions
    starts: Integers
    lengths: Integers
    horizon: int

    def __post_init__(self) -> None:
        require_shape("lengths", self.lengths, self.starts.shape)
        bad = (self.lengths < 1) | (self.lengths > self.horizon) | (self.starts < 0)
        bad |= self.starts + self.lengths > len(self.steps)
        if bad.any():
            first = int(np.argmax(bad))
            raise InvalidData(
                f"segment {first} covers rows {self.starts[first]} to "
                f"{self.starts[first] + self.lengths[first]} of a table of {len(self.steps)}, "
                f"and segments have 1 to {self.horizon} steps"
            )

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self) -> tuple[Integers, NDArray[np.bool_]]:
        """Row numbers and `valid`, both (P, horizon); padding repeats a segment's last row."""
        offsets = np.arange(self.horizon)
        valid = offsets < self.lengths[:, None]
        return self.starts[:, None] + np.minimum(offsets, self.lengths[:, None] - 1), valid

    def returns(self) -> Floats:
        """(P,) undiscounted sums of the true reward, in float64."""
        sums = np.concatenate([[0.0], np.cumsum(self.steps.rewards, dtype=np.float64)])
        return sums[self.starts + self.lengths] - sums[self.starts]


@dataclass(frozen=True)
class PreferencePairs:
    """`P` labelled pairs over one table: `preferred[i]` was chosen over `rejected[i]`.

    `confidence` (P,) in [½, 1] is the probability given to that choice: 1 for a plain label, ½ for
    two segments called equal.
    """

    preferred: Segments
    rejected: Segments
    confidence: Floats

    def __post_init__(self) -> None:
        if self.preferred.steps is not self.rejected.steps:
            raise InvalidData("preferred and rejected segments must be cut from the same table")
        require_shape("rejected.starts", self.rejected.starts, self.preferred.starts.shape)
        require_shape("confidence", self.confidence, self.preferred.starts.shape)
        bad = ~((self.confidence >= 0.5) & (self.confidence <= 1.0))
        if bad.any():
            first = int(np.argmax(bad))
            raise InvalidData(f"confidence[{first}] is {self.confidence[first]}, outside [0.5, 1]")

    def __len__(self) -> int:
        return len(self.preferred)


@dataclass(frozen=True)
class Feedback:
    """Everything a method may learn from, and the pairs it may not.

    `demonstrations` are whole episodes; `pairs` are over the table of the preference tiers;
    `held_out` pairs come from episodes in neither. `sha256` names the files it was read from.
    """

    demonstrations: tuple[Episode, ...]
    pairs: PreferencePairs
    held_out: PreferencePairs
    sha256: str

    @property
    def demonstrations_return(self) -> float:
        """Mean undiscounted true return of a demonstration."""
        return float(np.mean([episode.episode_return for episode in self.demonstrations]))

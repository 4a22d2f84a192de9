"""Preference pairs: cut segments out of episodes and label them with a simulated teacher.

The teacher is B-Pref's (Lee et al. 2021, "B-Pref: Benchmarking Preference-Based Reinforcement
Learning", §4): it knows the true reward and errs in stated ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from tyro.conf import arg

from aihf_control.arrays import Floats, Integers
from aihf_control.bounds import NotNegative, PositiveShare, Share, require_within
from aihf_control.data.types import Episode, PreferencePairs, Segments, Transitions
from aihf_control.errors import InvalidData

DRAWS_PER_PAIR = 100
"""How many pairs are offered for each pair wanted before a teacher who skips is given up on."""


@dataclass(frozen=True)
class Teacher:
    """A simulated teacher; the default one always prefers the higher true return.

    Skips and ties look at the undiscounted segment return, in the task's reward units. B-Pref sets
    both thresholds to a share of the average segment return of the policy at hand.
    """

    temperature: NotNegative = 0.0
    """0 is noiseless; else P(first preferred) = σ(Δ / (temperature · s)), with Δ the difference of the
    two returns and s the standard deviation of Δ over the pairs labelled together."""
    mistake: Annotated[Share, arg(name="label-error", prefix_name=False)] = 0.0
    """Probability that a choice is flipped; ties are not."""
    equal_threshold: NotNegative = 0.0
    """Two returns closer than this are called equal; 0 calls only exact ties equal, if noiseless."""
    skip_threshold: NotNegative = 0.0
    """A pair is skipped when neither return is above this; 0 skips nothing."""
    myopic_discount: PositiveShare = 1.0
    """Choices weigh step t of an H-step segment by myopic_discount^(H-1-t): the last steps count most."""

    def __post_init__(self) -> None:
        require_within(self, "feedback.teacher")


def cut_segments(
    episodes: Sequence[Episode], steps: Transitions, count: int, length: int, rng: np.random.Generator
) -> Segments:
    """Cut `count` windows of `length` steps, uniform over all valid start positions, with replacement.

    `steps` must be `Transitions.from_episodes(episodes)`. A window never crosses an episode's end; an
    episode shorter than `length` has one position and is taken whole. Raises `InvalidData`.
    """
    if length < 1:
        raise InvalidData(f"segment length is {length}, must be at least 1")
    lengths = np.array([len(episode) for episode in episodes], dtype=np.int64)
    if not len(lengths) or lengths.sum() != len(steps):
        raise InvalidData(f"the table has {len(steps)} steps, its {len(lengths)} episodes {lengths.sum()}")
    ends = np.cumsum(lengths)
    positions = np.maximum(lengths - length + 1, 1)
    last = np.cumsum(positions)
    draw = rng.integers(last[-1], size=count)
    episode = np.searchsorted(last, draw, side="right")
    starts = (ends - lengths)[episode] + draw - (last - positions)[episode]
    return Segments(steps, starts, np.minimum(lengths, length)[episode], length)


def label(first: Segments, second: Segments, teacher: Teacher, rng: np.random.Generator) -> PreferencePairs:
    """Let `teacher` compare `first[i]` with `second[i]`; pairs that it skips are left out.

    The order within a pair carries no information in the result. Raises `InvalidData` when the two
    are not cut from one table or have different counts.
    """
    kept = _answered(first, second, teacher)
    first, second = _take(first, kept), _take(second, kept)
    difference = _myopic_returns(first, teacher) - _myopic_returns(second, teacher)
    prefers_first = rng.random(len(difference)) < _probability(difference, teacher.temperature)
    prefers_first ^= rng.random(len(difference)) < teacher.mistake

    equal = np.abs(first.returns() - second.returns()) < teacher.equal_threshold
    if teacher.temperature == 0.0:
        equal |= difference == 0.0
    return PreferencePairs(
        preferred=_choose(prefers_first, first, second),
        rejected=_choose(prefers_first, second, first),
        confidence=np.where(equal, 0.5, 1.0),
    )


def make_pairs(
    episodes: Sequence[Episode],
    steps: Transitions,
    *,
    count: int,
    length: int,
    teacher: Teacher,
    rng: np.random.Generator,
) -> PreferencePairs:
    """`count` labelled pairs of segments from one pool of episodes, drawing on while `teacher` skips.

    Raises `InvalidData` when the teacher answers fewer than `count` of `DRAWS_PER_PAIR · count` pairs.
    """
    if count < 1:
        raise InvalidData(f"the number of pairs is {count}, must be at least 1")
    drawn: list[tuple[Segments, Segments]] = []
    for _ in range(DRAWS_PER_PAIR):
        first = cut_segments(episodes, steps, count, length, rng)
        second = cut_segments(episodes, steps, count, length, rng)
        kept = _answered(first, second, teacher)
        drawn.append((_take(first, kept), _take(second, kept)))
        answered = sum(len(one) for one, _ in drawn)
        if answered >= count:
            break
    else:
        raise InvalidData(
            f"the teacher answered {answered} of {DRAWS_PER_PAIR * count} pairs and {count} are wanted: "
            f"lower skip_threshold={teacher.skip_threshold}"
        )
    # Labelled together, so that the temperature has one scale for all pairs.
    first, second = (_join([pair[side] for pair in drawn], count) for side in (0, 1))
    return label(first, second, teacher, rng)


def _answered(first: Segments, second: Segments, teacher: Teacher) -> NDArray[np.bool_]:
    """(P,) which pairs are not skipped: B-Pref answers when the better return is above its threshold."""
    if first.steps is not second.steps or len(first) != len(second):
        raise InvalidData("first and second segments must be cut from the same table, one for one")
    if teacher.skip_threshold == 0.0:
        return np.ones(len(first), dtype=bool)
    return np.maximum(first.returns(), second.returns()) > teacher.skip_threshold


def _myopic_returns(segments: Segments, teacher: Teacher) -> Floats:
    """(P,) true returns as the teacher weighs them, in float64."""
    if teacher.myopic_discount == 1.0:
        return segments.returns()
    rows, valid = segments.rows()
    steps_to_go = np.maximum(segments.lengths[:, None] - 1 - np.arange(segments.horizon), 0)
    weights = valid * teacher.myopic_discount**steps_to_go
    returns: Floats = np.sum(weights * segments.steps.rewards[rows], axis=1)
    return returns


def _probability(difference: Floats, temperature: float) -> Floats:
    """(P,) Bradley–Terry probability that the first of a pair is preferred."""
    scale = temperature * float(np.std(difference)) if len(difference) else 0.0
    if scale == 0.0:
        return np.heaviside(difference, 0.5)
    return 0.5 * (1.0 + np.tanh(difference / (2.0 * scale)))  # σ, without overflow


def _take(segments: Segments, kept: NDArray[np.bool_]) -> Segments:
    return replace(segments, starts=segments.starts[kept], lengths=segments.lengths[kept])


def _choose(condition: NDArray[np.bool_], one: Segments, other: Segments) -> Segments:
    starts: Integers = np.where(condition, one.starts, other.starts)
    return replace(one, starts=starts, lengths=np.where(condition, one.lengths, other.lengths))


def _join(parts: Sequence[Segments], count: int) -> Segments:
    starts = np.concatenate([part.starts for part in parts])[:count]
    return replace(parts[0], starts=starts, lengths=np.concatenate([part.lengths for part in parts])[:count])

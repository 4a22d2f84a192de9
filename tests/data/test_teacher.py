"""Segments and simulated teachers, against sums and probabilities worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aihf_control.data.teacher import Teacher, cut_segments, label, make_pairs
from aihf_control.data.types import Episode, Segments, Transitions
from aihf_control.errors import InvalidChoice, InvalidData


def episode(rewards: Sequence[float], number: int = 0, terminated: bool = True) -> Episode:
    """Observations are (episode number, time), so that a row tells where it came from."""
    steps = len(rewards)
    observations = np.stack([np.full(steps + 1, float(number)), np.arange(steps + 1.0)], axis=1)
    return Episode(observations, np.zeros((steps, 1)), np.array(rewards, dtype=float), terminated)


def one_step_segments(returns: Sequence[float], steps: Transitions | None = None) -> Segments:
    """Segments of one step each, with the given returns, on one table of one-step episodes."""
    table = steps or Transitions.from_episodes([episode([value]) for value in returns])
    rows = [int(np.flatnonzero(table.rewards == np.float32(value))[0]) for value in returns]
    return Segments(table, np.array(rows), np.ones(len(rows), dtype=np.int64), horizon=1)


def pairs_of(first: Sequence[float], second: Sequence[float]) -> tuple[Segments, Segments]:
    table = Transitions.from_episodes([episode([value]) for value in sorted({*first, *second})])
    return one_step_segments(first, table), one_step_segments(second, table)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 8), st.integers(0, 2**31))
def test_segments_stay_within_their_episode(lengths: list[int], length: int, seed: int) -> None:
    episodes = [episode([0.0] * steps, number) for number, steps in enumerate(lengths)]
    segments = cut_segments(episodes, Transitions.from_episodes(episodes), 50, length, rng(seed))
    rows, valid = segments.rows()
    number = segments.steps.observations[rows, 0].astype(int)
    time = segments.steps.observations[rows, 1]
    assert (number == number[:, :1]).all()
    assert (valid.sum(axis=1) == np.minimum(np.array(lengths)[number[:, 0]], length)).all()
    assert (np.diff(time, axis=1)[valid[:, 1:]] == 1.0).all(), "real steps follow one another"
    assert (np.diff(time, axis=1)[~valid[:, 1:]] == 0.0).all(), "padding repeats the last step"
    assert (segments.steps.next_observations[rows, 0] == number).all()


def test_windows_are_uniform_over_valid_starts() -> None:
    episodes = [episode([0.0] * steps, number) for number, steps in enumerate((2, 5, 7))]
    segments = cut_segments(episodes, Transitions.from_episodes(episodes), 9_000, 5, rng())
    starts, counts = np.unique(segments.starts, return_counts=True)
    # The short episode whole; the second has one window of 5, the third three (rows 7, 8 and 9).
    assert starts.tolist() == [0, 2, 7, 8, 9]
    assert set(segments.lengths[segments.starts == 0]) == {2}
    spread = np.sqrt(9_000 * 0.2 * 0.8)
    assert (np.abs(counts - 1_800) < 4 * spread).all()


def test_table_of_other_episodes_is_refused() -> None:
    steps = Transitions.from_episodes([episode([0.0] * 5)])
    with pytest.raises(InvalidData, match="table has 5 steps, its 1 episodes 4"):
        cut_segments([episode([0.0] * 4)], steps, 3, 2, rng())


def test_the_default_teacher_prefers_the_higher_return_and_says_ties() -> None:
    first, second = pairs_of([1.0, 5.0, 3.0], [2.0, 4.0, 3.0])
    pairs = label(first, second, Teacher(), rng())
    assert pairs.preferred.returns().tolist() == [2.0, 5.0, 3.0]
    assert pairs.rejected.returns().tolist() == [1.0, 4.0, 3.0]
    assert pairs.confidence.tolist() == [1.0, 1.0, 0.5]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_bradley_terry_frequencies(temperature: float) -> None:
    """With differences ±1 and ±3 in equal numbers, their standard deviation is √5."""
    differences = np.tile([1.0, -1.0, 3.0, -3.0], 10_000)
    first, second = pairs_of(differences.tolist(), [0.0] * len(differences))
    pairs = label(first, second, Teacher(temperature=temperature), rng())
    chose_first = pairs.preferred.starts == first.starts
    for difference in (1.0, -1.0, 3.0, -3.0):
        expected = 1.0 / (1.0 + np.exp(-difference / (temperature * np.sqrt(5.0))))
        seen = chose_first[differences == difference].mean()
        assert abs(seen - expected) < 4.0 * np.sqrt(expected * (1.0 - expected) / 10_000)
    assert (pairs.confidence == 1.0).all()


def test_mistakes_flip_their_share_of_choices() -> None:
    first, second = pairs_of([1.0] * 10_000, [0.0] * 10_000)
    pairs = label(first, second, Teacher(mistake=0.2), rng())
    assert abs(np.mean(pairs.preferred.returns() == 0.0) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 10_000)
    always = label(first, second, Teacher(mistake=1.0), rng())
    assert (always.preferred.returns() == 0.0).all()


def test_equal_and_skip_thresholds() -> None:
    first, second = pairs_of([1.0, 1.0, 4.0, 8.0], [2.0, 3.0, 5.5, 6.0])
    pairs = label(first, second, Teacher(equal_threshold=2.0), rng())
    assert pairs.confidence.tolist() == [0.5, 1.0, 0.5, 1.0], "strictly closer than 2 is equal"
    kept = label(first, second, Teacher(skip_threshold=3.0), rng())
    assert kept.preferred.returns().tolist() == [5.5, 8.0], "skipped unless one return is above 3"


def test_myopic_teacher_weighs_the_last_steps() -> None:
    early, late = episode([10.0, 0.0, 0.0], 0), episode([0.0, 0.0, 4.0], 1)
    short = episode([3.0], 2)
    steps = Transitions.from_episodes([early, late, short])
    first = Segments(steps, np.array([0, 3]), np.array([3, 3]), horizon=3)
    second = Segments(steps, np.array([3, 6]), np.array([3, 1]), horizon=3)
    # γ = ½: early is worth 10/4 = 2.5, late 4, the one-step segment 3.
    pairs = label(first, second, Teacher(myopic_discount=0.5), rng())
    assert pairs.preferred.starts.tolist() == [3, 3]
    assert label(first, second, Teacher(), rng()).preferred.starts.tolist() == [0, 3]


def test_make_pairs_draws_on_until_enough_are_answered() -> None:
    episodes = [episode([0.0, 1.0] * 20)]
    steps = Transitions.from_episodes(episodes)
    teacher = Teacher(skip_threshold=0.5)
    pairs = make_pairs(episodes, steps, count=400, length=1, teacher=teacher, rng=rng())
    assert len(pairs) == 400
    assert (pairs.preferred.returns() == 1.0).all()
    with pytest.raises(InvalidData, match=r"answered 0 of 1000 pairs and 10 are wanted: lower skip_thresh"):
        make_pairs(
            episodes, steps, count=10, length=1, teacher=replace(teacher, skip_threshold=2.0), rng=rng()
        )


def test_the_same_generator_gives_the_same_pairs() -> None:
    episodes = [episode(rng(3).random(30).tolist())]
    steps = Transitions.from_episodes(episodes)
    teacher = Teacher(temperature=1.0, mistake=0.1)
    one, same, other = (
        make_pairs(episodes, steps, count=50, length=4, teacher=teacher, rng=rng(seed)) for seed in (7, 7, 8)
    )
    assert np.array_equal(one.preferred.starts, same.preferred.starts)
    assert not np.array_equal(one.preferred.starts, other.preferred.starts)


@pytest.mark.parametrize(
    "teacher",
    [{"temperature": -1.0}, {"mistake": 1.5}, {"myopic_discount": 0.0}, {"skip_threshold": float("nan")}],
)
def test_a_wrong_teacher_is_named(teacher: dict[str, float]) -> None:
    with pytest.raises(InvalidChoice, match=f"teacher.{next(iter(teacher))}".replace("_", "-") + " is"):
        Teacher(**teacher)

"""Statistics against matrices worked by hand, against SciPy, and against known coverage."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from aihf_control.errors import InvalidData
from aihf_control.statistics import (
    aggregate_interquartile_mean,
    area_under_curve,
    exact_p,
    final_score,
    improvement_interval,
    interquartile_mean,
    mean_improvement_interval,
    performance_profile,
    pooled_bootstrap,
    probability_of_improvement,
    seed_interval,
    steps_to,
    stratified_bootstrap,
)


def test_interquartile_mean_by_hand() -> None:
    eight = np.array([100.0, 1, 2, 3, 4, 5, 6, -100])
    assert interquartile_mean(eight) == 3.5  # sorted: -100 1 | 2 3 4 5 | 6 100
    assert interquartile_mean(np.array([0.0, 1, 5])) == 2.0  # under 4 values nothing is cut
    assert interquartile_mean(np.array([0.0, 1, 5, 90])) == 3.0
    assert interquartile_mean(np.arange(10.0)) == 4.5  # the middle six


def test_interquartile_mean_over_chosen_axes() -> None:
    scores = np.array([[0.0, 10], [1, 20], [2, 30], [9, 90]])
    np.testing.assert_allclose(interquartile_mean(scores, 0), [1.5, 25.0])
    # all eight together: 0 1 | 2 9 10 20 | 30 90
    assert interquartile_mean(scores, (0, 1)) == interquartile_mean(scores) == 41 / 4
    curves = np.stack([scores, scores + 100], axis=2)
    np.testing.assert_allclose(aggregate_interquartile_mean(curves[None])[0], [41 / 4, 100 + 41 / 4])


def test_bootstrap_resamples_within_a_task_only() -> None:
    # Runs of a task are alike, tasks differ: within-task resampling cannot change anything.
    scores = np.tile([1.0, 50.0, 7.0], (6, 1))
    interval = stratified_bootstrap(
        scores, lambda draws: draws.mean(axis=(1, 2)), np.random.default_rng(0), resamples=50
    )
    assert interval.estimate == interval.low == interval.high == pytest.approx(58 / 3)


def test_bootstrap_draws_tasks_independently() -> None:
    # Column 1 is minus column 0: with the same rows drawn in both, every sample's sum would be zero.
    column = np.arange(8.0)
    scores = np.stack([column, -column], axis=1)
    interval = stratified_bootstrap(scores, lambda draws: draws.sum(axis=(1, 2)), np.random.default_rng(0))
    assert interval.estimate == 0.0
    assert interval.low < -1 and interval.high > 1


def test_bootstrap_keeps_a_runs_points_together() -> None:
    # Point 1 is minus point 0 in every run: if whole runs are drawn, every sample's sum is zero.
    curve = np.random.default_rng(1).normal(size=(8, 1, 1))
    scores = np.concatenate([curve, -curve], axis=2)
    total = stratified_bootstrap(scores, lambda draws: draws.sum(axis=(1, 2, 3)), np.random.default_rng(0))
    assert abs(total.low) < 1e-12 and abs(total.high) < 1e-12
    band = stratified_bootstrap(scores, aggregate_interquartile_mean, np.random.default_rng(0))
    assert band.low.shape == (2,)
    np.testing.assert_allclose(band.low[0], -band.high[1])


def test_bootstrap_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(2).normal(size=(6, 2, 3))
    whole = stratified_bootstrap(scores, aggregate_interquartile_mean, np.random.default_rng(0), 100)
    monkeypatch.setattr("aihf_control.statistics._BLOCK_FLOATS", 7 * scores.size)
    blocks = stratified_bootstrap(scores, aggregate_interquartile_mean, np.random.default_rng(0), 100)
    np.testing.assert_array_equal(whole.low, blocks.low)
    np.testing.assert_array_equal(whole.high, blocks.high)


def test_same_seed_same_interval() -> None:
    scores = np.random.default_rng(3).normal(size=(10, 2))
    first, again, other = (
        stratified_bootstrap(scores, aggregate_interquartile_mean, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for repetition in range(200):
        scores = np.random.default_rng(repetition).normal(size=(30, 1))
        rng = np.random.default_rng(10_000 + repetition)
        interval = stratified_bootstrap(scores, aggregate_interquartile_mean, rng, resamples=300)
        covered += bool(interval.low <= 0.0 <= interval.high)
    assert 0.90 <= covered / 200 <= 0.99  # 0.95 ± 3.2 standard errors of 200 repetitions


def test_bootstrap_names_a_bad_score() -> None:
    with pytest.raises(InvalidData, match=r"scores\[1, 0\] is nan"):
        stratified_bootstrap(
            np.array([[0.0], [np.nan]]), aggregate_interquartile_mean, np.random.default_rng(0)
        )


def test_few_seeds_get_their_range() -> None:
    four = seed_interval(np.array([[0.0, 4], [1, 3], [5, 2], [90, 1]]), np.random.default_rng(0))
    np.testing.assert_array_equal(four.estimate, [3.0, 2.5])
    np.testing.assert_array_equal(four.low, [0.0, 1.0])
    np.testing.assert_array_equal(four.high, [90.0, 4.0])
    five = np.array([0.0, 1, 5, 6, 90])
    interval = seed_interval(five, np.random.default_rng(0))
    expected = stratified_bootstrap(five[:, None], aggregate_interquartile_mean, np.random.default_rng(0))
    assert (interval.low, interval.high) == (expected.low, expected.high)
    assert interval.estimate == 4.0


def test_probability_of_improvement_by_hand() -> None:
    x, y = np.array([[3.0], [1.0]]), np.array([[2.0], [1.0], [0.0]])
    # 3 beats all three; 1 loses, ties and wins: (3 + 1.5) / 6
    assert probability_of_improvement(x, y) == 0.75
    assert probability_of_improvement(x, x) == 0.5
    two_tasks = np.hstack([x, [[0.0], [0.0]]]), np.hstack([y, [[1.0], [1.0], [1.0]]])
    assert probability_of_improvement(*two_tasks) == 0.375  # 0.75 in one task, 0 in the other


def test_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 6, (7, 3)).astype(float), rng.integers(0, 6, (5, 3)).astype(float)
    per_task = [mannwhitneyu(x[:, task], y[:, task]).statistic / 35 for task in range(3)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(per_task))


def test_improvement_interval() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(1.0, 1.0, (10, 2)), rng.normal(0.0, 1.0, (12, 2))
    interval = improvement_interval(x, y, np.random.default_rng(0))
    assert interval.estimate == probability_of_improvement(x, y)
    assert 0.0 <= interval.low < interval.estimate < interval.high <= 1.0
    apart = improvement_interval(x + 100, y, np.random.default_rng(0))
    assert apart.low == apart.high == 1.0
    with pytest.raises(InvalidData, match="x has 2 tasks, y has 1"):
        improvement_interval(x, y[:, :1], np.random.default_rng(0))


def test_pooled_bootstrap_by_hand() -> None:
    # all nine together: -9 1 | 2 3 4 5 6 | 7 90, of which the middle five count
    groups = [np.array([90.0, 1, 3, 5]), np.array([7.0, 2, 4, 6, -9])]
    interval = pooled_bootstrap(groups, aggregate_interquartile_mean, np.random.default_rng(0))
    assert interval.estimate == 4.0 and interval.low < 4.0 < interval.high
    # runs of a task are alike: resampling within tasks changes nothing, across tasks it would
    alike = [np.full(3, 1.0), np.full(5, 50.0)]
    fixed = pooled_bootstrap(alike, lambda draws: draws.mean(axis=(1, 2)), np.random.default_rng(0))
    assert fixed.estimate == fixed.low == fixed.high == (3 + 250) / 8
    with pytest.raises(InvalidData, match=r"scores of task 1 have shape \(0,\)"):
        pooled_bootstrap([groups[0], np.empty(0)], aggregate_interquartile_mean, np.random.default_rng(0))


def test_pooled_bootstrap_of_equally_many_runs_is_the_stratified_one() -> None:
    scores = np.random.default_rng(6).normal(size=(10, 3))
    arguments = aggregate_interquartile_mean, np.random.default_rng(0), 20_000
    pooled = pooled_bootstrap(list(scores.T), *arguments)
    stratified = stratified_bootstrap(scores, *arguments)
    assert pooled.estimate == pytest.approx(stratified.estimate, abs=1e-12)
    width = float(stratified.high - stratified.low)
    assert pooled.low == pytest.approx(stratified.low, abs=0.03 * width)
    assert pooled.high == pytest.approx(stratified.high, abs=0.03 * width)


def test_mean_improvement_over_unequal_tasks() -> None:
    first = np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])  # (3 + 1.5) / 6, as above
    second = np.array([0.0]), np.array([1.0, -1.0])
    interval = mean_improvement_interval([first, second], np.random.default_rng(0))
    assert interval.estimate == (0.75 + 0.5) / 2
    assert 0.0 <= interval.low < interval.estimate < interval.high <= 1.0
    rng = np.random.default_rng(7)
    x, y = rng.normal(0.5, 1.0, (10, 2)), rng.normal(0.0, 1.0, (12, 2))
    equal = mean_improvement_interval(list(zip(x.T, y.T, strict=True)), np.random.default_rng(0), 20_000)
    matrix = improvement_interval(x, y, np.random.default_rng(1), 20_000)
    assert equal.estimate == pytest.approx(float(matrix.estimate))
    assert float(equal.low) == pytest.approx(float(matrix.low), abs=0.01)
    assert float(equal.high) == pytest.approx(float(matrix.high), abs=0.01)
    with pytest.raises(InvalidData, match="x of task 0"):
        mean_improvement_interval([(np.array([np.nan]), np.array([0.0]))], np.random.default_rng(0))


def test_performance_profile_by_hand() -> None:
    scores, thresholds = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([-1.0, 0.0, 1.5, 3.0])
    np.testing.assert_array_equal(performance_profile(scores, thresholds), [1.0, 0.75, 0.5, 0.0])
    profile = partial(performance_profile, thresholds=thresholds)
    interval = stratified_bootstrap(scores, profile, np.random.default_rng(0))
    np.testing.assert_array_equal(interval.estimate, [1.0, 0.75, 0.5, 0.0])
    np.testing.assert_array_equal(interval.low[[0, 3]], [1.0, 0.0])


def test_a_final_score_is_the_mean_of_the_last_tenth_or_of_five() -> None:
    curves = np.arange(200.0).reshape(2, 100)
    for steps, until, ends in (
        (np.arange(100), 100, [94.5, 194.5]),  # of 90 … 99
        (np.arange(100), 41, [38.0, 138.0]),  # of 36 … 40
        (np.arange(100), 3, [1.5, 101.5]),  # of 1 and 2: 0 is the start, and no end
        (np.arange(100) + 5, 3, [1.0, 101.0]),  # others' first evaluation is not always of the start
        (np.arange(100), 1, [0.0, 100.0]),
    ):
        np.testing.assert_array_equal(final_score(steps[:until], curves[:, :until]), ends)


def test_steps_to_a_height() -> None:
    curves = np.array([[0.0, 5.0, 3.0, 9.0], [4.9, 4.9, 4.9, 4.9]])
    np.testing.assert_array_equal(steps_to(5.0, np.arange(4) * 10, curves), [10.0, np.inf])


def test_exact_p_counts_all_orders() -> None:
    """Of the C(6, 3) ways to deal six ranks, those whose U is as far from its mean, counted one by one."""
    x, y = np.array([1.0, 4.0, 6.0]), np.array([2.0, 3.0, 5.0])
    ranks = sorted([*x, *y])
    wins = [sum(a > b for a in dealt for b in ranks if b not in dealt) for dealt in combinations(ranks, 3)]
    far = [abs(u - 4.5) >= abs(sum(a > b for a in x for b in y) - 4.5) for u in wins]
    assert exact_p(x, y) == pytest.approx(sum(far) / len(far))


def test_area_under_curve_by_hand() -> None:
    steps = np.array([0, 10, 40])
    # 10 steps at 1 on average, 30 at 3, over 40; then a flat curve, whose height is its area
    np.testing.assert_allclose(area_under_curve(steps, np.array([[0.0, 2, 4], [7, 7, 7]])), [2.5, 7.0])
    for bad in (np.array([0]), np.array([0, 0, 1])):
        with pytest.raises(InvalidData, match="must rise"):
            area_under_curve(bad, np.zeros(len(bad)))

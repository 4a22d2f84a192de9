"""What a learned reward knows: against SciPy, by hand, and in the files of a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
import toy
from toy_study import study

import aihf_control.learn.reward_diagnostics as diagnostics
from aihf_control.learn.epic_probe import Probe
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward_diagnostics import (
    RewardDiagnostics,
    canonical,
    epic_distance,
    pearson,
    played_steps,
    ranks,
    spearman,
    table_steps,
)
from aihf_control.learn.rollouts import Rollouts
from aihf_control.methods.method import Context
from aihf_control.methods.settings import RLHFConfig
from aihf_control.methods.table import METHODS
from aihf_control.study.prepare import Folders
from aihf_control.study.study import run_study

SOURCES = ("demonstrations", "preferences", "policy")
COLUMNS = [
    "reward_accuracy",
    *(f"{kind}_{source}" for source in SOURCES for kind in ("pearson", "spearman")),
]


def everywhere(values: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values, dtype=torch.bool)


def test_correlations_are_scipys_with_ties_and_without_the_padding() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(-5, 5, (4, 60)).astype(np.float32)  # so that many are equal
    second = (first + rng.normal(0, 4, first.shape)).round().astype(np.float32)
    valid = rng.random(first.shape) < 0.7
    tensors = [torch.from_numpy(array) for array in (first, second, valid)]
    ours = pearson(*tensors), spearman(*tensors)
    for s in range(4):
        sides = [side[s, valid[s]].astype(np.float64) for side in (first, second)]
        assert ours[0][s].item() == pytest.approx(scipy.stats.pearsonr(*sides).statistic, abs=1e-12)
        assert ours[1][s].item() == pytest.approx(scipy.stats.spearmanr(*sides).statistic, abs=1e-12)
        np.testing.assert_array_equal(
            ranks(tensors[0], tensors[2])[s][tensors[2][s]], scipy.stats.rankdata(sides[0])
        )


def test_a_correlation_is_undefined_where_a_side_is_constant() -> None:
    first = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.7], [0.1, 0.2, 0.3], [0.1, torch.nan, 0.3]])
    second = torch.tensor([1.0, 2.0, 3.0])
    valid = torch.tensor([[True, True, True], [True, True, False], [True, True, True], [True, True, True]])
    for correlation in (pearson, spearman):
        result = correlation(first, second.expand(4, 3), valid)
        assert result.isnan().tolist() == [True, True, False, True]
        assert result[2].item() == pytest.approx(1.0)


# Two states; action 0 changes the state, action 1 stays. Rows: (0, 0), (0, 1), (1, 0), (1, 1).
STATE, ACTION, NEXT = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1, 0, 0, 1])


def two_state_probe() -> Probe:
    taken, tried = np.stack([STATE, ACTION], 1), np.arange(2)
    rows = [taken] + [np.stack([np.repeat(s, 2), np.tile(tried, 4)], 1) for s in (STATE, NEXT)]
    table = torch.from_numpy(np.concatenate(rows)).float()
    return Probe(4, table[:, :1], table[:, 1:], torch.zeros(len(table)))


def tabular(values: list[list[float]]) -> torch.Tensor:
    """The probe's rows of a reward (state, action)."""
    probe = two_state_probe()
    return torch.tensor(values)[probe.observations[:, 0].long(), probe.actions[:, 0].long()]


def test_canonical_shape_and_distance_of_two_states_by_hand() -> None:
    """γ = 1/2. First reward: E[R(0, A)] = 0.5, E[R(1, A)] = 1, over both 0.75, so that for (0, 0), which goes
    to 1, C = 1 + 0.5·1 − 0.5 − 0.5·0.75 = 0.625. Second reward: 1 for action 0, so C = ±0.5. Then
    ρ = (0.625 + 0.625 − 1.125 − 1.125)·0.5 / √(2·(0.625² + 1.125²)·4·0.5²)."""
    probe = two_state_probe()
    first, second = tabular([[1.0, 0.0], [0.0, 2.0]]), tabular([[1.0, 0.0], [1.0, 0.0]])
    assert canonical(*probe.parts(first), 0.5).tolist() == [0.625, -0.625, -1.125, 1.125]
    assert canonical(*probe.parts(second), 0.5).tolist() == [0.5, -0.5, 0.5, -0.5]
    correlation = -0.5 / np.sqrt(2 * (0.625**2 + 1.125**2))
    expected = np.sqrt((1 - correlation) / 2)
    assert expected == pytest.approx(0.7983, abs=1e-4)
    assert epic_distance(probe, first, second, 0.5).item() == pytest.approx(expected)


def test_distance_is_0_to_itself_scaled_and_shifted_and_1_to_its_opposite() -> None:
    probe, true = two_state_probe(), tabular([[1.0, 0.0], [0.0, 2.0]])
    learned = torch.stack([true, 3 * true + 7, -true, torch.full_like(true, 0.1)])
    distance = epic_distance(probe, learned, true, 0.9)
    assert distance[:3].tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)
    assert distance[3].isnan()  # a constant reward has no direction


def test_shaping_by_a_potential_changes_no_canonical_shape() -> None:
    """R'(s, a, s') = R(s, a) + γ·Φ(s') − Φ(s). The next state of a tried action is drawn from any
    distribution that does not depend on s; here it is uniform, with mean potential m."""
    rng, discount = np.random.default_rng(0), 0.9
    reward, potential = rng.normal(size=(6, 5)), rng.normal(size=6)
    states, actions, following = (rng.integers(n, size=200) for n in (6, 5, 6))
    later = discount * potential.mean()
    plain = reward[states, actions], reward[states], reward[following]
    shaped = (
        plain[0] + discount * potential[following] - potential[states],
        plain[1] + later - potential[states][:, None],
        plain[2] + later - potential[following][:, None],
    )
    shapes = []
    for taken, here, after in (plain, shaped):
        shapes.append(canonical(torch.tensor(taken), torch.tensor(here), torch.tensor(after), discount))
    offset = shapes[1] - shapes[0]  # a constant, which the correlation does not see
    torch.testing.assert_close(offset, offset[:1].expand(200))
    assert pearson(shapes[0], shapes[1], everywhere(shapes[0])).item() == pytest.approx(1.0)


def rollouts(lengths: list[list[int]], longest: int) -> Rollouts:
    """Episodes whose observation is `100·seed + 10·episode + time`, and reward its square."""
    seeds, episodes = np.array(lengths).shape
    place = 100 * np.arange(seeds)[:, None, None] + 10 * np.arange(episodes)[:, None]
    observed = place + np.arange(longest)
    played = np.arange(longest) < np.array(lengths)[..., None]
    observed = (observed * played).astype(np.float32)
    final = (place[..., 0] + lengths).astype(np.float32)[..., None]
    action = observed[..., None] / 1000
    terminated = np.array(lengths) < longest
    return Rollouts(observed[..., None], action, observed**2, np.array(lengths), final, terminated)


def test_played_steps_are_each_seeds_own_and_none_is_padding() -> None:
    played = rollouts([[3, 1], [4, 2]], longest=4)
    batch, valid = played_steps(played, horizon=5, device="cpu")
    assert valid.shape == (2, 10) and valid.sum(1).tolist() == [4, 6]
    expected = [[0, 1, 2, 10], [100, 101, 102, 103, 110, 111]]
    ended = {2.0, 10.0, 111.0}  # an episode of four steps, the longest, met the time limit
    for s in range(2):
        states = batch.observations[s, valid[s], 0]
        assert sorted(states.tolist()) == expected[s]
        torch.testing.assert_close(batch.next_observations[s, valid[s], 0], states + 1)
        torch.testing.assert_close(batch.rewards[s, valid[s]], states**2)
        assert [m == 0 for m in batch.masks[s, valid[s]].tolist()] == [x in ended for x in states.tolist()]
    alone, of_alone = played_steps(rollouts([[3, 1]], longest=3), horizon=5, device="cpu")
    assert torch.equal(alone.observations[0, of_alone[0]], batch.observations[0, valid[0]])


def test_many_steps_are_thinned_out_and_always_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "STEPS", 5)
    batch, valid = played_steps(rollouts([[9, 9], [9, 2]], longest=9), horizon=9, device="cpu")
    assert valid.tolist() == [[True] * 5] * 2
    assert all(len(set(row.tolist())) == 5 for row in batch.observations[..., 0])
    table = FeedbackTables(toy.feedback(), 1.0, "cpu").held_out.steps
    first, again = table_steps(table, 2)[0], table_steps(table, 2)[0]
    assert first.observations.shape == (2, 5, 2)
    assert torch.equal(first.actions, again.actions) and torch.equal(first.actions[0], first.actions[1])


def toy_rollouts(seeds: int) -> Rollouts:
    """Episodes of the two-step environment, with random actions."""
    actions = np.random.default_rng(1).uniform(-1, 1, (seeds, 40, 2, 1)).astype(np.float32)
    observed = np.broadcast_to(np.eye(2, dtype=np.float32), (seeds, 40, 2, 2))
    rewards = -((actions[..., 0] - np.array(toy.BEST, np.float32)) ** 2)
    flags = np.ones((seeds, 40), bool)
    return Rollouts(observed, actions, rewards, 2 * flags, np.zeros((seeds, 40, 2), np.float32), flags)


def measure(rewards: Callable[[Batch], torch.Tensor]) -> dict[str, list[float]]:
    tables = FeedbackTables(toy.feedback(), 1.0, "cpu")
    columns = RewardDiagnostics(toy.TASK, tables, 2, 0.9).measure(rewards, None, toy_rollouts(2))
    return {name: values.tolist() for name, values in columns.items()}


def test_the_true_reward_knows_everything_its_opposite_the_opposite_and_a_constant_nothing() -> None:
    right = measure(lambda steps: torch.stack([steps.rewards[0], -steps.rewards[1]]))
    assert list(right) == COLUMNS  # the toy has no simulator, and so no EPIC
    for name, (true, opposite) in right.items():
        assert true == pytest.approx(1.0)
        assert opposite == pytest.approx(0.0 if name == "reward_accuracy" else -1.0)
    constant = measure(lambda steps: torch.ones_like(steps.rewards))
    assert constant.pop("reward_accuracy") == [0.5, 0.5]
    assert np.isnan(list(constant.values())).all()


@pytest.mark.parametrize("name", ["aihf", "irl", "rlhf", "ipl"])
def test_every_learned_reward_is_compared_with_the_true_one(name: str) -> None:
    tables = FeedbackTables(toy.feedback(), 1.0, "cpu")
    context = Context(toy.TASK, (0, 1), toy.SETTINGS, tables, torch.device("cpu"))
    method = METHODS[name](context)
    columns = RewardDiagnostics(toy.TASK, tables, 2, 0.9).measure(
        method.rewards, method.reward_model, toy_rollouts(2)
    )
    assert list(columns) == COLUMNS
    assert all(values.shape == (2,) and values.isfinite().all() for values in columns.values())
    method.close()


def test_an_undefined_correlation_is_an_empty_cell_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1's reward is constant from the second evaluation on."""
    measured = RewardDiagnostics.measure
    evaluations = []

    def spoiled(self: RewardDiagnostics, rewards, reward, rollouts):  # type: ignore[no-untyped-def]
        evaluations.append(1)

        def of(steps: Batch) -> torch.Tensor:
            learned = rewards(steps).clone()
            if len(evaluations) > 1:
                learned[1] = 0.25
            return learned

        return measured(self, of, reward, rollouts)

    monkeypatch.setattr(RewardDiagnostics, "measure", spoiled)
    settings = replace(toy.SETTINGS, steps=200, rlhf=RLHFConfig(reward_steps=20))
    short = replace(study(("rlhf",), (0, 1)), settings=settings)
    run_study(short, toy.feedback(), Folders(tmp_path), print)
    folder = tmp_path / "results/runs/test/toy/rlhf"
    for seed, empty in ((0, False), (1, True)):
        assert '"finished"' in (folder / f"seed_{seed}" / "status.json").read_text()
        path = folder / f"seed_{seed}" / "progress.csv"
        table = pd.read_csv(path)
        place = table.columns.get_loc("reward_accuracy")
        assert list(table.columns[place : place + 7]) == COLUMNS
        correlations = table[COLUMNS[1:]]
        assert correlations.iloc[0].notna().all()
        assert pd.isna(correlations.iloc[1:]).all(axis=None) == empty
        assert "nan" not in path.read_text()

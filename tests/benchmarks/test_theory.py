"""`make theory`: its world by hand, every statement at a small size, and checks that notice what is wrong."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

from aihf_control.arrays import Floats
from benchmarks.theory import __main__ as theory
from benchmarks.theory import consistency, convergence, lemma, special_cases
from benchmarks.theory.__main__ import main
from benchmarks.theory.consistency import BOTH, DEMONSTRATIONS
from benchmarks.theory.objective import lemma_gradient, likelihood_gradient, log_likelihood
from benchmarks.theory.statement import Statement, as_markdown, as_table
from benchmarks.theory.world import (
    Pairs,
    World,
    by_logits,
    cloning_loss,
    cpl_loss,
    direct_aihf_loss,
    every_segment,
    exact_pairs,
    random_world,
    sample,
    self_play_loss,
    visits,
)

UNIFORM = np.log([[0.5, 0.5]])


def bandit(discount: float = 0.0, beta: float = 1.0) -> World:
    """One state, two actions."""
    return World(np.ones((1, 2, 1)), np.ones(1), UNIFORM, discount, beta)


def test_a_bandits_solution_is_a_softmax() -> None:
    reward, beta = np.array([[1.0, 3.0]]), 0.5
    log_policy, _, value = bandit(beta=beta).solve(reward)
    np.testing.assert_allclose(np.exp(log_policy), softmax(reward / beta, axis=-1), atol=1e-14)
    np.testing.assert_allclose(value, beta * np.log(0.5 * np.exp(1 / beta) + 0.5 * np.exp(3 / beta)))
    discounted = bandit(discount=0.75, beta=beta).solve(reward)
    np.testing.assert_allclose(discounted.log_policy, log_policy)  # nothing to plan for
    np.testing.assert_allclose(discounted.value, value / (1 - 0.75))


def test_the_lemmas_gradient_on_a_bandit_is_the_one_by_hand() -> None:
    # φ = [first action]: L1 = 0.9·θ/β − log(e^(θ/β) + 1), so L1' = (0.9 − σ(θ/β))/β, at θ = 0 0.4/β
    features, shown = np.array([[[1.0], [0.0]]]), np.array([[0.9, 0.1]])
    world = bandit(beta=2.0)
    np.testing.assert_allclose(lemma_gradient(world, shown, features, UNIFORM), [0.2])
    np.testing.assert_allclose(likelihood_gradient(world, shown, features, UNIFORM), [0.2])


def test_a_chain_is_solved_as_backwards_by_hand() -> None:
    """State 0: stay (reward 1) or move to state 1 (reward 0), which is absorbing and pays 2."""
    transitions = np.zeros((2, 2, 2))
    transitions[0, 0, 0] = transitions[0, 1, 1] = transitions[1, :, 1] = 1.0
    world = World(transitions, np.array([1.0, 0.0]), np.log(np.full((2, 2), 0.5)), 0.5, 1.0)
    solution = world.solve(np.array([[1.0, 0.0], [2.0, 2.0]]))
    assert solution.value[1] == pytest.approx(4.0)  # 2 / (1 − ½), and no cost: its actions are alike
    first = solution.value[0]
    assert first == pytest.approx(np.log(0.5 * np.exp(1 + 0.5 * first) + 0.5 * np.exp(0.5 * 4.0)))
    np.testing.assert_allclose(solution.advantage, world.beta * (solution.log_policy - world.log_prior))


def test_occupancy_evaluation_and_optimum_agree_with_simulation_and_each_other() -> None:
    rng = np.random.default_rng(0)
    world = random_world(rng)
    reward = rng.normal(size=world.shape)
    solution = world.solve(reward)
    occupancy = world.occupancy(solution.log_policy)
    assert occupancy.sum() == pytest.approx(1 / (1 - world.discount))
    drawn = visits(*sample(world, solution.log_policy, 40_000, 60, rng), world.shape, world.discount)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - occupancy) < 4.5 * error + 1e-5)
    np.testing.assert_allclose(world.evaluate(solution.log_policy, reward), solution.value)
    cost = world.beta * (solution.log_policy - world.log_prior)
    assert np.sum(occupancy * (reward - cost)) == pytest.approx(world.start @ solution.value)
    other = world.solve(rng.normal(size=world.shape)).log_policy
    assert np.all(world.evaluate(other, reward) < solution.value)
    lost = world.start @ (solution.value - world.evaluate(other, reward))
    assert lost == pytest.approx(world.beta * world.gap(other, solution.log_policy))


def test_a_batch_of_rewards_is_solved_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    world = random_world(rng)
    rewards = rng.normal(size=(3, 2, *world.shape))
    together = world.solve(rewards)
    alone = world.solve(rewards[2, 1])
    np.testing.assert_allclose(together.log_policy[2, 1], alone.log_policy, atol=1e-12)
    np.testing.assert_allclose(
        world.occupancy(together.log_policy)[2, 1], world.occupancy(alone.log_policy), atol=1e-12
    )


def test_every_segment_is_there_once_with_its_probability() -> None:
    world = random_world(np.random.default_rng(2), states=3, actions=2)
    states, actions, probability = every_segment(world, world.log_prior, 3)
    assert len(states) == (3 * 2) ** 3 and probability.sum() == pytest.approx(1.0)
    totals = np.einsum("n,nsa->sa", probability, visits(states, actions, world.shape, 1.0))
    first = world.start[:, None] * np.exp(world.log_prior)
    second = np.einsum("sa,sat->t", first, world.transitions)[:, None] * np.exp(world.log_prior)
    third = np.einsum("sa,sat->t", second, world.transitions)[:, None] * np.exp(world.log_prior)
    np.testing.assert_allclose(totals, first + second + third)
    certain = random_world(np.random.default_rng(2), states=3, actions=2, deterministic=True)
    assert len(every_segment(certain, certain.log_prior, 3)[0]) == 3 * 2**3


def test_visits_are_discounted_counts() -> None:
    counted = visits(np.array([[0, 1, 0]]), np.array([[1, 0, 1]]), (2, 2), 0.5)
    np.testing.assert_array_equal(counted, [[[0.0, 1.25], [0.5, 0.0]]])


def losses() -> list[Callable[[Floats], tuple[float, Floats]]]:
    """Every loss on a random log π (2 states, 2 actions), with all else random too."""
    rng = np.random.default_rng(5)
    reference, opponent = np.log(rng.dirichlet(np.ones(2), size=(2, 2)))
    demonstrated, pairs = (
        rng.random((2, 2)),
        Pairs(rng.random((3, 2, 2)), rng.dirichlet(np.ones(9)).reshape(3, 3)),
    )
    return [
        lambda policy: cpl_loss(policy, pairs, reference, 0.7, 0.5),
        lambda policy: cloning_loss(policy, demonstrated),
        lambda policy: direct_aihf_loss(policy, demonstrated, pairs, reference, 0.7, 3.0, 0.5),
        lambda policy: self_play_loss(policy, opponent, demonstrated, 0.7),
        lambda policy: self_play_loss(policy, opponent, demonstrated, 0.7, linear=True),
    ]


@pytest.mark.parametrize("loss", losses())
def test_a_losss_gradient_is_its_finite_difference(loss: Callable[[Floats], tuple[float, Floats]]) -> None:
    logits = np.random.default_rng(6).normal(size=4)

    def values(batch: Floats) -> Floats:
        return np.array([loss(log_softmax(each.reshape(2, 2), axis=-1))[0] for each in batch])

    log_policy = log_softmax(logits.reshape(2, 2), axis=-1)
    found = by_logits(log_policy, loss(log_policy)[1]).ravel()
    np.testing.assert_allclose(found, lemma.finite_differences(values, logits, 1e-6), atol=1e-9)


def test_losses_are_the_ones_by_hand() -> None:
    """One state; the segments are each action alone; log π/π⁰ = log 2p."""
    log_policy, ratios = np.log([[0.8, 0.2]]), np.log([1.6, 0.4])
    pairs = Pairs(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([[0.0, 0.75], [0.25, 0.0]]))
    first = 0.75 * np.log(1 + np.exp(-0.5 * (ratios[0] - 0.9 * ratios[1])))
    second = 0.25 * np.log(1 + np.exp(-0.5 * (ratios[1] - 0.9 * ratios[0])))
    preferred = cpl_loss(log_policy, pairs, UNIFORM, 0.5, 0.9)[0]
    assert preferred == pytest.approx(first + second)
    shown = np.array([[0.6, 0.4]])
    cloned = -0.6 * np.log(0.8) - 0.4 * np.log(0.2)
    assert direct_aihf_loss(log_policy, shown, pairs, UNIFORM, 0.5, 2.0, 0.9)[0] == pytest.approx(
        2 * cloned + preferred
    )
    margin = 0.5 * (ratios[0] - ratios[1])  # ã is either action with ½; the same action has margin 0
    alike = 0.5 * np.log(2.0)
    right, left = np.log(1 + np.exp(-margin)), np.log(1 + np.exp(margin))
    assert self_play_loss(log_policy, UNIFORM, shown, 0.5)[0] == pytest.approx(
        alike + 0.5 * (0.6 * right + 0.4 * left)
    )
    assert self_play_loss(log_policy, UNIFORM, shown, 0.5, linear=True)[0] == pytest.approx(
        -0.5 * (0.6 - 0.4) * margin
    )


def test_exact_pairs_are_what_sampling_gives() -> None:
    pairs = exact_pairs(np.zeros((2, 1, 1)), np.array([0.3, 0.7]), np.array([1.0, 0.0]))
    first = 1 / (1 + np.exp(-1.0))  # of two alike either wins with ½, of two draws 0.42 differ
    np.testing.assert_allclose(pairs.weights, [[0.09, 0.42 * first], [0.42 * (1 - first), 0.49]])
    assert pairs.weights.sum() == pytest.approx(1.0)


def test_the_lemma_holds_and_wrong_gradients_are_noticed() -> None:
    errors = lemma.gradient_errors(worlds=3, steps=np.array([1e-5]))
    found = lemma.statements(errors)
    assert all(statement.holds for statement in found)
    for name in ("sign flipped", "wrong discount", "without 1/β"):
        planted = errors[errors.gradient == name].assign(gradient="Lemma 4.1")
        others = errors[errors.gradient != "Lemma 4.1"]
        assert not lemma.statements(pd.concat([planted, others]))[0].holds


def test_the_likelihoods_own_gradient_is_its_finite_difference_for_any_visits() -> None:
    rng = np.random.default_rng(3)
    world = random_world(rng)
    features, theta, shown = rng.normal(size=(*world.shape, 2)), rng.normal(size=2), rng.random(world.shape)
    numeric = lemma.finite_differences(
        lambda given: log_likelihood(world, shown, np.einsum("sad,nd->nsa", features, given)), theta, 1e-5
    )
    induced = world.solve(features @ theta).log_policy
    found = likelihood_gradient(world, shown, features, induced)
    assert lemma.relative_error(found, numeric) < 1e-8
    assert (
        lemma.relative_error(lemma_gradient(world, shown, features, induced), numeric) > 0.01
    )  # these visits are no policy's


@pytest.fixture(scope="module")
def problem() -> convergence.Problem:
    return convergence.make_problem()


def test_algorithm_1_converges_at_the_promised_rate(problem: convergence.Problem) -> None:
    measured = [
        convergence.rates(problem, (1, 0), (32, 128, 512), repeats=5),
        convergence.rates(problem, (1,), (32, 128, 512), sigma=0.0, repeats=5),
    ]
    found = convergence.statements(pd.concat(measured))
    assert len(found) == 3 and all(statement.holds for statement in found)
    constant = measured[1].assign(sigma=0.5)
    assert not convergence.statements(constant)[0].holds


def test_exact_gradients_find_the_reward_that_both_sources_share(problem: convergence.Problem) -> None:
    thetas, policies = convergence.run(problem, 1, 1500, repeats=1, sigma=0.0)
    expert = problem.shown / problem.shown.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.exp(policies[-1, 0]), expert, atol=1e-6)
    assert np.linalg.norm(problem.gradient(thetas[-1, 0], policies[-1, 0])) < 1e-6


def test_the_sampled_gradient_is_the_exact_one_on_average(problem: convergence.Problem) -> None:
    repeats = 20_000
    thetas, policies = convergence.run(problem, 1, 2, 0.0, repeats, np.random.default_rng(4))
    moves = (thetas[1] - thetas[0]) / convergence.FIRST_STEP
    error = moves.std(axis=0) / np.sqrt(repeats)
    exact = problem.gradient(thetas[0, 0], policies[0, 0])
    assert np.all(np.abs(moves.mean(axis=0) - exact) < 4.5 * error)


def test_both_sources_beat_either_alone() -> None:
    measured = consistency.errors(sizes=(20, 80), repeats=20, closer=(80,))
    kl, regret, _, slope, by_lemma, misweighted = consistency.statements(measured)
    assert kl.holds and regret.holds and by_lemma.holds and misweighted.holds
    assert -1.4 < slope.measured < -0.6  # 1/N, to what 20 repeats can tell
    swapped = measured.replace({"source": {BOTH: DEMONSTRATIONS, DEMONSTRATIONS: BOTH}})
    assert not any(statement.holds for statement in consistency.statements(swapped)[:3])


def test_wrong_labels_are_no_help() -> None:
    """Swapped preferences are worse than none, and true ones better."""
    case = consistency.make_case()
    shown, differences = case.draw(50, np.random.default_rng(7))
    kl = [case.errors(case.estimate(shown, 50, sign * differences))[0] for sign in (1, 0, -1)]
    assert kl[0] < kl[1] < kl[2]


def test_the_estimate_from_plenty_is_the_truth() -> None:
    case = consistency.make_case()
    exact = case.world.occupancy(case.truth.log_policy)
    none = np.empty((0, len(case.theta)))
    for term in (consistency.likelihood, consistency.lemma_form):
        found = case.estimate(exact, 10_000_000, none, term)
        np.testing.assert_allclose(found.log_policy, case.truth.log_policy, atol=1e-4)


@pytest.mark.parametrize(
    "part", [special_cases.implicit_reward, special_cases.by_pairs, special_cases.self_play]
)
def test_special_cases_are_recovered(part: Callable[[], list[Statement]]) -> None:
    assert all(statement.holds for statement in part())


def test_algorithm_1_with_one_source_is_the_pipeline_of_that_name() -> None:
    assert all(statement.holds for statement in special_cases.pipelines())
    assert not special_cases.pipelines(rounds=20)[0].holds


def test_a_solved_round_of_self_play_is_the_closed_form() -> None:
    """π_{k+1} ∝ π_k (π_D/π_k)^{1/β}."""
    rng = np.random.default_rng(8)
    expert, opponent = np.log(rng.dirichlet(np.ones(3), size=(2, 2)))
    shown = np.array([[3.0], [1.0]]) * np.exp(expert)
    found = special_cases.fit(lambda policy: self_play_loss(policy, opponent, shown, 2.5), opponent)
    expected = log_softmax(opponent + (expert - opponent) / 2.5, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_writes_the_same_bytes_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lemma, "gradient_errors", partial(lemma.gradient_errors, 2, np.array([1e-3, 1e-5])))
    monkeypatch.setattr(convergence, "rates", partial(convergence.rates, rounds=(16, 64), repeats=3))
    monkeypatch.setattr(consistency, "errors", partial(consistency.errors, (10, 30), 5, (10,)))
    monkeypatch.setattr(special_cases, "pipelines", partial(special_cases.pipelines, 100))
    exits = [main(["--output", str(tmp_path / name)]) for name in ("first", "second")]
    for name in ("table.csv", "table.md", "theory.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    holds = pd.read_csv(tmp_path / "first" / "table.csv").holds
    assert exits == [1 - holds.all()] * 2  # of samples so small a slope may miss its bound


def test_a_statement_that_fails_is_named_and_the_exit_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = as_table([Statement("A", "one", 0.1, 0.2), Statement("A", "two", 3.0, 1.0)])
    monkeypatch.setattr(theory, "measure", lambda folder: table)
    assert main(["--output", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "2 statements, 1 hold" in said.out and said.err == "theory: does not hold: two: 3.0, not ≤ 1\n"


def test_a_folder_that_cannot_be_made_is_one_line_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delattr(lemma, "gradient_errors")
    assert main(["--output", str(tmp_path / "file" / "theory")]) == 2
    assert capsys.readouterr().err.startswith("theory: ")


def test_it_needs_neither_torch_nor_mujoco() -> None:
    listed = "import sys, benchmarks.theory.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", listed],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert not {"torch", "mujoco", "gymnasium", "minari", "tyro"} & set(found.stdout.split())


def test_a_statement_that_is_not_a_number_does_not_hold() -> None:
    assert not Statement("part", "text", np.nan, 1.0).holds
    assert not Statement("part", "text", np.nan, 1.0, at_least=True).holds
    assert Statement("part", "text", 2.0, 1.0, at_least=True).holds


def test_the_table_has_a_row_a_statement_and_marks_those_that_fail() -> None:
    table = as_table([Statement("A", "one", 0.12345, 0.2), Statement("B", "two", 3.0, 1.0)])
    assert list(table.columns) == ["part", "statement", "measured", "tolerance", "holds"]
    assert table.measured.tolist() == [0.123, 3.0] and table.holds.tolist() == [True, False]
    page = as_markdown(table)
    assert "| one | 0.123 | ≤ 0.2 | yes |" in page and "| two | 3 | ≤ 1 | no |" in page

"""Theorem 4.1: Algorithm 1 improves the policy a little between reward steps and still converges.

As in ML-IRL (2210.01808): with step size α₀·K^−σ for all of K rounds, on average,

    (1/K) Σ ‖log π_{k+1} − log π_θk‖_∞  =  O(K^−1) + O(K^−σ)
    (1/K) Σ ‖∇L(θ_k)‖²                  =  O(K^−σ) + O(K^−(1−σ)) + O(K^−1)

so σ = ½ gives K^−½ for both, the reference line. Both bounds are quoted from memory of the papers; what is
tested is that measured slopes are no flatter. A round here, with a linear reward:

1. *policy alignment*: one soft policy iteration (the theorem's step), or M steps of soft Q iteration, which
   contract by γ^M and so do less, from where the last round stopped;
2. *reward update*: one step along w1·∇L1 + ∇L2 of **one** demonstrated and one own state and action, drawn
   from their discounted occupancies (trajectories that stop with probability 1 − γ a step), and one pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from aihf_control.arrays import Floats
from benchmarks.theory.objective import lemma_gradient
from benchmarks.theory.statement import Statement
from benchmarks.theory.world import World, draw, random_world, sample, visits

PART = "Theorem 4.1, Algorithm 1"
POLICY_ITERATION = 0
"""Stands for a number M of soft-Q steps."""
ALIGNMENTS = (1, 2, 5, POLICY_ITERATION)
ROUNDS = (64, 256, 1024, 4096)
REPEATS, FEATURES = 20, 4
FIRST_STEP = 1.0
"""α₀."""
SLACK = 0.1
"""Of a slope fitted to the four points."""


@dataclass(frozen=True)
class Problem:
    """What Algorithm 1 learns from: a soft-optimal demonstrator, and a teacher that sees the same reward.

    `features` (S, A, d), `shown` (S, A) the demonstrations' occupancy; of P pairs of segments `differences`
    (P, d) of their summed features, first minus second, and `preferred` (P,): how likely the first wins.
    """

    world: World
    features: Floats
    shown: Floats
    differences: Floats
    preferred: Floats
    demonstration_weight: float = 0.2
    """w1: L1's sums count 1/(1 − γ) = 5 steps."""
    preference_weight: float = 1.0

    def gradient(self, theta: Floats, log_policy: Floats) -> Floats:
        """w1·∇L1 + ∇L2, exact, at θ (..., d), with the lemma's own term from `log_policy`."""
        surprise = self.preferred - expit(np.einsum("pd,...d->...p", self.differences, theta))
        by_pairs = np.einsum("...p,pd->...d", surprise, self.differences) / len(self.preferred)
        by_demonstrations = lemma_gradient(self.world, self.shown, self.features, log_policy)
        return self.demonstration_weight * by_demonstrations + self.preference_weight * by_pairs


def make_problem(seed: int = 7, pairs: int = 50) -> Problem:
    """One random world, a reward in the span of its features, `pairs` of two-step segments by π⁰."""
    rng = np.random.default_rng(seed)
    world = random_world(rng)
    features, theta = rng.normal(size=(*world.shape, FEATURES)), rng.normal(size=FEATURES)
    expert = world.solve(features @ theta).log_policy
    counts = visits(*sample(world, world.log_prior, 2 * pairs, 2, rng), world.shape, discount=1.0)
    segments = np.einsum("nsa,sad->nd", counts, features)
    differences = segments[:pairs] - segments[pairs:]
    return Problem(world, features, world.occupancy(expert), differences, expit(differences @ theta))


def run(
    problem: Problem,
    alignment: int,
    rounds: int,
    sigma: float = 0.5,
    repeats: int = REPEATS,
    rng: np.random.Generator | None = None,
) -> tuple[Floats, Floats]:
    """Algorithm 1 from θ = 0 and π⁰: every θ_k (K, R, d) and log π_{k+1} (K, R, S, A).

    With `rng` gradients are sampled, without they are exact.
    """
    world, step = problem.world, FIRST_STEP * rounds**-sigma
    flat = problem.features.reshape(-1, problem.features.shape[-1])
    theta: Floats = np.zeros((repeats, flat.shape[-1]))
    log_policy: Floats = np.tile(world.log_prior, (repeats, 1, 1))
    value: Floats = np.zeros((repeats, world.shape[0]))
    thetas, policies = np.empty((rounds, *theta.shape)), np.empty((rounds, repeats, *world.shape))
    if rng is not None:
        shares = (1.0 - world.discount) * problem.shown.ravel()
        shown = rng.choice(len(flat), size=(rounds, repeats), p=shares)
        pair = rng.integers(len(problem.preferred), size=(rounds, repeats))
        first_won = rng.random(pair.shape) < problem.preferred[pair]
        difference = np.where(first_won, 1.0, -1.0)[..., None] * problem.differences[pair]
        scale = problem.demonstration_weight / (world.beta * (1.0 - world.discount))
    for number in range(rounds):
        reward = np.einsum("sad,rd->rsa", problem.features, theta)
        if alignment == POLICY_ITERATION:
            value = world.evaluate(log_policy, reward)
        for _ in range(max(1, alignment)):
            log_policy, value = world.improve(world.backup(reward, value))
        thetas[number], policies[number] = theta, log_policy
        if rng is None:
            theta = theta + step * problem.gradient(theta, log_policy)
            continue
        own = draw(np.cumsum(world.occupancy(log_policy).reshape(repeats, -1), axis=-1), rng)
        compared = difference[number]
        surprise = expit(-np.sum(compared * theta, axis=-1, keepdims=True))
        theta = theta + step * (
            scale * (flat[shown[number]] - flat[own]) + problem.preference_weight * surprise * compared
        )
    return thetas, policies


def rates(
    problem: Problem,
    alignments: tuple[int, ...] = ALIGNMENTS,
    rounds: tuple[int, ...] = ROUNDS,
    sigma: float = 0.5,
    repeats: int = REPEATS,
    seed: int = 44,
) -> pd.DataFrame:
    """alignment, sigma, rounds, gap, gradient: the theorem's averages over k < K, means over `repeats`."""
    rows = []
    for alignment in alignments:
        for count in rounds:
            rng = np.random.default_rng([seed, alignment, count])
            thetas, policies = run(problem, alignment, count, sigma, repeats, rng)
            rewards = np.einsum("sad,krd->krsa", problem.features, thetas)
            induced = problem.world.solve(rewards).log_policy
            gap = np.max(np.abs(policies - induced), axis=(-1, -2)).mean()
            gradient = np.sum(problem.gradient(thetas, induced) ** 2, axis=-1).mean()
            rows.append((alignment, sigma, count, float(gap), float(gradient)))
    return pd.DataFrame(rows, columns=["alignment", "sigma", "rounds", "gap", "gradient"])


def slope(rounds: pd.Series, values: pd.Series) -> float:
    """Of a straight line through log values."""
    return float(np.polyfit(np.log(rounds), np.log(values), 1)[0])


def statements(measured: pd.DataFrame) -> list[Statement]:
    """What `measured`, from `rates` at several σ, says of the slopes.

    The gap's must follow σ; the gradient's the slower of σ and 1 − σ. At σ = 0 nothing is promised.
    """
    slopes = {
        key: (slope(rows.rounds, rows.gap), slope(rows.rounds, rows.gradient))
        for key, rows in measured.groupby(["alignment", "sigma"])
    }
    span = f"K = {measured.rounds.min()}…{measured.rounds.max():,}"
    found = []
    for sigma in sorted(set(measured.sigma), reverse=True):
        gaps, gradients = zip(*(pair for (_, at), pair in slopes.items() if at == sigma), strict=True)
        if sigma == 0.0:
            text = "constant step, σ = 0: slope of the mean policy gap (no rate, and none seen)"
            found.append(Statement(PART, f"{text}, {span}", min(gaps), -SLACK, at_least=True))
            continue
        least = f"flattest of {len(gaps)} alignments" if len(gaps) > 1 else "one soft-Q step a round"
        end = f"log-log slope, {span}, {least}"
        promised = min(sigma, 1.0 - sigma)
        for what, values, rate in (("policy gap", gaps, sigma), ("‖∇L‖²", gradients, promised)):
            text = f"σ = {sigma:g}: mean {what} falls no slower than K^−{rate:g}: {end}"
            found.append(Statement(PART, text, max(values), SLACK - rate))
    return found

"""The methods that AIHF contains: each is solved by itself, and must end at the policy that theory says.

Distances between policies are max |log π − log π'|. Losses on policies are exact expectations over all
segments of two steps, minimised over the logits of a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from aihf_control.arrays import Floats
from benchmarks.theory import convergence
from benchmarks.theory.objective import lemma_gradient, likelihood_gradient, log_likelihood
from benchmarks.theory.statement import Statement
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
    self_play_loss,
    visits,
)

PART = "Special cases"
ROUNDS = 3000
"""Of Algorithm 1 with exact gradients and a constant step."""
CLOSE = 1e-5
FAR = 0.05
"""A distance that no rounding explains: for checks that something is *not* recovered."""

Loss = Callable[[Floats], tuple[float, Floats]]


def distance(log_policy: Floats, other: Floats) -> float:
    return float(np.max(np.abs(log_policy - other)))


def fit(loss: Loss, start: Floats) -> Floats:
    """log π (S, A) that minimises `loss`, from the policy `start`."""

    def by_flat_logits(logits: Floats) -> tuple[float, Floats]:
        log_policy = log_softmax(logits.reshape(start.shape), axis=-1)
        value, gradient = loss(log_policy)
        return value, by_logits(log_policy, gradient).ravel()

    options = {"gtol": 1e-10, "maxiter": 2000}
    found = minimize(by_flat_logits, start.ravel(), jac=True, method="BFGS", options=options)
    return np.asarray(log_softmax(found.x.reshape(start.shape), axis=-1))


def maximise(term: Callable[[Floats], tuple[float, Floats]], size: int) -> Floats:
    """θ (size,) at the maximum of a concave `term`."""

    def loss(theta: Floats) -> tuple[float, Floats]:
        value, gradient = term(theta)
        return -value, -gradient

    return np.asarray(minimize(loss, np.zeros(size), jac=True, method="BFGS", options={"gtol": 1e-10}).x)


def pipelines(rounds: int = ROUNDS) -> list[Statement]:
    """Algorithm 1 with one source against the pipeline of that name, which never alternates."""
    problem = convergence.make_problem()
    world, features = problem.world, problem.features
    rng = np.random.default_rng(46)
    stranger = world.occupancy(world.solve(rng.normal(size=world.shape)).log_policy)

    def bradley_terry(theta: Floats) -> tuple[float, Floats]:
        margins = problem.differences @ theta
        likely = problem.preferred * np.logaddexp(0, -margins)
        unlikely = (1.0 - problem.preferred) * np.logaddexp(0, margins)
        slope = (problem.preferred - expit(margins)) @ problem.differences
        return -float(np.mean(likely + unlikely)), slope / len(margins)

    def likelihood(theta: Floats) -> tuple[float, Floats]:
        reward = features @ theta
        slope = likelihood_gradient(world, stranger, features, world.solve(reward).log_policy)
        return float(log_likelihood(world, stranger, reward)), slope

    def aihf(by_demonstrations: float, by_preferences: float) -> Floats:
        changed = replace(
            problem, shown=stranger, demonstration_weight=by_demonstrations, preference_weight=by_preferences
        )
        return convergence.run(changed, 1, rounds, sigma=0.0, repeats=1)[1][-1, 0]

    size = features.shape[-1]
    rlhf = world.solve(features @ maximise(bradley_terry, size)).log_policy
    irl = world.solve(features @ maximise(likelihood, size)).log_policy
    return [
        Statement(
            PART,
            "AIHF without L1 = RLHF: a Bradley–Terry reward, then its KL-regularised optimum",
            distance(aihf(0.0, 1.0), rlhf),
            CLOSE,
            short="AIHF without L1 → RLHF",
        ),
        Statement(
            PART,
            "AIHF without L2 = ML-IRL: the likelihood's maximum, its demonstrator beyond the features",
            distance(aihf(0.05, 0.0), irl),
            CLOSE,
            short="AIHF without L2 → ML-IRL",
        ),
        Statement(
            PART,
            "and with sources that disagree these two are different policies",
            distance(rlhf, irl),
            FAR,
            at_least=True,
        ),
    ]


def implicit_reward() -> list[Statement]:
    """β log π*/π⁰ is the soft advantage: a reward for π*, and r up to shaping."""
    rng = np.random.default_rng(47)
    world = random_world(rng)
    reward = rng.normal(size=world.shape)
    best = world.solve(reward).log_policy
    implied = world.beta * (best - world.log_prior)
    states = world.shape[0]
    shapings = world.discount * world.transitions - np.eye(states)[:, None]  # of each state's potential
    basis = shapings.reshape(-1, states)
    difference = (implied - reward).ravel()
    rest = difference - basis @ np.linalg.lstsq(basis, difference, rcond=None)[0]
    again = world.solve(implied)
    return [
        Statement(
            PART, "β log π*/π⁰ as a reward: its optimum is π*", distance(again.log_policy, best), CLOSE
        ),
        Statement(
            PART,
            "and it is r + γ E Φ(s') − Φ(s): what no shaping explains",
            np.max(np.abs(rest)),
            1e-9,
            short="β log π*/π⁰ → reward, up to shaping",
        ),
    ]


def by_pairs() -> list[Statement]:
    """CPL, DPO and Direct AIHF: what minimises the loss when the teacher sees advantages, or rewards."""
    rng = np.random.default_rng(48)
    world = random_world(rng, states=3)
    reward = rng.normal(size=world.shape)
    truth, prior, beta = world.solve(reward), world.log_prior, world.beta
    states, actions, probability = every_segment(world, prior, 2)
    segments = visits(states, actions, world.shape, world.discount)

    def labelled(scores: Floats) -> Pairs:
        return exact_pairs(segments, probability, np.einsum("nsa,sa->n", segments, scores))

    by_advantage, by_reward = labelled(truth.advantage), labelled(reward)

    def cpl(pairs: Pairs, bias: float) -> float:
        return distance(
            fit(partial(cpl_loss, pairs=pairs, prior=prior, beta=beta, bias=bias), prior), truth[0]
        )

    def direct(demonstrator: Floats, weight: float) -> Floats:
        shown = world.occupancy(demonstrator)
        return fit(lambda policy: direct_aihf_loss(policy, shown, by_advantage, prior, beta, weight), prior)

    one = World(np.ones((1, 4, 1)), np.ones(1), log_softmax(rng.normal(size=(1, 4)), axis=-1), 0.0, beta)
    pay = rng.normal(size=(1, 4))
    choices = np.eye(4)[:, None]
    asked = exact_pairs(choices, np.exp(one.log_prior[0]), pay[0])
    dpo = fit(lambda policy: cpl_loss(policy, asked, one.log_prior, beta), one.log_prior)
    other = random_world(rng, states=3).log_prior
    mixed = max(distance(direct(truth.log_policy, weight), truth.log_policy) for weight in (0.1, 1.0, 10.0))
    return [
        Statement(
            PART,
            "DPO on a bandit = RLHF's optimum, π⁰ exp(r/β)",
            distance(dpo, log_softmax(one.log_prior + pay / beta, axis=-1)),
            CLOSE,
            short="DPO on a bandit → RLHF",
        ),
        Statement(
            PART,
            "CPL, λ = 1, labels by advantage sums: its minimum is π*",
            cpl(by_advantage, 1.0),
            CLOSE,
            short="CPL, λ = 1 → optimal policy",
        ),
        Statement(
            PART,
            "CPL, λ = 0.5: it is not",
            cpl(by_advantage, 0.5),
            FAR,
            at_least=True,
            short="CPL, λ = 0.5: not optimal",
        ),
        Statement(
            PART,
            "CPL, λ = 1, labels by reward sums: it is not",
            cpl(by_reward, 1.0),
            FAR,
            at_least=True,
            short="CPL, labels by reward: not optimal",
        ),
        Statement(
            PART,
            "Direct AIHF, both sources of π*, w1 = 0.1, 1, 10: its minimum is π*",
            mixed,
            CLOSE,
            short="Direct AIHF → optimal policy",
        ),
        Statement(
            PART,
            "Direct AIHF, w1 = 10⁶, another demonstrator: it is the clone",
            distance(direct(other, 1e6), other),
            1e-4,
        ),
    ]


def self_play() -> list[Statement]:
    """Self-Play AIHF: where it rests, how a round moves it, and what its linear form is."""
    rng = np.random.default_rng(49)
    world = random_world(rng, states=3)
    expert = world.solve(rng.normal(size=world.shape)).log_policy
    opponent = log_softmax(expert + 0.3 * rng.normal(size=world.shape), axis=-1)
    shown = world.occupancy(expert)

    def slope(policy: Floats, beta: float = 1.0, linear: bool = False) -> Floats:
        """By the logits at π = π_k = `policy`."""
        return by_logits(policy, self_play_loss(policy, policy, shown, beta, linear)[1])

    def off(policy: Floats) -> Floats:
        """log π/π_D, up to the constant that normalises each state."""
        ratio = policy - expert
        return ratio - ratio.mean(axis=-1, keepdims=True)

    def solved_round(beta: float) -> float:
        """Error after a round that is solved to its end, over the error before."""
        after = fit(lambda policy: self_play_loss(policy, opponent, shown, beta), opponent)
        return float(np.linalg.norm(off(after)) / np.linalg.norm(off(opponent)))

    def stepped(beta: float, rounds: int, step: float) -> float:
        """Distance to π_D after rounds of a single gradient step."""
        policy = opponent
        for _ in range(rounds):
            policy = log_softmax(policy - step * slope(policy, beta), axis=-1)
        return distance(policy, expert)

    pairs_at = every_segment(world, world.log_prior, 2)
    segments = visits(pairs_at[0], pairs_at[1], world.shape, world.discount)
    scores = np.einsum("nsa,sa->n", segments, world.beta * (expert - world.log_prior))
    pairs = exact_pairs(segments, pairs_at[2], scores)

    def pull(prior: Floats) -> float:
        """Of the preferences, true to π_D, at π = π_k = π_D."""
        return float(np.linalg.norm(by_logits(expert, cpl_loss(expert, pairs, prior, world.beta)[1])))

    # ∇r of the implicit reward β log π/π⁰ by the S·A logits, as the lemma's features
    states, actions = world.shape
    own = np.exp(opponent)
    per_logit = np.eye(states)[:, None, :, None] * (np.eye(actions)[None, :, None] - own[:, None, None])
    features = world.beta * per_logit.reshape(states, actions, -1)
    lemma = lemma_gradient(world, shown, features, opponent).reshape(world.shape)
    linear = -slope(opponent, world.beta, linear=True) / world.beta
    cloning = -by_logits(opponent, cloning_loss(opponent, shown)[1])
    return [
        Statement(
            PART,
            "Self-play rests at π_k = the demonstrator: its gradient",
            float(np.linalg.norm(slope(expert))),
            1e-12,
        ),
        Statement(
            PART, "and not elsewhere: near it", float(np.linalg.norm(slope(opponent))), FAR, at_least=True
        ),
        Statement(
            PART,
            "its linear form's gradient / β = Lemma 4.1's with the implicit reward: largest difference",
            distance(linear, lemma),
            1e-12,
            short="Linear self-play → Lemma 4.1's gradient",
        ),
        Statement(PART, "which is cloning's, E_D ∇ log π", distance(linear, cloning), 1e-12),
        Statement(
            PART,
            "Self-play, β = 1: one solved round ends at the demonstrator",
            solved_round(1.0),
            CLOSE,
            short="Self-play, one solved round → demonstrator",
        ),
        Statement(
            PART,
            "β = 2: a solved round leaves 1 − 1/β = ½ of the error; off by",
            abs(solved_round(2.0) - 0.5),
            CLOSE,
        ),
        Statement(
            PART,
            "β = 0.1, as published: a solved round multiplies the error, by |1 − 1/β| = 9",
            solved_round(0.1),
            8.9,
            at_least=True,
        ),
        Statement(
            PART,
            "β = 0.1, one gradient step a round: 3,000 rounds end at the demonstrator",
            stepped(0.1, 3000, 40.0),
            CLOSE,
        ),
        Statement(
            PART,
            "preferences relative to π⁰ leave that rest where it is: their gradient there",
            pull(world.log_prior),
            1e-10,
        ),
        Statement(
            PART,
            "relative to π_k, even true ones push π away from it: their gradient",
            pull(expert),
            FAR,
            at_least=True,
            short="Self-play, pairs against π_k: no rest",
        ),
    ]


def statements() -> list[Statement]:
    return pipelines() + implicit_reward() + by_pairs() + self_play()

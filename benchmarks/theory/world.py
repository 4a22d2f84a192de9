"""A world small enough to be solved: a tabular Markov decision process with a KL to a prior policy.

    max_π  E_π Σ_t γ^t [ r(s_t, a_t) − β·log π(a_t|s_t)/π⁰(a_t|s_t) ]

Solutions, occupancies and expectations are exact: linear systems and enumeration; `sample` alone samples.
The last part has the losses on log π of CPL, Direct and Self-Play AIHF with their gradients, in NumPy alone:
a reference for other implementations.

S states, A actions. Rewards, values and policies may carry leading batch axes; policies are log-probabilities
(..., S, A).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax

from aihf_control.arrays import Floats, Integers

MOST_SWEEPS = 100
"""Of soft policy iteration, which is Newton's method and needs about six."""


class Solution(NamedTuple):
    """The soft-optimal `log_policy` and `q` (..., S, A), and `value` (..., S)."""

    log_policy: Floats
    q: Floats
    value: Floats

    @property
    def advantage(self) -> Floats:
        """Q − V, (..., S, A): β log π/π⁰."""
        return self.q - self.value[..., None]


@dataclass(frozen=True)
class World:
    """`transitions` (S, A, S), `start` (S,), `log_prior` (S, A): log π⁰, `discount` γ, `beta` β."""

    transitions: Floats
    start: Floats
    log_prior: Floats
    discount: float
    beta: float

    @property
    def shape(self) -> tuple[int, int]:
        """States, actions."""
        return self.transitions.shape[0], self.transitions.shape[1]

    def backup(self, reward: Floats, value: Floats) -> Floats:
        """Q = r + γ E V(s'), (..., S, A)."""
        return reward + self.discount * np.einsum("sat,...t->...sa", self.transitions, value)

    def improve(self, q: Floats) -> tuple[Floats, Floats]:
        """The policy ∝ π⁰ exp(Q/β), and its soft value V = β log Σ π⁰ exp(Q/β), (..., S)."""
        logits = self.log_prior + q / self.beta
        logits = logits - (most := logits.max(axis=-1, keepdims=True))
        normaliser = np.log(np.exp(logits).sum(axis=-1, keepdims=True))  # scipy's takes thrice as long
        return logits - normaliser, self.beta * (normaliser + most)[..., 0]

    def evaluate(self, log_policy: Floats, reward: Floats) -> Floats:
        """V of a policy, its cost β·KL(π‖π⁰) included, (..., S)."""
        policy = np.exp(log_policy)
        gained = np.sum(policy * (reward - self.beta * (log_policy - self.log_prior)), axis=-1)
        return np.linalg.solve(self._flow(policy), gained[..., None])[..., 0]

    def solve(self, reward: Floats, tolerance: float = 1e-12) -> Solution:
        """The optimum for `reward` (..., S, A), by soft policy iteration.

        Raises `ArithmeticError` if values still move by more than `tolerance`, relative to their size.
        """
        value: Floats = np.zeros(reward.shape[:-1])
        for _ in range(MOST_SWEEPS):
            log_policy, _ = self.improve(self.backup(reward, value))
            value, last = self.evaluate(log_policy, reward), value
            if np.max(np.abs(value - last)) <= tolerance * (1.0 + np.max(np.abs(value))):
                q = self.backup(reward, value)
                log_policy, value = self.improve(q)
                return Solution(log_policy, q, value)
        raise ArithmeticError(f"soft policy iteration has not converged after {MOST_SWEEPS} sweeps")

    def occupancy(self, log_policy: Floats) -> Floats:
        """Σ_t γ^t P(s_t = s, a_t = a), (..., S, A); it sums to 1/(1 − γ)."""
        policy = np.exp(log_policy)
        transposed = np.swapaxes(self._flow(policy), -1, -2)
        start = np.broadcast_to(self.start, policy.shape[:-1])
        return np.linalg.solve(transposed, start[..., None]) * policy

    def gap(self, log_policy: Floats, other: Floats) -> Floats:
        """E_π Σ γ^t KL(π‖other) on π's own way, (...)."""
        return np.sum(self.occupancy(log_policy) * (log_policy - other), axis=(-1, -2))

    def _flow(self, policy: Floats) -> Floats:
        """I − γ P_π, (..., S, S)."""
        moves = np.einsum("...sa,sat->...st", policy, self.transitions)
        return np.eye(len(self.start)) - self.discount * moves


def random_world(
    rng: np.random.Generator,
    states: int = 5,
    actions: int = 3,
    discount: float = 0.8,
    beta: float = 0.5,
    deterministic: bool = False,
) -> World:
    """Dirichlet transitions (or one successor each), start and π⁰."""
    if deterministic:
        transitions = np.eye(states)[rng.integers(states, size=(states, actions))]
    else:
        transitions = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    start = rng.dirichlet(np.ones(states))
    log_prior = log_softmax(0.5 * rng.normal(size=(states, actions)), axis=-1)
    return World(transitions, start, log_prior, discount, beta)


def sample(
    world: World, log_policy: Floats, count: int, length: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """States and actions (count, length) of `count` trajectories of the policy (S, A)."""
    states, actions = np.empty((2, count, length), np.int64)
    policy, moves = np.cumsum(np.exp(log_policy), axis=-1), np.cumsum(world.transitions, axis=-1)
    state = draw(np.broadcast_to(np.cumsum(world.start), (count, len(world.start))), rng)
    for step in range(length):
        action = draw(policy[state], rng)
        states[:, step], actions[:, step] = state, action
        state = draw(moves[state, action], rng)
    return states, actions


def draw(cumulated: Floats, rng: np.random.Generator) -> Integers:
    """An index a row of (N, k) cumulated weights, (N,)."""
    return np.sum(rng.random((len(cumulated), 1)) * cumulated[:, -1:] > cumulated[:, :-1], axis=-1)


def visits(states: Integers, actions: Integers, shape: tuple[int, int], discount: float) -> Floats:
    """Σ_t γ^t [s_t = s, a_t = a] of each row, (N, S, A)."""
    count, length = states.shape
    table = np.zeros((count, *shape))
    weights = np.broadcast_to(discount ** np.arange(length), states.shape)
    np.add.at(table, (np.arange(count)[:, None], states, actions), weights)
    return table


# ---- losses on log π: each returns its value and its gradient by log π, (S, A), entries taken as free


@dataclass(frozen=True)
class Pairs:
    """Preferences among N segments.

    `visits` (N, S, A) as from `visits()`; `weights` (N, N) how likely i and j are compared and i wins, or the
    share of such labels in a data set; they sum to 1.
    """

    visits: Floats
    weights: Floats


def every_segment(world: World, log_policy: Floats, length: int) -> tuple[Integers, Integers, Floats]:
    """All state and action sequences (N, length) of positive probability under the policy, and it (N,)."""
    states, actions = world.shape
    found = []
    for steps in product(product(range(states), range(actions)), repeat=length):
        likely = world.start[steps[0][0]]
        for (state, action), following in zip(steps, [*steps[1:], None], strict=True):
            likely *= np.exp(log_policy[state, action])
            if following is not None:
                likely *= world.transitions[state, action, following[0]]
        if likely > 0:
            found.append((steps, likely))
    sequences = np.array([steps for steps, _ in found])
    return sequences[..., 0], sequences[..., 1], np.array([likely for _, likely in found])


def exact_pairs(segments: Floats, probability: Floats, scores: Floats) -> Pairs:
    """Two independent draws of `segments` (N, S, A), labelled by Bradley–Terry on their `scores` (N,)."""
    weights = 2.0 * np.outer(probability, probability) * expit(scores[:, None] - scores)
    return Pairs(segments, weights)


def log_sigmoid(values: Floats) -> Floats:
    """log 1/(1 + exp(−x)), without overflow."""
    return -np.logaddexp(0.0, -values)


def cpl_loss(
    log_policy: Floats, pairs: Pairs, prior: Floats, beta: float, bias: float = 1.0
) -> tuple[float, Floats]:
    """−E log σ(β ℓ(w) − λ β ℓ(l)), ℓ = Σ γ^t log π/π⁰, λ = `bias`; λ = 1 is DPO over segments."""
    ratios = np.einsum("nsa,sa->n", pairs.visits, log_policy - prior)
    margins = beta * (ratios[:, None] - bias * ratios)
    pull = pairs.weights * expit(-margins)
    slopes = -beta * (pull.sum(axis=1) - bias * pull.sum(axis=0))
    loss = -float(np.sum(pairs.weights * log_sigmoid(margins)))
    return loss, np.einsum("n,nsa->sa", slopes, pairs.visits)


def cloning_loss(log_policy: Floats, demonstrated: Floats) -> tuple[float, Floats]:
    """−E_D Σ γ^t log π, of demonstrations with `demonstrated` (S, A) discounted visits."""
    return -float(np.sum(demonstrated * log_policy)), -demonstrated


def direct_aihf_loss(
    log_policy: Floats,
    demonstrated: Floats,
    pairs: Pairs,
    prior: Floats,
    beta: float,
    demonstration_weight: float = 1.0,
    bias: float = 1.0,
) -> tuple[float, Floats]:
    """w1 times `cloning_loss`, plus `cpl_loss`."""
    cloning, by_cloning = cloning_loss(log_policy, demonstrated)
    preferring, by_preferring = cpl_loss(log_policy, pairs, prior, beta, bias)
    return demonstration_weight * cloning + preferring, demonstration_weight * by_cloning + by_preferring


def self_play_loss(
    log_policy: Floats, opponent: Floats, demonstrated: Floats, beta: float, linear: bool = False
) -> tuple[float, Floats]:
    """−E log σ(β u(s,a) − β u(s,ã)), u = log π/π_k, `a` demonstrated, ã ~ π_k = exp(`opponent`).

    `linear` leaves out log σ.
    """
    ratios = beta * (log_policy - opponent)
    margins = ratios[:, :, None] - ratios[:, None, :]
    weights = demonstrated[:, :, None] * np.exp(opponent)[:, None, :]  # state, demonstrated, own
    values, pulls = (margins, np.ones_like(margins)) if linear else (log_sigmoid(margins), expit(-margins))
    pull = weights * pulls
    return -float(np.sum(weights * values)), -beta * (pull.sum(axis=2) - pull.sum(axis=1))


def by_logits(log_policy: Floats, gradient: Floats) -> Floats:
    """A gradient by log π, (S, A), as one by the logits of a softmax policy."""
    return gradient - np.exp(log_policy) * gradient.sum(axis=-1, keepdims=True)

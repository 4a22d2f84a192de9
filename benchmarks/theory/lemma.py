"""Lemma 4.1: the likelihood's gradient is a difference of discounted feature sums, over β.

Against central finite differences of the exact log-likelihood, whose error falls as the squared step until
rounding takes over. Three gradients that are wrong on purpose show what the comparison would notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from aihf_control.arrays import Floats
from benchmarks.theory.objective import lemma_gradient, lemma_value, likelihood_gradient, log_likelihood
from benchmarks.theory.statement import Statement
from benchmarks.theory.world import World, random_world, sample, visits

PART = "Lemma 4.1"
STEPS = np.logspace(-1, -9, 17)
WORLDS, FEATURES = 20, 4

Gradient = Callable[[World, Floats, Floats, Floats], Floats]
"""Of a world, the demonstrations' visits, features and the induced policy."""


def wrong_discount(world: World, shown: Floats, features: Floats, log_policy: Floats) -> Floats:
    """The policy's sums with γ² in place of γ."""
    wrong = World(world.transitions, world.start, world.log_prior, world.discount**2, world.beta)
    return lemma_gradient(wrong, shown, features, log_policy)


GRADIENTS: dict[str, Gradient] = {
    "Lemma 4.1": lemma_gradient,
    "sign flipped": lambda *given: -lemma_gradient(*given),
    "wrong discount": wrong_discount,
    "without 1/β": lambda world, *given: world.beta * lemma_gradient(world, *given),
}


def finite_differences(function: Callable[[Floats], Floats], theta: Floats, step: float) -> Floats:
    """Central, by each entry of θ (d,); `function` takes (n, d)."""
    moves = step * np.eye(len(theta))
    return (function(theta + moves) - function(theta - moves)) / (2 * step)


def _likelihood(world: World, shown: Floats, features: Floats, thetas: Floats) -> Floats:
    return log_likelihood(world, shown, np.einsum("sad,...d->...sa", features, thetas))


def relative_error(found: Floats, reference: Floats) -> float:
    """Of whole vectors."""
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def gradient_errors(worlds: int = WORLDS, steps: Floats = STEPS, seed: int = 41) -> pd.DataFrame:
    """gradient, world, step, error: every formula of `GRADIENTS` against finite differences of L1.

    Reward and demonstrator, any policy, are random: the lemma does not ask that a reward explains it.
    """
    rows = []
    for number in range(worlds):
        rng = np.random.default_rng([seed, number])
        world = random_world(rng)
        features, theta = rng.normal(size=(*world.shape, FEATURES)), rng.normal(size=FEATURES)
        demonstrator = world.solve(rng.normal(size=world.shape)).log_policy
        shown, induced = world.occupancy(demonstrator), world.solve(features @ theta).log_policy
        exact = {name: formula(world, shown, features, induced) for name, formula in GRADIENTS.items()}
        likelihood = partial(_likelihood, world, shown, features)
        for step in steps:
            numeric = finite_differences(likelihood, theta, step)
            rows += [(name, number, step, relative_error(g, numeric)) for name, g in exact.items()]
    return pd.DataFrame(rows, columns=["gradient", "world", "step", "error"])


def sampled_difference(deterministic: bool, trajectories: int, seed: int = 42) -> float:
    """How far the lemma is from ∇L1 when D is `trajectories` sampled ones: relative, in one random world.

    It telescopes over sampled transitions, so it is exact where those are certain, elsewhere on average.
    """
    rng = np.random.default_rng(seed)
    world = random_world(rng, deterministic=deterministic)
    features, theta = rng.normal(size=(*world.shape, FEATURES)), rng.normal(size=FEATURES)
    solution = world.solve(features @ theta)
    demonstrator = world.solve(rng.normal(size=world.shape)).log_policy
    states, actions = sample(world, demonstrator, trajectories, 150, rng)  # γ^150 = 3e-15
    shown = visits(states, actions, world.shape, world.discount).mean(axis=0)
    started = np.bincount(states[:, 0], minlength=world.shape[0]) / trajectories
    seen = World(world.transitions, started, world.log_prior, world.discount, world.beta)
    lemma = lemma_gradient(seen, shown, features, solution.log_policy)
    return relative_error(lemma, likelihood_gradient(seen, shown, features, solution.log_policy))


def value_difference(seed: int = 43) -> float:
    """Largest |lemma's L1 − L1| over 20 rewards."""
    rng = np.random.default_rng(seed)
    world = random_world(rng)
    shown = world.occupancy(world.solve(rng.normal(size=world.shape)).log_policy)
    rewards = rng.normal(size=(20, *world.shape))
    return float(np.max(np.abs(lemma_value(world, shown, rewards) - log_likelihood(world, shown, rewards))))


def statements(errors: pd.DataFrame) -> list[Statement]:
    """What `errors`, from `gradient_errors`, and the two exact comparisons say."""
    at = errors[np.isclose(errors.step, 1e-5)].groupby("gradient").error
    worlds = errors.world.nunique()
    right = Statement(
        PART,
        f"∇L1 by the lemma = finite differences of the likelihood: largest relative error, {worlds} worlds",
        at.max()["Lemma 4.1"],
        1e-6,
    )
    wrong = [
        Statement(
            PART, f"the same check notices a wrong gradient: {name}, least error", at.min()[name], 0.01, True
        )
        for name in GRADIENTS
        if name != "Lemma 4.1"
    ]
    return [
        right,
        *wrong,
        Statement(
            PART, "L1 = difference of values / β + constant: largest difference", value_difference(), 1e-10
        ),
        Statement(
            PART,
            "10 sampled trajectories, certain transitions: the lemma is their likelihood's gradient",
            sampled_difference(True, 10),
            1e-8,
        ),
        Statement(
            PART,
            "10 sampled trajectories, random transitions: it is not (only in expectation, as above); off by",
            sampled_difference(False, 10),
            0.01,
            True,
        ),
    ]

"""Both sources against each alone: the induced policy's distance from the demonstrator's, as data grow.

A true reward r = φ·θ; N demonstrations by its soft-optimal policy, and `PAIRS_PER_DEMONSTRATION`·N pairs
of segments by π⁰, labelled by Bradley–Terry on the true reward: neither source is wrong, only noisy.
Three estimates maximise w1·L1 + L2, L1 alone and L2 alone. In w1·L1 + L2 every trajectory and every pair
counts once, so w1 is their ratio (L2 is a mean); all have a weak prior, as few data may have no maximum.

L1 is the likelihood itself. Lemma 4.1's form of it, on sampled trajectories of a world whose transitions are
random, has no maximum where the visits seen are no policy's: one row of the table says what that costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import bootstrap

from aihf_control.arrays import Floats
from aihf_control.statistics import CONFIDENCE, RESAMPLES
from benchmarks.theory.objective import (
    lemma_gradient,
    lemma_value,
    likelihood_gradient,
    preference_gradient,
    preference_value,
)
from benchmarks.theory.statement import Statement
from benchmarks.theory.world import Solution, World, random_world, sample, visits

PART = "Consistency"
MEASURES = {"kl": "KL to the demonstrator", "regret": "return lost", "reward": "reward error up to shaping"}
SIZES = (10, 32, 100, 316, 1000)
PAIRS_PER_DEMONSTRATION = 10
REPEATS, FEATURES = 60, 4
HORIZON = 60
"""Steps of a demonstration: γ^60 = 1.5e-6 of it are cut off."""
SEGMENT = 5
PRIOR = 0.01
"""Precision of θ ~ N(0, 1/PRIOR)."""
DEMONSTRATIONS, PREFERENCES, BOTH = "demonstrations", "preferences", "both"
BY_LEMMA = "demonstrations by the lemma"
MISWEIGHTED = {"both, w1 / 3": 1 / 3, "both, w1 · 3": 3.0}

Term = Callable[[World, Floats, Floats, Floats], tuple[float, Floats]]
"""L1 and its gradient, of a world, visits, features and θ."""


def likelihood(world: World, shown: Floats, features: Floats, theta: Floats) -> tuple[float, Floats]:
    log_policy = world.solve(features @ theta).log_policy
    return float(np.sum(shown * log_policy)), likelihood_gradient(world, shown, features, log_policy)


def lemma_form(world: World, shown: Floats, features: Floats, theta: Floats) -> tuple[float, Floats]:
    reward = features @ theta
    gradient = lemma_gradient(world, shown, features, world.solve(reward).log_policy)
    return float(lemma_value(world, shown, reward)), gradient


@dataclass(frozen=True)
class Case:
    """A world whose true reward is `features` (S, A, d) @ `theta`, and its solution."""

    world: World
    features: Floats
    theta: Floats
    truth: Solution

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """The demonstrations' mean visits (S, A), and summed features, preferred minus rejected, (m, d)."""
        shape, pairs = self.world.shape, PAIRS_PER_DEMONSTRATION * size
        steps = sample(self.world, self.truth.log_policy, size, HORIZON, rng)
        shown = visits(*steps, shape, self.world.discount).mean(axis=0)
        steps = sample(self.world, self.world.log_prior, 2 * pairs, SEGMENT, rng)
        segments = np.einsum("nsa,sad->nd", visits(*steps, shape, discount=1.0), self.features)
        differences = segments[:pairs] - segments[pairs:]
        won = rng.random(pairs) < expit(differences @ self.theta)
        return shown, np.where(won, 1.0, -1.0)[:, None] * differences

    def estimate(self, shown: Floats, size: float, differences: Floats, term: Term = likelihood) -> Solution:
        """What θ induces that maximises size·L1 + m·L2 + log prior; `size` or m may be 0."""
        pairs = len(differences)

        def loss(theta: Floats) -> tuple[float, Floats]:
            value, gradient = -0.5 * PRIOR * float(theta @ theta), -PRIOR * theta
            if size:
                part, slope = term(self.world, shown, self.features, theta)
                value, gradient = value + size * part, gradient + size * slope
            if pairs:
                value += pairs * float(preference_value(differences, theta))
                gradient = gradient + pairs * preference_gradient(differences, theta)
            return -value, -gradient

        found = minimize(loss, np.zeros(len(self.theta)), jac=True, method="BFGS")
        return self.world.solve(self.features @ found.x)

    def errors(self, found: Solution) -> tuple[float, float, float]:
        """E_π* Σ γ^t KL(π*‖π̂), the regret of π̂ in the regularised return, and the root mean square of Â − A*,
        the soft advantages: rewards up to shaping.
        """
        kl = self.world.gap(self.truth.log_policy, found.log_policy)
        regret = self.world.beta * self.world.gap(found.log_policy, self.truth.log_policy)
        reward = np.sqrt(np.mean((found.advantage - self.truth.advantage) ** 2))
        return float(kl), float(regret), float(reward)


def make_case(seed: int = 45) -> Case:
    rng = np.random.default_rng(seed)
    world = random_world(rng)
    features, theta = rng.normal(size=(*world.shape, FEATURES)), rng.normal(size=FEATURES)
    return Case(world, features, theta, world.solve(features @ theta))


def errors(
    sizes: Sequence[int] = SIZES, repeats: int = REPEATS, closer: Sequence[int] = (100,), seed: int = 45
) -> pd.DataFrame:
    """source, size, repeat, kl, regret, reward, one world, data drawn anew in every repeat.

    At the sizes in `closer` there are also the demonstrations in the lemma's form, and both with a wrong w1.
    """
    case, rows = make_case(seed), []
    for size, repeat in product(sizes, range(repeats)):
        shown, differences = case.draw(size, np.random.default_rng([seed, size, repeat]))
        found = {
            DEMONSTRATIONS: case.estimate(shown, size, differences[:0]),
            PREFERENCES: case.estimate(shown, 0, differences),
            BOTH: case.estimate(shown, size, differences),
        }
        if size in closer:
            found[BY_LEMMA] = case.estimate(shown, size, differences[:0], lemma_form)
            for name, factor in MISWEIGHTED.items():
                found[name] = case.estimate(shown, factor * size, differences)
        rows += [(source, size, repeat, *case.errors(each)) for source, each in found.items()]
    return pd.DataFrame(rows, columns=["source", "size", "repeat", *MEASURES])


def means(measured: pd.DataFrame, measure: str) -> pd.DataFrame:
    """source, size, mean, low, high: with bootstrap intervals over repeats."""
    rows = []
    for (source, size), group in measured.groupby(["source", "size"]):
        interval = _interval((group[measure].to_numpy(),), np.mean)
        rows.append((source, size, group[measure].mean(), *interval))
    return pd.DataFrame(rows, columns=["source", "size", "mean", "low", "high"])


def ratio_to_best(
    measured: pd.DataFrame, size: int, measure: str, source: str = BOTH
) -> tuple[float, float, float]:
    """Mean error of `source` over the lower of the two alone, and its interval over repeats."""
    at = measured[measured["size"] == size].pivot(index="repeat", columns="source", values=measure)
    columns = tuple(at[name].to_numpy() for name in (source, DEMONSTRATIONS, PREFERENCES))

    def ratio(both: Floats, shown: Floats, preferred: Floats, axis: int = -1) -> Floats:
        return both.mean(axis) / np.minimum(shown.mean(axis), preferred.mean(axis))

    return float(ratio(*columns)), *_interval(columns, ratio)


def _interval(columns: tuple[Floats, ...], statistic: Callable[..., Floats]) -> tuple[float, float]:
    found = bootstrap(
        columns,
        statistic,
        paired=len(columns) > 1,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def statements(measured: pd.DataFrame) -> list[Statement]:
    """What `measured`, from `errors`, says."""
    sizes = sorted(set(measured["size"]))
    found = []
    for measure, name in MEASURES.items():
        bounds = [ratio_to_best(measured, size, measure)[2] for size in sizes]
        text = f"{name}: both / better source alone, upper 95% bound, worst of N = {sizes[0]}…{sizes[-1]:,}"
        found.append(Statement(PART, text, max(bounds), 1.0))
    both = means(measured[measured.source == BOTH], "kl")
    steepness = float(np.polyfit(np.log(both["size"]), np.log(both["mean"]), 1)[0])
    found.append(
        Statement(PART, "KL to the demonstrator falls as 1/N from both: log-log slope", steepness, -0.9)
    )
    by_lemma = measured[measured.source == BY_LEMMA]
    for size, group in by_lemma.groupby("size"):
        alone = measured[(measured.source == DEMONSTRATIONS) & (measured["size"] == size)]
        text = (
            f"{size} sampled trajectories, random transitions: median KL by the lemma's form / by L1 itself"
        )
        found.append(Statement(PART, text, group.kl.median() / alone.kl.median(), 1.5, at_least=True))
        bound = max(ratio_to_best(measured, size, "kl", name)[2] for name in MISWEIGHTED)
        text = (
            f"{MEASURES['kl']}, N = {size}, w1 three times too small or too large: the same bound, the worse"
        )
        found.append(Statement(PART, text, bound, 1.0))
    return found

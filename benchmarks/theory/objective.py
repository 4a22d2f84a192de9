"""AIHF's two terms for a linear reward r = φ·θ in a tabular world, and their gradients.

θ may carry leading batch axes. Demonstrations enter as their mean discounted visits (S, A).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from aihf_control.arrays import Floats
from benchmarks.theory.world import World, log_sigmoid


def log_likelihood(world: World, visits: Floats, reward: Floats) -> Floats:
    """L1 as it is defined: E_D Σ γ^t log π_θ(a_t|s_t)."""
    return np.sum(visits * world.solve(reward).log_policy, axis=(-1, -2))


def likelihood_gradient(world: World, visits: Floats, features: Floats, log_policy: Floats) -> Floats:
    """∇L1 through the induced policy (S, A), for any `visits`: ∇ log π = (∇Q − ∇V)/β, where
    ∇V = (I − γP_π)⁻¹ E_π φ.
    """
    policy = np.exp(log_policy)
    moves = np.einsum("sa,sat->st", policy, world.transitions)
    along = np.einsum("sa,sad->sd", policy, features)
    slope = np.linalg.solve(np.eye(len(moves)) - world.discount * moves, along)
    later = world.discount * np.einsum("sat,td->sad", world.transitions, slope)
    return np.einsum("sa,sad->d", visits, features + later - slope[:, None]) / world.beta


def lemma_value(world: World, visits: Floats, reward: Floats) -> Floats:
    """Lemma 4.1's L1, its constant E_D Σ γ^t log π⁰ included: (E_D Σ γ^t r − E V(s_0))/β + const."""
    value = world.solve(reward).value @ world.start
    gained = np.sum(visits * reward, axis=(-1, -2)) - value
    return gained / world.beta + np.sum(visits * world.log_prior)


def lemma_gradient(world: World, visits: Floats, features: Floats, log_policy: Floats) -> Floats:
    """Lemma 4.1: (E_D Σ γ^t φ − E_π Σ γ^t φ)/β, (..., d), with features (S, A, d)."""
    difference = visits - world.occupancy(log_policy)
    return np.einsum("...sa,sad->...d", difference, features) / world.beta


def preference_value(differences: Floats, theta: Floats) -> Floats:
    """L2 of pairs whose summed features differ by `differences` (m, d), preferred minus rejected; a mean."""
    return np.mean(log_sigmoid(np.einsum("md,...d->...m", differences, theta)), axis=-1)


def preference_gradient(differences: Floats, theta: Floats) -> Floats:
    """∇L2, (..., d)."""
    surprise = expit(-np.einsum("md,...d->...m", differences, theta))
    return np.einsum("...m,md->...d", surprise, differences) / len(differences)

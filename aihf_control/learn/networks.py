"""Policies and critics of S seeds, each network a `SeedMLP` on standardised observations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aihf_control.learn.batch_norm import NormalisedMLP
from aihf_control.learn.seed_mlp import SeedMLP

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
TANH_EPSILON = 1e-6  # keeps log(1 - tanh²) finite; Stable-Baselines3's value
ACTION_EDGE = 1e-3  # recorded actions are read this far inside ±1, where their density is finite


class Standardisation(nn.Module):
    """What every network does to observations first: their mean and standard deviation go to 0 and 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, seeds: int, observations: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(seeds, 1, observations))
        self.register_buffer("std", torch.ones(seeds, 1, observations))

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Take statistics (O,) of all seeds or (S, 1, O) of each, in place."""
        self.mean.copy_(mean.expand_as(self.mean))
        self.std.copy_(std.expand_as(self.std))

    def forward(self, observations: Tensor) -> Tensor:
        """(S, B, O) → (S, B, O)."""
        return (observations - self.mean) / self.std


class SquashedGaussianActor(nn.Module):
    """tanh(mean + σ·noise), state-dependent σ, for S seeds (Haarnoja et al. 2018, appendix C).

    It acts in float32, so that the policy that is evaluated is the one that is saved.
    """

    def __init__(
        self,
        seeds: int,
        observations: int,
        actions: int,
        hidden: Sequence[int],
        arithmetic: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.actions = actions
        self.standardise = Standardisation(seeds, observations)
        self.body = SeedMLP(seeds, (observations, *hidden, 2 * actions), arithmetic)

    def distribution(self, observations: Tensor, *, exact: bool = False) -> tuple[Tensor, Tensor]:
        """(S, B, O) → mean and log σ before squashing, both (S, B, A)."""
        outputs = self.body(self.standardise(observations), exact=exact)
        mean, log_std = outputs.split(self.actions, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    @torch.no_grad()
    def spread_evenly(self, width: float) -> None:
        """Make σ before squashing `width` at all observations; the mode stays as it is."""
        weight, bias = self.body.layers()[-1]
        weight[..., self.actions :] = 0.0
        bias[..., self.actions :] = math.log(width)

    def act(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Actions (S, B, A) of the stochastic policy, by `noise` (S, B, A)."""
        mean, log_std = self.distribution(observations, exact=True)
        return torch.tanh(mean + log_std.exp() * noise)

    def mode(self, observations: Tensor) -> Tensor:
        """The deterministic action, (S, B, A)."""
        return torch.tanh(self.distribution(observations, exact=True)[0])

    def sample(
        self, observations: Tensor, noise: Tensor, prior: SquashedGaussianActor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Actions (S, B, A) in [-1, 1], reparameterised by `noise`, and their cost c(π(·|s)) (S, B): the
        log-density, or with a `prior` π⁰, which gets no gradient, the exact KL(π‖π⁰)."""
        mean, log_std = self.distribution(observations)
        actions = torch.tanh(mean + log_std.exp() * noise)
        if prior is not None:
            with torch.no_grad():
                goal, log_width = prior.distribution(observations)
            return actions, gaussian_divergence(mean, log_std, goal, log_width)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return actions, (gaussian - torch.log(1 - actions.square() + TANH_EPSILON)).sum(-1)

    def log_density(self, observations: Tensor, actions: Tensor, *, exact: bool = False) -> Tensor:
        """(S, B) log-density of given `actions` in [-1, 1] (behaviour cloning, weighted regression)."""
        mean, log_std = self.distribution(observations, exact=exact)
        inside = actions.clamp(-1 + ACTION_EDGE, 1 - ACTION_EDGE)
        noise = (torch.atanh(inside) - mean) * torch.exp(-log_std)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - torch.log(1 - inside.square() + TANH_EPSILON)).sum(-1)

    def closeness(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(S, B) −‖action − mode‖²: up to a constant the log-density of a Gaussian of variance ½ around the
        mode, as CPL's published policies have (2310.13639). Unlike `log_density` it is bounded."""
        mean, _ = self.distribution(observations)
        return -(actions - torch.tanh(mean)).square().sum(-1)


def gaussian_divergence(mean: Tensor, log_std: Tensor, goal: Tensor, log_width: Tensor) -> Tensor:
    """KL(N(mean, std) ‖ N(goal, width)), (S, B, A) → (S, B); squashing both by tanh leaves it as it is."""
    variance_ratio = (2 * (log_std - log_width)).exp()
    distance = ((mean - goal) * (-log_width).exp()).square()
    return (0.5 * (variance_ratio + distance - 1) - (log_std - log_width)).sum(-1)


class TwinCritic(nn.Module):
    """Two Q-functions a seed as one network of 2·S members, ordered seed by seed; `normalised` by batch."""

    def __init__(
        self,
        seeds: int,
        observations: int,
        actions: int,
        hidden: Sequence[int],
        arithmetic: torch.dtype | None = None,
        *,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        self.standardise = Standardisation(seeds, observations)
        network = NormalisedMLP if normalised else SeedMLP
        self.body = network(2 * seeds, (observations + actions, *hidden, 1), arithmetic)

    def forward(self, observations: Tensor, actions: Tensor, *, frozen: bool = False) -> Tensor:
        """(S, B, O), (S, B, A) → (S, 2, B) values."""
        return self._values(self.body(self._inputs(observations, actions), frozen=frozen))

    def learn(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The same of a normalised critic, by the statistics of this batch, which it takes in."""
        assert isinstance(self.body, NormalisedMLP)
        return self._values(self.body.learn(self._inputs(observations, actions)))

    def _inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        x = torch.cat([self.standardise(observations), actions], dim=-1)
        return x.repeat_interleave(2, dim=0)

    @staticmethod
    def _values(outputs: Tensor) -> Tensor:
        return outputs.view(-1, 2, outputs.shape[1])


class Value(nn.Module):
    """A state-value function a seed."""

    def __init__(
        self,
        seeds: int,
        observations: int,
        hidden: Sequence[int],
        arithmetic: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.standardise = Standardisation(seeds, observations)
        self.body = SeedMLP(seeds, (observations, *hidden, 1), arithmetic)

    def forward(self, observations: Tensor) -> Tensor:
        """(S, B, O) → (S, B) values."""
        return self.body(self.standardise(observations)).squeeze(-1)

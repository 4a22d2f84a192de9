"""Soft actor-critic (Haarnoja et al. 2018, 1812.05905) for S seeds in one batch of tensors.

Every loss is the mean over the batch and the sum over seeds, so each seed gets exactly its own
gradient and, Adam being elementwise, S runs in one batch are S independent runs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import tyro
from torch import Tensor, nn

from aihf_control.bounds import Amount, Count, Finite, Positive, PositiveShare, Share, require_within
from aihf_control.errors import choose
from aihf_control.learn.adam import Adam, prefixed
from aihf_control.learn.networks import SquashedGaussianActor, TwinCritic
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.replay import Batch

Metrics = dict[str, Tensor]
"""Named diagnostics, each (S,)."""


ARITHMETIC = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class CriticForm:
    """How the critics learn, with the constants published for it."""

    normalised: bool
    """Batch normalisation and no target networks, or target networks and no normalisation."""
    learning_rate: float
    first_moment: float
    """Adam's β1, of actor and critics."""
    policy_delay: int
    """Updates of the critics for each one of actor and temperature."""


CRITICS = {
    "batch-norm": CriticForm(normalised=True, learning_rate=1e-3, first_moment=0.5, policy_delay=3),
    "plain": CriticForm(normalised=False, learning_rate=3e-4, first_moment=0.9, policy_delay=1),
}
"""CrossQ's (Bhatt et al. 2024, 1902.05605), and soft actor-critic's as the field runs it."""


@dataclass(frozen=True)
class SACConfig:
    """Soft actor-critic as the field runs it (Stable-Baselines3, RL Zoo), but for the critics."""

    critic: Annotated[str, tyro.conf.arg(metavar="|".join(CRITICS))] = "batch-norm"
    """batch-norm: CrossQ's critics, on which the learner needs an eighth of the steps; plain: those of
    soft actor-critic as published, with target networks."""
    hidden: tuple[Count, ...] = (256, 256)
    """Widths of the hidden layers, of actor and critics alike."""
    discount: Share = 0.99
    polyak: PositiveShare = 0.005
    """Share of the new weights in the target critics at each update, where there are targets."""
    batch_size: Count = 256
    learning_rate: Positive | None = None
    """None: as published for the critics, 1e-3 with batch-norm and 3e-4 for plain."""
    policy_delay: Count | None = None
    """Updates of the critics for each one of actor and temperature; None: as published, 3 and 1."""
    initial_temperature: Positive = 1.0
    tuned_temperature: bool = True
    """Whether the temperature follows the target entropy, or stays what it is initially."""
    target_entropy: Finite | None = None
    """None: minus the number of action dimensions."""
    random_steps: Amount = 5_000
    """Steps at the start of a run whose actions are uniform."""
    learning_starts: Count = 1_000
    """Steps in replay before the first update."""
    replay_capacity: Count = 1_000_000
    precision: tyro.conf.Suppress[str] = "float32"
    """Of the products between hidden layers in an update: float32 or bfloat16. Weights, losses and
    acting are float32 either way."""

    def __post_init__(self) -> None:
        require_within(self, "settings.sac")
        choose("--settings.sac.critic", self.critic, CRITICS)
        choose("PRECISION", self.precision, ARITHMETIC)

    @property
    def arithmetic(self) -> torch.dtype | None:
        """What the networks round to; None for float32, which is what they are."""
        return ARITHMETIC[self.precision]

    @property
    def form(self) -> CriticForm:
        """Of the critics, with what this configuration says otherwise."""
        published = CRITICS[self.critic]
        rate, delay = self.learning_rate, self.policy_delay
        return replace(
            published,
            learning_rate=published.learning_rate if rate is None else rate,
            policy_delay=published.policy_delay if delay is None else delay,
        )


def critic_loss(
    critic: TwinCritic,
    target: TwinCritic | None,
    actor: SquashedGaussianActor,
    temperature: Tensor,
    batch: Batch,
    noise: Tensor,
    discount: float,
    prior: SquashedGaussianActor | None = None,
) -> tuple[Tensor, Metrics]:
    """Half the twins' squared soft Bellman error; `temperature` (S,), `noise` (S, B, A).

    Without a `target` the critics are normalised, and what follows is valued by themselves: one pass over
    both halves, so that the statistics are those of the mixture (CrossQ, section 3.2).
    """
    with torch.no_grad():
        next_actions, cost = actor.sample(batch.next_observations, noise, prior)
    if target is None:
        observations = torch.cat([batch.observations, batch.next_observations], dim=1)
        values, following = critic.learn(observations, torch.cat([batch.actions, next_actions], dim=1)).chunk(
            2, dim=-1
        )
    else:
        values = critic(batch.observations, batch.actions)
        with torch.no_grad():
            following = target(batch.next_observations, next_actions)
    next_value = following.detach().amin(1) - temperature.unsqueeze(1) * cost
    goal = batch.rewards + discount * batch.masks * next_value
    losses = 0.5 * (values - goal.unsqueeze(1)).square().mean(-1).sum(1)
    return losses.sum(), {"critic_loss": losses.detach(), "value": values.detach().mean((1, 2))}


def actor_loss(
    actor: SquashedGaussianActor,
    critic: TwinCritic,
    temperature: Tensor,
    observations: Tensor,
    noise: Tensor,
    prior: SquashedGaussianActor | None = None,
) -> tuple[Tensor, Tensor, Metrics]:
    """E[α c − min Q]; also the cost c (S, B): the actions' log-densities, which the temperature needs."""
    actions, cost = actor.sample(observations, noise, prior)
    value = critic(observations, actions, frozen=True).amin(1)
    losses = (temperature.unsqueeze(1) * cost - value).mean(-1)
    mean_cost = cost.detach().mean(-1)
    told = {"entropy": -mean_cost} if prior is None else {"divergence": mean_cost}
    return losses.sum(), cost.detach(), {"actor_loss": losses.detach()} | told


def temperature_loss(
    log_temperature: Tensor, log_density: Tensor, target_entropy: float
) -> tuple[Tensor, Metrics]:
    """−log α · (log π + target entropy), the form of Stable-Baselines3; `log_density` (S, B)."""
    losses = -log_temperature * (log_density + target_entropy).mean(-1)
    return losses.sum(), {"temperature": log_temperature.detach().exp()}


class SAC:
    """Actor, twin critics and temperature of S seeds, with their optimisers.

    With a `prior` policy π⁰ the cost c(π(·|s)) of alignment is KL(π‖π⁰) in place of the log-density
    (AIHF's L3), and the temperature, which is then β, stays as it is. `actor_learning_rate` is None where the
    policy learns at the critics' rate.
    """

    def __init__(
        self,
        config: SACConfig,
        seeds: Sequence[int],
        observations: int,
        actions: int,
        device: torch.device | str = "cpu",
        actor_learning_rate: float | None = None,
    ) -> None:
        self.config, self.seeds, self.device = config, tuple(seeds), torch.device(device)
        form, shape = config.form, (len(seeds), observations, actions, config.hidden, config.arithmetic)
        self.policy_delay = form.policy_delay
        self.actor = SquashedGaussianActor(*shape)
        self.critic = TwinCritic(*shape, normalised=form.normalised)
        self.actor.body.initialise(SeedStreams(seeds, "actor"))
        self.critic.body.initialise(SeedStreams(seeds, "critic"))
        self.actor.to(device)
        self.critic.to(device)
        self.target = None if form.normalised else copy.deepcopy(self.critic).requires_grad_(False)
        self.prior: SquashedGaussianActor | None = None
        start = torch.full((len(seeds),), config.initial_temperature, device=device)
        self.log_temperature = nn.Parameter(start.log())
        self.target_entropy = -float(actions) if config.target_entropy is None else config.target_entropy
        actor_rate = actor_learning_rate or form.learning_rate
        self.actor_optimiser = Adam(self.actor.body.flat, actor_rate, form.first_moment)
        self.critic_optimiser = Adam(self.critic.body.flat, form.learning_rate, form.first_moment)
        self.temperature_optimiser = Adam(self.log_temperature, form.learning_rate)

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Show every network observations by these statistics, (O,) or (S, 1, O)."""
        for network in (self.actor, self.critic, self.target, self.prior):
            if network is not None:
                network.standardise.set(mean, std)

    def add_prior(self) -> SquashedGaussianActor:
        """The actor as it now is, to stay close to from here on."""
        self.prior = copy.deepcopy(self.actor).requires_grad_(False)
        return self.prior

    @torch.no_grad()
    def act(self, observations: Tensor, noise: Tensor | None = None) -> Tensor:
        """Actions (S, B, A) for observations (S, B, O): sampled by `noise`, or the mode without."""
        if noise is None:
            return self.actor.mode(observations)
        return self.actor.act(observations, noise)

    def update(self, batch: Batch, noise: Tensor, *, critic_only: bool = False) -> Metrics:
        """One gradient step on each objective, and a Polyak step of targets; `noise` (2, S, B, A).

        In Stable-Baselines3's order: the temperature in both losses is the one before its own step,
        the actor sees the critics after theirs. `critic_only` leaves actor and temperature alone.
        """
        temperature = self.log_temperature.detach().exp()
        loss, metrics = critic_loss(
            self.critic, self.target, self.actor, temperature, batch, noise[0], self.config.discount,
            self.prior,
        )  # fmt: skip
        self.critic_optimiser.descend(loss)
        if not critic_only:
            loss, cost, more = actor_loss(
                self.actor, self.critic, temperature, batch.observations, noise[1], self.prior
            )
            metrics |= more
            self.actor_optimiser.descend(loss)
            if self.prior is None and self.config.tuned_temperature:
                loss, more = temperature_loss(self.log_temperature, cost, self.target_entropy)
                self.temperature_optimiser.descend(loss)
                metrics |= more
        if self.target is not None:
            with torch.no_grad():
                self.target.body.flat.lerp_(self.critic.body.flat, self.config.polyak)
        return metrics

    def finite(self) -> Tensor:
        """(S,) whether every weight of a seed is finite."""
        return self.actor.body.finite() & self.critic.body.finite().view(-1, 2).all(1)

    def tensors(self) -> dict[str, Tensor]:
        """The live state of learner and optimisers, by name: what a checkpoint holds."""
        live = {"log_temperature": self.log_temperature.detach()}
        networks = {
            "actor": self.actor, "critic": self.critic, "target": self.target, "prior": self.prior
        }  # fmt: skip
        for name, network in networks.items():
            if network is not None:
                live |= prefixed(name, {key: value.detach() for key, value in network.state_dict().items()})
        for name in ("actor", "critic", "temperature"):
            live |= prefixed(f"{name}_optimiser", getattr(self, f"{name}_optimiser").tensors())
        return live

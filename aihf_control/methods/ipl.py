"""Inverse preference learning (Hejna & Sadigh 2023, 2305.15363): offline, without a reward network.

The reward is implied by the critic, `r = Q(s, a) − γ·V(s')`, and Bradley–Terry on its segment sums
teaches Q directly. An update on 8 pairs of 50 steps and 256 transitions costs about 4 of SAC's.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from aihf_control.learn.adam import Adam, prefixed
from aihf_control.learn.feedback_tables import PairBatch
from aihf_control.learn.networks import SquashedGaussianActor, TwinCritic, Value
from aihf_control.learn.randomness import UPDATES_PER_DRAW, SeedStreams
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward import preference_loss
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.offline_method import OfflineMethod


@dataclass(frozen=True)
class OfflineBatch:
    """One update's rows (S, R, ·): preferred steps, rejected steps, transitions, in this order; `weights`
    (S, R) sum to 1 a seed, half on the real steps of the segments and half on the transitions."""

    rows: Batch
    weights: Tensor
    pairs: PairBatch

    @staticmethod
    def join(pairs: PairBatch, transitions: Batch) -> OfflineBatch:
        """Lay both sources side by side."""
        valid = torch.cat([pairs.preferred.valid.flatten(1), pairs.rejected.valid.flatten(1)], dim=1)
        count = transitions.rewards.shape[1]
        halves = (
            0.5 * valid / valid.sum(1, keepdim=True),
            torch.full_like(transitions.rewards, 0.5 / count),
        )
        rows = Batch.joined(pairs.preferred.steps, pairs.rejected.steps, transitions)
        return OfflineBatch(rows, torch.cat(halves, dim=1), pairs)


def value_loss(value: Tensor, target: Tensor, weights: Tensor, expectile: float) -> tuple[Tensor, Metrics]:
    """Expectile regression of V to min target-Q, all (S, R)."""
    difference = target - value
    side = torch.where(difference > 0, expectile, 1 - expectile)
    losses = (weights * side * difference.square()).sum(-1)
    return losses.sum(), {"value_loss": losses.detach()}


def implied_reward_loss(
    implied: Tensor, batch: OfflineBatch, regularisation: float
) -> tuple[Tensor, Metrics]:
    """Bradley–Terry on the implied rewards (S, 2, R) of each twin, plus λ·E[r²] over both sources; the mean
    over the twins."""
    preferred, rejected = batch.pairs.preferred, batch.pairs.rejected
    width = preferred.valid[0].numel()
    loss, metrics = implied.new_zeros(()), Metrics()
    for twin in implied.unbind(1):
        sums = preferred.sums(twin[:, :width]), rejected.sums(twin[:, width : 2 * width])
        preference, metrics = preference_loss(*sums, batch.pairs.confidence)
        loss = loss + preference / 2
    squares = (batch.weights.unsqueeze(1) * implied.square()).sum(-1).mean(1)
    return loss + regularisation * squares.sum(), metrics | {"reward_square": squares.detach()}


def weighted_regression_loss(
    actor: SquashedGaussianActor, rows: Batch, advantage: Tensor, weights: Tensor, temperature: float,
    largest: float,
) -> tuple[Tensor, Metrics]:  # fmt: skip
    """−E[min(exp(advantage / β), largest) · log π(a | s)]; `advantage`, `weights` (S, R)."""
    shares = (advantage / temperature).exp().clamp(max=largest) * weights
    losses = -(shares * actor.log_density(rows.observations, rows.actions)).sum(-1)
    return losses.sum(), {"actor_loss": losses.detach(), "advantage_weight": shares.sum(-1)}


class IPL(OfflineMethod):
    """BC start, then the critic's implied reward from preferences and both sources' transitions."""

    learns_reward = True

    def __init__(self, context: Context) -> None:
        self.config, sac = context.settings.ipl, context.settings.sac
        super().__init__(context, updates=self.config.updates, learning_rate=self.config.learning_rate)
        self.discount, seeds, task = sac.discount, context.seeds, context.task
        observations, actions = task.observation_size, task.action_size
        self.critic = TwinCritic(len(seeds), observations, actions, sac.hidden, sac.arithmetic)
        self.value = Value(len(seeds), observations, sac.hidden, sac.arithmetic)
        self._networks: dict[str, TwinCritic | Value] = {"critic": self.critic, "value": self.value}
        mean, std = context.feedback.observation_mean, context.feedback.observation_std
        for name, network in self._networks.items():
            network.body.initialise(SeedStreams(seeds, name))
            network.to(context.device)
            network.standardise.set(mean, std)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        rate = self.config.learning_rate
        self.optimisers = {name: Adam(net.body.flat, rate) for name, net in self._networks.items()}

    def draw(self, streams: dict[str, SeedStreams]) -> dict[str, Tensor]:
        """Pairs and transitions of both sources."""
        config, steps = self.config, self.context.feedback.pairs.steps
        shown = round(config.demonstration_share * config.transitions_per_update)
        others = config.transitions_per_update - shown
        return {
            "pairs": self.draw_pairs(streams, config.pairs_per_update),
            "others": streams["transitions"].indices(UPDATES_PER_DRAW, others, steps.sizes),
            "shown": self.draw_shown(streams, shown),
        }

    def update(self) -> Metrics:
        """One update on what was drawn."""
        others = self.context.feedback.pairs.steps.rows(self.draws["others"])
        return self.learn(OfflineBatch.join(self.pairs(), Batch.joined(others, self.shown())))

    def learn(self, batch: OfflineBatch) -> Metrics:
        """One step of V, Q and policy, in this order and each on what was learned before it, and one Polyak
        step."""
        rows, config = batch.rows, self.config
        with torch.no_grad():
            target = self.target(rows.observations, rows.actions).amin(1)
        loss, metrics = value_loss(self.value(rows.observations), target, batch.weights, config.expectile)
        self.optimisers["value"].descend(loss)
        loss, more = implied_reward_loss(self._implied(rows), batch, config.regularisation)
        self.optimisers["critic"].descend(loss)
        metrics |= more
        with torch.no_grad():
            advantage = target - self.value(rows.observations)
        loss, more = weighted_regression_loss(
            self.actor, rows, advantage, batch.weights, config.temperature, config.largest_weight
        )
        self.actor_optimiser.descend(loss)
        with torch.no_grad():
            self.target.body.flat.lerp_(self.critic.body.flat, self.context.settings.sac.polyak)
        return metrics | more

    def _implied(self, steps: Batch) -> Tensor:
        """`r = Q(s, a) − γ·V(s')` of each twin, (S, 2, B); V is bounded by what λ·E[r²] allows."""
        bound = 1 / (self.config.regularisation * (1 - self.discount))
        with torch.no_grad():
            following = self.value(steps.next_observations).clamp(-bound, bound)
        return self.critic(steps.observations, steps.actions) - (
            self.discount * steps.masks * following
        ).unsqueeze(1)

    def rewards(self, steps: Batch) -> Tensor:
        """The implied reward (S, B), mean of the twins."""
        return self._implied(steps).mean(1)

    def faults(self) -> list[str | None]:
        """Weights that are not finite."""
        finite = self.actor.body.finite() & self.value.body.finite()
        finite &= self.critic.body.finite().view(-1, 2).all(1)
        return [None if ok else "a weight is not finite" for ok in finite.tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """Also critic, value and target."""
        live = super().tensors() | {"target": self.target.body.flat.detach()}
        for name, network in self._networks.items():
            live[name] = network.body.flat.detach()
            live |= prefixed(f"{name}_optimiser", self.optimisers[name].tensors())
        return live

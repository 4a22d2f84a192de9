"""Behaviour cloning: the policy that makes the demonstrated actions likely (Pomerleau 1991)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aihf_control.bounds import Count, Positive, require_within
from aihf_control.learn.adam import Adam
from aihf_control.learn.cuda_graphs import repeat
from aihf_control.learn.feedback_tables import StepTable
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import Metrics


@dataclass(frozen=True)
class CloningConfig:
    """Maximum likelihood on demonstrated transitions.

    A held-out likelihood is no guide to when to stop: it is best after some 2,000 steps, where the policy's
    return is half of what it is after 12,000 (docs/tuning.md).
    """

    steps: Count = 12_000
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    """At the first step, from where it falls to 0 in a line."""

    def __post_init__(self) -> None:
        require_within(self, "settings.cloning")


def cloning_loss(
    actor: SquashedGaussianActor, observations: Tensor, actions: Tensor
) -> tuple[Tensor, Metrics]:
    """−log π(a | s), mean over the batch, summed over seeds."""
    losses = -actor.log_density(observations, actions, exact=True).mean(-1)
    return losses.sum(), {"cloning_loss": losses.detach()}


def clone(
    actor: SquashedGaussianActor,
    demonstrations: StepTable,
    config: CloningConfig,
    seeds: Sequence[int],
    *,
    cuda_graphs: bool = True,
) -> Metrics:
    """Fit `actor` in place, each seed on its own minibatches; the metrics are the last batch's."""
    weights = actor.body.flat
    rate = torch.full((), config.learning_rate, device=weights.device)
    optimiser = Adam(weights, rate)
    streams = SeedStreams(seeds, "cloning", device=weights.device)
    indices = streams.indices(config.steps, config.batch_size, demonstrations.sizes)

    def step(position: Tensor) -> Metrics:
        batch = demonstrations.rows(indices.index_select(0, position)[0])
        loss, metrics = cloning_loss(actor, batch.observations, batch.actions)
        rate.copy_(config.learning_rate * (1 - position[0] / config.steps))
        optimiser.descend(loss)
        return metrics

    def state() -> list[Tensor]:
        return [weights.detach(), *optimiser.tensors().values()]

    return repeat(step, config.steps, state, weights.device, enabled=cuda_graphs, name="cloning")

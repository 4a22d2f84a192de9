"""Behaviour cloning: the policy that makes the demonstrated actions likely (Pomerleau 1991)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from aihf_control.networks import SquashedGaussianActor
from aihf_control.optimisers import Adam
from aihf_control.randomness import SeedStreams
from aihf_control.sac import Metrics
from aihf_control.samples import StepTable


@dataclass(frozen=True)
class CloningConfig:
    """Maximum likelihood on demonstrated transitions."""

    steps: int = 3_000
    batch_size: int = 256
    learning_rate: float = 1e-3


def cloning_loss(
    actor: SquashedGaussianActor, observations: Tensor, actions: Tensor
) -> tuple[Tensor, Metrics]:
    """−log π(a | s), mean over the batch, summed over seeds."""
    losses = -actor.log_density(observations, actions, exact=True).mean(-1)
    return losses.sum(), {"cloning_loss": losses.detach()}


def clone(
    actor: SquashedGaussianActor, demonstrations: StepTable, config: CloningConfig, seeds: Sequence[int]
) -> Metrics:
    """Fit `actor` in place, each seed on its own minibatches; the metrics are the last batch's."""
    optimiser = Adam(actor.body.flat, config.learning_rate)
    streams = SeedStreams(seeds, "cloning", device=actor.body.flat.device)
    indices = streams.indices(config.steps, config.batch_size, len(demonstrations))
    metrics: Metrics = {}
    for step in range(config.steps):
        batch = demonstrations.rows(indices[step])
        loss, metrics = cloning_loss(actor, batch.observations, batch.actions)
        optimiser.descend(loss)
    return metrics

"""CPL, contrastive preference learning (2310.13639): the DPO of control, from the clone on.

    −E_P log σ( α Σ log π(w) − λ α Σ log π(l) )

Direct AIHF (2406.06874) adds the demonstrations, and its ratio is to the clone, π⁰:

    −w1·E_D log π − E_P log σ( β Σ log π/π⁰(w) − λ β Σ log π/π⁰(l) )
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from aihf_control.learn.contrastive import contrastive_loss, segment_closeness
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.offline_method import OfflineMethod


class CPL(OfflineMethod):
    """Preferences alone, after the clone; π⁰ is uniform."""

    def __init__(self, context: Context) -> None:
        self.config = context.settings.cpl
        super().__init__(context, updates=self.config.updates, learning_rate=self.config.learning_rate)

    def draw(self, streams: dict[str, SeedStreams]) -> dict[str, Tensor]:
        """Pairs."""
        return {"pairs": self.draw_pairs(streams, self.config.pairs_per_update)}

    def update(self) -> Metrics:
        """One Adam step of the policy."""
        config, pairs = self.config, self.pairs()
        preferred, rejected = segment_closeness(self.actor, pairs)
        steps = pairs.preferred.valid.sum((1, 2)) + pairs.rejected.valid.sum((1, 2))
        mean = (preferred.sum(-1) + rejected.sum(-1)) / steps
        alpha = config.temperature
        loss, metrics = contrastive_loss(alpha * preferred, alpha * rejected, pairs.confidence, config.bias)
        self.actor_optimiser.descend(loss - config.cloning_weight * mean.sum())
        return metrics


class DirectAIHF(OfflineMethod):
    """Both sources in the policy's own log-ratio, without an inner loop."""

    def __init__(self, context: Context) -> None:
        self.config = context.settings.direct_aihf
        super().__init__(context, updates=self.config.updates, learning_rate=self.config.learning_rate)
        self.prior = copy.deepcopy(self.actor).requires_grad_(False)

    def start(self) -> Metrics:
        """Clone the demonstrations; the clone is π⁰."""
        metrics = super().start()
        self.prior.load_state_dict(self.actor.state_dict())
        return metrics

    def draw(self, streams: dict[str, SeedStreams]) -> dict[str, Tensor]:
        """Pairs and demonstrated steps."""
        return {
            "pairs": self.draw_pairs(streams, self.config.pairs_per_update),
            "shown": self.draw_shown(streams, self.config.transitions_per_update),
        }

    def update(self) -> Metrics:
        """One Adam step of the policy."""
        config, pairs, shown = self.config, self.pairs(), self.shown()
        preferred, rejected = segment_closeness(self.actor, pairs)
        with torch.no_grad():
            before = segment_closeness(self.prior, pairs)
        ratios = config.temperature * (preferred - before[0]), config.temperature * (rejected - before[1])
        loss, metrics = contrastive_loss(*ratios, pairs.confidence, config.bias)
        cloning = -self.actor.closeness(shown.observations, shown.actions).mean(-1)
        self.actor_optimiser.descend(loss + config.demonstration_weight * cloning.sum())
        return metrics | {"cloning_loss": cloning.detach()}

    def tensors(self) -> dict[str, Tensor]:
        """Also π⁰."""
        return super().tensors() | {"prior": self.prior.body.flat.detach()}

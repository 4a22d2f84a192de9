"""Self-Play AIHF (2406.06874; SPIN, 2401.01335): demonstrations against the policy's own earlier actions.

    −w1·E log σ( β log π/π_k(a|s) − β log π/π_k(ã|s) ) − E_P log σ( β Σ log π/π⁰(w) − β Σ log π/π⁰(l) )

a is demonstrated at s, ã is π_k's own there, and π_k, an earlier self, is frozen for some epochs; π⁰ is the
clone.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from aihf_control.learn.contrastive import contrastive_loss, segment_closeness, self_play_loss
from aihf_control.learn.randomness import UPDATES_PER_DRAW, SeedStreams
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.offline_method import OfflineMethod


class SelfPlayAIHF(OfflineMethod):
    """From the clone on, each few epochs against the policy that it was before."""

    def __init__(self, context: Context) -> None:
        self.config = context.settings.selfplay_aihf
        super().__init__(context, updates=self.config.updates, learning_rate=self.config.learning_rate)
        self.earlier, self.clone = (copy.deepcopy(self.actor).requires_grad_(False) for _ in range(2))
        self.prior = self.earlier if self.config.moving_prior else self.clone
        steps = max(context.feedback.demonstrated.steps.counts)
        self.play_updates = math.ceil(self.config.epochs * steps / self.config.transitions_per_update)

    def start(self) -> Metrics:
        """Clone the demonstrations; the clone is π⁰."""
        metrics = super().start()
        self.clone.load_state_dict(self.actor.state_dict())
        return metrics

    def before(self, updates: int) -> None:
        """Every few epochs the present self is the next rejected side."""
        if updates % self.play_updates == 0:
            with torch.no_grad():
                self.earlier.body.flat.copy_(self.actor.body.flat)

    def draw(self, streams: dict[str, SeedStreams]) -> dict[str, Tensor]:
        """Pairs, demonstrated steps and the noise of the earlier self's actions there."""
        count = self.config.transitions_per_update
        return {
            "pairs": self.draw_pairs(streams, self.config.pairs_per_update),
            "shown": self.draw_shown(streams, count),
            "noise": streams["own actions"].normal(UPDATES_PER_DRAW, count, self.actor.actions),
        }

    def update(self) -> Metrics:
        """One Adam step of the policy."""
        config, pairs, shown = self.config, self.pairs(), self.shown()
        seen = shown.observations
        with torch.no_grad():
            # own actions have the variance that `closeness` has, ½
            own = self.earlier.mode(seen) + math.sqrt(0.5) * self.draws["noise"]
            before = [self.earlier.closeness(seen, actions) for actions in (shown.actions, own)]
            segments_before = segment_closeness(self.prior, pairs)
        ratios = [
            config.temperature * (self.actor.closeness(seen, actions) - was)
            for actions, was in zip((shown.actions, own), before, strict=True)
        ]
        loss, metrics = self_play_loss(*ratios, linear=config.linear)
        segments = [
            config.temperature * (now - was)
            for now, was in zip(segment_closeness(self.actor, pairs), segments_before, strict=True)
        ]
        preference, more = contrastive_loss(segments[0], segments[1], pairs.confidence, bias=1.0)
        self.actor_optimiser.descend(config.demonstration_weight * loss + preference)
        return metrics | more

    def tensors(self) -> dict[str, Tensor]:
        """Also the earlier self and the clone."""
        kept = {"earlier": self.earlier.body.flat.detach(), "clone": self.clone.body.flat.detach()}
        return super().tensors() | kept

"""RLHF with a BC start: a reward from preferences, fitted once, then SAC on it from a cloned policy.

SAC unlearns a cloned policy within some thousand steps, even on the true reward and with a critic that was
warmed up: beyond the clone's own narrow actions the critic has seen nothing. Hence the KL to the clone.
And it falls on purpose if the fitted reward, whose offset is arbitrary, is mostly negative. Hence its zero.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import Metrics
from aihf_control.learn.sac_loop import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class RLHF(SACMethod):
    """The policy starts from the demonstrations, the reward from the preferences."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        config = replace(settings.sac, initial_temperature=settings.rlhf.initial_temperature)
        explore = Exploration(critic_only_until=settings.rlhf.warm_up_steps)
        super().__init__(context, config, explore, learns_reward=True)
        if settings.rlhf.kl_weight is not None:
            self.aligner.sac.add_reference()

    def start(self) -> Metrics:
        """Clone the demonstrations, then fit the reward, which stays fixed from here on."""
        settings, feedback = self.context.settings, self.context.feedback
        metrics = self.context.clone(self.actor) | self.reward_learner.fit_preferences(
            feedback.pairs, settings.rlhf.reward_steps, cuda_graphs=settings.cuda_graphs
        )
        self._calibrate()
        return metrics

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Set what the fit left open: the reward's zero, and the weight of the KL in the reward's scale."""
        config, sac = self.context.settings.rlhf, self.aligner.sac
        steps = self.context.feedback.pairs.steps
        streams = SeedStreams(self.context.seeds, "reward calibration", device=self.context.device)
        rewards = self.rewards(steps.rows(streams.indices(1, 10_000, steps.sizes)[0]))
        if config.zero_quantile is not None:
            low = rewards.quantile(config.zero_quantile, dim=1)
            self.reward_learner.model.raise_by(-low)
        if config.kl_weight is not None:
            assert sac.reference is not None
            sac.reference.load_state_dict(self.actor.state_dict())
            sac.log_temperature.copy_((config.kl_weight * rewards.std(1)).log())

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC on the fixed reward; the first steps train the critic alone."""
        return self.align(round, steps, self.reward_learner.model)

"""RLHF with a BC start: a reward from preferences, fitted once, then SAC on it from a cloned policy.

SAC unlearns a cloned policy within some thousand steps, even on the true reward and with a critic that was
warmed up: beyond the clone's own narrow actions the critic has seen nothing. Hence the KL to the clone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from aihf_control.alignment import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod
from aihf_control.randomness import SeedStreams
from aihf_control.sac import Metrics


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
        metrics = self.context.clone(self.actor) | self.learner.fit_preferences(
            feedback.pairs, settings.rlhf.reward_steps, cuda_graphs=settings.cuda_graphs
        )
        if settings.rlhf.kl_weight is not None:
            self._hold_to_the_clone(settings.rlhf.kl_weight)
        return metrics

    @torch.no_grad()
    def _hold_to_the_clone(self, weight: float) -> None:
        sac = self.aligner.sac
        assert sac.reference is not None
        sac.reference.load_state_dict(self.actor.state_dict())
        sac.log_temperature.copy_((weight * self._reward_deviation()).log())

    def _reward_deviation(self) -> Tensor:
        """(S,) standard deviation of the fitted reward over steps of the preference data."""
        steps = self.context.feedback.pairs.steps
        streams = SeedStreams(self.context.seeds, "reward deviation", device=self.context.device)
        return self.rewards(steps.rows(streams.indices(1, 10_000, len(steps))[0])).std(1)

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC on the fixed reward; the first steps train the critic alone."""
        return self.align(round, steps, self.learner.model)

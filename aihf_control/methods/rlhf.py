"""RLHF with a BC start: a reward from preferences, fitted once, then SAC on it from a cloned policy."""

from __future__ import annotations

from dataclasses import replace

from aihf_control.alignment import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod
from aihf_control.sac import Metrics


class RLHF(SACMethod):
    """The policy starts from the demonstrations, the reward from the preferences."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        config = replace(settings.sac, initial_temperature=settings.rlhf.initial_temperature)
        explore = Exploration(critic_only_until=settings.rlhf.warm_up_steps)
        super().__init__(context, config, explore, learns_reward=True)

    def start(self) -> Metrics:
        """Clone the demonstrations, then fit the reward, which stays fixed from here on."""
        settings, feedback = self.context.settings, self.context.feedback
        return self.context.clone(self.actor) | self.learner.fit_preferences(
            feedback.pairs, settings.rlhf.reward_steps, cuda_graphs=settings.cuda_graphs
        )

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC on the fixed reward; the first steps train the critic alone."""
        return self.align(round, steps, self.learner.model)

"""RLHF: a reward from preferences, fitted once, then SAC on it: from the clone with a KL to it, or from
random.

From the clone, the KL joins demonstrations and preferences in the policy; AIHF joins them in the reward.
"""

from __future__ import annotations

from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class RLHF(SACMethod):
    """The reward stays as it was fitted; from a random policy on it comes from the preferences alone."""

    def __init__(self, context: Context, *, start: str = "clone") -> None:
        super().__init__(context, learns_reward=True, start=start)

    def start(self) -> Metrics:
        """Clone the demonstrations where alignment starts there, and fit the reward."""
        settings, feedback = self.context.settings, self.context.feedback
        return super().start() | self.reward_learner.fit_preferences(
            feedback.pairs, settings.rlhf.reward_steps, cuda_graphs=settings.cuda_graphs
        )

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC on the fitted reward."""
        return self.align(round, steps, self.reward_learner.model)

"""The yardstick: the same SAC on the true reward, from a random policy."""

from __future__ import annotations

from aihf_control.learn.sac import Metrics
from aihf_control.learn.sac_loop import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class Oracle(SACMethod):
    """Knows what the others must learn."""

    def __init__(self, context: Context) -> None:
        config = context.settings.sac
        super().__init__(context, config, Exploration(random_until=config.random_steps), learns_reward=False)

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC on the environment's reward."""
        return self.align(round, steps, reward=None)

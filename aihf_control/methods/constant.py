"""The controls: SAC on the same reward at every step, which says nothing but whether to live or to die.

Where a fall ends the episode, +1 alone teaches standing and −1 falling. What a learned reward is worth
shows above `constant_plus`, not above a random policy.
"""

from __future__ import annotations

from torch import Tensor

from aihf_control.learn.sac import Metrics
from aihf_control.learn.sac_loop import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class Constant(SACMethod):
    """SAC from a random policy, told `value` at every step."""

    def __init__(self, context: Context, *, value: float) -> None:
        config = context.settings.sac
        explore = Exploration(random_until=config.random_steps)
        super().__init__(context, config, explore, learns_reward=False)
        self.value = value

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC; the environment's reward is never looked at."""
        return self.align(round, steps, self.reward)

    def reward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(S, B, O), (S, B, A) → (S, B), all `value`."""
        return observations.new_full(observations.shape[:-1], self.value)

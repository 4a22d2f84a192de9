"""The controls: SAC from a random policy on a reward that is known, not learned.

The oracle sees the true one: the yardstick. A constant says nothing but whether to live or to die: where a
fall ends the episode, +1 alone teaches standing and −1 falling. What a learned reward is worth shows above
`constant_plus`, not above a random policy.
"""

from __future__ import annotations

from torch import Tensor

from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class KnownReward(SACMethod):
    """SAC told `value` at every step, or with None the environment's own reward."""

    def __init__(self, context: Context, *, value: float | None = None) -> None:
        super().__init__(context, learns_reward=False)
        self.value = value

    def run_round(self, round: int, steps: int) -> Metrics:
        """One round of SAC."""
        return self.align(round, steps, None if self.value is None else self.constant)

    def constant(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(S, B, O), (S, B, A) → (S, B), all `value`."""
        assert self.value is not None
        return observations.new_full(observations.shape[:-1], self.value)

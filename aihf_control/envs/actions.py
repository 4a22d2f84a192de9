"""An environment's own bounds of actions, for which everything in here says [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from aihf_control.arrays import Floats
from aihf_control.errors import InvalidData


@dataclass(frozen=True)
class ActionRange:
    """The least and the most of each action, `low` and `high` (A,), in float64."""

    low: Floats
    high: Floats

    @staticmethod
    def of(space: gym.Space) -> ActionRange:
        """Of a bounded Box of floats with one axis; raises `InvalidData` for any other space."""
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1 or space.dtype.kind != "f":
            raise InvalidData(
                f"actions are {space}; only a bounded Box of floats with one axis can be learned"
            )
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise InvalidData(f"actions are {space}, which is not bounded: give its Box a low and a high")
        return ActionRange(low, high)

    @property
    def is_unit(self) -> bool:
        """Whether it is [-1, 1] already, where nothing is converted, not even rounded."""
        return bool((self.low == -1.0).all() and (self.high == 1.0).all())

    def own(self, actions: Floats) -> Floats:
        """From [-1, 1] (…, A) to these bounds, inside of them whatever the rounding."""
        if self.is_unit:
            return actions
        share = (np.asarray(actions, np.float64) + 1.0) / 2.0
        moved: Floats = self.low + share * (self.high - self.low)
        return np.where(np.isnan(moved), moved, np.clip(moved, self.low, self.high))

    def unit(self, actions: Floats) -> Floats:
        """From these bounds (…, A) to [-1, 1]; what lies outside stays outside."""
        if self.is_unit:
            return actions
        share = (np.asarray(actions, np.float64) - self.low) / (self.high - self.low)
        moved: Floats = 2.0 * share - 1.0
        return moved

    def __str__(self) -> str:
        if (self.low == self.low[0]).all() and (self.high == self.high[0]).all():
            return f"[{self.low[0]:g}, {self.high[0]:g}]"
        return f"from {self.low.tolist()} to {self.high.tolist()}"

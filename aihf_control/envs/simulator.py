"""Environments that notice when the simulator, rather than the policy, fails."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class SimulatorGuard(gym.Wrapper):
    """Remembers the first simulator fault in `fault`, instead of letting it pass for an ordinary step.

    MuJoCo answers a NaN action with a finite observation and a huge velocity with a silent reset;
    both show as a raised warning or as time that does not move forward.
    """

    fault: str | None = None

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._data = getattr(env.unwrapped, "data", None)  # None: not a MuJoCo environment

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As `gymnasium.Env.step`."""
        before = self._data.time if self._data is not None else 0.0
        result = self.env.step(action)
        if self.fault is None:
            self.fault = self._diagnose(action, before)
        return result

    def _diagnose(self, action: np.ndarray, before: float) -> str | None:
        if not np.isfinite(action).all():
            return "the action is not finite"
        data = self._data
        if data is None:
            return None
        if data.time <= before:
            return f"simulated time went from {before:.3f} s to {data.time:.3f} s"
        if data.warning.number.any():
            return f"MuJoCo raised warning {int(np.argmax(data.warning.number))}"
        if not np.isfinite(data.qpos).all():
            return "a joint position is not finite"
        return None

"""Environments that notice when the simulator, rather than the policy, fails."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from aihf_control.envs.actions import ActionRange


class UnitActions(gym.ActionWrapper):
    """Actions in [-1, 1] for an environment with other bounds."""

    def __init__(self, env: gym.Env[Any, Any], bounds: ActionRange) -> None:
        super().__init__(env)
        self._bounds = bounds
        self.action_space = gym.spaces.Box(-1.0, 1.0, bounds.low.shape, np.float32)

    @staticmethod
    def around(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """`env` itself if its bounds are these."""
        bounds = ActionRange.of(env.action_space)
        return env if bounds.is_unit else UnitActions(env, bounds)

    def action(self, action: np.ndarray) -> np.ndarray:
        """In the environment's own bounds, and of its own type."""
        return self._bounds.own(action).astype(self.env.action_space.dtype)


class SimulatorGuard(gym.Wrapper):
    """Remembers the first simulator fault in `fault`, instead of letting it pass for an ordinary step.

    MuJoCo answers a NaN action with a finite observation and a huge velocity with a silent reset;
    both show as a raised warning or as time that does not move forward.
    """

    fault: str | None = None

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        data = getattr(env.unwrapped, "data", None)
        self._data = data if isinstance(data, mujoco.MjData) else None  # not a MuJoCo environment

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As `gymnasium.Env.step`."""
        before = self._data.time if self._data is not None else 0.0
        result = self.env.step(action)
        if self.fault is None:
            self.fault = self._diagnose(action, before, result[0])
        return result

    def _diagnose(self, action: np.ndarray, before: float, observation: np.ndarray) -> str | None:
        if not np.isfinite(action).all():
            return "the action is not finite"
        data = self._data
        if data is None:
            return None if np.isfinite(observation).all() else "the observation is not finite"
        if data.time <= before:
            return f"simulated time went from {before:.3f} s to {data.time:.3f} s"
        if data.warning.number.any():
            return f"MuJoCo raised warning {int(np.argmax(data.warning.number))}"
        if not np.isfinite(data.qpos).all():
            return "a joint position is not finite"
        return None

"""What a batch of environments does in one step, and the plainest batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aihf_control.envs.tasks import Task, make_env
from aihf_control.errors import UserError


class BrokenEnvironments(UserError, RuntimeError):
    """Environments that cannot go on: a worker process failed or ended."""


@dataclass(frozen=True)
class Steps:
    """What N environments did in one step. The arrays are never written to again; where no episode
    ended, `following` and `final` are one array."""

    following: np.ndarray
    """(N, O) float32: the observation to act on next; after an ended episode, the first of the new one."""
    final: np.ndarray
    """(N, O) float32: the true next observation, never the one after a reset."""
    rewards: np.ndarray
    """(N,) float64."""
    terminated: np.ndarray
    """(N,) bool."""
    truncated: np.ndarray
    """(N,) bool; both hold where a robot falls in the last step that the time limit allows."""


class Environments(Protocol):
    """N environments of one task in lockstep: `reset`, then `begin` and `finish` in turn.

    What is done between `begin` and `finish` runs while the environments step, where the backend can.
    """

    count: int

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """First observations (N, O) float32; one seed an environment, from which all it does follows."""

    def begin(self, actions: np.ndarray, playing: np.ndarray | None = None) -> None:
        """Start a step with `actions` (N, A) in [-1, 1], used as float32; they may change afterwards.

        Environments where `playing` (N,) is False are left alone: their last observation, reward 0,
        not ended. None means that all play.
        """

    def finish(self) -> Steps:
        """Wait for the step that `begin` started."""

    def faults(self) -> list[str | None]:
        """The first simulator fault of each environment since it was made, if any."""

    def close(self) -> None:
        """Free everything; safe to call twice, and in the middle of a step."""


class SerialEnvironments:
    """N Gymnasium environments in this process, one after the other. They step in `finish`, so that a
    GPU which was given work since `begin` is kept busy."""

    def __init__(self, task: Task, count: int, *, fixed_horizon: bool, autoreset: bool) -> None:
        self.count, self._autoreset = count, autoreset
        self._envs = [make_env(task, fixed_horizon=fixed_horizon) for _ in range(count)]
        self._current = np.zeros((count, task.observation_size), np.float32)
        self._everyone = np.ones(count, bool)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """As `Environments.reset`."""
        self._current = np.empty_like(self._current)
        for i, (env, seed) in enumerate(zip(self._envs, seeds, strict=True)):
            self._current[i] = env.reset(seed=seed)[0]
        return self._current

    def begin(self, actions: np.ndarray, playing: np.ndarray | None = None) -> None:
        """As `Environments.begin`."""
        self._actions = np.array(actions, np.float32)
        self._playing = self._everyone if playing is None else np.array(playing, bool)

    def finish(self) -> Steps:
        """As `Environments.finish`."""
        final, rewards = self._current.copy(), np.zeros(self.count)
        terminated, truncated = np.zeros(self.count, bool), np.zeros(self.count, bool)
        ended = []
        for i in np.flatnonzero(self._playing).tolist():
            observation, reward, falls, times_out, _ = self._envs[i].step(self._actions[i])
            final[i], rewards[i], terminated[i], truncated[i] = observation, reward, falls, times_out
            if falls or times_out:
                ended.append(i)
        following = final
        if ended and self._autoreset:
            following = final.copy()
            for i in ended:
                following[i] = self._envs[i].reset()[0]
        self._current = following
        return Steps(following, final, rewards, terminated, truncated)

    def faults(self) -> list[str | None]:
        """As `Environments.faults`."""
        return [env.get_wrapper_attr("fault") for env in self._envs]

    def close(self) -> None:
        """As `Environments.close`."""
        for env in self._envs:
            env.close()

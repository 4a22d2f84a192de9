"""EnvPool: the same tasks, simulated by C++ threads (https://github.com/sail-sg/envpool)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from aihf_control.envs.environments import Steps
from aihf_control.envs.tasks import Task, action_range
from aihf_control.errors import InvalidChoice
from aihf_control.hardware import usable_cores


class EnvPoolEnvironments:
    """N environments of EnvPool, for training: they always restart, and all of them always play.

    Its own autoreset would take the next step for the reset, a row that never happened; here ended
    environments are reset at once, and the time limit is counted here, because EnvPool calls a fall in
    the last allowed step a truncation. Rewards are rounded to float32 by EnvPool.
    """

    def __init__(
        self, task: Task, count: int, *, fixed_horizon: bool, autoreset: bool, threads: int | None = None
    ) -> None:
        if not autoreset:
            raise ValueError("EnvPool's environments always restart: evaluate with serial or workers")
        _load()
        self.count, self._task, self._fixed_horizon = count, task, fixed_horizon
        self._threads = min(count, threads or usable_cores())
        self._bounds = action_range(task)
        self._faults: list[str | None] = [None] * count
        self._pool: Any = None
        self._stepping = False

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """As `Environments.reset`. EnvPool takes seeds only when it is made, so the pool is made anew."""
        if len(seeds) != self.count:
            raise ValueError(f"{len(seeds)} seeds for {self.count} environments")
        self.close()
        self._pool = make_pool(self._task, seeds, self._threads, fixed_horizon=self._fixed_horizon)
        self._played = np.zeros(self.count, np.int64)  # steps since each environment's reset
        return self._pool.reset()[0].astype(np.float32)

    def begin(self, actions: np.ndarray, playing: np.ndarray | None = None) -> None:
        """As `Environments.begin`, but for `playing`, which must be None."""
        if playing is not None:
            raise ValueError("EnvPool's environments always play: evaluate with serial or workers")
        actions = np.asarray(actions, np.float32)
        self._note(actions, "the action is not finite")
        self._pool.send(self._bounds.own(actions).astype(np.float32, copy=False))  # copies them
        self._stepping = True

    def finish(self) -> Steps:
        """As `Environments.finish`."""
        observations, rewards, terminated, _, _ = self._pool.recv()
        self._stepping = False
        final = following = observations.astype(np.float32)
        self._note(final, "the observation is not finite")
        self._played += 1
        truncated = self._played >= self._task.horizon
        ended = np.flatnonzero(terminated | truncated).astype(np.int32)
        if ended.size:
            following = final.copy()
            following[ended] = self._pool.reset(ended)[0]
            self._played[ended] = 0
        return Steps(following, final, rewards.astype(np.float64), terminated, truncated)

    def faults(self) -> list[str | None]:
        """As `Environments.faults`, as far as it can be seen: EnvPool hides the simulator's state, so only
        an action or observation that is not finite shows, and MuJoCo's warnings and silent resets do not.
        """
        return list(self._faults)

    def close(self) -> None:
        """As `Environments.close`."""
        if self._stepping:
            self._pool.recv()
            self._stepping = False
        self._pool = None  # its threads end with it

    def _note(self, values: np.ndarray, fault: str) -> None:
        if not np.isfinite(values).all():
            for i in np.flatnonzero(~np.isfinite(values).all(axis=1)):
                self._faults[i] = self._faults[i] or fault


def make_pool(task: Task, seeds: Sequence[int], threads: int, *, fixed_horizon: bool) -> Any:
    """EnvPool's own object, one environment a seed (below 2³¹), which never reaches its time limit."""
    options = {"terminate_when_unhealthy": False} if fixed_horizon and task.can_fall else {}
    options = {**task.env_kwargs, **options}
    return _load().make_gymnasium(
        task.env_id,
        num_envs=len(seeds),
        seed=[int(seed) for seed in seeds],
        num_threads=threads,
        max_episode_steps=task.horizon + 1,
        **options,
    )


def why_not() -> str | None:
    """In one line why EnvPool cannot be used: it is missing, or does not fit to what is there; else None."""
    try:
        import_module("envpool")
    except (ImportError, OSError) as error:  # OSError: of a shared library
        return (
            f"ENVIRONMENTS=envpool needs EnvPool ({' '.join(str(error).split())}): "
            "pip install -c constraints.txt -e '.[fast]', or choose workers"
        )
    return None


def _load() -> Any:
    if fault := why_not():
        raise InvalidChoice(fault)
    return import_module("envpool")

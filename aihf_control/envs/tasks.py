"""The task table. Only tasks listed here ever reach `gymnasium.make`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Gymnasium is imported where it is used, so that names can be checked without it
    import gymnasium as gym


@dataclass(frozen=True)
class Task:
    """A control task. Actions are in [-1, 1]; `horizon` is Gymnasium's time limit in steps."""

    name: str
    env_id: str
    observation_size: int
    action_size: int
    can_fall: bool
    """Whether the standard environment ends an episode early, when the robot is unhealthy."""
    hidden_positions: int = 1
    """How many leading coordinates of the position the observation leaves out: x, or x and y."""
    horizon: int = 1000


TASKS = {
    task.name: task
    for task in (
        Task("hopper", "Hopper-v5", observation_size=11, action_size=3, can_fall=True),
        Task("halfcheetah", "HalfCheetah-v5", observation_size=17, action_size=6, can_fall=False),
        Task("walker2d", "Walker2d-v5", observation_size=17, action_size=6, can_fall=True),
        Task("swimmer", "Swimmer-v5", observation_size=8, action_size=2, can_fall=False, hidden_positions=2),
        Task("ant", "Ant-v5", observation_size=105, action_size=8, can_fall=True, hidden_positions=2),
    )
}


ALL_TASKS = ("hopper", "halfcheetah", "walker2d")
"""What ENV=all stands for: the three panels of the paper's Figure 5."""

BACKENDS = ("auto", "serial", "workers", "envpool")
"""How environments may be run."""


def task_title(task: str) -> str:
    """`hopper` → Hopper-v5."""
    return TASKS[task].env_id if task in TASKS else task


def make_env(task: Task, *, fixed_horizon: bool = False) -> gym.Env:
    """The task's environment; with `fixed_horizon` a fallen robot plays on to the time limit."""
    import gymnasium as gym

    from aihf_control.envs.simulator import SimulatorGuard

    options = {"terminate_when_unhealthy": False} if fixed_horizon and task.can_fall else {}
    with without_deprecations():
        return SimulatorGuard(gym.make(task.env_id, max_episode_steps=task.horizon, **options))


@contextmanager
def without_deprecations() -> Iterator[None]:
    """MuJoCo 4 finds an attribute of Gymnasium's HalfCheetah deprecated, and says so at every environment
    made, on the terminal and in a log file in the folder one happens to be in. Nobody here can act on it."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_other_warning)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _other_warning(message: str) -> None:
    if "deprecated" not in message:
        print(f"WARNING: {message}", file=sys.stderr)

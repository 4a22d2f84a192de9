"""The task table. Only tasks listed here, and a user's own (`external`), ever reach `gymnasium.make`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aihf_control.errors import InvalidChoice

if TYPE_CHECKING:  # what needs Gymnasium is imported where it is used, so that names can be checked without
    import gymnasium as gym

    from aihf_control.envs.actions import ActionRange


ENTRY_POINTS = "aihf_control.tasks"
"""The entry-point group in which other packages offer tasks; a built-in's name stays the built-in's."""


@dataclass(frozen=True)
class Task:
    """A control task. Actions are in [-1, 1] here, which stands for the environment's own bounds."""

    name: str
    """Of its folders in results/ and data/."""
    env_id: str
    """Gymnasium's."""
    observation_size: int
    action_size: int
    can_fall: bool
    """Whether the standard environment ends an episode early, when the robot is unhealthy; it then takes
    `terminate_when_unhealthy`."""
    hidden_positions: int | None = None
    """How many leading coordinates of the position the observation leaves out, x, or x and y, where it
    begins with the others and the velocities; None: the simulator's state cannot be read off it."""
    horizon: int = 1000
    """The time limit in steps."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What `gymnasium.make` is given beside the id: values that JSON can hold."""


TASKS = {
    task.name: task
    for task in (
        Task("hopper", "Hopper-v5", 11, 3, can_fall=True, hidden_positions=1),
        Task("halfcheetah", "HalfCheetah-v5", 17, 6, can_fall=False, hidden_positions=1),
        Task("walker2d", "Walker2d-v5", 17, 6, can_fall=True, hidden_positions=1),
        Task("swimmer", "Swimmer-v5", 8, 2, can_fall=False, hidden_positions=2),
        Task("ant", "Ant-v5", 105, 8, can_fall=True, hidden_positions=2),
        Task("humanoid", "Humanoid-v5", 348, 17, can_fall=True, hidden_positions=2),
        Task("reacher", "Reacher-v5", 10, 2, can_fall=False, horizon=50),
        Task("pusher", "Pusher-v5", 23, 7, can_fall=False, horizon=100),
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
    """The task's environment, whose actions are in [-1, 1]; with `fixed_horizon` a fallen robot plays on to
    the time limit. Raises `InvalidChoice` for an environment that takes no such wish."""
    import gymnasium as gym

    from aihf_control.envs.simulator import SimulatorGuard, UnitActions

    options = {"terminate_when_unhealthy": False} if fixed_horizon and task.can_fall else {}
    with without_deprecations():
        try:
            made = gym.make(task.env_id, max_episode_steps=task.horizon, **{**task.env_kwargs, **options})
        except TypeError as error:
            if options and "terminate_when_unhealthy" in str(error):
                raise InvalidChoice(
                    f"--settings.fixed-horizon: {task.env_id} takes no terminate_when_unhealthy"
                ) from None
            raise
        return SimulatorGuard(UnitActions.around(made))


@lru_cache(maxsize=8)
def action_range(task: Task) -> ActionRange:
    """The bounds that the actions of the task's environment have themselves."""
    import gymnasium as gym

    from aihf_control.envs.actions import ActionRange

    with without_deprecations():
        env = gym.make(task.env_id, **task.env_kwargs)
    try:
        return ActionRange.of(env.action_space)
    finally:
        env.close()


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

"""The task table against Gymnasium: adding a task is one row, and a wrong row shows here."""

import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from aihf_control.envs.tasks import TASKS, Task, make_env


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_row_is_what_gymnasium_says(task: Task) -> None:
    env = make_env(task)
    simulator: Any = env.unwrapped
    assert env.observation_space.shape == (task.observation_size,)
    assert isinstance(env.action_space, gym.spaces.Box)
    np.testing.assert_array_equal(env.action_space.low, -np.ones(task.action_size))
    np.testing.assert_array_equal(env.action_space.high, np.ones(task.action_size))
    assert gym.spec(task.env_id).max_episode_steps == task.horizon
    structure = getattr(simulator, "observation_structure", {"skipped_qpos": None})
    assert structure["skipped_qpos"] == task.hidden_positions
    assert ("terminate_when_unhealthy" in inspect.signature(type(simulator)).parameters) == task.can_fall
    env.close()


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_fixed_horizon_never_terminates(task: Task) -> None:
    env = make_env(task, fixed_horizon=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    assert not any(env.step(env.action_space.sample())[2] for _ in range(150))
    env.close()


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_making_an_environment_says_nothing_and_leaves_no_log(
    task: Task, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    make_env(task).close()
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert mujoco.get_mju_user_warning() is before


def test_other_warnings_of_the_simulator_are_still_said(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*args: Any, **options: Any) -> gym.Env:
        mujoco.get_mju_user_warning()("the mass is negative")
        return made

    made = gym.make("Hopper-v5")
    monkeypatch.setattr(gym, "make", make)
    make_env(TASKS["hopper"]).close()
    assert capfd.readouterr().err == "WARNING: the mass is negative\n"

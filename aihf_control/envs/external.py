"""Tasks from outside the package: a `Task` in a user's file, or an entry point of an installed package.

`open_task` runs their code, as asked for on the command line. What they were is recorded with every run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from aihf_control.envs.actions import ActionRange
from aihf_control.envs.tasks import ENTRY_POINTS, TASKS, Task, make_env, without_deprecations
from aihf_control.errors import InvalidChoice, InvalidData, choose
from aihf_control.own_code import (
    Source,
    is_file_entry,
    load_entry_point,
    load_file,
    offered,
    one_line,
    require_folder_name,
    split_place,
)


@dataclass(frozen=True)
class OwnTask:
    """A task that is not built in."""

    task: Task
    entry: str
    """As ENV= names it, for jobs and worker processes, which load it anew."""
    source: Source

    def record(self) -> dict[str, Any]:
        """What `config.json` keeps: resuming a run on another task of that name is refused."""
        return {"task_code": asdict(self.source) | {"task": asdict(self.task)}}


OWN: dict[str, OwnTask] = {}
"""The tasks that this process has opened, by name."""


def open_task(entry: str) -> Task:
    """The task that ENV= names: a built-in, `path/to/my_task.py:TASK`, or one of an installed package.

    Raises `InvalidChoice`, one line: its code cannot be loaded, or its environment cannot be learned in.
    """
    if entry in TASKS:
        return TASKS[entry]
    asked = f"ENV={entry}"
    found, source = _load(asked, entry)
    known = next((own for own in OWN.values() if (own.entry, own.source) == (entry, source)), None)
    if known is not None:
        return known.task
    task = _named(asked, entry, found)
    _check_environment(asked, task)
    OWN[task.name] = OwnTask(task, entry, source)
    return task


def entry_of(name: str) -> str:
    """What ENV= is given for the task of that name."""
    return OWN[name].entry if name in OWN else name


def _load(asked: str, entry: str) -> tuple[Any, Source]:
    if is_file_entry(entry):
        file, attribute = split_place(asked, entry, "ENV=path/to/my_task.py:TASK")
        return load_file(asked, file, attribute, Task)
    choose("ENV", entry, [*TASKS, *offered(ENTRY_POINTS, TASKS)])
    return load_entry_point(asked, ENTRY_POINTS, entry)


def _named(asked: str, entry: str, found: Any) -> Task:
    """`found`, if it is a task that can be used; of a package, under the name that it is offered as."""
    if not isinstance(found, Task):
        raise InvalidChoice(
            f"{asked}: is {type(found).__name__}, not a Task: write TASK = Task(name, env_id, …), from "
            "aihf_control import Task"
        )
    task = found if is_file_entry(entry) else replace(found, name=entry)
    if not isinstance(task.name, str) or task.name.lower() in (*TASKS, "all"):
        raise InvalidChoice(f"{asked}: its name, {task.name!r}, is taken: give the Task another one")
    require_folder_name(f"{asked}: name", task.name, "my_task")
    for field in ("observation_size", "action_size", "horizon"):
        value = getattr(task, field)
        if type(value) is not int or value < 1:
            raise InvalidChoice(f"{asked}: {field} is {value!r}, not a whole number from 1 up")
    try:
        json.dumps(dict(task.env_kwargs), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidChoice(f"{asked}: env_kwargs cannot be written into config.json: {error}") from None
    return task


def _check_environment(asked: str, task: Task) -> None:
    """Make it, compare its spaces with the row, and take a step."""
    try:
        gym.spec(task.env_id)
    except gym.error.Error as error:
        raise InvalidChoice(
            f"{asked}: Gymnasium knows no env_id {task.env_id} ({' '.join(str(error).split())}): "
            "register it in the same file"
        ) from None
    try:
        with without_deprecations():
            env = gym.make(task.env_id, **task.env_kwargs)
        _check_spaces(task, env)
        env.close()
        env = make_env(task)
        first, _ = env.reset(seed=0)
        second, reward, *_ = env.step(np.zeros(task.action_size, np.float32))
        worth = float(reward)
        env.close()
    except InvalidData as error:
        raise InvalidChoice(f"{asked}: {task.env_id}: {error}") from None
    except Exception as error:  # whatever the user's code makes of it
        raise InvalidChoice(f"{asked}: {task.env_id} fails: {one_line(error)}") from error
    for name, seen in (("reset", first), ("step", second)):
        if np.shape(seen) != (task.observation_size,) or not np.isfinite(seen).all():
            raise InvalidChoice(
                f"{asked}: {task.env_id}: {name} returns an observation of shape {np.shape(seen)}, expected "
                f"{task.observation_size} finite numbers"
            )
    if not np.isfinite(worth):
        raise InvalidChoice(f"{asked}: {task.env_id}: step returns the reward {reward}")


def _check_spaces(task: Task, env: gym.Env) -> None:
    """Raise `InvalidData` where the row or the package cannot hold the environment's spaces."""
    observed = env.observation_space
    if not isinstance(observed, gym.spaces.Box) or len(observed.shape) != 1:
        raise InvalidData(f"observations are {observed}; only a Box with one axis can be learned from")
    sizes = {"observation_size": observed.shape[0], "action_size": len(ActionRange.of(env.action_space).low)}
    for name, size in sizes.items():
        if getattr(task, name) != size:
            raise InvalidData(f"{name} is {getattr(task, name)} in the Task, and {size} in the environment")

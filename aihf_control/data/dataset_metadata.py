"""What a Minari dataset says of itself, checked before Minari opens anything.

Minari builds an environment from a dataset's metadata when it names no spaces; here none is ever built.
"""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from aihf_control.envs.actions import ActionRange
from aihf_control.envs.tasks import Task, action_range
from aihf_control.errors import InvalidData
from aihf_control.runs.files import read_json

_OF_THE_CAMERA = {
    "render_mode", "render_fps", "width", "height", "camera_id", "camera_name", "default_camera_config",
    "max_geom", "visual_options",
}  # fmt: skip
"""Keyword arguments that change no number."""

_HARMLESS = {"TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics"}
"""Wrappers that change no number; the time limit is compared by itself."""


def check_metadata(dataset_id: str, path: Path, task: Task, *, other_environment: bool) -> ActionRange:
    """The bounds that its actions are in; raises `InvalidData` unless `metadata.json` describes the task's
    environment and its spaces.

    An environment of that id but with other arguments, time limit, wrappers or action bounds gives other
    numbers; it passes with `other_environment`.
    """
    place = f"dataset {dataset_id}: {path}"
    try:
        metadata = read_json(path, "delete the folder and get the dataset again")
    except InvalidData as error:
        raise InvalidData(f"dataset {dataset_id}: {error}") from None
    spec = _nested(place, metadata, "env_spec")
    if spec.get("id") != task.env_id:
        raise InvalidData(
            f"dataset {dataset_id} is of {spec.get('id')}, but task {task.name} needs {task.env_id}"
        )
    for name, size in (("observation_space", task.observation_size), ("action_space", task.action_size)):
        space = _nested(place, metadata, name)
        if space.get("type") != "Box" or space.get("shape") != [size]:
            found = f"{space.get('type')} {space.get('shape')}"
            raise InvalidData(f"dataset {dataset_id}: {name} is {found}, expected Box [{size}]")
    if metadata.get("data_format") != "hdf5":
        raise InvalidData(f"dataset {dataset_id} is in format {metadata.get('data_format')}, not hdf5")
    space, bounds = _nested(place, metadata, "action_space"), action_range(task)
    wrapped = [name for name in _wrappers(spec) if name not in _HARMLESS]
    unit = ActionRange(-np.ones(task.action_size), np.ones(task.action_size))
    if "RescaleAction" in wrapped and not _unlike_bounds(space, unit):
        wrapped.remove("RescaleAction")
        bounds = unit
    unlike = _unlike(spec, task) + [f"it is wrapped in {name}" for name in wrapped]
    unlike += _unlike_bounds(space, bounds)
    if unlike and not other_environment:
        raise InvalidData(
            f"dataset {dataset_id} is of another environment than task {task.name}: {'; '.join(unlike)}; if "
            "that is meant, add --feedback.other-environment"
        )
    return bounds


def _unlike(spec: dict[str, Any], task: Task) -> list[str]:
    """What the environment differs in from the task's, each with both values."""
    arguments = spec.get("kwargs") or {}
    if not isinstance(arguments, dict):
        return [f"kwargs is {arguments!r}"]
    usual = {
        name: parameter.default
        for name, parameter in inspect.signature(_creator(task)).parameters.items()
        if parameter.default is not parameter.empty
    }
    own = gym.spec(task.env_id).kwargs | dict(task.env_kwargs)
    made = {name: arguments.get(name, usual.get(name)) for name in (*arguments, *own)}
    usual |= own
    found = [
        f"{name} is {value}, there {usual.get(name, 'unknown')}"
        for name, value in sorted(made.items())
        if name not in _OF_THE_CAMERA and not (name in usual and _same(value, usual[name]))
    ]
    if spec.get("max_episode_steps") != task.horizon:
        found.append(f"max_episode_steps is {spec.get('max_episode_steps')}, there {task.horizon}")
    return found


def _wrappers(spec: dict[str, Any]) -> list[str]:
    return [str(w.get("name") if isinstance(w, dict) else w) for w in spec.get("additional_wrappers") or []]


def _creator(task: Task) -> Any:
    """The class of the task's own environment, which is in the task table, whatever the dataset says."""
    entry_point = gym.spec(task.env_id).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _same(value: object, usual: object) -> bool:
    """Whether JSON's `value`, or a default, is Python's `usual`: a tuple comes as a list."""
    if isinstance(usual, tuple | list):
        if not isinstance(value, tuple | list) or len(value) != len(usual):
            return False
        return all(map(_same, value, usual))
    if isinstance(value, bool) or isinstance(usual, bool):
        return value is usual
    return value == usual


def _unlike_bounds(space: dict[str, Any], bounds: ActionRange) -> list[str]:
    found = []
    for name, usual in (("low", bounds.low), ("high", bounds.high)):
        values = space.get(name)
        members = values if isinstance(values, list) else [values] * len(usual)
        fits = len(members) == len(usual) and all(
            isinstance(m, int | float) and math.isclose(m, wanted, abs_tol=1e-6)
            for m, wanted in zip(members, usual, strict=True)
        )
        if not fits:
            there = f"{usual[0]:g}" if (usual == usual[0]).all() else usual.tolist()
            found.append(f"the actions' {name} is {values}, there {there}")
    return found


def _nested(place: str, metadata: Any, name: str) -> dict[str, Any]:
    """Minari keeps specs and spaces as JSON text within the JSON."""
    try:
        value = json.loads(metadata[name])
    except (KeyError, TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidData(f"{place} has no usable {name}: the dataset is incomplete or not Minari's")
    return value

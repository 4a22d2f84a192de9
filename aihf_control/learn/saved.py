"""What a finished run leaves behind, as functions of NumPy arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import InvalidData, choose
from aihf_control.learn.reward import RewardConfig, RewardModel
from aihf_control.learn.sb3 import load_actor
from aihf_control.runs.files import build, read_json


def load_policy(folder: Path | str) -> Callable[[Floats], Floats]:
    """The deterministic policy of a run's folder: observations (N, O) → actions (N, A) in [-1, 1].

    Raises `InvalidData` if `policy.zip` is not one, or there is no `config.json`.
    """
    return read_policy(Path(folder) / "policy.zip", recorded_task(Path(folder)))


def recorded_task(folder: Path) -> Task:
    """The task of a run's folder, as its `config.json` names it; a user's own without its code.

    Raises `InvalidData`.
    """
    path = folder / "config.json"
    config = read_json(path)
    if own := config.get("task_code"):
        return build(path, _OwnRecord, own, "task_code.").task
    return TASKS[choose(f"{path}: task", str(config.get("task")), TASKS)]


@dataclass(frozen=True)
class _OwnRecord:
    """Of `task_code` in `config.json`."""

    task: Task


def read_policy(path: Path, task: Task) -> Callable[[Floats], Floats]:
    """The same of a policy's zip. Raises `InvalidData`."""
    actor = load_actor(path, task)

    @torch.no_grad()
    def act(observations: Floats) -> Floats:
        return actor.mode(torch.as_tensor(observations, dtype=torch.float32).unsqueeze(0))[0].numpy()

    return act


ABOUT = "aihf_control"
"""The one entry of a reward file's metadata: of several, safetensors does not keep the order."""


def encode_reward(model: RewardModel, member: int, task: Task, settings: RewardConfig) -> bytes:
    """One seed's reward as a safetensors file that is usable alone: its metadata say, as JSON, what it is."""
    about = {
        "task": task.name,
        "environment": task.env_id,
        "bound": settings.bound,
        "settings": asdict(settings),
        "reward": "bound * tanh(MLP((observation - observation_mean) / observation_std, action) / bound)",
    }
    return save(model.member(member), metadata={ABOUT: json.dumps(about, sort_keys=True)})


def load_reward(place: Path | str) -> Callable[[Floats, Floats], Floats]:
    """The learned reward of a run's folder or of its `reward.safetensors` alone: observations (N, O) and
    actions (N, A) → rewards (N,).

    Raises `InvalidData` if there is no such file, or it is damaged.
    """
    path = Path(place) if Path(place).is_file() else Path(place) / "reward.safetensors"
    try:
        saved = {name: tensor.numpy() for name, tensor in load_file(path).items()}
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise InvalidData(f"{path} holds no learned reward: {error}") from error
    if "bound" in about:
        bound = about["bound"]
    else:  # written before a reward said so itself
        bound = read_json(path.parent / "config.json")["settings"]["reward"]["bound"]
    depth = sum(name.startswith("weight_") for name in saved)

    def reward(observations: Floats, actions: Floats) -> Floats:
        standardised = (observations - saved["observation_mean"]) / saved["observation_std"]
        x = np.concatenate([standardised, actions], axis=-1)
        for layer in range(depth):
            x = x @ saved[f"weight_{layer}"] + saved[f"bias_{layer}"]
            x = np.maximum(x, 0) if layer < depth - 1 else x
        values: Floats = bound * np.tanh(x[..., 0] / bound)
        return values

    return reward

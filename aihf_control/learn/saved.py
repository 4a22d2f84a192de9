"""What a finished run leaves behind, as functions of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import InvalidData
from aihf_control.learn.sb3 import load_actor
from aihf_control.runs.files import read_json


def load_policy(folder: Path | str) -> Callable[[Floats], Floats]:
    """The deterministic policy of a run's folder: observations (N, O) → actions (N, A) in [-1, 1].

    Raises `InvalidData` if `policy.zip` is not one, or there is no `config.json`.
    """
    return read_policy(Path(folder) / "policy.zip", TASKS[read_json(Path(folder) / "config.json")["task"]])


def read_policy(path: Path, task: Task) -> Callable[[Floats], Floats]:
    """The same of a policy's zip. Raises `InvalidData`."""
    actor = load_actor(path, task)

    @torch.no_grad()
    def act(observations: Floats) -> Floats:
        return actor.mode(torch.as_tensor(observations, dtype=torch.float32).unsqueeze(0))[0].numpy()

    return act


def load_reward(folder: Path | str) -> Callable[[Floats, Floats], Floats]:
    """The learned reward of a run's folder: observations (N, O) and actions (N, A) → rewards (N,).

    Raises `InvalidData` if there is no `reward.safetensors`, or it is damaged.
    """
    path = Path(folder) / "reward.safetensors"
    try:
        saved = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InvalidData(f"{path} holds no learned reward: {error}") from error
    bound = read_json(Path(folder) / "config.json")["settings"]["reward"]["bound"]
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

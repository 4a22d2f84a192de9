"""What a run's numbers depend on beside its settings: versions and device."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "minari")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device's model, for the record."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

"""One thread, so that sums are made in one order on every machine; GPU tests only where there is a GPU."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

torch.set_num_threads(1)
GL = os.environ.get("MUJOCO_GL")


@pytest.fixture(autouse=True)
def the_gl_that_was_given() -> Iterator[None]:
    """A command run in this process sets MUJOCO_GL for itself (`cli/surroundings.py`), and not for the next
    test."""
    yield
    if GL is None:
        os.environ.pop("MUJOCO_GL", None)
    else:
        os.environ["MUJOCO_GL"] = GL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def scripted_noise(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Standard normal numbers for Stable-Baselines3, first to last; and its observations stay float64."""
    script: list[Tensor] = []
    monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: script.pop(0))
    monkeypatch.setattr("stable_baselines3.common.policies.preprocess_obs", lambda obs, *_, **__: obs)
    return script

"""A policy rolled out into a Minari dataset on disk, whole or not at all."""

from __future__ import annotations

import copy
import errno
import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.data_collector.episode_buffer import EpisodeBuffer

from aihf_control.data.collect import Policy, roll_out
from aihf_control.data.dataset_ids import dataset_id
from aihf_control.data.datasets import EPISODES, MANIFEST, folder_of, minari_in
from aihf_control.data.types import Episode
from aihf_control.envs.actions import ActionRange
from aihf_control.envs.tasks import Task, action_range, without_deprecations
from aihf_control.errors import InvalidData
from aihf_control.runs.files import (
    naming,
    remove_leftovers,
    require_room,
    sha256,
    temporary_beside,
    write_json,
)

OVERHEAD = 32 * 2**20
"""Bytes that HDF5 adds at most to what some hundred episodes hold."""


@dataclass(frozen=True)
class Reference:
    """Mean returns that scores are normalised with, each over `episodes` episodes."""

    random: float
    expert: float
    episodes: int


@dataclass(frozen=True)
class Provenance:
    """Where a dataset comes from, for its metadata."""

    algorithm: str
    description: str
    author: str = "aihf_control"


def build_dataset(
    task: Task,
    tier: str,
    policy: Policy,
    *,
    transitions: int,
    deterministic_share: float,
    seed: int,
    reference: Reference,
    provenance: Provenance,
    root: Path,
    action_noise: float = 0.0,
) -> str:
    """Roll `policy` out into the Minari dataset `dataset_id(task, tier)` under `root`; return that id.

    At least `transitions` steps in whole episodes, of which `deterministic_share` with the
    deterministic policy. An existing dataset is replaced only once the new one is complete.
    """
    name = dataset_id(task, tier)
    if transitions < 1 or not 0.0 <= deterministic_share <= 1.0:
        raise InvalidData(f"{name}: {transitions} transitions with a share of {deterministic_share}")
    require_room(root, 2 * transitions * _step_bytes(task) + OVERHEAD)
    wanted = round(transitions * deterministic_share)
    fixed, sampled = (
        roll_out(task, policy, transitions=n, seed=seed, deterministic=mode, action_noise=action_noise)
        for mode, n in ((True, wanted), (False, transitions - wanted))
    )
    steps = [sum(len(episode) for episode in part) for part in (fixed, sampled)]
    description = (
        f"{provenance.description} {sum(steps)} transitions in {len(fixed) + len(sampled)} whole episodes "
        f"of {task.env_id}, rollout seed {seed}: {steps[0]} by the deterministic policy, {steps[1]} by the "
        f"stochastic policy, Gaussian action noise of standard deviation {action_noise:g}."
    )
    create = partial(_create, name, fixed + sampled, task, reference, provenance, description)
    _store(name, create, root)
    return name


def _store(name: str, create: Callable[[], None], root: Path) -> None:
    """Write the dataset beside its final place, then swap it in."""
    root.mkdir(parents=True, exist_ok=True)
    target = folder_of(name, root)
    remove_leftovers(root)
    staging = temporary_beside(root / MANIFEST)  # hidden, so that Minari does not list it
    staging.mkdir()
    try:
        with minari_in(staging), naming(target):
            _apart(create)
        hashes = {EPISODES: sha256(staging / name / EPISODES)}
        write_json(staging / name / MANIFEST, {"sha256": hashes})
        for namespace in Path(name).parents[:-1]:
            (root / namespace).mkdir(parents=True, exist_ok=True)
            about = namespace / "namespace_metadata.json"
            os.replace(staging / about, root / about)
        if target.exists():
            os.replace(target, staging / "replaced")
        os.replace(staging / name, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _create(
    name: str,
    episodes: Sequence[Episode],
    task: Task,
    reference: Reference,
    provenance: Provenance,
    description: str,
) -> None:
    with without_deprecations(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the permalink and e-mail left out
        minari.create_dataset_from_buffers(
            dataset_id=name,
            buffer=[_buffer(episode, action_range(task)) for episode in episodes],
            env=_spec(task),
            algorithm_name=provenance.algorithm,
            author=provenance.author,
            ref_min_score=reference.random,
            ref_max_score=reference.expert,
            num_episodes_average_score=reference.episodes,
            description=description,
        )


def _apart(write: Callable[[], None]) -> None:
    """`write()` in a process of its own, where there is fork: on a full disk HDF5 cannot close its file, says
    so on thousands of lines and dies. Here it is one `OSError`."""
    if sys.platform != "linux":
        write()
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _write_and_exit(write, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, errors="replace") as told:
            why = told.read()
    except BaseException:  # as of Ctrl-C
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        known = re.search(r"errno = (\d+)", why)  # in HDF5's own words
        number = int(known[1]) if known else errno.EIO
        last = (why.split("\n") if (why := why.strip()) else [f"HDF5 ended with status {status}"])[-1]
        raise OSError(number, os.strerror(number) if known else last)


def _write_and_exit(write: Callable[[], None], writing: int) -> NoReturn:
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(writing, stream)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        write()
        status = 0
    except BaseException as error:  # nothing of the parent's may run here
        number = f"errno = {error.errno} " if isinstance(error, OSError) and error.errno else ""
        print(f"{number}{' '.join(str(error).split())}", file=sys.stderr)
    finally:
        os._exit(status)


def _step_bytes(task: Task) -> int:
    """Of a recorded step: observation and reward in float64, action in float32, two marks."""
    return 8 * (task.observation_size + 1) + 4 * task.action_size + 2


def _spec(task: Task) -> EnvSpec:
    """Gymnasium's, as Minari keeps it: a class that makes the environment by its name."""
    spec = copy.deepcopy(gym.spec(task.env_id))
    spec.max_episode_steps = task.horizon
    spec.kwargs.update(task.env_kwargs)
    made: Any = spec.entry_point
    if callable(made):
        spec.entry_point = f"{made.__module__}:{made.__qualname__}"
    return spec


def _buffer(episode: Episode, bounds: ActionRange) -> EpisodeBuffer:
    """Actions in the environment's float32 and bounds; the end is a truncation unless it is a termination."""
    last = np.arange(1, len(episode) + 1) == len(episode)
    return EpisodeBuffer(
        observations=episode.observations,
        actions=bounds.own(episode.actions).astype(np.float32),
        rewards=episode.rewards,
        terminations=last & episode.terminated,
        truncations=last & (not episode.terminated),
    )

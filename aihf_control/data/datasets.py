"""Minari in and out: roll a policy out into a dataset on disk, and read any dataset of a known task."""

from __future__ import annotations

import copy
import difflib
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer

from aihf_control.arrays import require_shape
from aihf_control.data.collect import Policy, roll_out
from aihf_control.data.dataset_metadata import check_metadata
from aihf_control.data.types import ACTION_SLACK, Episode
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import InvalidData
from aihf_control.runs.files import (
    read_json_if_there,
    remove_leftovers,
    require_room,
    sha256,
    temporary_beside,
    write_json,
)

MANIFEST = "manifest.json"
EPISODES = "data/main_data.hdf5"

TIERS = ("simple", "medium", "expert")

OVERHEAD = 32 * 2**20
"""Bytes that HDF5 adds at most to what some hundred episodes hold."""

_DATASET_ID = re.compile(r"(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+-v[0-9]+")


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


def minari_root(root: Path) -> Path:
    """The folder of all datasets: `$AIHF_MINARI_ROOT`, else `$MINARI_DATASETS_PATH`, either as an absolute
    path with ~ expanded, else `data/minari` below `root`. Raises `InvalidData` for what is no folder.
    """
    for variable in ("AIHF_MINARI_ROOT", "MINARI_DATASETS_PATH"):
        if os.environ.get(variable):
            folder = Path(os.environ[variable]).expanduser().absolute()
            if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
                raise InvalidData(
                    f"{variable}={folder} is no folder: name one, or a path where one can be made"
                )
            return folder
    return root / "data" / "minari"


def dataset_id(task: Task, tier: str) -> str:
    """`aihf/hopper/expert-v0`; raises `InvalidData` for an unknown tier."""
    if tier not in TIERS:
        raise InvalidData(f"tier {tier!r} is not known. Valid: {', '.join(TIERS)}")
    return f"aihf/{task.name}/{tier}-v0"


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
    _store(name, fixed + sampled, task, reference, provenance, description, root)
    return name


def content_of(dataset_id: str, root: Path, download: bool = False) -> str:
    """The SHA-256 of a dataset's episodes, by which what was made of it is found again.

    With `download`, a dataset that is not under `root` is fetched first (needs `minari[hf]`). Raises
    `InvalidData`.
    """
    folder = _folder(dataset_id, root)
    if not folder.exists():
        if not download or _is_own(dataset_id):
            raise InvalidData(f"dataset {dataset_id} is not in {root}: {_how_to_get(dataset_id, root)}")
        _download(dataset_id, root)
    try:
        return sha256(_folder(dataset_id, root) / EPISODES)
    except OSError as error:
        raise InvalidData(f"dataset {dataset_id}: {EPISODES} cannot be read ({error.strerror})") from None


def load_episodes(
    dataset_id: str, task: Task, root: Path, download: bool = False, other_environment: bool = False
) -> tuple[Episode, ...]:
    """All episodes of a Minari dataset in float64, checked one by one against `task`.

    `download` as for `content_of`; with `other_environment` the dataset's may have other arguments than the
    task's. Raises `InvalidData` naming the dataset, and the episode where one is at fault.
    """
    found = content_of(dataset_id, root, download)
    data = _folder(dataset_id, root) / "data"
    _check_hash(dataset_id, data.parent, found)
    check_metadata(dataset_id, data / "metadata.json", task, other_environment=other_environment)
    episodes: list[Episode] = []
    try:
        for recorded in minari.MinariDataset(data).iterate_episodes():
            episodes.append(_episode(recorded, task))
    except InvalidData as error:
        raise InvalidData(f"dataset {dataset_id}, episode {len(episodes)}: {error}") from None
    except (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        place = f"dataset {dataset_id}, episode {len(episodes)}"
        locked = "; set HDF5_USE_FILE_LOCKING=FALSE where a file system has no locks" * ("lock" in str(error))
        raise InvalidData(
            f"{place}: Minari cannot read it ({type(error).__name__}: {error}){locked}"
        ) from error
    _check_count(dataset_id, data, len(episodes))
    return tuple(episodes)


def _check_count(dataset_id: str, data: Path, read: int) -> None:
    """Minari reads as many episodes as the metadata count; the file may hold more."""
    with h5py.File(data.parent / EPISODES, "r") as file:
        held = sum(name.startswith("episode_") for name in file)
    if read != held:
        raise InvalidData(
            f"dataset {dataset_id}: metadata.json counts {read} episodes, {EPISODES} holds {held}"
        )
    if not read:
        raise InvalidData(f"dataset {dataset_id} holds no episodes")


def _check_hash(dataset_id: str, folder: Path, found: str) -> None:
    """What we built must have kept every bit; a dataset from elsewhere has no manifest to say so."""
    try:
        manifest = read_json_if_there(folder / MANIFEST)
        if manifest is None:
            return
        expected = manifest["sha256"][EPISODES]
    except (InvalidData, KeyError, TypeError) as error:
        raise InvalidData(
            f"dataset {dataset_id}: {MANIFEST} cannot be read ({error}): build it again"
        ) from None
    if found != expected:
        raise InvalidData(
            f"dataset {dataset_id}: {EPISODES} has SHA-256 {found[:12]}…, {MANIFEST} says "
            f"{str(expected)[:12]}…: it was damaged or changed; build it again with `aihf data build`"
        )


def _store(
    name: str,
    episodes: Sequence[Episode],
    task: Task,
    reference: Reference,
    provenance: Provenance,
    description: str,
    root: Path,
) -> None:
    """Write the dataset beside its final place, then swap it in."""
    root.mkdir(parents=True, exist_ok=True)
    target = _folder(name, root)
    remove_leftovers(root)
    staging = temporary_beside(root / MANIFEST)  # hidden, so that Minari does not list it
    staging.mkdir()
    try:
        spec = copy.deepcopy(gym.spec(task.env_id))
        spec.max_episode_steps = task.horizon
        with _minari_in(staging), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the permalink and e-mail left out
            minari.create_dataset_from_buffers(
                dataset_id=name,
                buffer=[_buffer(episode) for episode in episodes],
                env=spec,
                algorithm_name=provenance.algorithm,
                author=provenance.author,
                ref_min_score=reference.random,
                ref_max_score=reference.expert,
                num_episodes_average_score=reference.episodes,
                description=description,
            )
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


def _step_bytes(task: Task) -> int:
    """Of a recorded step: observation and reward in float64, action in float32, two marks."""
    return 8 * (task.observation_size + 1) + 4 * task.action_size + 2


def _buffer(episode: Episode) -> EpisodeBuffer:
    """Actions in the environment's float32; the end is a truncation unless it is a termination."""
    last = np.arange(1, len(episode) + 1) == len(episode)
    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions.astype(np.float32),
        rewards=episode.rewards,
        terminations=last & episode.terminated,
        truncations=last & (not episode.terminated),
    )


@contextmanager
def _minari_in(root: Path) -> Iterator[None]:
    """Minari takes the folder it writes and downloads to from the process environment alone."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def require_id(dataset_id: str) -> None:
    """Raise `InvalidData` unless it is formed as Minari's ids are."""
    if not _DATASET_ID.fullmatch(dataset_id):
        raise InvalidData(f"dataset id {dataset_id!r} is malformed: write it like mujoco/hopper/expert-v0")


def _folder(dataset_id: str, root: Path) -> Path:
    """The dataset's folder, once its id cannot lead out of `root`, by its letters or by a link."""
    require_id(dataset_id)
    folder = root / dataset_id
    for path in (folder, *(folder / "data" / name for name in ("", "metadata.json", "main_data.hdf5"))):
        if not path.resolve().is_relative_to(root.resolve()):
            raise InvalidData(f"dataset {dataset_id}: {path} is a link to {path.resolve()}, outside {root}")
    return folder


def _is_own(dataset_id: str) -> bool:
    return dataset_id.startswith("aihf/")


def _how_to_get(dataset_id: str, root: Path) -> str:
    if _is_own(dataset_id):
        own = [f"aihf/{task}/{tier}-v0" for task in TASKS for tier in TIERS]
        if dataset_id in own:
            return f"run `aihf data build --env {dataset_id.split('/')[1]}`"
        near = difflib.get_close_matches(dataset_id, own, n=1)
        return f"it is none of the suite's own{f', did you mean {near[0]}?' if near else ''}"
    return f"run `pip install 'minari[hf]' && MINARI_DATASETS_PATH={root} minari download {dataset_id}`"


def _download(dataset_id: str, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    try:
        with _minari_in(root):
            minari.download_dataset(dataset_id)
    except Exception as error:  # Minari lets its storage clients' own exceptions through
        how = _how_to_get(dataset_id, root)
        raise InvalidData(f"dataset {dataset_id} cannot be downloaded ({error}): {how}") from error


def _episode(recorded: minari.EpisodeData, task: Task) -> Episode:
    """One of Minari's episodes as ours; raises `InvalidData` naming the field and its first bad index."""
    for name in ("actions", "observations", "rewards", "terminations", "truncations"):
        kind = np.asarray(getattr(recorded, name)).dtype
        if kind.kind not in "biuf":
            raise InvalidData(f"{name} holds {kind}, not numbers")
    actions = np.asarray(recorded.actions, dtype=np.float64)
    observations = np.asarray(recorded.observations, dtype=np.float64)
    ends, cuts = (np.asarray(marks, dtype=bool) for marks in (recorded.terminations, recorded.truncations))
    require_shape("actions", actions, (None, task.action_size))
    require_shape("observations", observations, (len(actions) + 1, task.observation_size))
    for name, marks in (("terminations", ends), ("truncations", cuts)):
        require_shape(name, marks, (len(actions),))
        if marks[:-1].any():
            raise InvalidData(f"{name}[{int(np.argmax(marks))}] is set before the last step")
    beyond = np.abs(actions) > 1.0 + ACTION_SLACK
    if beyond.any():
        index = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise InvalidData(f"actions{list(index)} is {actions[index]}, outside [-1, 1]")
    return Episode(
        observations=observations,
        actions=np.clip(actions, -1.0, 1.0),
        rewards=np.asarray(recorded.rewards, dtype=np.float64),
        terminated=bool(ends.any()),
    )

"""Minari in and out: roll a policy out into a dataset on disk, and read any dataset of a known task.

No environment is ever built from a dataset's metadata. Minari does so when a dataset names no
spaces, so `metadata.json` is read and checked here before Minari opens anything.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer

from aihf_control.arrays import require_shape
from aihf_control.data.collect import Policy, roll_out
from aihf_control.data.types import Episode
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidData
from aihf_control.runs.files import read_json, read_json_if_there, sha256, write_json

MANIFEST = "manifest.json"
EPISODES = "data/main_data.hdf5"

TIERS = ("simple", "medium", "expert")
ACTION_TOLERANCE = 1e-6

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


def minari_root() -> Path:
    """The folder of all datasets: `$AIHF_MINARI_ROOT`, else `$MINARI_DATASETS_PATH`, else `data/minari`
    in the checkout the package runs from, else `data/minari` in the working directory.
    """
    for variable in ("AIHF_MINARI_ROOT", "MINARI_DATASETS_PATH"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "data" / "minari"


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


def load_episodes(dataset_id: str, task: Task, root: Path, download: bool = False) -> tuple[Episode, ...]:
    """All episodes of a local Minari dataset in float64, checked one by one against `task`.

    With `download`, a dataset that is not under `root` is fetched first (needs `minari[hf]`). Raises
    `InvalidData` naming the dataset, and the episode where one is at fault.
    """
    folder = _folder(dataset_id, root)
    if not folder.exists():
        if not download:
            raise InvalidData(f"dataset {dataset_id} is not in {root}: {_how_to_get(dataset_id, root)}")
        _download(dataset_id, root)
    data = _folder(dataset_id, root) / "data"
    _check_hash(dataset_id, data.parent)
    _check_metadata(dataset_id, data / "metadata.json", task)
    episodes: list[Episode] = []
    try:
        for recorded in minari.MinariDataset(data).iterate_episodes():
            episodes.append(_episode(recorded, task))
    except InvalidData as error:
        raise InvalidData(f"dataset {dataset_id}, episode {len(episodes)}: {error}") from None
    except (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        place = f"dataset {dataset_id}, episode {len(episodes)}"
        raise InvalidData(f"{place}: Minari cannot read it ({type(error).__name__}: {error})") from error
    if not episodes:
        raise InvalidData(f"dataset {dataset_id} holds no episodes")
    return tuple(episodes)


def _check_hash(dataset_id: str, folder: Path) -> None:
    """What we built must have kept every bit; a dataset from elsewhere has no manifest to say so."""
    try:
        manifest = read_json_if_there(folder / MANIFEST)
        if manifest is None:
            return
        expected, found = manifest["sha256"][EPISODES], sha256(folder / EPISODES)
    except FileNotFoundError:
        return  # reading the episodes will say that they are gone
    except (InvalidData, OSError, KeyError, TypeError) as error:
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
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=root))  # Minari does not list hidden folders
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


def _how_to_get(dataset_id: str, root: Path) -> str:
    owner, _, rest = dataset_id.partition("/")
    if owner == "aihf":
        return f"run `aihf data build --env {rest.partition('/')[0]}`"
    return f"run `pip install 'minari[hf]' && MINARI_DATASETS_PATH={root} minari download {dataset_id}`"


def _download(dataset_id: str, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    try:
        with _minari_in(root):
            minari.download_dataset(dataset_id)
    except Exception as error:  # Minari lets its storage clients' own exceptions through
        how = _how_to_get(dataset_id, root)
        raise InvalidData(f"dataset {dataset_id} cannot be downloaded ({error}): {how}") from error


def _check_metadata(dataset_id: str, path: Path, task: Task) -> None:
    """Raise `InvalidData` unless `metadata.json` names the task's environment and both spaces."""
    place = f"dataset {dataset_id}: {path}"
    try:
        metadata = read_json(path, "delete the folder and get the dataset again")
    except InvalidData as error:
        raise InvalidData(f"dataset {dataset_id}: {error}") from None
    env_id = _nested(place, metadata, "env_spec").get("id")
    if env_id != task.env_id:
        raise InvalidData(f"dataset {dataset_id} is of {env_id}, but task {task.name} needs {task.env_id}")
    for name, size in (("observation_space", task.observation_size), ("action_space", task.action_size)):
        space = _nested(place, metadata, name)
        if space.get("type") != "Box" or space.get("shape") != [size]:
            found = f"{space.get('type')} {space.get('shape')}"
            raise InvalidData(f"dataset {dataset_id}: {name} is {found}, expected Box [{size}]")
    if metadata.get("data_format") != "hdf5":
        raise InvalidData(f"dataset {dataset_id} is in format {metadata.get('data_format')}, not hdf5")


def _nested(place: str, metadata: Any, name: str) -> dict[str, Any]:
    """Minari keeps specs and spaces as JSON text within the JSON."""
    try:
        value = json.loads(metadata[name])
    except (KeyError, TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise InvalidData(f"{place} has no usable {name}: the dataset is incomplete or not Minari's")
    return value


def _episode(recorded: minari.EpisodeData, task: Task) -> Episode:
    """One of Minari's episodes as ours; raises `InvalidData` naming the field and its first bad index."""
    actions = np.asarray(recorded.actions, dtype=np.float64)
    observations = np.asarray(recorded.observations, dtype=np.float64)
    ends = np.asarray(recorded.terminations, dtype=bool)
    require_shape("actions", actions, (None, task.action_size))
    require_shape("observations", observations, (len(actions) + 1, task.observation_size))
    require_shape("terminations", ends, (len(actions),))
    if ends[:-1].any():
        raise InvalidData(f"terminations[{int(np.argmax(ends))}] is set before the last step")
    beyond = np.abs(actions) > 1.0 + ACTION_TOLERANCE
    if beyond.any():
        index = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise InvalidData(f"actions{list(index)} is {actions[index]}, outside [-1, 1]")
    return Episode(
        observations=observations,
        actions=np.clip(actions, -1.0, 1.0),
        rewards=np.asarray(recorded.rewards, dtype=np.float64),
        terminated=bool(ends.any()),
    )

"""Minari's datasets: where they are, and the episodes of any that is of a known task."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import minari
import numpy as np

from aihf_control.arrays import require_shape
from aihf_control.data.dataset_ids import TIERS, require_id
from aihf_control.data.dataset_metadata import check_metadata
from aihf_control.data.types import Episode, clip_actions, clipped_words
from aihf_control.envs.actions import ActionRange
from aihf_control.envs.tasks import TASKS, Task
from aihf_control.errors import InvalidData
from aihf_control.runs.files import read_json_if_there, sha256

MANIFEST = "manifest.json"
EPISODES = "data/main_data.hdf5"


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
    return (root / "data" / "minari").absolute()  # Minari loses its way below a relative one


def content_of(dataset_id: str, root: Path, download: bool = False) -> str:
    """The SHA-256 of a dataset's episodes, by which what was made of it is found again.

    With `download`, a dataset that is not under `root` is fetched first (needs `minari[hf]`). Raises
    `InvalidData`.
    """
    folder = folder_of(dataset_id, root)
    if not folder.exists():
        if not download or _is_own(dataset_id):
            raise InvalidData(f"dataset {dataset_id} is not in {root}: {_how_to_get(dataset_id, root)}")
        _download(dataset_id, root)
    try:
        return sha256(folder_of(dataset_id, root) / EPISODES)
    except OSError as error:
        raise InvalidData(f"dataset {dataset_id}: {EPISODES} cannot be read ({error.strerror})") from None


def load_episodes(
    dataset_id: str, task: Task, root: Path, download: bool = False, other_environment: bool = False,
    say: Callable[[str], None] | None = None,
) -> tuple[Episode, ...]:  # fmt: skip
    """All episodes of a Minari dataset in float64, checked one by one against `task`.

    `download` as for `content_of`; with `other_environment` the dataset's may have other arguments than the
    task's. `say` is told of actions that had to be clipped. Raises `InvalidData` naming the dataset, and the
    episode where one is at fault.
    """
    found = content_of(dataset_id, root, download)
    data = folder_of(dataset_id, root) / "data"
    _check_hash(dataset_id, data.parent, found)
    bounds = check_metadata(dataset_id, data / "metadata.json", task, other_environment=other_environment)
    episodes: list[Episode] = []
    clipped = 0
    try:
        for recorded in minari.MinariDataset(data).iterate_episodes():
            episode, count = _episode(recorded, task, bounds)
            episodes.append(episode)
            clipped += count
    except InvalidData as error:
        raise InvalidData(f"dataset {dataset_id}, episode {len(episodes)}: {error}") from None
    except (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        place = f"dataset {dataset_id}, episode {len(episodes)}"
        locked = "; set HDF5_USE_FILE_LOCKING=FALSE where a file system has no locks" * ("lock" in str(error))
        raise InvalidData(
            f"{place}: Minari cannot read it ({type(error).__name__}: {error}){locked}"
        ) from error
    _check_count(dataset_id, data, len(episodes))
    if say and clipped:
        say(f"dataset {dataset_id}: {clipped_words(clipped, sum(e.actions.size for e in episodes))}")
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


@contextmanager
def minari_in(root: Path) -> Iterator[None]:
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


def folder_of(dataset_id: str, root: Path) -> Path:
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
        with minari_in(root):
            minari.download_dataset(dataset_id)
    except Exception as error:  # Minari lets its storage clients' own exceptions through
        how = _how_to_get(dataset_id, root)
        raise InvalidData(f"dataset {dataset_id} cannot be downloaded ({error}): {how}") from error


def _episode(recorded: minari.EpisodeData, task: Task, bounds: ActionRange) -> tuple[Episode, int]:
    """One of Minari's episodes as ours, and how many numbers of its actions were clipped; raises
    `InvalidData` naming the field and its first bad index."""
    for name in ("actions", "observations", "rewards", "terminations", "truncations"):
        kind = np.asarray(getattr(recorded, name)).dtype
        if kind.kind not in "biuf":
            raise InvalidData(f"{name} holds {kind}, not numbers")
    require_shape("actions", recorded.actions, (None, task.action_size))
    actions, clipped = clip_actions("actions", recorded.actions, bounds)
    observations = np.asarray(recorded.observations, dtype=np.float64)
    ends, cuts = (np.asarray(marks, dtype=bool) for marks in (recorded.terminations, recorded.truncations))
    require_shape("observations", observations, (len(actions) + 1, task.observation_size))
    for name, marks in (("terminations", ends), ("truncations", cuts)):
        require_shape(name, marks, (len(actions),))
        if marks[:-1].any():
            raise InvalidData(f"{name}[{int(np.argmax(marks))}] is set before the last step")
    episode = Episode(
        observations=observations,
        actions=actions,
        rewards=np.asarray(recorded.rewards, dtype=np.float64),
        terminated=bool(ends.any()),
    )
    return episode, clipped

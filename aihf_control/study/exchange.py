"""A study with all that extending it needs, as one bundle: runs, policies, rewards, feedback, datasets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aihf_control.data import datasets
from aihf_control.data.feedback_files import FILES
from aihf_control.errors import InvalidData
from aihf_control.runs.bundle import Entries, missing, read_entries, unpack, write_bundle
from aihf_control.runs.files import (
    make_folder,
    naming,
    read_json,
    remove_leftovers,
    require_room,
    sha256,
    temporary_beside,
)
from aihf_control.runs.folder import read_config, read_status
from aihf_control.runs.signals import uninterrupted
from aihf_control.study import machine
from aihf_control.study.prepare import Folders, Say

OF_A_RUN = ("config.json", "status.json", "progress.csv", "policy.zip", "reward.safetensors")
TOPS = ("data/policies", "data/minari", "data/preferences", "data/feedback", "results/runs")
KINDS = (".json", ".csv", ".npz", ".hdf5", ".zip", ".safetensors")
"""How a bundle's names may end: data alone, nothing that is ever run."""


def tops(folders: Folders) -> dict[str, Path]:
    """Where a bundle's top folders are here; what runs are made from comes before the runs.

    Datasets may be elsewhere ($AIHF_MINARI_ROOT), and any of them on a disk of its own.
    """
    data = folders.root / "data"
    return {
        "data/policies": data / "policies",
        "data/minari": datasets.minari_root(folders.root),
        "data/preferences": data / "preferences",
        "data/feedback": data / "feedback",
        "results/runs": folders.runs,
    }


def _top_of(name: str) -> str:
    """Of a bundle's name; raises `InvalidData` for one that is of none, or of no kind of data."""
    top = "/".join(name.split("/")[:2])
    if top not in TOPS or not name.endswith(KINDS) or name.count("/") < 3:
        raise InvalidData(f"the bundle holds {name}: it is no file of a study, and nothing was taken")
    return top


def _place(name: str, below: Mapping[str, Path]) -> Path:
    top = _top_of(name)
    return below[top] / name.removeprefix(f"{top}/")


def push_study(study: str, target: Path, folders: Folders, say: Say) -> None:
    """Write the study's ended runs, and what they were made from, into a folder or a new archive."""
    runs = list(_ended_runs(folders.runs / study, say))
    if not runs:
        raise InvalidData(f"{folders.runs / study}: no run of it has ended: there is nothing to push")
    files = {
        f"results/runs/{study}/{folder.relative_to(folders.runs / study)}/{name}": folder / name
        for folder in runs
        for name in OF_A_RUN
        if (folder / name).is_file()
    }
    tasks = sorted({folder.parents[1].name for folder in runs})
    learned_from = [(read_config(folder) or {}).get("feedback") for folder in runs]
    wanted = {str(feedback["sha256"]) for feedback in learned_from if feedback}
    for task in tasks:
        files |= _policies(task, folders)
    found: set[str] = set()
    for folder, manifest in _feedback_of(tasks, wanted, folders):
        found.add(manifest["sha256"])
        inside = f"data/feedback/{folder.parent.name}/{folder.name}"
        files |= {f"{inside}/{name}": folder / name for name in (*FILES, "manifest.json")}
        files |= _sources(manifest["sources"], folders, say)
    for lost in sorted(wanted - found):
        say(f"feedback {lost[:12]} is not in {folders.root / 'data' / 'feedback'}: the runs go without it")
    about: dict[str, Any] = {"study": study, "tasks": tasks, "versions": machine.versions()}
    entries, new = write_bundle(target, files, about)
    size = sum(entry.bytes for entry in entries.values()) / 1e6
    say(f"{len(runs)} runs, {len(entries)} files, {size:,.1f} MB in {target}, {new} of the files new")


def _ended_runs(folder: Path, say: Say) -> Iterator[Path]:
    for run in sorted(folder.glob("*/*/seed_*")):
        status = read_status(run)
        if status is not None and status.ended:
            yield run
        else:
            say(f"{run} has not ended: it stays here")


def _policies(task: str, folders: Folders) -> dict[str, Path]:
    folder = folders.root / "data" / "policies" / task
    return {
        f"data/policies/{task}/{path.name}": path for path in folder.glob("*") if path.name.endswith(KINDS)
    }


def _feedback_of(
    tasks: list[str], wanted: set[str], folders: Folders
) -> Iterator[tuple[Path, dict[str, Any]]]:
    for task in tasks:
        for path in sorted((folders.root / "data" / "feedback" / task).glob("*/manifest.json")):
            manifest = read_json(path, "build the feedback again")
            if manifest.get("sha256") in wanted:
                yield path.parent, manifest


def _sources(sources: Mapping[str, Any], folders: Folders, say: Say) -> dict[str, Path]:
    """The datasets that feedback was cut from, and people's labels: of the same contents by their hashes."""
    root = datasets.minari_root(folders.root)
    files: dict[str, Path] = {}
    for name, content in sources["contents"].items():
        folder = root / name
        if not (folder / datasets.EPISODES).is_file() or sha256(folder / datasets.EPISODES) != content:
            say(f"dataset {name} is not what the feedback was made of: the runs go without it")
            continue
        namespaces = (root / part / "namespace_metadata.json" for part in Path(name).parents[:-1])
        for path in [*folder.rglob("*"), *namespaces]:
            if path.is_file() and path.name.endswith(KINDS):
                files[f"data/minari/{path.relative_to(root)}"] = path
    labels = folders.root / "data" / "preferences" / sources["task"]
    for path in labels.glob("*.npz") if sources["preference_file"] else ():
        if sha256(path) == sources["preference_file"]:
            files[f"data/preferences/{sources['task']}/{path.name}"] = path
    return files


def pull_study(source: Path, most_bytes: int, folders: Folders, say: Say) -> None:
    """Take what `source` holds and is not here, every hash compared before anything is put in its place.

    Raises `InvalidData`, with nothing changed, if a file is here with another content.
    """
    entries, below = read_entries(source, most_bytes), tops(folders)
    here = {name: _place(name, below) for name in entries}
    _refuse_links(here.values(), below.values())
    new = missing(entries, here)
    if not new:
        say(f"all {len(entries)} files of {source} are here already")
        return
    staged = _stage(source, entries, new, below)
    with uninterrupted():
        for top, folder in staged.items():
            _settle(folder, below[top])
            shutil.rmtree(folder)
    runs = {name.rpartition("/")[0] for name in new if name.startswith("results/")}
    kept = f"; {len(entries) - len(new)} were here already" if len(new) < len(entries) else ""
    say(f"{len(runs)} runs, {len(new)} files from {source}{kept}")
    for study in sorted({name.split("/")[2] for name in entries if name.startswith("results/")}):
        say(f"extend it: make bench STUDY={study} METHODS=…, or draw it: aihf report {folders.runs / study}")


def _refuse_links(here: Iterable[Path], below: Iterable[Path]) -> None:
    tops = [folder.resolve() for folder in below]
    for folder in {path.parent for path in here}:
        if not any(folder.resolve().is_relative_to(top) for top in tops):
            raise InvalidData(f"{folder} is a link to {folder.resolve()}: nothing is written there")


def _stage(source: Path, entries: Entries, new: Iterable[str], below: Mapping[str, Path]) -> dict[str, Path]:
    """Unpack into a hidden folder on the file system of each top folder; all of `new` or nothing."""
    staged: dict[str, Path] = {}
    for top, place in below.items():
        if sizes := [entries[name].bytes for name in new if _top_of(name) == top]:
            require_room(place, sum(sizes))
            make_folder(place)
            remove_leftovers(place)
            staged[top] = temporary_beside(place / "bundle")
    try:
        unpack(source, entries, {name: _place(name, staged) for name in new})
    except BaseException:
        for folder in staged.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return staged


def _settle(staged: Path, place: Path) -> None:
    """Rename the largest folders that are not there yet, so that a study, or a seed, comes whole."""
    for path in sorted(staged.iterdir()):
        target = place / path.name
        if path.is_dir() and target.is_dir():
            _settle(path, target)
        else:
            with naming(target):
                os.rename(path, target)

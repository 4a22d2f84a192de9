"""How feedback is laid out in plain `.npz` files: the same feedback gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aihf_control.arrays import Floats, require_finite
from aihf_control.data.types import Episode, Feedback, PreferencePairs, Segments, Transitions
from aihf_control.errors import InvalidData
from aihf_control.runs.files import read_json

FORMAT = 1
_TABLE = dict.fromkeys(("observations", "actions", "rewards", "next_observations", "masks"), "<f4")
_SEGMENTS = ("preferred_starts", "preferred_lengths", "rejected_starts", "rejected_lengths")
_PAIRS = _TABLE | dict.fromkeys((*_SEGMENTS, "horizon"), "<i8") | {"confidence": "<f8"}
_EPISODES = {"observations": "<f8", "actions": "<f8", "rewards": "<f8", "lengths": "<i8", "terminated": "|b1"}
FILES = {"demonstrations.npz": _EPISODES, "preferences.npz": _PAIRS, "held_out.npz": _PAIRS}
_DIMENSIONS = {"observations": 2, "actions": 2, "next_observations": 2, "horizon": 0}  # the others: 1


def encode(feedback: Feedback) -> dict[str, bytes]:
    """The three files' bytes."""
    episodes = feedback.demonstrations
    arrays: list[dict[str, NDArray[Any]]] = [
        {
            "observations": np.concatenate([episode.observations for episode in episodes]),
            "actions": np.concatenate([episode.actions for episode in episodes]),
            "rewards": np.concatenate([episode.rewards for episode in episodes]),
            "lengths": np.array([len(episode) for episode in episodes]),
            "terminated": np.array([episode.terminated for episode in episodes]),
        }
    ]
    for pairs in (feedback.pairs, feedback.held_out):
        table: dict[str, NDArray[Any]] = {name: getattr(pairs.preferred.steps, name) for name in _TABLE}
        for side, segments in (("preferred", pairs.preferred), ("rejected", pairs.rejected)):
            table |= {f"{side}_starts": segments.starts, f"{side}_lengths": segments.lengths}
        horizon = np.array(pairs.preferred.horizon)
        arrays.append(table | {"horizon": horizon, "confidence": pairs.confidence})
    return {name: _npz(part, FILES[name]) for name, part in zip(FILES, arrays, strict=True)}


def _npz(arrays: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str]) -> bytes:
    """An uncompressed `.npz` without NumPy's time stamps: equal arrays give equal bytes."""
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_STORED) as archive:
        for name, dtype in dtypes.items():
            member = io.BytesIO()
            array = np.asarray(arrays[name], dtype=dtype, order="C")
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # the same on every platform
            archive.writestr(info, member.getvalue())
    return archive_bytes.getvalue()


def decode(content: bytes, dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Arrays of exactly the expected names, types and dimensions, all finite."""
    arrays: dict[str, NDArray[Any]] = {}
    name = "archive"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in dtypes:
                member = io.BytesIO(archive.read(f"{name}.npy"))
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    except (EOFError, KeyError, OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidData(f"{name} cannot be read ({error})") from None
    for name, dtype in dtypes.items():
        array, dimensions = arrays[name], _DIMENSIONS.get(name, 1)
        if array.dtype != np.dtype(dtype) or array.ndim != dimensions:
            found = f"{array.dtype} with shape {array.shape}"
            raise InvalidData(f"{name} is {found}, expected {np.dtype(dtype)} with {dimensions} dimensions")
        require_finite(name, array)
    return arrays


def to_episodes(arrays: Mapping[str, NDArray[Any]]) -> tuple[Episode, ...]:
    """The episodes that `decode` read. Raises `InvalidData` if their lengths do not add up."""
    lengths = arrays["lengths"]
    if not len(lengths) or (lengths < 1).any():
        raise InvalidData(f"lengths[{int(np.argmin(lengths)) if len(lengths) else 0}] is not at least 1")
    sizes = {"observations": lengths.sum() + len(lengths), "actions": lengths.sum(), "rewards": lengths.sum()}
    for name, size in (sizes | {"terminated": len(lengths)}).items():
        if len(arrays[name]) != size:
            raise InvalidData(f"{name} has {len(arrays[name])} rows, but lengths ask for {size}")
    ends = np.cumsum(lengths)[:-1]
    observations = np.split(arrays["observations"], ends + np.arange(1, len(lengths)))
    actions, rewards = np.split(arrays["actions"], ends), np.split(arrays["rewards"], ends)
    columns = zip(observations, actions, rewards, arrays["terminated"], strict=True)
    return tuple(Episode(o, a, r, terminated=bool(end)) for o, a, r, end in columns)


def to_pairs(arrays: Mapping[str, NDArray[Any]]) -> PreferencePairs:
    """The pairs that `decode` read. Raises `InvalidData` if a segment crosses an episode's end."""
    steps = Transitions(*(arrays[name] for name in _TABLE))
    bad = (steps.masks != 0.0) & (steps.masks != 1.0)
    if bad.any():
        raise InvalidData(f"masks[{int(np.argmax(bad))}] is {steps.masks[bad][0]}, neither 0 nor 1")
    sides = {}
    for side in ("preferred", "rejected"):
        starts, lengths = arrays[f"{side}_starts"], arrays[f"{side}_lengths"]
        sides[side] = Segments(steps, starts, lengths, int(arrays["horizon"]))
        _require_within_episodes(f"{side}_starts", sides[side])
    return PreferencePairs(**sides, confidence=arrays["confidence"])


def _require_within_episodes(name: str, segments: Segments) -> None:
    """Within an episode, a step's next observation is the next step's observation."""
    steps = segments.steps
    breaks: Floats = (steps.next_observations[:-1] != steps.observations[1:]).any(axis=1)
    before = np.concatenate([[0], np.cumsum(breaks)])
    crossed = before[segments.starts + segments.lengths - 1] > before[segments.starts]
    if crossed.any():
        raise InvalidData(f"{name}[{int(np.argmax(crossed))}]: the segment crosses an episode's end")


def digest(files: Mapping[str, bytes]) -> str:
    """One SHA-256 for the feedback: that of its files' SHA-256 sums, in their fixed order."""
    return hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in FILES)).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`; raises `InvalidData` if it is missing or of another format."""
    manifest = read_json(path, "run `aihf feedback build`")
    if manifest.get("format") != FORMAT:
        raise InvalidData(f"{path} is not a feedback manifest of format {FORMAT}: build the feedback again")
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("sha256"), str):
        raise InvalidData(f"{path} lacks files or sha256: build the feedback again")
    return manifest


def read_verified(path: Path, expected: object) -> bytes:
    """All of the file `path`; raises `InvalidData` unless `expected` is its SHA-256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidData(f"{path} cannot be read ({error.strerror}): build the feedback again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InvalidData(f"{path}: SHA-256 is {found}, but manifest.json says {expected}: build it again")
    return content

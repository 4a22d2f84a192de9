"""Preferences labelled by people, in the field's file format.

A `.npz` with `obs_1`, `obs_2` (N, L, O), `action_1`, `action_2` (N, L, A) and `label` (N,): 0 where the
first segment was preferred, 1 the second, ½ for a tie (Kim et al. 2023, "Preference Transformer"; Hejna and
Sadigh 2023, "Inverse Preference Learning"), or between them the probability of the second. `label` may be
(N, 1) as well, or (N, 2) with the probabilities of the first and of the second, 1 together. An imported file
has `held_out` (N,) as well, true for the pairs that measure a reward and train none. Actions are in the
environment's own bounds.

Such a file lacks the observation after a segment's last action, without which IPL cannot use that step.
So that all methods learn from the same, a segment counts as its first L − 1 steps. The true reward of these
steps is not known: it is stored as 0, and what is measured against it is left out of the records.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aihf_control.arrays import Floats, require_finite
from aihf_control.data.types import PreferencePairs, Segments, Transitions, clip_actions, clipped_words
from aihf_control.envs.tasks import Task, action_range
from aihf_control.errors import InvalidData

FIELDS = {"obs_1": 3, "obs_2": 3, "action_1": 3, "action_2": 3, "label": 1}
"""The arrays of the field's format with their dimensions."""

LABEL_SLACK = 1e-5
"""By which two probabilities may miss 1 together."""

LARGEST_ARRAY = 2 * 2**30
"""Bytes; what says to be larger is refused before it is unpacked."""


@dataclass(frozen=True)
class LabelledSegments:
    """N pairs: `observations` (2, N, L, O), `actions` (2, N, L, A) in [-1, 1], `labels`, each the probability
    of the second, and `held_out` (N,)."""

    observations: Floats
    actions: Floats
    labels: Floats
    held_out: NDArray[np.bool_]
    clipped: int = 0
    """Numbers of `actions` that were clipped to [-1, 1]."""

    def counts(self) -> str:
        """For people: `100 pairs of 100 steps: 32 prefer the first, 40 the second, 28 ties; 10 held out`."""
        first, ties, second = (int((np.sign(self.labels - 0.5) == side).sum()) for side in (-1, 0, 1))
        pairs, length = self.observations.shape[1:3]
        held = f"; {self.held_out.sum()} held out" if self.held_out.any() else ""
        preferred = f"{first} prefer the first, {second} the second, {ties} ties"
        clipped = f"; {clipped_words(self.clipped, self.actions.size)}" if self.clipped else ""
        return f"{pairs} pairs of {length} steps: {preferred}{held}{clipped}"

    def select(self, chosen: NDArray[np.bool_]) -> PreferencePairs:
        """The pairs where `chosen` (N,) is true. A tie has confidence ½ and keeps its order; with a
        probability, the likelier is preferred and that is its confidence."""
        observations, actions = self.observations[:, chosen], self.actions[:, chosen]
        count, steps = observations.shape[1], observations.shape[2] - 1
        rows = 2 * count * steps
        table = Transitions(
            observations=_flat(observations[:, :, :-1]),
            actions=_flat(actions[:, :, :-1]),
            rewards=np.zeros(rows, np.float32),
            next_observations=_flat(observations[:, :, 1:]),
            masks=np.ones(rows, np.float32),
        )
        starts = np.arange(2 * count, dtype=np.int64).reshape(2, count) * steps
        lengths, second = np.full(count, steps, dtype=np.int64), self.labels[chosen] > 0.5
        preferred, rejected = (
            Segments(table, np.where(swapped, starts[1], starts[0]), lengths, steps)
            for swapped in (second, ~second)
        )
        return PreferencePairs(
            preferred, rejected, np.maximum(self.labels[chosen], 1.0 - self.labels[chosen])
        )


def _flat(values: Floats) -> Floats:
    flat: Floats = values.reshape(-1, values.shape[-1]).astype(np.float32)
    return flat


def read_labelled(path: Path, task: Task) -> LabelledSegments:
    """Read and check a file; raises `InvalidData`, one line with file, field and first bad index.

    Without `held_out` no pair is.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise InvalidData(f"{path}: is no file, as a folder, a pipe or a device is none")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: _array(archive, name) for name in FIELDS}
            marked = "held_out.npy" in archive.namelist()
            held_out = _array(archive, "held_out") if marked else None
        return _checked(arrays, held_out, task)
    except FileNotFoundError:
        raise InvalidData(f"{path}: there is no such file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidData(f"{path}: is no readable .npz file ({error})") from None
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}") from None


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(file.removesuffix(".npy") for file in archive.namelist()) or "nothing"
        raise InvalidData(f"{name} is missing; the file holds {held}") from None
    if entry.file_size > LARGEST_ARRAY:
        raise InvalidData(f"{name} says to be {entry.file_size:,} bytes, more than {LARGEST_ARRAY:,}")
    try:
        with archive.open(entry) as member:  # never more than was announced, whatever is packed in it
            content = member.read(entry.file_size)
        _require_all_there(name, content)
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (EOFError, OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidData(f"{name} cannot be read ({error})") from None
    if array.dtype.kind not in "biuf":
        raise InvalidData(f"{name} holds {array.dtype}, not numbers")
    return array


def _require_all_there(name: str, content: bytes) -> None:
    """Before room is made for an array: its header must not promise more than follows it."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    promised = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and promised != (there := len(content) - stream.tell()):
        raise InvalidData(
            f"{name} promises {promised:,} bytes, shape {shape} of {dtype}, and holds {there:,}"
        )


def _probabilities(label: NDArray[Any]) -> NDArray[Any]:
    """(N,) of the second segment, out of any of the field's shapes; another shape as it is."""
    if label.ndim == 2 and label.shape[1] == 1:
        return label[:, 0]
    if label.ndim == 2 and label.shape[1] == 2:
        require_finite("label", label)
        ones = (np.abs(label.sum(1) - 1.0) <= LABEL_SLACK) & (label >= 0.0).all(1)
        _require("label", label, np.repeat(ones[:, None], 2, axis=1), "of two that are not 1 together")
        return label[:, 1]
    return label


def _checked(arrays: dict[str, NDArray[Any]], held_out: NDArray[Any] | None, task: Task) -> LabelledSegments:
    arrays["label"] = _probabilities(arrays["label"])
    count = len(arrays["label"]) if arrays["label"].ndim else 0
    if held_out is None:
        held_out = np.zeros(count, bool)
    for name in ("label", *FIELDS):
        array, dimensions = arrays[name], FIELDS[name]
        if array.ndim != dimensions:
            axes = "(pairs, steps, numbers)" if dimensions == 3 else "(pairs,), (pairs, 1) or (pairs, 2)"
            raise InvalidData(f"{name} has shape {array.shape}, expected {axes}")
        if len(array) != count:
            raise InvalidData(f"{name} has {len(array)} pairs, label has {count}")
        require_finite(name, array)
    if not count:
        raise InvalidData("label is empty: there is no pair in the file")
    length = arrays["obs_1"].shape[1]
    widths = {"obs": task.observation_size, "action": task.action_size}
    for name in ("obs_1", "obs_2", "action_1", "action_2"):
        steps, width = arrays[name].shape[1:]
        if steps != length:
            raise InvalidData(f"{name} has segments of {steps} steps, obs_1 of {length}")
        if width != (expected := widths[name.partition("_")[0]]):
            raise InvalidData(
                f"{name} is {width} wide, {task.env_id}'s is {expected}: is the file of another task?"
            )
    if length < 2:
        raise InvalidData("obs_1 has segments of 1 step: 2 are needed, as the last one lacks what follows it")
    label = arrays["label"]
    _require("label", label, (label >= 0.0) & (label <= 1.0), "not from 0 (the first) to 1 (the second)")
    bounds = action_range(task)
    sides = [clip_actions(name, arrays[name], bounds) for name in ("action_1", "action_2")]
    if held_out.shape != (count,) or held_out.dtype != bool:
        raise InvalidData(
            f"held_out is {held_out.dtype} with shape {held_out.shape}, expected bool ({count},)"
        )
    observations = np.stack([arrays["obs_1"], arrays["obs_2"]]).astype(np.float64)
    actions, clipped = np.stack([side for side, _ in sides]), sum(count for _, count in sides)
    return LabelledSegments(observations, actions, arrays["label"].astype(np.float64), held_out, clipped)


def _require(name: str, values: NDArray[Any], holds: NDArray[np.bool_], otherwise: str) -> None:
    if not holds.all():
        index = tuple(int(i) for i in np.argwhere(~holds)[0])
        raise InvalidData(f"{name}{list(index)} is {values[index]}, {otherwise}")


def hold_out(labelled: LabelledSegments, share: float, seed: int) -> LabelledSegments:
    """The same with a random `share` of the pairs held out, at least one; one must be left to learn from."""
    count = len(labelled.labels)
    held = max(1, round(share * count))
    if held >= count:
        raise InvalidData(f"{held} of {count} pairs would be held out: none is left to learn from")
    marks = np.zeros(count, bool)
    marks[np.random.default_rng(seed).permutation(count)[:held]] = True
    return replace(labelled, held_out=marks)


def join(training: LabelledSegments, evaluation: LabelledSegments) -> LabelledSegments:
    """All pairs of both, those of `evaluation` held out. Raises `InvalidData` if their lengths differ."""
    lengths = [part.observations.shape[2] for part in (training, evaluation)]
    if lengths[0] != lengths[1]:
        raise InvalidData(f"the evaluation's segments have {lengths[1]} steps, the others {lengths[0]}")
    marks = np.repeat([False, True], [len(training.labels), len(evaluation.labels)])
    return LabelledSegments(
        np.concatenate([training.observations, evaluation.observations], axis=1),
        np.concatenate([training.actions, evaluation.actions], axis=1),
        np.concatenate([training.labels, evaluation.labels]),
        marks,
        training.clipped + evaluation.clipped,
    )


def encode_labelled(labelled: LabelledSegments, task: Task) -> bytes:
    """An imported file's bytes; its actions are in the environment's own bounds, as in the file it was made
    from."""
    (obs_1, obs_2), (action_1, action_2) = labelled.observations, action_range(task).own(labelled.actions)
    content = io.BytesIO()
    np.savez(
        content,
        allow_pickle=False,
        obs_1=obs_1,
        obs_2=obs_2,
        action_1=action_1,
        action_2=action_2,
        label=labelled.labels,
        held_out=labelled.held_out,
    )
    return content.getvalue()

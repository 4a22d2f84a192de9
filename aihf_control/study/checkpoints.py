"""What a batch of seeds saves at the end of a round, and finds again: safetensors and JSON.

A round is `state_<n>.safetensors`, the replay rows it added in `replay_<n>.safetensors`, and, written
last, `round_<n>.json` with the SHA-256 of both and of every earlier replay file. A round counts once that
manifest is there and all of it verifies, so a kill at any moment leaves the round before, or the new one.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from aihf_control.errors import InvalidData
from aihf_control.runs.files import (
    make_folder,
    plain,
    read_json,
    remove_folder,
    remove_leftovers,
    sha256,
    write_atomically,
)

FORMAT = 1
KEPT_ROUNDS = 2
"""States kept: the newest, and one to fall back to. Replay files are all kept."""

_ROUND = re.compile(r"(?:round_(\d{5,})\.json|state_(\d{5,})\.safetensors)")
_OWN_FILE = re.compile(r"(?:(?:state|replay)_\d{5,}\.safetensors|round_\d{5,}\.json)")
_ROWS = "rows"


class _Unverified(Exception):
    """A round that cannot be used; the message names the file."""


@dataclass(frozen=True)
class Loaded:
    """A saved round: `tensors` on the CPU and `record`, both as given to `Checkpoint.save`."""

    round: int
    tensors: dict[str, Tensor]
    record: dict[str, Any]
    replay_files: tuple[Path, ...]

    def replay(self) -> Iterator[Tensor]:
        """The replay rows of each round in order, (S, n, width) on the CPU, read one file at a time."""
        for path in self.replay_files:
            yield safetensors.torch.load_file(path)[_ROWS]


def _print_warning(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


class Checkpoint:
    """The checkpoint of one batch of seeds, in its own folder. Call `load_latest` before `save`.

    `warn` takes one line for each round that cannot be used.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = _print_warning) -> None:
        self.folder, self._warn = folder, warn
        self._replay: dict[str, str] = {}  # file → SHA-256, in order
        self._manifests: list[str] = []  # oldest first

    def save(
        self, round: int, tensors: Mapping[str, Tensor], replay_rows: Tensor | None, record: Mapping[str, Any]
    ) -> None:
        """Save round `round`, whole or not at all; then drop the states of all but the last two.

        `tensors` may lie anywhere and share memory. `replay_rows` (S, n, width) are the transitions added
        since the round saved or loaded last, None if there are none. `record` is JSON with text keys; NaN
        and infinity are allowed, so that a seed that diverged keeps no other from being saved.
        Raises `CannotWrite`, after which the previous round is still whole.
        """
        make_folder(self.folder)
        replay = dict(self._replay)
        if replay_rows is not None:
            name = f"replay_{round:05d}.safetensors"
            replay[name] = self._write_tensors(name, {_ROWS: replay_rows})
        name = f"state_{round:05d}.safetensors"
        files = {name: self._write_tensors(name, tensors)} | replay
        body = {"format": FORMAT, "round": round, "files": files, "record": record}
        body = json.loads(json.dumps(body, default=plain))  # what a reader will digest
        # key order is kept: it is that of the columns in progress.csv
        text = json.dumps({"sha256": _digest(body)} | body, indent=1)
        manifest = f"round_{round:05d}.json"
        write_atomically(self.folder / manifest, text.encode())
        self._replay = replay
        kept = [name for name in self._manifests if name != manifest][1 - KEPT_ROUNDS :]
        self._manifests = [*kept, manifest]
        self._prune()

    def load_latest(self) -> Loaded | None:
        """The newest round of which every file verifies; None if there is none: start from the beginning.

        Each newer one that does not is named in a warning. Raises `InvalidData` for a checkpoint of another
        format, which is whole but not for this version.
        """
        remove_leftovers(self.folder)
        matches = [_ROUND.fullmatch(path.name) for path in self.folder.glob("*")]
        rounds = sorted({int(match[1] or match[2]) for match in matches if match}, reverse=True)
        for round in rounds:
            try:
                loaded, self._replay = self._load(round)
            except _Unverified as problem:
                self._warn(f"{problem}: round {round} is not used, the one before is tried")
                continue
            self._manifests = [f"round_{round:05d}.json"]
            return loaded
        if rounds:
            self._warn(f"{self.folder}: no saved round is whole: starting from the beginning")
        return None

    def remove(self) -> None:
        """Remove the checkpoint, at once: no crash leaves a part that could be loaded."""
        remove_folder(self.folder)

    def _write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> str:
        own = {
            key: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
            for key, tensor in tensors.items()
        }
        content = safetensors.torch.save(own)
        write_atomically(self.folder / name, content)
        return hashlib.sha256(content).hexdigest()

    def _load(self, round: int) -> tuple[Loaded, dict[str, str]]:
        manifest = _read_manifest(self.folder / f"round_{round:05d}.json", round)
        files: dict[str, str] = manifest["files"]
        state = f"state_{round:05d}.safetensors"
        replay = {name: digest for name, digest in files.items() if name != state}
        try:
            content = (self.folder / state).read_bytes()
            found = {name: sha256(self.folder / name) for name in replay}
        except OSError as error:
            raise _Unverified(f"{error.filename}: {error.strerror}") from error
        found[state] = hashlib.sha256(content).hexdigest()
        for name, expected in files.items():
            if found[name] != expected:
                sums = f"SHA-256 is {found[name][:12]}…, its manifest says {expected[:12]}…"
                raise _Unverified(f"{self.folder / name}: {sums}")
        try:
            tensors = safetensors.torch.load(content)
        except SafetensorError as error:
            raise _Unverified(f"{self.folder / state}: is not safetensors ({error})") from error
        paths = tuple(self.folder / name for name in replay)
        return Loaded(round, tensors, manifest["record"], paths), replay

    def _prune(self) -> None:
        states = [name.replace("round", "state").replace("json", "safetensors") for name in self._manifests]
        kept = {*self._manifests, *states, *self._replay}
        for path in sorted(self.folder.iterdir()):  # a manifest (r…) goes before its state (s…)
            if _OWN_FILE.fullmatch(path.name) and path.name not in kept:
                with suppress(OSError):
                    path.unlink()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def _read_manifest(path: Path, round: int) -> dict[str, Any]:
    try:
        body = read_json(path, "as after a kill in the middle of a save")
    except InvalidData as error:
        raise _Unverified(str(error)) from error
    expected, found = body.pop("sha256", None), _digest(body)
    if found != expected:
        raise _Unverified(f"{path}: SHA-256 is {found[:12]}…, it says {str(expected)[:12]}…")
    if body.get("format") != FORMAT:
        raise InvalidData(f"{path}: format is not {FORMAT}: use the version of the package that wrote it")
    if body.get("round") != round:
        raise _Unverified(f"{path}: is the manifest of round {body.get('round')}")
    return body

"""The folder of a run: its configuration, progress and status, and which seeds go together.

Nothing here needs torch; what a batch of seeds saves between rounds is in `checkpoints`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from aihf_control.errors import InvalidData
from aihf_control.runs.files import (
    build,
    make_folder,
    plain,
    read_json_if_there,
    remove_folder,
    remove_leftovers,
    write_atomically,
    write_json,
)
from aihf_control.runs.locks import LOCK_NAME, Locked, SeedLock

State = Literal["running", "finished", "failed"]

MAY_DIFFER = ("batch", "command", "commit", "graphs_off", "moved", "seed", "wall_seconds")
"""Fields of `config.json` that do not make two runs different ones."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_BATCH_NAME = 64


@dataclass(frozen=True)
class RunPaths:
    """Where the runs of one method are: `<root>/<study>/<task>/<method>/`, root being `results/runs`."""

    root: Path
    study: str
    task: str
    method: str

    def __post_init__(self) -> None:
        for field in ("study", "task", "method"):
            name = getattr(self, field)
            if not _NAME.fullmatch(name):
                raise InvalidData(f"{field} is {name!r}: use letters, digits, '.', '_' and '-'")

    @property
    def folder(self) -> Path:
        """The method's folder."""
        return self.root / self.study / self.task / self.method

    def seed(self, seed: int) -> Path:
        """The folder of one seed."""
        return self.folder / f"seed_{seed}"

    def checkpoint(self, batch: Sequence[int]) -> Path:
        """The folder of the checkpoint of seeds that run as one batch, in this order."""
        name = "-".join(map(str, batch))
        if len(name) > _LONGEST_BATCH_NAME:
            name = f"{len(batch)}-seeds-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return self.folder / f"checkpoint_{name}"


@dataclass(frozen=True)
class Status:
    """`status.json`: `wall_seconds` is of the whole batch of `batch_size` seeds, restarts included."""

    state: State
    step: int
    wall_seconds: float
    batch_size: int
    failed_at_step: int | None = None
    reason: str | None = None
    rows_sha256: str | None = None
    """Of the rows of one that ended, by `hash_rows`; None of a run that is older than this."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: it reached its last step, or was given up."""
        return self.state != "running"


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json` into a seed's folder, which is made. Raises `CannotWrite`."""
    make_folder(folder)
    write_json(folder / "config.json", config)


def read_config(folder: Path) -> dict[str, Any] | None:
    """`config.json`, None if there is none. Raises `InvalidData` if it cannot be read."""
    return read_json_if_there(folder / "config.json")


def write_status(folder: Path, status: Status) -> None:
    """Write `status.json` into a seed's folder, which is made. Raises `CannotWrite`."""
    make_folder(folder)
    write_json(folder / "status.json", asdict(status))


def read_status(folder: Path) -> Status | None:
    """`status.json`, None if there is none. Raises `InvalidData` if it breaks its format."""
    path = folder / "status.json"
    record = read_json_if_there(path)
    if record is None:
        return None
    status = build(path, Status, record)
    if status.state == "failed" and status.failed_at_step is None:
        raise InvalidData(f"{path}: failed_at_step is None, though state is failed: it needs a step")
    return status


def write_progress(folder: Path, rows: Sequence[Mapping[str, float]]) -> str:
    """Write `progress.csv`, one line a row; a row may lack columns, which are in the order first seen.

    Floats are written so that reading gives the same bits. Keep out of it what differs between
    identical runs: times belong in `status.json`. Returns the rows' hash. Raises `CannotWrite`.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    written = [{name: _number(value) for name, value in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(written)
    make_folder(folder)
    write_atomically(folder / "progress.csv", text.getvalue().encode())
    return hash_rows(written)


def hash_rows(rows: Sequence[Mapping[str, str]]) -> str:
    """The SHA-256 of rows as text, whatever the order of their columns: as trained and as committed alike."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))


def _recorded_batches(paths: RunPaths) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Each batch that a `config.json` names, and whether all of its seeds have ended."""
    batches = set()
    for folder in paths.folder.glob("seed_*"):
        config = read_config(folder)
        if config is None:
            continue
        batch = config.get("batch")
        if not isinstance(batch, list) or not batch or not all(type(seed) is int for seed in batch):
            raise InvalidData(f"{folder / 'config.json'}: batch is {batch!r}, expected a list of seeds")
        batches.add(tuple(batch))
    for batch in sorted(batches):
        statuses = [read_status(paths.seed(seed)) for seed in batch]
        yield batch, all(status is not None and status.ended for status in statuses)


def find_batches(paths: RunPaths) -> list[tuple[int, ...]]:
    """The batches that were begun and not ended, each as recorded: it is resumed whole or not at all.

    A batch counts from its first `config.json` on, before any checkpoint. Raises `InvalidData`.
    """
    return [batch for batch, ended in _recorded_batches(paths) if not ended]


def clean_up_ended(paths: RunPaths) -> None:
    """Remove what a process left that was killed between a batch's last status and its end: checkpoint and
    locks. A lock whose owner lives stays."""
    for batch, ended in _recorded_batches(paths):
        if ended:
            remove_folder(paths.checkpoint(batch))
            left = [paths.seed(seed) for seed in batch if (paths.seed(seed) / LOCK_NAME).exists()]
            if left:
                with suppress(Locked), SeedLock(left):
                    pass  # taken over from the dead, and given back
    remove_leftovers(paths.folder)


def differences(
    there: Mapping[str, Any], now: Mapping[str, Any], ignored: Collection[str] = MAY_DIFFER
) -> list[str]:
    """What differs between a recorded configuration and this one, one line a field, sorted.

    `settings.sac.batch_size: 128 there, 256 now`; `ignored` are names of top-level fields.
    """
    sides = [
        dict(leaves({name: value for name, value in _as_read(config).items() if name not in ignored}))
        for config in (there, now)
    ]
    missing = object()
    lines = []
    for name in sorted(sides[0].keys() | sides[1].keys()):
        values = [side.get(name, missing) for side in sides]
        if values[0] != values[1]:
            texts = ["missing" if v is missing else json.dumps(v, ensure_ascii=False) for v in values]
            lines.append(f"{name}: {texts[0]} there, {texts[1]} now")
    return lines


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it comes back from a file, where a tuple is a list."""
    record: dict[str, Any] = json.loads(json.dumps(config, default=plain))
    return record


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested record that is no record itself, with its dotted name."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}" if name else key)
    else:
        yield name, value

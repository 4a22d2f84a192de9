"""The files of one run as typed records; whatever breaks their format is named by file and field."""

from __future__ import annotations

import json
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

PROGRESS_COLUMNS = ("step", "return_mean", "environment_steps")
"""Columns of `progress.csv` that every method must have."""

T = TypeVar("T")


class InvalidResults(ValueError):
    """A run directory breaks its format, or cannot be compared; the message names file and field."""


@dataclass(frozen=True)
class FeedbackRecord:
    """What the feedback was: its hash, the demonstrations' mean true return, and its sizes."""

    sha256: str
    demonstrations_return: float
    demonstrations: int
    pairs: int
    segment_length: int


@dataclass(frozen=True)
class References:
    """Mean returns of a random policy and of the expert tier on the task."""

    random: float
    expert: float


@dataclass(frozen=True)
class SettingsRecord:
    """The part of a run's settings that reports state."""

    evaluation_episodes: int


@dataclass(frozen=True)
class Move:
    """After `step` a run went on elsewhere: the device before and after, of older runs with its threads."""

    step: int
    before: str
    after: str


@dataclass(frozen=True)
class RunConfig:
    """The part of `config.json` that reports use; `device` and the like are left out."""

    study: str
    task: str
    method: str
    seed: int
    batch: tuple[int, ...]
    command: str
    preset: str
    round_steps: int
    steps: int
    feedback: FeedbackRecord
    references: References | None
    settings: SettingsRecord
    moved: tuple[Move, ...] | None = None


@dataclass(frozen=True)
class RunStatus:
    """`status.json`: `state` is running, finished or failed; `wall_seconds` is of the whole batch."""

    state: str
    wall_seconds: float
    failed_at_step: int | None
    reason: str | None


@dataclass(frozen=True)
class Run:
    """One seed's run that ended, well or badly: the rows of its `progress.csv`, as written."""

    folder: Path
    config: RunConfig
    progress: pd.DataFrame
    status: RunStatus

    @property
    def failed(self) -> bool:
        """Whether the seed was given up, at `status.failed_at_step`."""
        return self.status.state == "failed"


def load_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidResults(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidResults(f"{path}: is not a JSON object")
    return record


def _convert(path: Path, name: str, value: Any, kind: Any) -> Any:
    """`value` as the annotation `kind` asks, or an error naming `path` and the dotted `name`."""
    options = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    kind = options[0]
    if is_dataclass(kind) and isinstance(value, dict):
        return build(path, cast(type, kind), value, f"{name}.")
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(path, f"{name}[{i}]", item, get_args(kind)[0]) for i, item in enumerate(value))
    accepted = (int, float) if kind is float else get_origin(kind) or kind
    if (
        not isinstance(value, accepted)
        or isinstance(value, bool)
        or value in (np.inf, -np.inf)
        or value != value
    ):
        raise InvalidResults(f"{path}: {name} is {value!r}, expected {getattr(kind, '__name__', kind)}")
    return value


def build(path: Path, kind: type[T], record: dict[str, Any], prefix: str = "") -> T:
    """The dataclass `kind` out of a JSON object; keys it does not know are left alone."""
    hints = get_type_hints(kind)
    return kind(**{name: _convert(path, prefix + name, record.get(name), hints[name]) for name in hints})


def read_status_record(path: Path) -> RunStatus:
    """A run's `status.json`."""
    status = build(path, RunStatus, load_json(path))
    if status.state not in ("running", "finished", "failed"):
        raise InvalidResults(f"{path}: state is {status.state!r}, expected running, finished or failed")
    if status.state == "failed" and status.failed_at_step is None:
        raise InvalidResults(f"{path}: failed_at_step is None, though state is failed: it needs a step")
    return status


def read_progress_table(path: Path) -> pd.DataFrame:
    """A run's `progress.csv`: numbers throughout, and steps that rise."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InvalidResults(f"{path}: cannot be read as CSV: {error}") from error
    if table.empty:  # a seed may fail before its first evaluation; columns without rows have no type
        table = table.astype(dict.fromkeys(table.columns, float)).astype({"step": int}, errors="ignore")
    for name in (*PROGRESS_COLUMNS, *table.columns):
        if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
            raise InvalidResults(f"{path}: column {name} is missing or holds something else than numbers")
    if not pd.api.types.is_integer_dtype(table["step"]) or not (np.diff(table["step"]) > 0).all():
        raise InvalidResults(f"{path}: step must be whole numbers that rise from row to row")
    return table

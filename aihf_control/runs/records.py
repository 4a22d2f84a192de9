"""The files of one run as typed records; whatever breaks their format is named by file and field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aihf_control.errors import InvalidData
from aihf_control.runs.folder import Status

PROGRESS_COLUMNS = ("step", "return_mean", "environment_steps")
"""Columns of `progress.csv` that every method must have."""


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
class LearnerRecord:
    """The part of a learner's settings that has to be alike in what is compared."""

    precision: str | None


@dataclass(frozen=True)
class SettingsRecord:
    """The part of a run's settings that reports state, or that has to be alike in what is compared."""

    evaluation_episodes: int
    environments: str | None = None
    sac: LearnerRecord | None = None

    @property
    def precision(self) -> str | None:
        """Of the updates' products."""
        return self.sac.precision if self.sac else None


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
    graphs_off: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Run:
    """One seed's run that ended, well or badly: the rows of its `progress.csv`, as written."""

    folder: Path
    config: RunConfig
    progress: pd.DataFrame
    status: Status

    @property
    def failed(self) -> bool:
        """Whether the seed was given up, at `status.failed_at_step`."""
        return self.status.state == "failed"


def read_progress_table(path: Path) -> pd.DataFrame:
    """A run's `progress.csv`: numbers throughout, and steps that rise."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InvalidData(f"{path}: cannot be read as CSV: {error}") from error
    if table.empty:  # a seed may fail before its first evaluation; columns without rows have no type
        table = table.astype(dict.fromkeys(table.columns, float)).astype({"step": int}, errors="ignore")
    for name in (*PROGRESS_COLUMNS, *table.columns):
        if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
            raise InvalidData(f"{path}: column {name} is missing or holds something else than numbers")
    if not pd.api.types.is_integer_dtype(table["step"]) or not (np.diff(table["step"]) > 0).all():
        raise InvalidData(f"{path}: step must be whole numbers that rise from row to row")
    return table

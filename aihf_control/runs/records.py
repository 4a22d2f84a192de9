"""The files of one run as typed records; whatever breaks their format is named by file and field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from aihf_control.runs.files import build
from aihf_control.runs.folder import Status
from aihf_control.runs.stored import StoredRun

T = TypeVar("T")


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
    fixed_horizon: bool | None = None
    start: str | None = None
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
class CodeRecord:
    """What a task that is not built in was made of."""

    object: str
    sha256: str


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
    task_code: CodeRecord | None = None


@dataclass(frozen=True)
class Run:
    """One seed's run that ended, well or badly: the rows of its `progress.csv`, as written."""

    stored: StoredRun
    config: RunConfig
    progress: pd.DataFrame
    status: Status

    @property
    def failed(self) -> bool:
        """Whether the seed was given up, at `status.failed_at_step`."""
        return self.status.state == "failed"

    def read(self, kind: type[T]) -> T:
        """Another part of `config.json`. Raises `InvalidData`, naming file and field."""
        return build(self.stored.config_place, kind, self.stored.config)

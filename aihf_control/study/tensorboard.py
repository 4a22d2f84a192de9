"""TensorBoard events beside a run (extra `tensorboard`): `tensorboard --logdir results/runs/<study>`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aihf_control.study.tracking import TrackedRun


class TensorBoard:
    """One event file a process in the seed's `events/`; a later one takes the place of an earlier."""

    def __init__(self) -> None:
        self._writers: dict[Path, SummaryWriter] = {}

    def log(self, run: TrackedRun, step: int, values: Mapping[str, float]) -> None:
        """As of a `Tracker`."""
        if run.folder not in self._writers:
            self._writers[run.folder] = self._open(run, step)
        writer = self._writers[run.folder]
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def finish(self, run: TrackedRun) -> None:
        """As of a `Tracker`."""
        self._writers.pop(run.folder).close()

    def _open(self, run: TrackedRun, step: int) -> SummaryWriter:
        writer = SummaryWriter(str(run.folder / "events"), purge_step=step)
        file: Any = writer.file_writer  # made with the writer
        for summary in hparams(run.hyperparameters(), {"eval/return_mean": 0.0}):
            file.add_summary(summary)
        return writer


def open_tracker() -> TensorBoard:
    """For `tracking.open_tracker`."""
    return TensorBoard()

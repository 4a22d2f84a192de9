"""Trackio (extra `trackio`): into its database on this machine, which `trackio show` opens in a browser.

The database is in $TRACKIO_DIR, else where Trackio keeps it. It has one open run a process, so each row's run
is opened, and closed, which leaves nothing in memory for a kill to lose.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import trackio
from trackio.sqlite_storage import SQLiteStorage

from aihf_control.study.tracking import TrackedRun


class Trackio:
    """A Trackio run a seed: the project is the study, the group its task and method."""

    def __init__(self) -> None:
        self._last: dict[Path, int] = {}

    def log(self, run: TrackedRun, step: int, values: Mapping[str, float]) -> None:
        """As of a `Tracker`; a step that the database has is not logged twice."""
        if run.folder not in self._last:
            last = SQLiteStorage.get_last_step(run.study, run.name) if run.begun else None
            self._last[run.folder] = -1 if last is None else last
        if step <= self._last[run.folder]:
            return
        with redirect_stdout(io.StringIO()):
            trackio.init(
                project=run.study,
                group=run.group,
                name=run.name,
                config=run.hyperparameters(),
                resume="never" if self._last[run.folder] < 0 else "allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            trackio.log(dict(values), step=step)
            trackio.finish()
        self._last[run.folder] = step

    def finish(self, run: TrackedRun) -> None:
        """As of a `Tracker`."""
        self._last.pop(run.folder)


def open_tracker() -> Trackio:
    """For `tracking.open_tracker`."""
    return Trackio()

"""Weights & Biases (extra `wandb`): into each run's folder, and to a server only where WANDB_MODE=online.

`wandb sync results/runs/<study>/*/*/seed_*/wandb/latest-run` uploads what was written without a network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing leaves this machine unasked

import wandb

from aihf_control.study.tracking import TrackedRun

QUIET = {
    "console": "off", "silent": True, "disable_git": True, "disable_code": True, "disable_job_creation": True,
    "x_disable_stats": True, "x_disable_meta": True, "x_save_requirements": False,
}  # fmt: skip
"""The suite's own `config.json` says what these would record, and standard output is the suite's."""


class WeightsAndBiases:
    """A wandb run a seed: the project is the study, the group its task and method.

    Each process that goes on with a run writes all of its rows, under the same id and steps: the latest
    file is whole, and a server takes no step twice.
    """

    def __init__(self) -> None:
        self._runs: dict[Path, Any] = {}

    def log(self, run: TrackedRun, step: int, values: Mapping[str, float]) -> None:
        """As of a `Tracker`."""
        if run.folder not in self._runs:
            self._runs[run.folder] = self._open(run)
        self._runs[run.folder].log(dict(values), step=step)

    def finish(self, run: TrackedRun) -> None:
        """As of a `Tracker`."""
        self._runs.pop(run.folder).finish()

    def _open(self, run: TrackedRun) -> Any:
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        return wandb.init(
            project=run.study,
            group=run.group,
            name=run.name,
            id=run.id,
            config=run.hyperparameters(),
            dir=run.folder,
            mode=mode,
            resume="allow",
            reinit="create_new",  # a batch's seeds are tracked at once
            settings=wandb.Settings(**QUIET),
        )


def open_tracker() -> WeightsAndBiases:
    """For `tracking.open_tracker`."""
    return WeightsAndBiases()

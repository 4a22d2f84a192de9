"""TensorBoard events beside a run, when asked for (extra `tensorboard`).

A tag is the same for every method, as `eval/return_mean`, so that their curves lie in one chart; the run's
folder says which is whose. The settings are the run's hyperparameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aihf_control.runs.folder import leaves, read_config
from aihf_control.study.training import BatchRun

GROUPS = {"return": "eval", "reward": "reward", "pearson": "reward", "spearman": "reward", "epic": "reward"}
"""By the first word of a column of `progress.csv`; the rest is of training."""


class EventWriter:
    """An `Observer`: appends each seed's latest progress row to the one event file that this process has
    in the seed's folder."""

    def __init__(self) -> None:
        self._writers: dict[Path, SummaryWriter] = {}

    def __call__(self, run: BatchRun, step: int) -> None:
        """After a round that ended at `step`."""
        for seed, rows in zip(run.context.seeds, run.record.rows, strict=True):
            if not rows or rows[-1]["step"] != step:
                continue  # the seed failed before
            writer = self._writer(run.paths.seed(seed))
            for name, value in rows[-1].items():
                writer.add_scalar(f"{GROUPS.get(name.split('_')[0], 'train')}/{name}", value, step)
            writer.flush()

    def _writer(self, folder: Path) -> SummaryWriter:
        if folder not in self._writers:
            self._writers[folder] = writer = SummaryWriter(str(folder / "events"))
            config = read_config(folder) or {}
            made = {name: config[name] for name in ("task", "method", "seed")} | config["settings"]
            plain = {
                name: value for name, value in leaves(made) if isinstance(value, bool | int | float | str)
            }
            file: Any = writer.file_writer  # made with the writer
            for summary in hparams(plain, {"eval/return_mean": 0.0}):
                file.add_summary(summary)
        return self._writers[folder]

"""TensorBoard events beside a run, when asked for (extra `tensorboard`)."""

from __future__ import annotations

from torch.utils.tensorboard import SummaryWriter

from aihf_control.study.training import BatchRun


def write_events(run: BatchRun, step: int) -> None:
    """Append each seed's latest progress row to the event file in its folder."""
    for seed, rows in zip(run.context.seeds, run.record.rows, strict=True):
        if not rows or rows[-1]["step"] != step:
            continue  # the seed failed before
        with SummaryWriter(str(run.paths.seed(seed) / "events")) as writer:
            for name, value in rows[-1].items():
                writer.add_scalar(f"{run.paths.method}/{name}", value, step)

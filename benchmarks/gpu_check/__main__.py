"""`make gpu-check`: is a GPU's work right, and how fast is it?

On a CPU (`DEVICE=cpu`) the same path at a small scale, where there are no graphs to check. What is found out
is a row of one table, written after each to OUTPUT/<device>/gpu.md and gpu.csv, so that a call that is cut
short keeps what it has. Nothing is downloaded.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
import tyro

from aihf_control.cli.surroundings import settle
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import UserError
from aihf_control.learn.sac import ARITHMETIC, CRITICS
from aihf_control.methods.table import METHODS
from aihf_control.study.machine import choose_device, choose_precision, commit, describe_device, versions
from aihf_control.study.prepare import FeedbackSource, Folders, make_feedback
from benchmarks.gpu_check.fast import FULL, SMALL, milliseconds, paper
from benchmarks.gpu_check.right import bits, gpu_tests, graphs, made_up
from benchmarks.gpu_check.table import Table

PARTS = ("tests", "graphs", "bits", "speed", "paper")


@dataclass(frozen=True)
class Options:
    """Check a device; writes gpu.md and gpu.csv to OUTPUT/<device>/."""

    device: str = "auto"
    """auto, cpu or cuda; on a CPU all is small, and shows that it runs."""
    parts: tuple[str, ...] = PARTS
    """Which, of tests, graphs, bits, speed and paper."""
    env: str = "hopper"
    """Task of the milliseconds and of the paper's run."""
    output: Path = Path(__file__).parents[2] / "results" / "gpu"
    root: Path = field(default_factory=Folders.default_root)
    """The checkout whose policies and datasets the paper's run learns from."""


def check(options: Options) -> Table:
    """Every part; the table is complete on disk at any moment."""
    device, task = choose_device(options.device), TASKS[options.env]
    scale = FULL if device.type == "cuda" else SMALL
    name = describe_device(device)
    folder = options.output / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    made = ", ".join(f"{key} {value}" for key, value in versions().items())
    table = Table(folder, f"# {name}\n\n{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {made}.")
    precisions, feedback = list(ARITHMETIC), made_up(task)
    for part in options.parts:
        if part == "tests":
            table.add(part, "tests marked gpu", gpu_tests)
        elif part == "graphs":
            for critic in CRITICS:
                for precision in precisions:
                    table.add(part, f"{critic} {precision}", partial(graphs, critic, precision, device))
        elif part == "bits":
            precision = choose_precision("auto", device)
            for method in METHODS:
                find_bits = partial(bits, method, precision, task, feedback, device)
                table.add(part, f"{method} {precision}", find_bits)
        elif part == "speed":
            for seeds in scale.seeds:
                for precision in precisions:
                    for what, find in milliseconds(task, seeds, precision, scale, device):
                        table.add(part, f"{what}, {seeds} seeds, {precision}", find)
                    gc.collect()
        elif part == "paper":
            if device.type == "cuda":  # where an evaluation takes as long as a policy keeps from falling
                feedback, _ = make_feedback(task, FeedbackSource(), Folders(options.root), print)
            table.add(part, "AIHF as PRESET=paper", partial(paper, task, feedback, scale, device))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        table.add("memory", "largest", lambda: (f"{peak:,.0f} MiB", ""))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if something failed; a target that is not met is no failure."""
    settle()
    options = tyro.cli(Options, args=arguments, prog="gpu-check")
    try:
        table = check(options)
    except (UserError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    return int(any(row.verdict == "failed" for row in table.rows))


if __name__ == "__main__":
    sys.exit(main())

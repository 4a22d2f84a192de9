"""Which critic learns best? Curves, a table and the commands of the oracle under several learners.

`aihf results add results/runs/<study> results/learner --methods oracle --rename NAME` takes a study's
finished runs of the oracle as the learner NAME; `python -m benchmarks.compare_learners [FOLDER]` draws.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aihf_control.envs.tasks import TASKS, task_title
from aihf_control.errors import InvalidData
from aihf_control.report.style import render
from aihf_control.runs.files import write_atomically
from aihf_control.runs.stored import StoredRun, stored_runs
from aihf_control.statistics import (
    CONFIDENCE,
    FINAL_EVALUATIONS,
    RANGE_BELOW_SEEDS,
    final_score,
    seed_interval,
)
from aihf_control.words import markdown_table, seed_list

RESULTS = Path(__file__).parents[1] / "results" / "learner"
COLUMNS = ("task", "critic", "seeds", "steps", "return_iqm", "return_low", "return_high",
           "seconds_per_seed_step")  # fmt: skip
COLOURS = ("#3D3D3D", "#E8710A", "#0B6BB8", "#00917C", "#9B5FC0", "#B0862B", "#C2456F", "#56B4E9")
MARKS = (40_000, 100_000, 200_000)
"""Steps of which the table has a row, where a curve goes that far; and always its last one."""


@dataclass(frozen=True)
class Curves:
    """One learner on one task: `returns` (seeds, T) at `steps` (T,), and what its runs say of themselves."""

    task: str
    critic: str
    seeds: tuple[int, ...]
    steps: np.ndarray
    returns: np.ndarray
    run: StoredRun
    """One of its runs, in what is alike of them."""

    @property
    def pace(self) -> float:
        """Seconds a seed-step."""
        status = self.run.status
        assert status is not None
        return status.wall_seconds / (status.batch_size * status.step)


def read(results: Path) -> list[Curves]:
    """Every learner's curves, by task in the order of the task table. Raises `InvalidData`."""
    groups: dict[tuple[str, str], list[StoredRun]] = {}
    for run in stored_runs(results):
        groups.setdefault((run.task, run.method), []).append(run)
    if not groups:
        raise InvalidData(f"{results} has no curves")
    order = [key for task in TASKS for key in groups if key[0] == task]
    return [_curves(*key, groups[key]) for key in order]


def _curves(task: str, critic: str, runs: list[StoredRun]) -> Curves:
    tables = [pd.DataFrame(run.read_lines().records()).astype(float) for run in runs]
    steps = tables[0]["step"].to_numpy()
    for run, table in zip(runs, tables, strict=True):
        if not np.array_equal(table["step"], steps):
            raise InvalidData(f"{run.progress_place}: its steps are not those of seed {runs[0].seed}")
    returns = np.stack([table["return_mean"] for table in tables])
    return Curves(task, critic, tuple(run.seed for run in runs), steps.astype(int), returns, runs[0])


def table_rows(curves: Curves) -> list[tuple[Any, ...]]:
    """A row for each of `MARKS` that the curve passes, and for its end."""
    rows = []
    for mark in sorted({*(m for m in MARKS if m in curves.steps), int(curves.steps[-1])}):
        until = list(curves.steps).index(mark) + 1
        at = final_score(curves.steps[:until], curves.returns[:, :until])
        interval = seed_interval(at, np.random.default_rng(0))
        numbers = (round(float(v), 1) for v in (interval.estimate, interval.low, interval.high))
        pace = round(curves.pace, 5)
        rows.append((curves.task, curves.critic, len(curves.seeds), mark, *numbers, pace))
    return rows


def markdown(rows: pd.DataFrame, curves: list[Curves]) -> str:
    """The table for readers, with the command of each learner under it."""
    cells = [
        (
            task_title(row.task),
            row.critic,
            f"{row.seeds}",
            f"{row.steps:,}",
            f"{row.return_iqm:,.0f} [{row.return_low:,.0f} to {row.return_high:,.0f}]",
            f"{row.seconds_per_seed_step:.4f}",
        )
        for row in rows.itertuples()
    ]
    lines = [
        "# The oracle under several learners",
        "",
        "Return in the standard environment, of each seed the mean over the last tenth of its evaluations "
        f"until then, at least {FINAL_EVALUATIONS}; IQM over seeds with its {CONFIDENCE:.0%} bootstrap "
        f"interval (under {RANGE_BELOW_SEEDS} seeds: all of their range). Seconds a seed-step are of the "
        "runs themselves, which shared a machine with other work; fair ratios are in `results/speed/`.",
        "",
        markdown_table(("Task", "Critic", "Seeds", "Steps", "Return", "s a seed-step"), cells, "<<<<<<"),
        "",
        "## Commands",
        "",
    ]
    for each in curves:
        config = each.run.config
        lines.append(
            f"- {task_title(each.task)}, {each.critic}: `{config['command']}` at commit "
            f"{config['commit']}, {config['settings']['sac']['precision']}, {config['device']}, "
            f"seeds {seed_list(each.seeds)}"
        )
    return "\n".join(lines) + "\n"


def draw(curves: list[Curves]) -> Figure:
    """A panel a task: thick the IQM, a band its interval, thin every seed."""
    tasks = list(dict.fromkeys(each.task for each in curves))
    critics = list(dict.fromkeys(each.critic for each in curves))
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(4.4 * len(tasks), 3.8), layout="constrained", squeeze=False
    )
    for axes, task in zip(panels[0], tasks, strict=True):
        for each in (each for each in curves if each.task == task):
            colour = COLOURS[critics.index(each.critic) % len(COLOURS)]
            interval, thousands = seed_interval(each.returns, np.random.default_rng(0)), each.steps / 1000
            label = f"{each.critic} ({len(each.seeds)} seeds)"
            axes.plot(thousands, interval.estimate, color=colour, label=label, linewidth=2)
            axes.fill_between(thousands, interval.low, interval.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(thousands, each.returns.T, color=colour, linewidth=0.4, alpha=0.5)
        axes.set_title(task_title(task), loc="left", fontsize=10)
        axes.set_xlabel("SAC steps, thousands")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.set_ylim(min(0.0, float(np.nanmin([e.returns.min() for e in curves if e.task == task]))), None)
    panels[0][0].set_ylabel("true return of the oracle")
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Write `table.csv`, `table.md` and `learner.png`."""
    parser = argparse.ArgumentParser(prog="compare_learners", description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="the folder of the learners")
    results = parser.parse_args(arguments).results
    try:
        curves = read(results)
        rows = pd.DataFrame([row for each in curves for row in table_rows(each)], columns=list(COLUMNS))
        write_atomically(results / "table.csv", rows.to_csv(index=False).encode())
        write_atomically(results / "table.md", markdown(rows, curves).encode())
        write_atomically(results / "learner.png", render(draw(curves), "png"))
        print(rows.to_string(index=False))
    except (InvalidData, OSError) as error:
        print(f"compare_learners: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

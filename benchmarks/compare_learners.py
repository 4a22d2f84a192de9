"""Which critic learns best? Curves, a table and the commands of the oracle under several learners.

`python -m benchmarks.compare_learners add NAME RUNS` takes a study's finished oracle runs
(`results/runs/<study>/<task>/oracle/seed_<k>/`) into `results/learner/<task>/<NAME>.csv`, their commands into
`results/learner/runs.json`; `python -m benchmarks.compare_learners draw` writes `table.csv`, `table.md` and
`learner.png` from these files alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure

from aihf_control.envs.tasks import TASKS, task_title
from aihf_control.errors import InvalidData
from aihf_control.report.style import render
from aihf_control.runs.files import make_folder, read_json, write_atomically
from aihf_control.runs.records import read_progress_table
from aihf_control.statistics import (
    CONFIDENCE,
    FINAL_EVALUATIONS,
    RANGE_BELOW_SEEDS,
    final_score,
    seed_interval,
)
from aihf_control.words import seed_list

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
    facts: dict[str, Any]


@dataclass(frozen=True)
class Add:
    """Take the finished oracle runs of a study, of every task it has, under a learner's name."""

    name: tyro.conf.Positional[str]
    """Of the learner, as batch-norm or plain."""
    runs: tyro.conf.Positional[Path]
    """The study's folder of runs."""
    results: Path = RESULTS

    def run(self) -> None:
        """Raises `InvalidData` if a seed has not finished; nothing is written then."""
        found = [_collect(folder) for folder in sorted(self.runs.glob("*/oracle"))]
        if not found:
            raise InvalidData(f"{self.runs} has no runs of the oracle, as <task>/oracle/seed_<k>/")
        record = _records(self.results)
        for task, table, facts in found:
            make_folder(self.results / task)
            text = table.to_csv(index=False, float_format="%.3f")
            write_atomically(self.results / task / f"{self.name}.csv", text.encode())
            record[f"{task}/{self.name}"] = facts
        text = json.dumps(dict(sorted(record.items())), indent=1)
        write_atomically(self.results / "runs.json", f"{text}\n".encode())


@dataclass(frozen=True)
class Draw:
    """Write table.csv, table.md and learner.png."""

    results: Path = RESULTS

    def run(self) -> None:
        """Raises `InvalidData` if there is nothing to compare."""
        curves = read(self.results)
        rows = pd.DataFrame([row for each in curves for row in table_rows(each)], columns=list(COLUMNS))
        write_atomically(self.results / "table.csv", rows.to_csv(index=False).encode())
        write_atomically(self.results / "table.md", markdown(rows, curves).encode())
        write_atomically(self.results / "learner.png", render(draw(curves), "png"))
        print(rows.to_string(index=False))


COMMANDS: Any = Annotated[Add, tyro.conf.subcommand("add")] | Annotated[Draw, tyro.conf.subcommand("draw")]


def _records(results: Path) -> dict[str, Any]:
    path = results / "runs.json"
    return dict(read_json(path)) if path.is_file() else {}


def _collect(folder: Path) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    """Task, `step,seed,return_mean,return_std,length_mean` of all seeds, and what is alike of them."""
    seeds = sorted(folder.glob("seed_*"), key=lambda path: int(path.name.removeprefix("seed_")))
    tables = []
    for path in seeds:
        status = read_json(path / "status.json")
        if status["state"] != "finished":
            raise InvalidData(f"{path} is {status['state']} at step {status['step']:,}, not finished")
        table = read_progress_table(path / "progress.csv")
        columns = ["step", "return_mean", "return_std", "length_mean"]
        tables.append(table[columns].assign(seed=int(path.name.removeprefix("seed_"))))
    config, status = read_json(seeds[0] / "config.json"), read_json(seeds[0] / "status.json")
    facts = {
        "command": config["command"],
        "commit": config["commit"],
        "device": config["device"],
        "versions": config["versions"],
        "sac": config["settings"]["sac"],
        "seconds_per_seed_step": status["wall_seconds"] / (len(seeds) * config["steps"]),
    }
    whole = pd.concat(tables)[["step", "seed", "return_mean", "return_std", "length_mean"]]
    return folder.parent.name, whole, facts


def read(results: Path) -> list[Curves]:
    """Every learner's curves, by task in the order of the task table."""
    record = _records(results)
    found = []
    for task in TASKS:
        for path in sorted((results / task).glob("*.csv")):
            facts = record.get(f"{task}/{path.stem}")
            if facts is None:
                raise InvalidData(f"{path} has no entry in runs.json: add it with `add`")
            wide = pd.read_csv(path).pivot(index="step", columns="seed", values="return_mean")
            if wide.isna().any(axis=None):
                raise InvalidData(f"{path}: its seeds were not evaluated at the same steps")
            seeds = tuple(int(seed) for seed in wide.columns)
            steps, returns = wide.index.to_numpy(), wide.to_numpy().T
            found.append(Curves(task, path.stem, seeds, steps, returns, facts))
    if not found:
        raise InvalidData(f"{results} has no curves")
    return found


def table_rows(curves: Curves) -> list[tuple[Any, ...]]:
    """A row for each of `MARKS` that the curve passes, and for its end."""
    rows = []
    for mark in sorted({*(m for m in MARKS if m in curves.steps), int(curves.steps[-1])}):
        at = final_score(curves.returns[:, : list(curves.steps).index(mark) + 1])
        interval = seed_interval(at, np.random.default_rng(0))
        numbers = (round(float(v), 1) for v in (interval.estimate, interval.low, interval.high))
        pace = round(curves.facts["seconds_per_seed_step"], 5)
        rows.append((curves.task, curves.critic, len(curves.seeds), mark, *numbers, pace))
    return rows


def markdown(rows: pd.DataFrame, curves: list[Curves]) -> str:
    """The table for readers, with the command of each learner under it."""
    lines = [
        "# The oracle under several learners",
        "",
        "Return in the standard environment, of each seed the mean over the last tenth of its evaluations "
        f"until then, at least {FINAL_EVALUATIONS}; IQM over seeds with its {CONFIDENCE:.0%} bootstrap "
        f"interval (under {RANGE_BELOW_SEEDS} seeds: all of their range). Seconds a seed-step are of the "
        "runs themselves, which shared a machine with other work; fair ratios are in `results/speed/`.",
        "",
        "| Task | Critic | Seeds | Steps | Return | s a seed-step |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows.itertuples():
        lines.append(
            f"| {task_title(row.task)} | {row.critic} | {row.seeds} | {row.steps:,} | {row.return_iqm:,.0f} "
            f"[{row.return_low:,.0f} to {row.return_high:,.0f}] | {row.seconds_per_seed_step:.4f} |"
        )
    lines += ["", "## Commands", ""]
    for each in curves:
        sac = each.facts["sac"]
        lines.append(
            f"- {task_title(each.task)}, {each.critic}: `{each.facts['command']}` at commit "
            f"{each.facts['commit']}, {sac['precision']}, {each.facts['device']}, "
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
    """Add runs, or draw what there is."""
    command: Add | Draw = tyro.cli(COMMANDS, args=arguments)
    try:
        command.run()
    except (InvalidData, OSError) as error:
        print(f"compare_learners: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

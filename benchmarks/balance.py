"""Where does learning from both sources pay? AIHF against each source, over how much of each there is.

`make balance-runs` (`python -m benchmarks.balance run`) trains what is missing of every cell, an ordinary
study `results/runs/balance-<cell>` each, and goes on where it was stopped; `… add` takes the ended runs into
`results/balance/<cell>/`; `make balance` (`… draw`) writes the map and the tables from there, without torch.
What is measured was fixed before the first run: `results/balance/PREREGISTERED.md`.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure

from aihf_control.arrays import Floats
from aihf_control.cli.surroundings import settle
from aihf_control.envs.tasks import task_title
from aihf_control.errors import InvalidData, UserError
from aihf_control.methods.table import method_label
from aihf_control.report.results import MethodResults, TaskResults, read_results
from aihf_control.report.style import render
from aihf_control.report.write import write_report
from aihf_control.runs.files import write_atomically
from aihf_control.runs.stored import INDEX, add_runs
from aihf_control.statistics import RANGE_BELOW_SEEDS, Interval, stratified_bootstrap
from aihf_control.words import NOTHING, markdown_table, number, seed_list

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "balance"
METHODS = ("aihf", "rlhf", "preferences", "irl", "bc", "ipl")
ALIKE = ("rlhf", "bc", "ipl")
"""What starts from the clone in any case: trained once, with the start `own`, and counted in both."""
STARTS = {
    "own": "each from its own start: AIHF and IRL from random",
    "clone": "all from the same clone, with the same KL to it",
}
SOURCES = {"own": ("rlhf", "preferences", "irl"), "clone": ("rlhf", "irl")}
"""What AIHF is compared with by start: the best of those whose reward hears one source. `preferences` is RLHF
from a random start like AIHF: where a clone is worth nothing, a win over RLHF alone is one over its start."""
DEMONSTRATIONS = {
    "1": ("1 expert episode", ("--feedback.demonstration-transitions", "1000")),
    "10": ("10 expert episodes", ()),
    "mixed": ("10 episodes, half medium", ("--demo-mix", "0.5")),
}
PREFERENCES = {
    "clean": ("20,000 clean pairs", ()),
    "noisy": ("500 pairs, 30% wrong", ("--feedback.pairs", "500", "--label-error", "0.3")),
}
CELLS = tuple("-".join(parts) for parts in itertools.product(STARTS, DEMONSTRATIONS, PREFERENCES))


def methods(cell: str) -> tuple[str, ...]:
    """What is trained in a cell."""
    return METHODS if cell.startswith("own") else ("aihf", "irl")


def options(cell: str) -> tuple[str, ...]:
    """What `aihf bench` is told of a cell."""
    start, shown, pairs = cell.split("-")
    begin = ("--settings.start", "clone") if start == "clone" else ()
    return (*begin, *DEMONSTRATIONS[shown][1], *PREFERENCES[pairs][1])


@dataclass(frozen=True)
class Run:
    """Train what is missing of each cell, one cell after the other; the same command goes on."""

    env: str = "halfcheetah"
    """Task; HalfCheetah cannot fall, so survival confounds nothing there."""
    seeds: str = "0-4"
    steps: int = 60_000
    """SAC steps a seed."""
    cells: tuple[str, ...] = CELLS
    """As clone-1-noisy: start, demonstrations, preferences."""
    arguments: tuple[str, ...] = ()
    """Further options of `aihf bench`, the same for every cell."""

    def run(self) -> int:
        """The status of the first cell that did not end well, 0 if all did."""
        if unknown := set(self.cells) - set(CELLS):
            raise InvalidData(f"--cells: {', '.join(sorted(unknown))} is none of {', '.join(CELLS)}")
        if not (RESULTS / "PREREGISTERED.md").is_file():
            raise InvalidData(
                f"{RESULTS / 'PREREGISTERED.md'} is missing: write down first what will be measured"
            )
        for cell in self.cells:
            command = ("bench", "--env", self.env, "--preset", "reference", "--seeds", self.seeds,
                       "--methods", ",".join(methods(cell)), "--steps", str(self.steps),
                       "--study", f"balance-{cell}", *options(cell), *self.arguments)  # fmt: skip
            if status := subprocess.run(
                (sys.executable, "-m", "aihf_control", *command), check=False
            ).returncode:
                return status
        return 0


@dataclass(frozen=True)
class Add:
    """Take the ended runs of all cells into the committed results; nothing there is overwritten."""

    runs: Path = ROOT / "results" / "runs"
    results: Path = RESULTS

    def run(self) -> int:
        """Says what was taken."""
        for cell in CELLS:
            if (self.runs / f"balance-{cell}").is_dir():
                for line in add_runs(self.runs / f"balance-{cell}", self.results / cell, (), ""):
                    print(line)
        return 0


@dataclass(frozen=True)
class Draw:
    """Heat maps of the contrast, the table behind them, and each cell's own report: curves, what its rewards
    learned."""

    results: Path = RESULTS

    def run(self) -> int:
        """Writes nothing if there is nothing to draw."""
        cells = read_cells(self.results)
        rows = pd.DataFrame([row(cell, task) for cell, task in cells])
        picture = render(draw(rows), "png")
        write_atomically(self.results / "table.csv", rows.to_csv(index=False).encode())
        write_atomically(self.results / "table.md", markdown(cells, rows).encode())
        write_atomically(self.results / "balance.png", picture)
        print(rows.to_string(index=False))
        for cell in dict.fromkeys(cell for cell, _ in cells):
            write_report(self.results / cell)
        return 0


def read_cells(results: Path) -> list[tuple[str, TaskResults]]:
    """Each cell that has results with its tasks, in order. Raises `InvalidData` if none has."""
    found = [cell for cell in CELLS if (results / cell / INDEX).is_file()]
    known = {(cell, task.task): task for cell in found for task in read_results(results / cell).tasks}
    cells = [(cell, with_alike(task, known.get((_own(cell), name)))) for (cell, name), task in known.items()]
    if not cells:
        raise InvalidData(f"{results}: no cell has results yet; `make balance-runs` trains them")
    return cells


def _own(cell: str) -> str:
    return "-".join(("own", *cell.split("-")[1:]))


def with_alike(task: TaskResults, own: TaskResults | None) -> TaskResults:
    """A task's results with those that do not depend on the start, if they are of the same feedback."""
    if own is None or own.feedback.sha256 != task.feedback.sha256:
        return task
    there = {results.method for results in task.methods if results.runs}
    more = [results for results in own.methods if results.method in set(ALIKE) - there]
    return replace(task, methods=(*(r for r in task.methods if r.method in there), *more))


def contrast(task: TaskResults, sources: tuple[str, ...]) -> Floats:
    """(seeds,) AIHF's final return less that of the best source, paired by seed; empty without them."""
    by_method = {results.method: results for results in task.methods if results.runs}
    needed = ("aihf", *sources)
    if not by_method.keys() >= set(needed):
        return np.empty(0)
    finals = {name: dict(zip(by_method[name].seeds, by_method[name].final, strict=True)) for name in needed}
    seeds = sorted(set.intersection(*(set(final) for final in finals.values())))
    return np.array([finals["aihf"][s] - max(finals[name][s] for name in sources) for s in seeds])


def mean_interval(values: Floats) -> Interval:
    """The mean over seeds with its bootstrap interval."""
    return stratified_bootstrap(values[:, None], lambda scores: scores.mean((1, 2)), np.random.default_rng(0))


def verdict(values: Floats) -> str:
    """In one word, from the interval alone."""
    if len(values) < RANGE_BELOW_SEEDS:
        return f"open: under {RANGE_BELOW_SEEDS} seeds"
    interval = mean_interval(values)
    return "above" if interval.low > 0 else "below" if interval.high < 0 else "open"


def row(cell: str, task: TaskResults) -> dict[str, object]:
    """A cell's line: mean finals by method, the demonstrations' mean, the contrast with its interval."""
    start, shown, pairs = cell.split("-")
    line: dict[str, object] = {
        "task": task.task,
        "start": start,
        "demonstrations": shown,
        "preferences": pairs,
        "demonstrations_return": round(task.feedback.demonstrations_return, 1),
    }
    by_method: dict[str, MethodResults] = {results.method: results for results in task.methods}
    for name in METHODS:
        final = by_method[name].final if name in by_method else np.empty(0)
        line[f"{name}_return"] = round(float(final.mean()), 1) if len(final) else None
    values = contrast(task, SOURCES[start])
    interval = mean_interval(values) if len(values) > 1 else None
    line["seeds"] = len(values)
    line["contrast"] = round(float(values.mean()), 1) if len(values) else None
    line["contrast_low"] = round(float(interval.low), 1) if interval else None
    line["contrast_high"] = round(float(interval.high), 1) if interval else None
    line["verdict"] = verdict(values)
    return line


def markdown(cells: list[tuple[str, TaskResults]], rows: pd.DataFrame) -> str:
    """The table for readers, the advice that follows from it, and the commands."""
    header = (
        "Task", "Start", "Demonstrations (mean return)", "Preferences", *map(method_label, METHODS),
        "Contrast", "Seeds", "Verdict",
    )  # fmt: skip
    table = []
    for line in rows.to_dict("records"):
        shown, pairs = DEMONSTRATIONS[line["demonstrations"]][0], PREFERENCES[line["preferences"]][0]
        table.append(
            (
                task_title(line["task"]),
                line["start"],
                f"{shown} ({_number(line['demonstrations_return'])})",
                pairs,
                *(_number(line[f"{name}_return"]) for name in METHODS),
                f"{_number(line['contrast'])} {_limits(line)}",
                str(line["seeds"]),
                line["verdict"],
            )
        )
    lines = [
        "# Where learning from both sources pays",
        "",
        "Final returns, of each seed the mean over the last tenth of its evaluations; means over seeds. "
        "Contrast: AIHF less the best of RLHF, RLHF from random and IRL (with the start *clone*, of RLHF and "
        "IRL), paired by seed, with its 95% bootstrap interval. RLHF, BC and IPL start from the clone in any "
        "case, so one run of theirs counts with both starts. "
        "What counts as a win was fixed before the first run: [PREREGISTERED.md](PREREGISTERED.md).",
        "",
        markdown_table(header, table),
    ]
    lines += ["", advice(rows), "", "## Commands", ""]
    for cell, task in cells:
        seeds = seed_list(sorted({seed for results in task.methods for seed in results.seeds}))
        lines.append(
            f"- {cell}, {task_title(task.task)}, seeds {seeds}: {'; '.join(f'`{c}`' for c in task.commands)}"
        )
    return "\n".join(lines) + "\n"


def advice(rows: pd.DataFrame) -> str:
    """What a practitioner can take from it, in words that the rows decide."""
    decided = rows[rows["verdict"].isin(("above", "below"))]
    won = [_where(line) for line in decided.to_dict("records") if line["verdict"] == "above"]
    lost = [_where(line) for line in decided.to_dict("records") if line["verdict"] == "below"]
    said = [
        f"AIHF is above both sources with {'; '.join(won)}."
        if won
        else "No cell shows AIHF above both sources."
    ]
    if lost:
        said.append(f"It is below the best one with {'; '.join(lost)}: use that one there.")
    if still := len(rows) - len(decided):
        said.append(f"{still} of {len(rows)} cells are open.")
    return " ".join(said)


def _where(line: dict[str, str]) -> str:
    shown, pairs = DEMONSTRATIONS[line["demonstrations"]][0], PREFERENCES[line["preferences"]][0]
    return f"{shown} and {pairs} ({task_title(line['task'])}, start {line['start']})"


def _limits(line: dict[str, Any]) -> str:
    return f"[{_number(line['contrast_low'])} to {_number(line['contrast_high'])}]"


def _number(value: float | None) -> str:
    return NOTHING if value is None or np.isnan(value) else number(value)


def draw(rows: pd.DataFrame) -> Figure:
    """A map a task and start: blue where AIHF is above the best source, red where below, by contrast."""
    maps = list(dict.fromkeys(zip(rows["task"], rows["start"], strict=True)))
    largest = max(1.0, rows["contrast"].astype(float).abs().fillna(0.0).max())
    figure, panels = plt.subplots(
        1, len(maps), figsize=(5.6 * len(maps) + 1, 4.6), layout="constrained", squeeze=False
    )
    for axes, (task, start) in zip(panels[0], maps, strict=True):
        here = rows[(rows["task"] == task) & (rows["start"] == start)]
        values = np.full((len(DEMONSTRATIONS), len(PREFERENCES)), np.nan)
        for line in here.to_dict("records"):
            place = (
                list(DEMONSTRATIONS).index(line["demonstrations"]),
                list(PREFERENCES).index(line["preferences"]),
            )
            values[place] = np.nan if line["contrast"] is None else line["contrast"]
            words = f"{_number(line['contrast'])}\n{_limits(line)}\n{line['verdict']}, {line['seeds']} seeds"
            axes.text(place[1], place[0], words, ha="center", va="center", fontsize=9)
        for place in zip(*np.nonzero(np.isnan(values)), strict=True):
            axes.text(
                place[1], place[0], "not run yet", ha="center", va="center", fontsize=9, color="#777777"
            )
        # paler than the map's ends, on which nobody could read
        image = axes.imshow(values, cmap="RdBu", vmin=-1.6 * largest, vmax=1.6 * largest, aspect="auto")
        axes.set_xticks(
            range(len(PREFERENCES)), [words.replace(", ", ",\n") for words, _ in PREFERENCES.values()]
        )
        axes.set_yticks(range(len(DEMONSTRATIONS)), [words for words, _ in DEMONSTRATIONS.values()])
        axes.set_title(f"{task_title(task)}\n{STARTS[start]}", loc="left", fontsize=10)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle(
        "Where learning from both sources pays: AIHF against the best method of one source", fontsize=12
    )
    bar = figure.colorbar(
        image, ax=panels[0], label="final return of AIHF less that of the best method of one source"
    )
    bar.ax.set_ylim(-largest, largest)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """0, or 2 after one line that says what is wrong."""
    settle()
    given = sys.argv[1:] if arguments is None else arguments
    commands = {"run": Run, "add": Add, "draw": Draw}
    try:
        if not given or given[0] not in commands:
            raise InvalidData(f"say one of {', '.join(commands)}, and --help after it for its options")
        return tyro.cli(commands[given[0]], args=given[1:], prog=f"balance {given[0]}").run()
    except (UserError, OSError) as error:
        print(f"balance: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

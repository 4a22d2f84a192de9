"""What the balance shows: a row a cell, the table with its advice, and the heat maps."""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.report.results import MethodResults, TaskResults
from aihf_control.words import NOTHING, markdown_table, number, seed_list
from benchmarks.balance.cells import (
    DEMONSTRATIONS,
    METHODS,
    PREFERENCES,
    SOURCES,
    STARTS,
    UNFINISHED,
    contrast,
    mean_interval,
    verdict,
)


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
        "Task", "Start", "Demonstrations (mean return)", "Pairs", *map(method_label, METHODS),
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
                f"{_number(line['contrast'])} {_limits(line)}" if line["seeds"] else NOTHING,
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
    lost = [
        f"{_best(line)} with {_where(line)}"
        for line in decided.to_dict("records")
        if line["verdict"] == "below"
    ]
    said = [
        f"AIHF is above both sources with {'; '.join(won)}."
        if won
        else "No cell shows AIHF above both sources."
    ]
    if lost:
        said.append(f"It is below the best method of one source, which is the one to use: {'; '.join(lost)}.")
    unfinished = int((rows["verdict"] == UNFINISHED).sum())
    if still := len(rows) - len(decided) - unfinished:
        said.append(f"{still} of {len(rows)} cells are open.")
    if unfinished:
        said.append(f"{unfinished} of {len(rows)} cells are {UNFINISHED}.")
    return " ".join(said)


def _best(line: dict[str, Any]) -> str:
    """The source with the highest mean."""
    return method_label(max(SOURCES[line["start"]], key=lambda name: line[f"{name}_return"]))


def _where(line: dict[str, str]) -> str:
    shown, pairs = DEMONSTRATIONS[line["demonstrations"]][0], PREFERENCES[line["preferences"]][0]
    return f"{shown} and {pairs} ({task_title(line['task'])}, start {line['start']})"


def _limits(line: dict[str, Any]) -> str:
    return f"[{_number(line['contrast_low'])} to {_number(line['contrast_high'])}]"


def _number(value: float | None) -> str:
    return NOTHING if value is None or np.isnan(value) else number(value)


def draw(rows: pd.DataFrame) -> Figure:
    """A map a task and start: blue where AIHF is above the best source, red where below, by contrast."""
    maps = list(itertools.product(dict.fromkeys(rows["task"]), STARTS))
    largest = max(1.0, rows["contrast"].astype(float).abs().fillna(0.0).max())
    figure, panels = plt.subplots(
        1, len(maps), figsize=(5.2 * len(maps) + 1, 4.8), layout="constrained", squeeze=False
    )
    for axes, (task, start) in zip(panels[0], maps, strict=True):
        here = rows[(rows["task"] == task) & (rows["start"] == start)].to_dict("records")
        found = {(line["demonstrations"], line["preferences"]): line for line in here}
        values = np.full((len(DEMONSTRATIONS), len(PREFERENCES)), np.nan)
        for y, shown in enumerate(DEMONSTRATIONS):
            for x, pairs in enumerate(PREFERENCES):
                words, colour = "not run yet", "#777777"
                if line := found.get((shown, pairs)):
                    words = line["verdict"]
                    if line["seeds"] > 0:
                        values[y, x], words, colour = line["contrast"], _cell_words(line), "black"
                place = {"ha": "center", "va": "center", "color": colour}
                axes.text(x, y, words, fontdict=place, fontsize=9)
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
        "Where does learning from both sources pay? AIHF against the best method of one source", fontsize=12
    )
    bar = figure.colorbar(
        image, ax=panels[0], label="final return of AIHF less\nthat of the best of one source"
    )
    bar.ax.set_ylim(-largest, largest)
    return figure


def _cell_words(line: dict[str, Any]) -> str:
    return f"{_number(line['contrast'])}\n{_limits(line)}\n{line['verdict']}, {line['seeds']} seeds"

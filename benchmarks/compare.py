"""Does a changed learner learn as well? Two sets of runs of one method on one task, old against new.

`python -m benchmarks.compare OLD NEW OUTPUT`: OLD and NEW are folders of `seed_<k>/` runs; OUTPUT gets
`comparison.md` and `comparison.png`. `results/speed/learner/` holds both sets of the present default.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.figure import Figure

from aihf_control.figures import render
from aihf_control.files import make_folder, write_atomically
from aihf_control.records import InvalidResults, load_json, read_progress_table
from aihf_control.results import seed_list
from aihf_control.statistics import (
    CONFIDENCE,
    RANGE_BELOW_SEEDS,
    Interval,
    area_under_curve,
    improvement_interval,
    seed_interval,
)
from aihf_control.types import Floats, Integers

COLOURS = ("0.45", "tab:orange")


@dataclass(frozen=True)
class Runs:
    """Curves `returns` (seeds, T) at `steps` (T,), and what the runs say of themselves."""

    name: str
    seeds: tuple[int, ...]
    steps: Integers
    returns: Floats
    facts: str


def read(folder: Path, name: str) -> Runs:
    folders = sorted(folder.glob("seed_*"), key=lambda path: int(path.name.removeprefix("seed_")))
    if len(folders) < RANGE_BELOW_SEEDS:
        raise InvalidResults(f"{folder} has {len(folders)} seeds, a comparison needs {RANGE_BELOW_SEEDS}")
    tables = [read_progress_table(path / "progress.csv") for path in folders]
    steps = tables[0]["step"].to_numpy()
    for path, table in zip(folders, tables, strict=True):
        if not np.array_equal(table["step"], steps):
            raise InvalidResults(f"{path} was not evaluated at the steps of {folders[0]}")
    config = load_json(folders[0] / "config.json")
    sac = config["settings"]["sac"]
    precision = sac.get("precision", "float32")
    facts = (
        f"{config['method']} on {config['task']}, {precision}, batch {sac['batch_size']}, "
        f"torch {config['versions']['torch']}, {config.get('threads', 1)} threads, {config['device']}"
    )
    seeds = tuple(int(path.name.removeprefix("seed_")) for path in folders)
    return Runs(
        name, seeds, steps, np.stack([table["return_mean"].to_numpy(float) for table in tables]), facts
    )


def check_alike(old: Runs, new: Runs) -> None:
    if old.seeds != new.seeds or not np.array_equal(old.steps, new.steps):
        raise InvalidResults(
            f"old has seeds {seed_list(old.seeds)} to step {old.steps[-1]}, new {seed_list(new.seeds)} "
            f"to step {new.steps[-1]}: compare the same seeds at the same steps"
        )


def scores(runs: Runs) -> dict[str, Floats]:
    return {
        "return at the last step": runs.returns[:, -1],
        "mean of the last five evaluations": runs.returns[:, -5:].mean(1),
        "area under the curve": area_under_curve(runs.steps, runs.returns),
    }


def markdown(old: Runs, new: Runs, command: str) -> str:
    def cell(interval: Interval, digits: int) -> str:
        low, estimate, high = (
            f"{float(v):.{digits}f}" for v in (interval.low, interval.estimate, interval.high)
        )
        return f"{estimate} [{low}, {high}]"

    lines = [
        "# The learner, before and after",
        "",
        f"Seeds {seed_list(old.seeds)}, {old.steps[-1]:,} steps each; IQM and P(new > old), both with "
        f"{CONFIDENCE:.0%} bootstrap intervals. P = 0.5: as good as each other.",
        "",
        f"- old: {old.facts}",
        f"- new: {new.facts}",
        f"- `{command}`",
        "",
        "| score | old | new | P(new > old) |",
        "| --- | --- | --- | --- |",
    ]
    before, after = scores(old), scores(new)
    for name in before:
        a, b = before[name], after[name]
        better = improvement_interval(b[:, None], a[:, None], np.random.default_rng(0))
        height = [cell(seed_interval(values, np.random.default_rng(0)), 0) for values in (a, b)]
        lines.append(f"| {name} | {height[0]} | {height[1]} | {cell(better, 2)} |")
    lines += ["", "| seed | old, last five | new, last five |", "| --- | --- | --- |"]
    name = "mean of the last five evaluations"
    for seed, a, b in zip(old.seeds, before[name], after[name], strict=True):
        lines.append(f"| {seed} | {a:.0f} | {b:.0f} |")
    return "\n".join(lines) + "\n"


def draw(old: Runs, new: Runs) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for runs, colour in zip((old, new), COLOURS, strict=True):
        interval = seed_interval(runs.returns, np.random.default_rng(0))
        axes.plot(runs.steps, interval.estimate, color=colour, label=f"{runs.name}: {runs.facts}")
        axes.fill_between(runs.steps, interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(runs.steps, runs.returns.T, color=colour, linewidth=0.5, alpha=0.6)
    axes.set_xlabel("SAC steps")
    axes.set_ylabel("true return")
    axes.set_title(
        f"IQM of seeds {seed_list(old.seeds)} with {CONFIDENCE:.0%} bootstrap band; thin: every seed",
        loc="left",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_ylim(0, 1.25 * max(old.returns.max(), new.returns.max()))
    return figure


def main(
    old: tyro.conf.Positional[Path], new: tyro.conf.Positional[Path], output: tyro.conf.Positional[Path]
) -> int:
    """Compare the runs in the folders OLD and NEW; write OUTPUT/comparison.md and .png."""
    try:
        before, after = read(old, "old"), read(new, "new")
        check_alike(before, after)
    except InvalidResults as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    make_folder(output)
    text = markdown(before, after, f"python -m benchmarks.compare {old} {new} {output}")
    write_atomically(output / "comparison.md", text.encode())
    write_atomically(output / "comparison.png", render(draw(before, after), "png"))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))

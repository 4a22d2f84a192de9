"""Where does learning from both sources pay? AIHF against each source, over how much of each there is.

`make balance-runs` (`python -m benchmarks.balance run`) trains what is missing of every cell, an ordinary
study `results/runs/balance-<cell>` each, and goes on where it was stopped; `… add` takes the ended runs into
`results/balance/<cell>/`; `make balance` (`… draw`) writes the map and the tables from there, without torch.
What is measured was fixed before the first run: `results/balance/PREREGISTERED.md`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from aihf_control.cli.surroundings import settle
from aihf_control.errors import InvalidData, UserError
from aihf_control.report.style import render
from aihf_control.report.write import write_report
from aihf_control.runs.files import write_atomically
from aihf_control.runs.stored import add_runs
from benchmarks.balance.cells import CELLS, methods, options, read_cells
from benchmarks.balance.map import draw, markdown, row

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "balance"


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

"""`make theory`: the paper's lemma, theorem and special cases, measured where everything can be computed.

Writes table.csv, table.md and theory.png with NumPy, SciPy, pandas and matplotlib alone; on one machine, the
same bytes on every run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from aihf_control.report.style import render
from aihf_control.runs.files import make_folder, write_atomically
from benchmarks.theory import consistency, convergence, lemma, special_cases
from benchmarks.theory.plot import draw
from benchmarks.theory.statement import as_markdown, as_table

RESULTS = Path(__file__).parents[2] / "results" / "theory"


def measure(folder: Path) -> pd.DataFrame:
    """Measure every statement, write the three files, return the table."""
    make_folder(folder)
    errors = lemma.gradient_errors()
    problem = convergence.make_problem()
    rates = pd.concat(
        [
            convergence.rates(problem),
            *(convergence.rates(problem, (1,), sigma=sigma) for sigma in (0.75, 0.25, 0.0)),
        ]
    )
    estimates, special = consistency.errors(), special_cases.statements()
    statements = [
        *lemma.statements(errors),
        *convergence.statements(rates),
        *consistency.statements(estimates),
        *special,
    ]
    table = as_table(statements)
    write_atomically(folder / "table.csv", table.to_csv(index=False).encode())
    write_atomically(folder / "table.md", as_markdown(table).encode())
    write_atomically(folder / "theory.png", render(draw(errors, rates, estimates, special), "png"))
    return table


def main(arguments: list[str] | None = None) -> int:
    """Exits with 1 if a statement fails, with 2 if the results cannot be written."""
    parser = argparse.ArgumentParser(prog="theory", description="Measure the paper's theory in small worlds.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the figure and the tables")
    options = parser.parse_args(arguments)
    try:
        table = measure(options.output)
    except OSError as error:
        print(f"theory: {error}", file=sys.stderr)
        return 2
    print(f"{len(table)} statements, {table.holds.sum()} hold: {options.output / 'table.md'}")
    for row in table[~table.holds].itertuples():
        print(f"theory: does not hold: {row.statement}: {row.measured}, not {row.tolerance}", file=sys.stderr)
    return 0 if table.holds.all() else 1


if __name__ == "__main__":
    sys.exit(main())

"""Redraw the committed results: every task's figure and tables, and each study's comparison over its tasks.

`python -m benchmarks.figure5 [RESULTS]` redraws `results/<study>/<task>/runs/`; with `--runs FOLDER`, such as
`results/runs/<study>`, it draws the comparison of what that study has so far, into the folder itself.
Needs no torch, and the same runs give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aihf_control.report.results import NoResults, recorded_methods
from aihf_control.report.write import write_report
from aihf_control.report.write_comparison import write_comparison
from aihf_control.runs.records import InvalidResults

RESULTS = Path(__file__).parents[1] / "results"


def redraw(results: Path) -> None:
    folders = sorted(results.glob("*/*/runs"))
    if not folders:
        raise NoResults(f"{results}: no study has results here; `make bench ENV=hopper` makes some")
    for folder in folders:
        study, task = folder.parts[-3:-1]
        print(write_report(folder, study, task, recorded_methods(folder), folder.parent).text, end="\n\n")
    for folder in dict.fromkeys(runs.parents[1] for runs in folders):
        print(write_comparison(folder, folder.name, folder).text, end="\n\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="figure5", description="Redraw figures and tables of runs.")
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="the committed results")
    parser.add_argument("--runs", type=Path, help="one study's folder, finished or not: its comparison alone")
    options = parser.parse_args(arguments)
    try:
        if options.runs:
            print(write_comparison(options.runs, options.runs.resolve().name, options.runs).text)
        else:
            redraw(options.results)
    except (InvalidResults, OSError) as error:
        print(f"figure5: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

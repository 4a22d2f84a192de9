"""Redraw the committed studies: figures, tables and provenance of each, from its runs alone.

`python -m benchmarks.figure5 [RESULTS]` redraws every study in `results/`; with `--runs FOLDER`, such as
`results/runs/<study>`, what that study has so far. Needs no torch, and the same runs give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aihf_control.cli.surroundings import settle
from aihf_control.errors import InvalidData
from aihf_control.report.results import NoResults
from aihf_control.report.write import write_report
from aihf_control.runs.stored import INDEX, stored_runs

RESULTS = Path(__file__).parents[1] / "results"


def redraw(results: Path) -> None:
    folders = [path.parent for path in sorted(results.glob(f"*/{INDEX}")) if not _of_variants(path.parent)]
    if not folders:
        raise NoResults(f"{results}: no study has results here; `make bench ENV=hopper` makes some")
    for folder in folders:
        print(write_report(folder).text, end="\n\n")


def _of_variants(folder: Path) -> bool:
    """Whether it compares variants of one method, as the learners that `compare_learners` draws."""
    return any(run.config["method"] != run.method for run in stored_runs(folder))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="figure5", description="Redraw figures and tables of runs.")
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="the committed results")
    parser.add_argument("--runs", type=Path, help="one study's folder, finished or not: its report alone")
    settle()
    options = parser.parse_args(arguments)
    try:
        if options.runs:
            print(write_report(options.runs).text)
        else:
            redraw(options.results)
    except (InvalidData, OSError) as error:
        print(f"figure5: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

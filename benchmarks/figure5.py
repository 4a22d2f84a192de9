"""Redraw the committed results: every `results/<study>/<task>/runs/` becomes its figure and tables again.

`python -m benchmarks.figure5 [RESULTS]`; needs no torch, and the same runs give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aihf_control.choices import METHODS
from aihf_control.records import InvalidResults
from aihf_control.report import write_report


def main(results: Path) -> int:
    folders = sorted(results.glob("*/*/runs"))
    if not folders:
        print(f"{results}: no study has results here; `make bench ENV=hopper` makes some", file=sys.stderr)
        return 2
    for folder in folders:
        study, task = folder.parts[-3:-1]
        methods = [name for name in METHODS if (folder / name).is_dir()]
        try:
            report = write_report(folder, study, task, methods, folder.parent)
        except InvalidResults as error:
            print(f"figure5: {error}", file=sys.stderr)
            return 2
        print(report.text)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2]) if sys.argv[1:] else Path(__file__).parents[1] / "results"))

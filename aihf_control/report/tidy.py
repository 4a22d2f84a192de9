"""A study's runs as one table for pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aihf_control.report.results import NoResults
from aihf_control.runs.files import read_json
from aihf_control.runs.records import read_progress_table


def read_study(folder: Path | str) -> pd.DataFrame:
    """A row an evaluation of every run in `folder`, as `results/runs/<study>` or `results/<study>`.

    Columns: study, task, method, seed, step, return_mean, …, as in `progress.csv`. Raises `NoResults` if
    there is no run, `InvalidData` for one that cannot be read.
    """
    paths = [
        *Path(folder).glob("*/*/seed_*/progress.csv"),
        *Path(folder).glob("*/runs/*/seed_*/progress.csv"),
    ]
    if not paths:
        raise NoResults(f"{folder} has no runs, as <task>/<method>/seed_<k>/progress.csv")
    tables = []
    for path in sorted(paths):
        config = read_json(path.parent / "config.json")
        table = read_progress_table(path)
        for place, name in enumerate(("study", "task", "method", "seed")):
            table.insert(place, name, config[name])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)

"""A study's runs as one table for pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aihf_control.report.results import NoResults
from aihf_control.runs.stored import stored_runs


def read_study(folder: Path | str) -> pd.DataFrame:
    """A row an evaluation of every run in `folder`: `results/runs/<study>` as trained, ended or not, or
    `results/<study>` as committed.

    Columns: study, task, method, seed, step, return_mean, …, as in `progress.csv`. Raises `NoResults` if
    there is no run, `InvalidData` for one that cannot be read.
    """
    tables = []
    for run in stored_runs(Path(folder)):
        table = run.progress()
        place = {"study": run.config.get("study"), "task": run.task, "method": run.method, "seed": run.seed}
        for column, (name, value) in enumerate(place.items()):
            table.insert(column, name, value)
        tables.append(table)
    if not tables:
        raise NoResults(f"{folder} has no runs, as <task>/<method>/seed_<k>/progress.csv or in a runs.json")
    return pd.concat(tables, ignore_index=True)

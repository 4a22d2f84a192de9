"""The report of a study: one figure and one table, in five files written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aihf_control.report.curves import learning_curves
from aihf_control.report.results import StudyResults, read_study
from aihf_control.report.style import render
from aihf_control.report.tables import Row, csv_text, markdown, notes, summarise, text
from aihf_control.runs.files import make_folder, write_atomically
from aihf_control.runs.records import Run
from aihf_control.statistics import CONFIDENCE, RANGE_BELOW_SEEDS, RESAMPLES

RECORDS = ("config.json", "progress.csv", "status.json")


@dataclass(frozen=True)
class Report:
    """What a terminal prints, and the five files that were written."""

    text: str
    paths: tuple[Path, ...]


def _record(row: Row) -> dict[str, Any]:
    results = row.results
    score = {"final_return": row.final, "area_under_curve": row.area}
    return {
        "method": results.method,
        "seeds": {
            "finished": [run.config.seed for run in results.finished],
            "failed": [run.config.seed for run in results.failed],
            "missing": list(results.missing),
        },
        **{name: None if value is None else asdict(value) for name, value in score.items()},
        "normalised_score": row.normalised,
        "reward_accuracy": row.reward_accuracy,
        "steps": row.steps,
        "environment_steps": row.environment_steps,
        "batches": [asdict(batch) for batch in row.batches],
        "failures": [
            {"seed": run.config.seed, "step": run.status.failed_at_step, "reason": run.status.reason}
            for run in results.failed
        ],
        "sources": [(_record_of(run) / "progress.csv").as_posix() for run in results.runs],
    }


def summary_json(study: StudyResults, rows: Sequence[Row], bootstrap_seed: int = 0) -> str:
    """`summary.json`: all of the table at full precision, as one JSON object.

    Keys: `format` (1), `study`, `task`, `preset`, `commands`, `feedback` (`sha256`,
    `demonstrations_return`, `demonstrations`, `pairs`, `segment_length`), `references` (`random`,
    `expert`; or null), `statistics` (`estimate`, `confidence`, `resamples`, `bootstrap_seed`,
    `range_below_seeds`) and `methods`, a list in the table's order with, for each: `method`; `seeds`
    (`finished`, `failed`, `missing`: lists); `final_return` and `area_under_curve` (`estimate`, `low`,
    `high`, `interval`: "bootstrap", "range" or "one seed", `per_seed` in the order of `sources`; or null);
    `normalised_score`; `reward_accuracy`; `steps`; `environment_steps`; `batches` (`seeds`, `seconds`);
    `failures` (`seed`, `step`, `reason`); `sources`, the `progress.csv` files the numbers are from, as
    paths relative to the folder of the summary.
    """
    record = {
        "format": 1,
        "study": study.study,
        "task": study.task,
        "preset": study.preset,
        "commands": list(study.commands),
        "feedback": asdict(study.feedback),
        "references": None if study.references is None else asdict(study.references),
        "statistics": {
            "estimate": "interquartile mean",
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "bootstrap_seed": bootstrap_seed,
            "range_below_seeds": RANGE_BELOW_SEEDS,
        },
        "methods": [_record(row) for row in rows],
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _keep_records(results: StudyResults, output: Path) -> None:
    """Copy what the report was made from beside it, so that it can be drawn again from a clone."""
    for method in results.methods:
        for run in method.runs:
            for name in RECORDS:
                kept = output / _record_of(run) / name
                if kept != run.folder / name:
                    make_folder(kept.parent)
                    write_atomically(kept, (run.folder / name).read_bytes())


def _record_of(run: Run) -> Path:
    return Path("runs") / run.config.method / f"seed_{run.config.seed}"


def write_report(
    runs: Path,
    study: str,
    task: str,
    methods: Sequence[str],
    output: Path,
    bootstrap_seed: int = 0,
) -> Report:
    """Read `<runs>/<method>/seed_<k>/` and write the report into the folder `output`.

    Copies of the runs' configuration, progress and status go to `runs/` in `output`: from there the
    report can be written again. The same runs give the same bytes. Raises `InvalidResults`, with
    nothing written, if the runs cannot be read or compared.
    """
    results = read_study(runs, study, task, methods)
    rows = summarise(results, bootstrap_seed)
    figure = learning_curves(results, bootstrap_seed)
    contents = {
        "curves.png": render(figure, "png"),
        "curves.pdf": render(figure, "pdf"),
        "table.md": markdown(results, rows).encode(),
        "table.csv": csv_text(rows).encode(),
        "summary.json": summary_json(results, rows, bootstrap_seed).encode(),
    }
    make_folder(output)
    for name, content in contents.items():
        write_atomically(output / name, content)
    _keep_records(results, output)
    paths = tuple(output / name for name in contents)
    listing = "\n".join(f"  {path}" for path in paths)
    lines = [text(rows), *notes(results), f"Written:\n{listing}"]
    return Report("\n\n".join(lines), paths)

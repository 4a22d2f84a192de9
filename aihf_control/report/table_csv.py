"""`table.csv`: a study's numbers at full precision."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, fields

from aihf_control.report.scores import Cost
from aihf_control.report.tables import Tables
from aihf_control.words import seed_list

SCORES = ("final_return", "area_under_curve", "normalised_score", "normalised_area")


def csv_text(tables: Tables) -> str:
    """A row a task and method, then those of the task `all`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["task", "method", "tasks", "seeds", "seeds_finished", "seeds_failed", "seeds_missing"]
        + [f"{score}_{part}" for score in SCORES for part in ("estimate", "low", "high", "interval")]
        + [f"aihf_improvement_{part}" for part in ("estimate", "low", "high", "p")]
        + ["steps_to_90_percent", "seeds_to_90_percent", *(field.name for field in fields(Cost))]
    )
    named = [(task.task, lines) for task, lines in zip(tables.study.tasks, tables.tasks, strict=True)] + [
        ("all", tables.overall)
    ]
    for name, lines in named:
        for line in lines:
            counts = [
                sum(len(part) for part in parts)
                for parts in (
                    [results.finished for results in line.results],
                    [results.failed for results in line.results],
                    [results.missing for results in line.results],
                )
            ]
            seeds = seed_list(line.results[0].seeds) if name != "all" else None
            cells: list[object] = []
            for score in (line.final, line.area, line.normalised, line.normalised_area):
                cells += [score.estimate, score.low, score.high, score.interval] if score else [None] * 4
            chances = line.improvement
            cells += [chances.estimate, chances.low, chances.high, chances.p] if chances else [None] * 4
            cells += astuple(line.reached) if line.reached else [None] * 2
            cells += astuple(line.cost) if line.cost else [None] * len(fields(Cost))
            writer.writerow([name, line.method, len(line.tasks), seeds, *counts, *cells])
    return buffer.getvalue()

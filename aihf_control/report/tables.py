"""The numbers of a study, one row a method: for people (Markdown, text) and as CSV.

Every number is computed from rows of `progress.csv`, except wall time, which is in `status.json`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.methods.table import method_label
from aihf_control.report.results import MethodResults, StudyResults
from aihf_control.runs.records import Run
from aihf_control.statistics import (
    CONFIDENCE,
    RANGE_BELOW_SEEDS,
    RESAMPLES,
    Interval,
    area_under_curve,
    seed_interval,
)
from aihf_control.words import seed_list

NOTHING = "–"


@dataclass(frozen=True)
class Score:
    """IQM over seeds with bounds, and `per_seed` values in the order of the method's seeds."""

    estimate: float
    low: float
    high: float
    interval: str
    """`bootstrap` (95%, from 5 seeds on), `range` (minimum and maximum) or `one seed`."""
    per_seed: tuple[float, ...]

    def __str__(self) -> str:
        if self.interval == "one seed":
            return f"{number(self.estimate)} (one seed)"
        word = "range " if self.interval == "range" else ""
        return f"{number(self.estimate)} [{word}{number(self.low)} to {number(self.high)}]"


@dataclass(frozen=True)
class Batch:
    """Seeds that ran together, and the wall time of that batch."""

    seeds: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Row:
    """One method. What it does not have is None: BC has no area, IPL and BC no reward network."""

    results: MethodResults
    final: Score | None
    area: Score | None
    normalised: float | None
    reward_accuracy: float | None
    steps: int | None
    environment_steps: float | None
    batches: tuple[Batch, ...]


def number(value: float) -> str:
    """A return for people: whole from 100 on, else with one decimal."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """`412` → 6 min 52 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def score_of(values: Floats, bootstrap_seed: int) -> Score:
    """The score of one value a seed (seeds,), from its own generator of `bootstrap_seed`."""
    interval: Interval = seed_interval(values, np.random.default_rng(bootstrap_seed))
    kind = "bootstrap" if len(values) >= RANGE_BELOW_SEEDS else "range" if len(values) > 1 else "one seed"
    bounds = (float(interval.estimate), float(interval.low), float(interval.high))
    return Score(*bounds, kind, tuple(float(value) for value in values))


def _last_mean(runs: Sequence[Run], column: str) -> float | None:
    """Mean over `runs` of the last value each has in `column`; None if none has any."""
    values = [run.progress[column].dropna() for run in runs if column in run.progress]
    last = [float(value.iloc[-1]) for value in values if len(value)]
    return float(np.mean(last)) if last else None


def _batches(runs: Sequence[Run]) -> tuple[Batch, ...]:
    seconds: dict[tuple[int, ...], float] = {}
    for run in runs:
        batch = run.config.batch
        seconds[batch] = max(seconds.get(batch, 0.0), run.status.wall_seconds)
    return tuple(Batch(seeds, wall) for seeds, wall in seconds.items())


def summarise(study: StudyResults, bootstrap_seed: int = 0) -> tuple[Row, ...]:
    """One row a method, in the study's order. Scores are over finished and failed seeds; reward accuracy
    and environment steps over finished ones, or over the failed if none finished.
    """
    return tuple(_row(results, study, bootstrap_seed) for results in study.methods)


def _row(results: MethodResults, study: StudyResults, bootstrap_seed: int) -> Row:
    if not results.runs:
        return Row(results, None, None, None, None, None, None, ())
    final = score_of(results.final, bootstrap_seed)
    area = None
    if len(results.steps) > 1:
        area = score_of(area_under_curve(results.steps, results.returns), bootstrap_seed)
    normalised = None
    if study.references is not None and study.references.expert != study.references.random:
        span = study.references.expert - study.references.random
        normalised = (final.estimate - study.references.random) / span
    measured = results.finished or results.runs
    return Row(
        results=results,
        final=final,
        area=area,
        normalised=normalised,
        reward_accuracy=_last_mean(measured, "reward_accuracy"),
        steps=int(results.steps[-1]),
        environment_steps=_last_mean(measured, "environment_steps"),
        batches=_batches(results.runs),
    )


HEADER = (
    "Method",
    "Seeds finished / failed",
    "Final return, IQM",
    "Area under curve, IQM",
    "Normalised score",
    "Reward accuracy",
    "Steps",
    "Environment steps",
    "Wall time (batch)",
)


def _or_nothing(value: float | None, pattern: str) -> str:
    return NOTHING if value is None else format(value, pattern)


def _cells(row: Row) -> list[str]:
    results = row.results
    seeds = f"{len(results.finished)} / {len(results.failed)}"
    if results.missing:
        seeds += f" ({len(results.missing)} missing)"
    times = [f"{duration(batch.seconds)} (seeds {seed_list(batch.seeds)})" for batch in row.batches]
    return [
        method_label(results.method),
        seeds,
        NOTHING if row.final is None else str(row.final),
        NOTHING if row.area is None else str(row.area),
        _or_nothing(row.normalised, ".3f"),
        _or_nothing(row.reward_accuracy, ".3f"),
        _or_nothing(row.steps, ",d"),
        _or_nothing(row.environment_steps, ",.0f"),
        " + ".join(times) or NOTHING,
    ]


def notes(study: StudyResults) -> list[str]:
    """One sentence a seed that failed or moved, and a method whose seeds are missing or that has no run."""
    lines = []
    for results in study.methods:
        name = method_label(results.method)
        for run in results.failed:
            reason = run.status.reason or "no reason recorded"
            lines.append(
                f"{name} seed {run.config.seed} failed at step {run.status.failed_at_step:,}: {reason}. "
                "It counts with the random policy's return from there on."
            )
        for run in results.runs:
            lines += [
                f"{name} seed {run.config.seed} moved after step {move.step:,} from {move.before} to "
                f"{move.after}: its numbers are not those of either alone, to the last bit."
                for move in run.config.moved or ()
            ]
        if results.missing:
            lines.append(
                f"{name}: seeds {seed_list(results.missing)} are running or missing, and not counted."
            )
        elif not results.runs:
            lines.append(f"{name}: no run found.")
    return lines


def preamble(study: StudyResults) -> str:
    """What the numbers are conditional on, and what the words in the table mean."""
    feedback = study.feedback
    references = "not recorded for this task, so no normalised score"
    if study.references is not None:
        random, expert = study.references.random, study.references.expert
        references = f"random policy {number(random)}, expert tier {number(expert)}"
    shots = f"{feedback.demonstrations:,} demonstration transitions with mean return"
    pairs = f"{feedback.pairs:,} labelled pairs of {feedback.segment_length}-step segments"
    commands = "; ".join(f"`{command}`" for command in study.commands)
    return (
        f"Returns are in the standard environment, {study.evaluation_episodes} evaluation episodes a seed. "
        "Intervals are over learner seeds, "
        f"conditional on one feedback data set (sha256 `{feedback.sha256[:12]}`: {shots} "
        f"{number(feedback.demonstrations_return)}, {pairs}). With {RANGE_BELOW_SEEDS} seeds or more the "
        f"brackets hold the {CONFIDENCE:.0%} stratified-bootstrap interval ({RESAMPLES:,} resamples); under "
        f"{RANGE_BELOW_SEEDS} they hold the seeds' minimum and maximum, and say *range*. The area under the "
        "curve is its mean height over the method's own steps (SAC steps; gradient updates for IPL). "
        f"Normalised score is (final − random) / (expert − random). References: {references}. Reward "
        "accuracy is on held-out pairs; it and environment steps are means over finished seeds. Wall time is "
        f"a whole batch's. Made by {commands}."
    )


def markdown(study: StudyResults, rows: Sequence[Row]) -> str:
    """`table.md`."""
    lines = [HEADER, tuple("---" for _ in HEADER), *(_cells(row) for row in rows)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    title = f"# {study.study}: {study.task}"
    remarks = "\n".join(f"- {note}" for note in notes(study))
    return "\n\n".join(part for part in (title, preamble(study), table, remarks) if part) + "\n"


def text(rows: Sequence[Row]) -> str:
    """The same table for a terminal, columns aligned."""
    lines = [list(HEADER), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def csv_text(rows: Sequence[Row]) -> str:
    """`table.csv`: full precision, one row a method; empty where a method has no such number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    scores = ("final_return", "area_under_curve")
    writer.writerow(
        ["method", "seeds_finished", "seeds_failed", "seeds_missing", "interval"]
        + [f"{score}_{part}" for score in scores for part in ("iqm", "low", "high")]
        + ["normalised_score", "reward_accuracy", "steps", "environment_steps", "wall_seconds"]
    )
    for row in rows:
        results = row.results
        bounds = [(s.estimate, s.low, s.high) if s else (None,) * 3 for s in (row.final, row.area)]
        seeds = (results.finished, results.failed, results.missing)
        kind = row.final.interval if row.final else None
        wall = sum(batch.seconds for batch in row.batches) if row.batches else None
        counts = (row.normalised, row.reward_accuracy, row.steps, row.environment_steps, wall)
        writer.writerow([results.method, *map(len, seeds), kind, *bounds[0], *bounds[1], *counts])
    return buffer.getvalue()

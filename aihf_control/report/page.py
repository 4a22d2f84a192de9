"""A study as one HTML file that needs no network: what the numbers say, figures, tables that sort, the curve
of every seed, films, and where all of it comes from."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator

from aihf_control.arrays import Floats, Integers
from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import METHODS, OTHER_COLOURS, axis_of, learns_reward, method_label
from aihf_control.report.markup import inline, to_html
from aihf_control.report.others import Other
from aihf_control.report.results import MethodResults, TaskResults
from aihf_control.report.scores import Improvement, Line, Score, score_of
from aihf_control.report.style import method_colour, steps_label
from aihf_control.report.tables import (
    ALL,
    ALL_HEADER,
    MATCHED,
    TASK_HEADER,
    Tables,
    bracketed,
    gaps,
    matched_notes,
    overall_cells,
    preamble,
    task_cells,
)
from aihf_control.runs.records import Run
from aihf_control.statistics import area_under_curve, final_score, interquartile_mean
from aihf_control.words import NOTHING, number

WIDTH, HEIGHT = 900, 380
"""Of a panel of curves, in units of its own: it takes the width that there is."""
LEFT, RIGHT, TOP, BOTTOM = 64, WIDTH - 30, 12, HEIGHT - 44
DASHES = "7 4"
"""Of runs from elsewhere."""
OTHERS_HEADER = ("Runs", "Task", "Seeds", "Final return", "Area under curve", "Steps", "What they are")
COUNTS = {"steps": "SAC steps", "updates": "gradient updates", "none": NOTHING}
MIDDLE = "IQM"


@dataclass(frozen=True)
class Film:
    """An episode of a run's last policy: `content` is an `mp4`, `webp` or `gif`."""

    task: str
    caption: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Cell:
    """What is shown, and what it is sorted by; nothing comes last."""

    text: str
    key: str | float | None


@dataclass(frozen=True)
class Table:
    """Under its title; every column can be sorted."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Curve:
    """A seed's returns, or its method's middle: corners of a line in a panel's own units."""

    method: str
    seed: str
    title: str
    label: str
    colour: str
    dashes: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """The curves of one task, with a scale left and below: (place, words)."""

    title: str
    axis: str
    curves: Sequence[Curve]
    up: Sequence[tuple[float, str]]
    along: Sequence[tuple[float, str]]

    @property
    def methods(self) -> dict[str, Curve]:
        """Each with a curve of it."""
        return {curve.method: curve for curve in self.curves}

    @property
    def seeds(self) -> list[str]:
        """The middle, and the seeds in order."""
        seeds = {curve.seed for curve in self.curves} - {MIDDLE}
        return [MIDDLE, *sorted(seeds, key=lambda seed: (not seed.isdecimal(), len(seed), seed))]


def page(
    tables: Tables,
    figures: Mapping[str, bytes],
    provenance: str,
    films: Sequence[Film] = (),
    remark: str = "",
    others: Sequence[Other] = (),
) -> str:
    """The whole file. `figures` are PNGs by title, `provenance` is Markdown, `remark` says why there are no
    films or not all, and `others` are runs from elsewhere. The same input gives the same text."""
    study = tables.study
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=PackageLoader("aihf_control", "report"),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"data": _data, "inline": inline, "label": method_label, "task": task_title}
    return environment.get_template("page.html").render(
        study=study,
        findings=tables.findings,
        figures=list(figures.items()),
        tables=[table for part in tables.parts for table in _tables(part, _prefix(part, tables))],
        columns=to_html(preamble(study)),
        gaps=[_prefix(part, tables) + line for part in tables.parts for line in gaps(part.study)],
        matched=matched_notes(tables) if tables.matched else [],
        panels=[
            replace(drawn, title=_prefix(part, tables) + drawn.title)
            for part in tables.parts
            for drawn in (panel(task, others if part is tables else ()) for task in part.study.tasks)
        ],
        others=Table("", OTHERS_HEADER, [_other_row(other) for other in others]) if others else None,
        shape=(WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM),
        films={task: [film for film in films if film.task == task] for task in {f.task: 0 for f in films}},
        remark=remark,
        methods=Table("", ("Method", "Learns from", "Keeps a learned reward", "Counts"),
                      [_method_row(method) for method in study.recorded]),
        provenance=to_html(provenance.partition("\n\n")[2]),
    )  # fmt: skip


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _prefix(part: Tables, tables: Tables) -> str:
    """Before what is of the study beside."""
    return "" if part is tables else f"{MATCHED}, "


def _tables(part: Tables, prefix: str) -> list[Table]:
    found = [
        Table(prefix + task_title(task.task), TASK_HEADER, [_task_row(line) for line in lines])
        for task, lines in zip(part.study.tasks, part.tasks, strict=True)
    ]
    if len(found) > 1:
        found.append(Table(prefix + ALL, ALL_HEADER, [_overall_row(line) for line in part.overall]))
    return found


def _row(texts: Sequence[str], keys: Sequence[str | float | None]) -> list[Cell]:
    return [Cell(text, key) for text, key in zip(texts, keys, strict=True)]


def _task_row(line: Line) -> list[Cell]:
    reached = line.reached.steps if line.reached else None
    accuracy = line.cost.reward_accuracy if line.cost else None
    chances = _estimates(line.normalised, line.improvement)
    keys = [_runs(line), *_estimates(line.final, line.area), reached, *chances, accuracy, *_costs(line)]
    return _row(task_cells(line), [method_label(line.method), *keys])


def _overall_row(line: Line) -> list[Cell]:
    scores = _estimates(line.normalised, line.normalised_area, line.improvement)
    keys = [len(line.tasks), _runs(line), *scores, *_costs(line)]
    return _row(overall_cells(line), [method_label(line.method), *keys])


def _estimates(*scores: Score | Improvement | None) -> list[float | None]:
    return [score.estimate if score else None for score in scores]


def _runs(line: Line) -> int:
    return sum(len(results.runs) for results in line.results)


def _costs(line: Line) -> list[float | None]:
    cost = line.cost
    return [cost.steps, cost.environment_steps, cost.wall_seconds] if cost else [None] * 3


def _method_row(method: str) -> list[Cell]:
    legend = METHODS[method].legend.partition(": ") if method in METHODS else ("", "", "see its own file")
    texts = (
        method_label(method),
        legend[2] or legend[0],
        "yes" if learns_reward(method) else "no",
        COUNTS[axis_of(method)],
    )
    return _row(texts, texts)


def _other_row(other: Other) -> list[Cell]:
    final = score_of(final_score(other.steps, other.returns), 0)
    heights = area_under_curve(other.steps, other.returns) if len(other.steps) > 1 else None
    area = None if heights is None else score_of(heights, 0)
    task, last = task_title(other.task), int(other.steps[-1])
    scores = (bracketed(final, number), bracketed(area, number))
    texts = (other.name, task, str(len(other.seeds)), *scores, f"{last:,}", other.what)
    return _row(texts, [other.name, task, len(other.seeds), *_estimates(final, area), last, other.what])


def panel(task: TaskResults, others: Sequence[Other] = ()) -> Panel:
    """Every seed of a task, failures as they are scored, and each method's interquartile mean."""
    drawn = [results for results in task.methods if results.runs]
    beside = [other for other in others if other.task == task.task]
    names = [results.method for results in drawn]
    shown: list[MethodResults | Other] = [*drawn, *beside]
    last = max(float(found.steps[-1]) for found in shown) or 1.0
    values = np.concatenate([found.returns.ravel() for found in shown])
    margin = 0.03 * (float(np.ptp(values)) or 1.0)
    low, high = float(values.min()) - margin, float(values.max()) + margin

    def across(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / last, 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    def corners(steps: Integers, returns: Floats) -> list[tuple[float, float]]:
        if len(returns) == 1:  # a method that is done once it has begun: its level, all the way
            return [(across(step), up(float(returns[0]))) for step in (0.0, last)]
        return [(across(float(x)), up(float(y))) for x, y in zip(steps, returns, strict=True)]

    def curves(
        found: MethodResults | Other,
        method: str,
        label: str,
        colour: str,
        seeds: Mapping[str, str],
        dashes: str,
    ) -> Iterator[Curve]:
        middle = interquartile_mean(found.returns, axis=0)
        named = [*seeds.items(), (MIDDLE, "interquartile mean")]
        for (seed, said), returns in zip(named, [*found.returns, middle], strict=True):
            title = f"{label}, {said}: {number(float(returns[-1]))} at the end"
            yield Curve(method, seed, title, label, colour, dashes, corners(found.steps, returns))

    lines: list[Curve] = []
    for results in drawn:
        label, colour = method_label(results.method), method_colour(results.method, names)
        seeds = {str(run.config.seed): _seed_in_words(run) for run in results.runs}
        lines += curves(results, results.method, label, colour, seeds, "")
    taken = sum(name not in METHODS for name in names)
    for place, other in enumerate(beside, taken):
        colour = OTHER_COLOURS[place % len(OTHER_COLOURS)]
        seeds = {seed: f"seed {seed}" for seed in other.seeds}
        lines += curves(other, f"other {place}", other.name, colour, seeds, DASHES)
    scale = [(up(value), f"{value:,.0f}") for value in _ticks(low, high)]
    along = [(across(step), f"{step:,.0f}") for step in _ticks(0.0, last)]
    return Panel(task_title(task.task), steps_label(names), lines, scale, along)


def _seed_in_words(run: Run) -> str:
    return f"seed {run.config.seed}" + ", failed" * run.failed


def _ticks(low: float, high: float) -> list[float]:
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]

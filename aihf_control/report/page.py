"""A study as one HTML file that needs no network: what the numbers say, figures, tables that sort, the curve
of every seed, films, and where all of it comes from."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import METHODS, axis_of, learns_reward, method_label
from aihf_control.report.markup import inline, to_html
from aihf_control.report.results import MethodResults, TaskResults
from aihf_control.report.scores import Improvement, Line, Score
from aihf_control.report.style import method_colour, steps_label
from aihf_control.report.tables import (
    ALL,
    ALL_HEADER,
    TASK_HEADER,
    Tables,
    gaps,
    overall_cells,
    preamble,
    task_cells,
)
from aihf_control.statistics import interquartile_mean
from aihf_control.words import NOTHING, number

WIDTH, HEIGHT = 900, 380
"""Of a panel of curves, in units of its own: it takes the width that there is."""
LEFT, RIGHT, TOP, BOTTOM = 64, WIDTH - 30, 12, HEIGHT - 44
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
    colour: str
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
    def methods(self) -> dict[str, str]:
        """Each with its colour."""
        return {curve.method: curve.colour for curve in self.curves}

    @property
    def seeds(self) -> list[str]:
        """The middle, and the seeds in order."""
        return [MIDDLE, *sorted({curve.seed for curve in self.curves} - {MIDDLE}, key=int)]


def page(
    tables: Tables,
    figures: Mapping[str, bytes],
    provenance: str,
    films: Sequence[Film] = (),
    remark: str = "",
) -> str:
    """The whole file. `figures` are PNGs by title, `provenance` is Markdown, `remark` says why there are no
    films or not all. The same input gives the same text."""
    study = tables.study
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=PackageLoader("aihf_control", "report"),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"data": _data, "inline": inline, "label": method_label, "task": task_title}
    data = [
        Table(task_title(task.task), TASK_HEADER, [_task_row(line) for line in lines])
        for task, lines in zip(study.tasks, tables.tasks, strict=True)
    ]
    if len(study.tasks) > 1:
        data.append(Table(ALL, ALL_HEADER, [_overall_row(line) for line in tables.overall]))
    return environment.get_template("page.html").render(
        study=study,
        findings=tables.findings,
        figures=list(figures.items()),
        tables=data,
        columns=to_html(preamble(study)),
        gaps=gaps(study),
        panels=[panel(task) for task in study.tasks],
        shape=(WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM),
        films={task: [film for film in films if film.task == task] for task in {f.task: 0 for f in films}},
        remark=remark,
        methods=Table("", ("Method", "Learns from", "Keeps a learned reward", "Counts"),
                      [_method_row(method) for method in study.recorded]),
        provenance=to_html(provenance.partition("\n\n")[2]),
    )  # fmt: skip


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


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


def panel(task: TaskResults) -> Panel:
    """Every seed of a task, failures as they are scored, and each method's interquartile mean."""
    drawn = [results for results in task.methods if results.runs]
    names = [results.method for results in drawn]
    last = max(float(results.steps[-1]) for results in drawn) or 1.0
    values = np.concatenate([results.returns.ravel() for results in drawn])
    margin = 0.03 * (float(np.ptp(values)) or 1.0)
    low, high = float(values.min()) - margin, float(values.max()) + margin

    def across(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / last, 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    def curve(results: MethodResults, returns: Floats, seed: str, name: str) -> Curve:
        flat = len(returns) == 1  # a method that is done once it has begun: its level, all the way
        steps = np.array([0.0, last]) if flat else results.steps
        heights = np.repeat(returns, 2) if flat else returns
        points = [(across(float(x)), up(float(y))) for x, y in zip(steps, heights, strict=True)]
        title = f"{method_label(results.method)}, {name}: {number(float(returns[-1]))} at the end"
        return Curve(results.method, seed, title, method_colour(results.method, names), points)

    curves = []
    for results in drawn:
        for run, returns in zip(results.runs, results.returns, strict=True):
            name = f"seed {run.config.seed}" + ", failed" * run.failed
            curves.append(curve(results, returns, str(run.config.seed), name))
        middle = interquartile_mean(results.returns, axis=0)
        curves.append(curve(results, middle, MIDDLE, "interquartile mean"))
    scale = [(up(value), f"{value:,.0f}") for value in _ticks(low, high)]
    along = [(across(step), f"{step:,.0f}") for step in _ticks(0.0, last)]
    return Panel(task_title(task.task), steps_label(names), curves, scale, along)


def _ticks(low: float, high: float) -> list[float]:
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]

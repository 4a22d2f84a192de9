"""Performance profiles: the share of a method's runs above each normalised score."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import axis_of, line_of, method_label
from aihf_control.report.layout import Words, lay_out
from aihf_control.report.panel_grid import CLONED, PENS, drawn_methods, footer, legend_handles
from aihf_control.report.results import StudyResults
from aihf_control.report.scores import enough_seeds, normalised_finals
from aihf_control.report.style import fixed_style, method_colour
from aihf_control.statistics import RANGE_BELOW_SEEDS, RESAMPLES, performance_profile, pooled_bootstrap

HEIGHT = 3.4  # inches, of the panel
POINTS = 401
BAND = f"band: 95% stratified bootstrap over the seeds of each task, {RESAMPLES:,} resamples"
NO_BAND = f"no band under {RANGE_BELOW_SEEDS} seeds"
LARGEST = 1.5
"""Scores beyond this are not drawn: the expert's is 1."""


def _thresholds(groups: list[list[Floats]]) -> Floats:
    pooled = np.concatenate([values for group in groups for values in group])
    return np.linspace(min(0.0, pooled.min()), min(LARGEST, max(1.0, 1.02 * pooled.max())), POINTS)


def _subtitle(study: StudyResults, few: bool, none: bool) -> str:
    tasks = ", ".join(task_title(task.task) for task in study.tasks if task.references)
    kind = "Band: 95% stratified bootstrap" + f"; none under {RANGE_BELOW_SEEDS} seeds a task" * few
    band = f"No band, for there are under {RANGE_BELOW_SEEDS} seeds a task" if none else kind
    return (
        f"Share of all runs on {tasks} whose final normalised score is above τ; 0 is a random policy, 1 the "
        f"demonstrations' policy. Higher and further right is better. {band}."
    )


def _labels(scores: dict[str, list[Floats]]) -> dict[str, str]:
    """The legend's names of the methods that lack a task."""
    most = max(len(groups) for groups in scores.values())
    short = {method: len(groups) for method, groups in scores.items() if len(groups) < most}
    return {method: f"{method_label(method)} ({count} of {most} tasks)" for method, count in short.items()}


def profiles(study: StudyResults, bootstrap_seed: int = 0) -> Figure | None:
    """One line a method over all tasks, with its band; None if no task has references to normalise by."""
    found = {method: normalised_finals(study, method) for method in drawn_methods(study)}
    scores = {method: groups for method, groups in found.items() if groups}
    if not scores:
        return None
    thresholds = _thresholds(list(scores.values()))
    profile = partial(performance_profile, thresholds=thresholds)
    few = [not enough_seeds(groups) for groups in scores.values()]
    steps = {int(results.steps[-1]) for m in scores for _, results in study.of(m)} - {0}
    with fixed_style():
        words = Words(
            title=f"{study.name}: how many runs end above which score?",
            subtitle=_subtitle(study, any(few), all(few)),
            footer=footer(study, list(scores), [max(steps, default=0)], NO_BAND if all(few) else BAND),
            legend=legend_handles(study.methods, list(scores), _labels(scores)),
        )
        figure, grid = lay_out(1, 1, HEIGHT, words)
        axes = grid[0][0]
        for method in sorted(scores, key=lambda name: name == "aihf"):
            band = pooled_bootstrap(scores[method], profile, np.random.default_rng(bootstrap_seed))
            pen, colour = PENS[line_of(method)], method_colour(method, study.methods)
            thin = axis_of(method) == "none"
            (line,) = axes.plot(thresholds, band.estimate, color=colour, linewidth=1.1 if thin else pen.width)
            line.set(linestyle=CLONED if thin else "-", drawstyle="steps-post")
            if enough_seeds(scores[method]):
                opacity = 0.08 if thin else max(pen.band, 0.08)
                shade = axes.fill_between(thresholds, band.low, band.high, step="post", color=colour)
                shade.set(alpha=opacity, linewidth=0)
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("Normalised score τ")
        axes.set_ylabel("Share of runs above τ")
        return figure

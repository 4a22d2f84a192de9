"""A study over the environment steps that its methods took, in place of their SAC steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aihf_control.arrays import Floats, Integers
from aihf_control.methods.table import axis_of
from aihf_control.report.results import MethodResults, StudyResults
from aihf_control.runs.records import Run


def environment_steps(results: MethodResults) -> Integers:
    """(T,) taken until each evaluation: the mean over finished seeds, or over the failed if none finished.

    Of a failed seed the last count that it wrote stays.
    """
    runs = results.finished or results.runs
    return np.mean([_taken(run, len(results.steps)) for run in runs], axis=0).round().astype(np.int64)


def _taken(run: Run, evaluations: int) -> Floats:
    counts = run.progress["environment_steps"].to_numpy(np.float64)[:evaluations]
    return np.pad(counts, (0, evaluations - len(counts)), "edge") if len(counts) else np.zeros(evaluations)


def outside_sac(study: StudyResults) -> list[str]:
    """The methods that took environment steps beyond those of SAC, in order."""
    return [
        method
        for method in study.methods
        if axis_of(method) == "steps"
        and any((environment_steps(found) > found.steps).any() for _, found in study.of(method))
    ]


def over_environment_steps(study: StudyResults) -> StudyResults:
    """The same results, each method's `steps` being environment steps: those of one without any are zeros."""

    def counted(results: MethodResults) -> MethodResults:
        if not results.runs or axis_of(results.method) == "none":
            return results
        return replace(results, steps=environment_steps(results))

    tasks = (replace(task, methods=tuple(map(counted, task.methods))) for task in study.tasks)
    return replace(study, tasks=tuple(tasks))

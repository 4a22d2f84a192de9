"""What Figure 5 says around its panels: the question and the answer, what is missing, what lines are."""

from __future__ import annotations

from collections.abc import Sequence

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import line_of, method_label
from aihf_control.report.claims import SHORT_PRESETS
from aihf_control.report.panel_grid import curves_of, drawn_methods, last_step
from aihf_control.report.results import StudyResults
from aihf_control.report.style import ends_early, what_is_drawn
from aihf_control.report.tables import Tables
from aihf_control.statistics import RANGE_BELOW_SEEDS
from aihf_control.words import listed


def title(parts: Sequence[Tables], environment: bool) -> str:
    """The study, and the question that its picture answers."""
    name = parts[0].study.name
    short = [task.preset for task in parts[0].study.tasks if task.preset in SHORT_PRESETS]
    if short:
        return f"{name}: a {short[0]} run, too short to compare methods"
    if environment:
        return f"{name}: what does a return cost in environment steps?"
    rivals = dict.fromkeys(rival for part in parts if part.claim for rival in part.claim.rivals)
    asked = f"does AIHF end above {listed(map(method_label, rivals))}?" if rivals else "return while learning"
    return f"{name}: {asked}"


def heading(part: Tables, environment: bool) -> str:
    """Of a row, if there are two."""
    start = "All from the same clone" if part.study.from_one_clone else "Each method from its own start"
    return (
        f"{start}: above {listed(map(method_label, part.claim.rivals))}?"
        if part.claim and not environment
        else start
    )


def note(part: Tables, environment: bool) -> str:
    """The answer, by the rule that judges the claim, where the question is asked; and what is not there."""
    asked = part.claim if not environment else None
    answer = f"The paper says yes; here that is {asked.verdict}. " if asked else ""
    return (answer + _gaps(part.study)).strip()


def _gaps(study: StudyResults) -> str:
    """Which panels and curves are missing, and which can never be."""
    methods = drawn_methods(study)
    lacking = [listed(map(task_title, study.missing_tasks))] if study.missing_tasks else []
    for task in study.tasks:
        without = [r.method for r in task.methods if not r.runs and r.method in methods]
        if without:
            lacking.append(f"{listed(map(method_label, without))} on {task_title(task.task)}")
    parts = [f"No results yet: {'; '.join(lacking)}."] if lacking else []
    if study.idle_tasks:
        parts.append(f"Not applicable: {listed(map(task_title, study.idle_tasks))}, which cannot fall.")
    return " ".join(parts)


def subtitle(studies: Sequence[StudyResults], methods: Sequence[str], environment: bool) -> str:
    """What lines, bands, dots and numbers are; of `studies` over environment steps, if they are."""
    panels = [(task, curves_of(task, methods)) for study in studies for task in study.tasks]
    curves = [results for _, shown in panels for results in shown]
    thick = [results for results in curves if line_of(results.method) == "thick"]
    parts = [what_is_drawn(thick)] if thick else []
    if any(results.method == "irl" and len(results.runs) < RANGE_BELOW_SEEDS for results in curves):
        parts.append("IRL: line and band alone.")
    if any(results.method == "oracle" for results in curves):
        parts.append("Oracle: line alone.")
    early = [
        results for task, shown in panels for results in shown if results.steps[-1] < last_step(task, methods)
    ]
    if environment:
        none = dict.fromkeys(method_label(results.method) for results in early if not results.steps[-1])
        parts.append("Evaluations stand at their seeds' mean of environment steps, rollouts included.")
        parts += ["Dotted: held after a curve's end."] if len(none) < len(early) else []
        parts += [f"Dotted all along: {listed(none)}, without environment steps."] if none else []
    elif early:
        ends: dict[str, dict[str, None]] = {}
        for results in early:
            ends.setdefault(ends_early(results), {})[method_label(results.method)] = None
        parts.append(
            f"Dotted: {'; '.join(f'{listed(names)} {end}' for end, names in ends.items())}, and held."
        )
    return " ".join([*parts, "Numbers: final scores, of each seed the mean over its last evaluations."])

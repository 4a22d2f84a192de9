"""`appendix.md`: how a study's methods end when one rule of training is another, beside the main study's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aihf_control.comparison import Comparison
from aihf_control.comparison_tables import bracketed, table
from aihf_control.provenance import UNKNOWN, origin
from aihf_control.records import Run
from aihf_control.results import MethodResults, StudyResults, method_label, task_title
from aihf_control.tables import NOTHING, number, score_of
from aihf_control.tasks import TASKS


@dataclass(frozen=True)
class Variant:
    """One rule of training that a study beside the main one may change."""

    endings: tuple[str, ...]
    """Of that study's name, with the main one's before it."""
    title: str
    explanation: str
    rule: Callable[[Run], str | None]
    """What the rule was for a run, in words; None if it has no such rule."""
    untouched: dict[str, str]
    """Methods that the rule does not reach, and why."""
    untouched_task: Callable[[str], str | None] = lambda task: None
    """Why the rule changes nothing on a task; None where it does."""


def _horizon(run: Run) -> str | None:
    fixed = origin(run).settings.get("fixed_horizon")
    return f"horizon {UNKNOWN}" if fixed is None else "fixed horizon" if fixed else "standard horizon"


def _guidance(run: Run) -> str | None:
    sections: Any = origin(run).settings
    name = "aihf" if run.config.method == "irl" else run.config.method
    if name not in GUIDED:
        return None
    guidance = sections.get(name, {}).get("guidance")  # earlier runs had none
    return "guided" if guidance and guidance["share"] else "unguided"


GUIDED = ("aihf", "rlhf")
"""Settings that have a guidance; IRL has AIHF's."""
OFFLINE = "the same: it trains on data alone"
TRUE_REWARD = "the same: it sees no demonstration"

VARIANTS = (
    Variant(
        endings=("-fixed-horizon", "-standard-horizon"),
        title="the other horizon rule",
        explanation="With the fixed horizon a robot that falls plays on to the time limit while a learned "
        "reward trains; with the standard one its episode ends.",
        rule=_horizon,
        untouched=dict.fromkeys(("ipl", "bc"), OFFLINE),
        untouched_task=lambda task: (
            "its robot cannot fall, so both rules are one"
            if task in TASKS and not TASKS[task].can_fall
            else None
        ),
    ),
    Variant(
        endings=("-unguided", "-guided"),
        title="with and without guidance",
        explanation="Guided, a share of each SAC batch comes from the demonstrations, and the actor imitates "
        "them; unguided, alignment sees the learned reward alone, as in the papers.",
        rule=_guidance,
        untouched=dict.fromkeys(("ipl", "bc"), OFFLINE)
        | dict.fromkeys(("oracle", "constant_plus", "constant_minus"), TRUE_REWARD),
    ),
)


def _rules(variant: Variant, task: StudyResults) -> str:
    found = {variant.rule(run) for results in task.methods for run in results.runs}
    return " and ".join(sorted(rule for rule in found if rule))


def _final(results: MethodResults | None) -> str:
    if results is None or not results.runs:
        return NOTHING
    count = f", {len(results.runs)} seeds" if len(results.runs) > 1 else ""
    return bracketed(score_of(results.final, 0), number) + count


def _task_parts(variant: Variant, task: StudyResults, other: StudyResults) -> list[str]:
    theirs = {results.method: results for results in other.methods if results.runs}
    header = ["Method", *(f"{each.study} ({_rules(variant, each)})" for each in (task, other))]
    rows = []
    for results in task.methods:
        if results.runs or results.method in theirs:
            instead = variant.untouched.get(results.method)
            same = instead is not None and results.method not in theirs
            shown = instead if same else _final(theirs.get(results.method))
            rows.append([method_label(results.method), _final(results), str(shown)])
    last = [max(int(r.steps[-1]) for r in each.methods if r.runs) for each in (task, other)]
    steps = f"{last[0]:,} steps" if last[0] == last[1] else f"{last[0]:,} steps against {last[1]:,}"
    return [f"### {task_title(task.task)}", f"{steps}.", table(header, rows)]


def _variant_parts(variant: Variant, main: Comparison, other: Comparison) -> list[str]:
    parts = [f"## {variant.title[0].upper()}{variant.title[1:]}", variant.explanation]
    others = {task.task: task for task in other.tasks}
    for task in main.tasks:
        if task.task in others:
            parts += _task_parts(variant, task, others[task.task])
        else:
            why = variant.untouched_task(task.task) or "no run under the other rule"
            parts.append(f"{task_title(task.task)}: {why}.")
    return parts


def appendix(main: Comparison, others: Sequence[tuple[Variant, Comparison]]) -> str:
    """`appendix.md`: final returns under both rules of each variant, on the tasks and methods of either."""
    parts = [
        f"# {main.study}: appendix",
        "Interquartile means over seeds of the final return, always evaluated in the standard environment; "
        "brackets as in `table.md`.",
    ]
    for variant, other in others:
        parts += _variant_parts(variant, main, other)
    return "\n\n".join(parts) + "\n"

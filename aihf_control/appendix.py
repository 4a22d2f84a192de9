"""`appendix.md`: how a study's methods end when one rule of training is another, beside the main study's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


OFFLINE = "the same: it trains on data alone"

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
)


def _rules(variants: Sequence[Variant], task: StudyResults) -> str:
    """The rules that a study's runs on a task were trained under, in words."""
    runs = [run for results in task.methods for run in results.runs]
    found = [{rule for run in runs if (rule := variant.rule(run))} for variant in variants]
    return ", ".join(" and ".join(sorted(rules)) for rules in found if rules)


def _final(results: MethodResults | None) -> str:
    if results is None or not results.runs:
        return NOTHING
    count = f", {len(results.runs)} seeds" if len(results.runs) > 1 else ""
    return bracketed(score_of(results.final, 0), number) + count


def _last_step(task: StudyResults) -> int:
    return max(int(results.steps[-1]) for results in task.methods if results.runs)


def _task_parts(main: StudyResults, others: Sequence[tuple[Variant, StudyResults]]) -> list[str]:
    variants = [variant for variant, _ in others]
    studies = [main, *(other for _, other in others)]
    finals = [{each.method: each for each in study.methods if each.runs} for study in studies]
    rows = []
    for results in main.methods:
        method = results.method
        if any(method in each for each in finals):
            cells = [_final(results)]
            for variant, theirs in zip(variants, finals[1:], strict=True):
                same = variant.untouched.get(method) if method not in theirs else None
                cells.append(same or _final(theirs.get(method)))
            rows.append([method_label(method), *cells])
    steps = list(dict.fromkeys(f"{_last_step(study):,}" for study in studies))
    header = ["Method", *(f"{study.study} ({_rules(variants, study)})" for study in studies)]
    return [f"{' against '.join(steps)} steps.", table(header, rows)]


def appendix(main: Comparison, others: Sequence[tuple[Variant, Comparison]]) -> str:
    """`appendix.md`: final returns of the main study and of each under another rule, side by side."""
    explanations = [f"- **{v.title[0].upper()}{v.title[1:]}.** {v.explanation}" for v, _ in others]
    fair = " Compare columns that differ in one rule." if len(others) > 1 else ""
    parts = [
        f"# {main.study}: appendix",
        "Interquartile means over seeds of the final return, always evaluated in the standard environment; "
        "brackets as in `table.md`. Behind a study's name: the rules its runs were trained under." + fair,
        "\n".join(explanations),
    ]
    for task in main.tasks:
        parts.append(f"## {task_title(task.task)}")
        beside = []
        for variant, other in others:
            found = next((each for each in other.tasks if each.task == task.task), None)
            if found:
                beside.append((variant, found))
            else:
                why = variant.untouched_task(task.task) or "no run here"
                parts.append(f"{other.study}: {why}.")
        if beside:
            parts += _task_parts(task, beside)
    return "\n\n".join(parts) + "\n"

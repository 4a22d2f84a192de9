"""`appendix.md`: how a study's methods end under the other horizon rule, beside the main one's."""

from __future__ import annotations

from aihf_control.comparison import Comparison
from aihf_control.comparison_tables import bracketed, table
from aihf_control.provenance import UNKNOWN, origin
from aihf_control.results import MethodResults, StudyResults, method_label, task_title
from aihf_control.tables import NOTHING, number, score_of
from aihf_control.tasks import TASKS

OFFLINE_METHODS = ("ipl", "bc")
"""They train on data alone, so that the rule of the environment does not reach them."""


def _horizon(task: StudyResults) -> str:
    rules = {origin(run).settings.get("fixed_horizon") for results in task.methods for run in results.runs}
    names = ["standard horizon"] * (False in rules) + ["fixed horizon"] * (True in rules)
    return " and ".join(names) or f"horizon {UNKNOWN}"


def _final(results: MethodResults | None) -> str:
    if results is None or not results.runs:
        return NOTHING
    count = f", {len(results.runs)} seeds" if len(results.runs) > 1 else ""
    return bracketed(score_of(results.final, 0), number) + count


def _other(results: MethodResults, theirs: MethodResults | None) -> str:
    if results.method in OFFLINE_METHODS and (theirs is None or not theirs.runs):
        return "the same: it trains on data alone"
    return _final(theirs)


def appendix(main: Comparison, other: Comparison) -> str:
    """`appendix.md`: final returns under both horizon rules, on the tasks and methods of either."""
    parts = [
        f"# {main.study}: the other horizon rule",
        "Interquartile means over seeds of the final return, always evaluated in the standard environment; "
        "brackets as in `table.md`. With the fixed horizon a robot that falls plays on to the time limit "
        "while a learned reward trains; with the standard one its episode ends.",
    ]
    others = {task.task: task for task in other.tasks}
    for task in main.tasks:
        if task.task not in others:
            same = task.task in TASKS and not TASKS[task.task].can_fall
            why = "its robot cannot fall, so both rules are one" if same else "no run under the other rule"
            parts.append(f"{task_title(task.task)}: {why}.")
            continue
        theirs = {results.method: results for results in others[task.task].methods}
        header = ["Method"]
        for study, rule in ((main.study, _horizon(task)), (other.study, _horizon(others[task.task]))):
            header.append(f"{study} ({rule})")
        rows = [
            [method_label(results.method), _final(results), _other(results, theirs.get(results.method))]
            for results in task.methods
            if results.runs or (theirs.get(results.method) and theirs[results.method].runs)
        ]
        last = [max(int(r.steps[-1]) for r in t.methods if r.runs) for t in (task, others[task.task])]
        steps = f"{last[0]:,} steps" if last[0] == last[1] else f"{last[0]:,} steps against {last[1]:,}"
        parts += [f"## {task_title(task.task)}", f"{steps}.", table(header, rows)]
    return "\n\n".join(parts) + "\n"

"""Studies that lie beside a main one, under its name and an ending: of the other horizon rule, for
`appendix.md`, and of matched alignment, for the second row of Figure 5."""

from __future__ import annotations

from pathlib import Path

from aihf_control.envs.tasks import TASKS, task_title
from aihf_control.errors import InvalidData
from aihf_control.methods.table import axis_of, method_label
from aihf_control.report.provenance import UNKNOWN, origin
from aihf_control.report.results import MethodResults, NoResults, StudyResults, TaskResults, read_results
from aihf_control.report.scores import score_of
from aihf_control.report.tables import bracketed
from aihf_control.words import NOTHING, markdown_table, number

OTHER_HORIZON = ("-fixed-horizon", "-standard-horizon")
"""A study of this name, with the main one's before it, holds the same methods under the other rule."""
MATCHED_ENDING = "-matched"
"""One of this holds the methods that can start from the same clone, all doing so."""


def other_horizon(folder: Path) -> StudyResults | None:
    """The study beside the one in `folder` under the other horizon rule, if it has results."""
    found = (_beside(folder, ending) for ending in OTHER_HORIZON)
    return next((study for study in found if study), None)


def matched(folder: Path) -> StudyResults | None:
    """The study of matched alignment beside the one in `folder`, if it has results. Raises `InvalidData` if
    its runs do not all start from the clone."""
    study = _beside(folder, MATCHED_ENDING)
    if study is None or study.from_one_clone:
        return study
    runs = [run for task in study.tasks for results in task.methods for run in results.runs]
    wrong = next(run for run in runs if run.config.settings.start != "clone")
    raise InvalidData(
        f"{wrong.stored.config_place}: settings.start is {wrong.config.settings.start!r}, and {study.name} "
        f"is drawn below {folder.name}, all from one clone: train it with --settings.start clone, or rename "
        "its folder"
    )


def _beside(folder: Path, ending: str) -> StudyResults | None:
    try:
        return read_results(folder.with_name(folder.name + ending))
    except NoResults:
        return None


def _horizon(task: TaskResults) -> str:
    rules = {origin(run).settings.get("fixed_horizon") for results in task.methods for run in results.runs}
    names = ["fixed horizon"] * (True in rules) + ["standard horizon"] * (False in rules)
    return " and ".join(names) or f"horizon {UNKNOWN}"


def _final(results: MethodResults | None) -> str:
    if results is None or not results.runs:
        return NOTHING
    count = f", {len(results.runs)} seeds" if len(results.runs) > 1 else ""
    return bracketed(score_of(results.final, 0), number) + count


def _last_step(task: TaskResults) -> int:
    return max(int(results.steps[-1]) for results in task.methods if results.runs)


def _task_parts(main: TaskResults, other: TaskResults, names: tuple[str, str]) -> list[str]:
    theirs = {results.method: results for results in other.methods if results.runs}
    rows = []
    for results in main.methods:
        method = results.method
        if results.runs or method in theirs:
            same = axis_of(method) != "steps" and method not in theirs  # offline: no environment
            cell = "the same: it trains on data alone" if same else _final(theirs.get(method))
            rows.append([method_label(method), _final(results), cell])
    steps = list(dict.fromkeys(f"{_last_step(task):,}" for task in (main, other)))
    header = [
        "Method",
        *(f"{name} ({_horizon(task)})" for name, task in zip(names, (main, other), strict=True)),
    ]
    return [f"{' against '.join(steps)} steps.", markdown_table(header, rows)]


def appendix(main: StudyResults, other: StudyResults) -> str:
    """`appendix.md`: final returns under both horizon rules, on the main study's tasks and methods."""
    parts = [
        f"# {main.name}: the other horizon rule",
        "Interquartile means over seeds of the final return, always evaluated in the standard environment; "
        "brackets as in `table.md`. With the fixed horizon a robot that falls plays on to the time limit "
        "while a learned reward trains; with the standard one its episode ends.",
    ]
    others = {task.task: task for task in other.tasks}
    for task in main.tasks:
        parts.append(f"## {task_title(task.task)}")
        if task.task in others:
            parts += _task_parts(task, others[task.task], (main.name, other.name))
        else:
            same = task.task in TASKS and not TASKS[task.task].can_fall
            why = "its robot cannot fall, so both rules are one" if same else "no run here"
            parts.append(f"{other.name}: {why}.")
    return "\n\n".join(parts) + "\n"

"""What the numbers say in plain sentences: the yardstick, the rivals, what preferences add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import line_of, method_label
from aihf_control.report.results import MethodResults, StudyResults, TaskResults
from aihf_control.report.scores import OURS, Line
from aihf_control.statistics import final_score, interquartile_mean
from aihf_control.words import number

CONTROL = "irl"
"""AIHF without its preference term, with the same settings and budget."""


@dataclass(frozen=True)
class Yardstick:
    """How far AIHF comes: its final IQM against the lower of two heights it can be expected to reach."""

    task: str
    final: float
    demonstrations: float
    oracle: float | None
    """The oracle's final IQM, had it ended with AIHF; None without an oracle."""
    oracle_step: int | None
    steps: int

    @property
    def height(self) -> float:
        """The lower of the two."""
        return self.demonstrations if self.oracle is None else min(self.demonstrations, self.oracle)

    @property
    def share(self) -> float | None:
        """AIHF's final return as a share of the height; None where that is not above zero."""
        return self.final / self.height if self.height > 0 else None


def yardstick(task: TaskResults) -> Yardstick | None:
    """The yardstick on one task; None without AIHF."""
    found = {results.method: results for results in task.methods if results.runs}
    if OURS not in found:
        return None
    ours = found[OURS]
    last = int(ours.steps[-1])
    oracle, step = _height_at(found.get("oracle"), last)
    final = float(interquartile_mean(ours.final))
    return Yardstick(task.task, final, task.feedback.demonstrations_return, oracle, step, last)


def _height_at(results: MethodResults | None, step: int) -> tuple[float | None, int | None]:
    if results is None:
        return None, None
    until = int(np.searchsorted(results.steps, step, side="right"))
    finals = final_score(results.steps[:until], results.returns[:, :until])
    return float(interquartile_mean(finals)), int(results.steps[until - 1])


def _yardstick_sentence(measured: Yardstick) -> str:
    name, demonstrations = task_title(measured.task), number(measured.demonstrations)
    ours = f"{name}: AIHF's final {number(measured.final)}, at step {measured.steps:,},"
    if measured.oracle is None:
        of = f"the demonstrations' mean, {demonstrations} (there is no oracle to compare with)"
    else:
        at = "at the same step" if measured.oracle_step == measured.steps else f"at {measured.oracle_step:,}"
        of = (
            f"{number(measured.height)}, the lower of the demonstrations' mean {demonstrations} and the "
            f"oracle's {number(measured.oracle)} {at}"
        )
    if measured.share is None:
        return f"{ours} has no yardstick above zero: it would be {of}."
    return f"{ours} is {measured.share:.0%} of {of}."


def _probability(line: Line) -> str:
    return f"P(AIHF > {method_label(line.method)}) = {line.improvement}"


def _rival_sentence(name: str, lines: Sequence[Line]) -> str | None:
    """AIHF against every method but its control and the yardsticks, verdicts only from enough seeds."""
    rivals = [line for line in lines if line_of(line.method) in ("thick", "thin") and line.method != CONTROL]
    found = [(line, line.improvement) for line in rivals if line.improvement]
    if not found:
        return None
    words = {"above": "above", "below": "below", "level": "not told apart from"}
    parts = []
    for verdict, said in words.items():
        names = [method_label(line.method) for line, improvement in found if improvement.verdict == verdict]
        parts += [f"{said} {' and '.join(names)}"] if names else []
    told = f"AIHF is {', '.join(parts)}: " if parts else ""
    return f"{name}: {told}{'; '.join(_probability(line) for line, _ in found)}."


def _control_sentence(name: str, lines: Sequence[Line]) -> str | None:
    line = next((line for line in lines if line.method == CONTROL and line.improvement), None)
    if line is None or line.improvement is None:
        return None
    verdicts = {
        "above": "preferences add to what the demonstrations alone give",
        "below": "preferences take away from what the demonstrations alone give",
        "level": "preferences do not measurably add to what the demonstrations alone give",
        None: "whether preferences add anything to the demonstrations is not known",
    }
    return f"{name}: {verdicts[line.improvement.verdict]}: {_probability(line)}."


def findings(study: StudyResults, tables: Sequence[Sequence[Line]], overall: Sequence[Line]) -> list[str]:
    """The sentences; `tables` are the lines of each task, `overall` those over all tasks."""
    measured = [yardstick(task) for task in study.tasks]
    sentences: list[str | None] = [_yardstick_sentence(one) for one in measured if one is not None]
    named = [(task_title(task.task), lines) for task, lines in zip(study.tasks, tables, strict=True)]
    if len(study.tasks) > 1:
        named.append(("Over all tasks", overall))
    sentences += [_rival_sentence(name, lines) for name, lines in named]
    sentences += [_control_sentence(name, lines) for name, lines in named]
    controlled = {task.task for task, _ in study.of(OURS)} & {t.task for t, _ in study.of(CONTROL)}
    if not controlled:
        sentences.append(
            "Whether the preferences add anything to the demonstrations is not known: AIHF and "
            f"{method_label(CONTROL)} have no task in common."
        )
    return [sentence for sentence in sentences if sentence]

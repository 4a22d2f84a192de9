"""The paper's claim, confirmed, refuted or left open by rule on every task of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.report.results import StudyResults
from aihf_control.report.scores import OURS, Line
from aihf_control.statistics import RANGE_BELOW_SEEDS
from aihf_control.words import listed

RIVALS = ("rlhf", "ipl")
"""Whom AIHF ends above in the paper's Figure 5, each method from its own start."""
MATCHED_RIVALS = ("rlhf", "irl")
"""Whom it is compared with where all start from the same clone: each has one of its sources."""
SHORT_PRESETS = ("smoke", "quick")
"""Of runs that are too short to say anything of a claim."""

Judged = Literal["confirmed", "refuted", "left open"]


@dataclass(frozen=True)
class Claim:
    """That AIHF ends above `rivals`, and what a study's intervals make of it."""

    rivals: tuple[str, ...]
    from_one_clone: bool
    verdict: str
    """`refuted on Hopper-v5 (below RLHF) and confirmed on Walker2d-v5 and over all tasks`."""

    def __str__(self) -> str:
        start = " from the same clone" if self.from_one_clone else ""
        rivals = listed(map(method_label, self.rivals))
        return f"The paper's claim, that AIHF{start} ends above {rivals}, is {self.verdict}."


def rivals_of(study: StudyResults) -> tuple[str, ...]:
    """Whom the claim is about in `study`."""
    return MATCHED_RIVALS if study.from_one_clone else RIVALS


def judge(lines: Sequence[Line], rivals: Sequence[str]) -> tuple[Judged, str]:
    """The verdict on some `lines`, and why. Confirmed where AIHF is above every rival, refuted where it is
    below one; a rival without runs or with too few seeds leaves it open."""
    improvements = {line.method: line.improvement for line in lines}
    found: dict[str, list[str]] = {}
    for rival in rivals:
        improvement = improvements.get(rival)
        said = "absent" if improvement is None else improvement.verdict or "few"
        found.setdefault(said, []).append(method_label(rival))
    words = {
        "below": "below {}",
        "above": "above {}",
        "level": "not told apart from {}",
        "few": f"under {RANGE_BELOW_SEEDS} seeds against {{}}",
        "absent": "no runs of {}",
    }
    reason = ", ".join(form.format(listed(found[key])) for key, form in words.items() if key in found)
    if "below" in found:
        return "refuted", words["below"].format(listed(found["below"]))
    return ("confirmed", "") if set(found) == {"above"} else ("left open", reason)


def claim(study: StudyResults, tables: Sequence[Sequence[Line]], overall: Sequence[Line]) -> Claim | None:
    """What `study` says of it; None without AIHF, without any rival, or where the runs are short."""
    rivals = rivals_of(study)
    both = study.of(OURS) and any(study.of(rival) for rival in rivals)
    if not both or any(task.preset in SHORT_PRESETS for task in study.tasks):
        return None
    places: dict[tuple[Judged, str], list[str]] = {}
    for task, lines in zip(study.tasks, tables, strict=True):
        places.setdefault(judge(lines, rivals), []).append(task_title(task.task))
    where = {judged: f"on {listed(names)}" for judged, names in places.items()}
    if len(study.tasks) > 1:
        judged = judge(overall, rivals)
        where[judged] = f"{where[judged]} and over all tasks" if judged in where else "over all tasks"
    verdict = listed(f"{said} {place}" + f" ({why})" * bool(why) for (said, why), place in where.items())
    return Claim(rivals, study.from_one_clone, verdict)

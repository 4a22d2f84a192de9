"""The pace of whole learners as a bench runs them: one-thread processes, one on each core."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aihf_control.envs.tasks import Task
from benchmarks.speed.match import Match
from benchmarks.speed.rows import OURS
from benchmarks.speed.runners import Spec
from benchmarks.speed.waits import BATCH, HIDDEN, LEARNERS, LEVELS, SEEDS, Learner, Reach, Wait


class Learners(Match):
    """Ours with both critics, in `precisions`, and the libraries' own, in float32."""

    order = tuple(learner.name for learner in LEARNERS)
    rivals = tuple(learner.name for learner in LEARNERS if learner.library != OURS)

    def __init__(self, task: Task, spec: Spec, precisions: Sequence[str], repeats: int) -> None:
        """`spec` says where; its `threads` are the cores, its sizes give way to those of the curves."""
        super().__init__(task, repeats)
        self._spec = replace(spec, threads=1, batch=BATCH, hidden=HIDDEN, precision="float32")
        self._precisions, self._cores = precisions, spec.threads

    def enter_all(self) -> None:
        """On a GPU ours is one process, as a bench's; the others may be on either device."""
        for learner in LEARNERS:
            spec = replace(self._spec, library=learner.library, critic=learner.critic)
            if learner.library == OURS:
                for precision in self._precisions:
                    self._team(learner, replace(spec, precision=precision, seeds=SEEDS))
            elif importlib.util.find_spec(learner.library):
                for device in sorted({spec.device, "cpu"}):
                    self._team(learner, replace(spec, device=device))
            else:
                self.notes.append(f"{learner.name} is not installed and was not measured.")

    def _team(self, learner: Learner, spec: Spec) -> None:
        alone = spec.library == OURS and spec.device != "cpu"
        firsts = range(0, spec.seeds * (1 if alone else self._cores), spec.seeds)
        self.enter([replace(spec, first_seed=first) for first in firsts], {"run": learner.name})

    def waits(self, deadline: float, say: Callable[[str], None], reaches: Mapping[str, Reach]) -> list[Wait]:
        """Their paces, with what `reaches` says of each recorded curve."""
        learners = {learner.name: learner for learner in LEARNERS}
        waits = []
        for row, timing in self.measure(deadline, say):
            learner = learners[row.implementation]
            each = SEEDS if learner.library == OURS else 1
            at_once = f"{row.seeds // each} × {each}"
            waits.append(Wait(row, learner, LEVELS[row.task], reaches[learner.curve], at_once, timing))
        return waits

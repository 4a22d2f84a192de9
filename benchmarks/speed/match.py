"""The contestants of one task, taking turns: who plays, for how long, and what each was worth."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aihf_control.envs.tasks import Task
from benchmarks.speed.contestants import Contestant, Failed
from benchmarks.speed.rows import OURS, REFERENCE, Row
from benchmarks.speed.runners import Spec

FEWEST_REPEATS = 3
WARM_UP = (3, 10)  # steps: the first call builds what is built lazily, the second gives the pace
LEAST_STEPS = {"run": 25, "update": 5, "environments": 25, "matmul": 5}  # of a repeat
DRAW = 100  # steps for which a run draws random numbers at once: fewest for runs of few seeds
SHARES = {"run": 1.0, "update": 0.4, "environments": 0.15, "matmul": 0.15}  # of a repeat's time
TRIAL_SECONDS = 0.7  # a turn of a rival's variants, of which the fastest goes on
SHORTEST_REPEAT, LONGEST_REPEAT = 0.2, 5.0  # seconds; below, the largest number of seeds is left out


def update_flop(observations: int, actions: int, hidden: Sequence[int], batch: int) -> int:
    """Floating-point operations of one SAC update of one seed: its matrix products, 2 per multiply-add.

    A pass forward costs as much as the gradient of the weights, and as that of the inputs; where the
    first layer's inputs are data, the latter stops at the second layer.
    """
    actor = [i * o for i, o in zip((observations, *hidden), (*hidden, 2 * actions), strict=True)]
    critic = [i * o for i, o in zip((observations + actions, *hidden), (*hidden, 1), strict=True)]
    goal = sum(actor) + 2 * sum(critic)  # next actions and their value to both targets
    critic_step = 2 * (sum(critic) + sum(critic) + sum(critic[1:]))  # forward, weights, inputs
    actor_step = sum(actor) + sum(actor) + sum(actor[1:])  # forward, weights, inputs
    judgement = 2 * (sum(critic) + sum(critic))  # of the actor's actions: forward, inputs
    return 2 * batch * (goal + critic_step + actor_step + judgement)


@dataclass(eq=False)
class Series:
    """A row in the making: what a contestant repeats, and how fast it was."""

    contestant: Contestant
    row: Row
    what: str
    per_step: float
    """Seed-steps that a step of one process stands for."""
    variant: str = ""
    rates: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    pace: float = 1.0
    """Steps a second of one process, the last time."""

    def repeat(self, steps: int) -> None:
        """Measure once. Raises `Failed`."""
        seconds = self.contestant.measure(self.what, steps)
        self.pace = steps / max(seconds)
        self.rates.append(sum(self.per_step * steps / each for each in seconds))
        self.steps.append(steps)

    def seconds(self, unit: float) -> float:
        """What a repeat takes if a run may take `unit` seconds."""
        whole = self.what == "run" and self.per_step <= REFERENCE
        return max(SHARES[self.what] * unit, (DRAW if whole else LEAST_STEPS[self.what]) / self.pace)

    def finished(self) -> tuple[Row, str]:
        """The row, and how it was timed."""
        steps = min(self.steps)
        low, high = min(self.rates), max(self.rates)
        timing = f"{len(self.rates)} × {steps:,} steps, {low:,.0f}–{high:,.0f}"
        return replace(self.row, seed_steps_per_second=statistics.median(self.rates)), timing


class Match:
    """The contestants of one task; a subclass says who they are."""

    order: Sequence[str]
    """Of the implementations in the result; without the first there is none."""
    rivals: Sequence[str]
    """Those that may enter in several ways, of which the fastest plays."""

    def __init__(self, task: Task, repeats: int) -> None:
        self.task, self.repeats = task, repeats
        self.series: list[Series] = []
        self.notes: list[str] = []
        self.dropped: list[str] = []

    def enter_all(self) -> None:
        """`enter` every contestant."""
        raise NotImplementedError

    def measure(self, deadline: float, say: Callable[[str], None]) -> list[tuple[Row, str]]:
        """Rows with how they were timed, by `deadline` (of `time.monotonic`) if at all possible.

        Raises `Failed` if nothing of the first of `order` can be measured.
        """
        try:
            self.enter_all()
            self._attempt(self._warm_up, self.series)
            for implementation in self.rivals:
                self._keep_fastest(implementation)
            self._require_first()
            unit = self.fit(deadline - time.monotonic())
            say(f"{self.task.name}: {len(self.series)} rows, {self.repeats} rounds of {unit:.1f} s a run")
            self._play(unit, deadline)
            self._require_first()
            ranked = sorted(self.series, key=lambda one: self.order.index(one.row.implementation))
            return [one.finished() for one in ranked]
        finally:
            for contestant in {id(one.contestant): one.contestant for one in self.series}.values():
                contestant.close()

    def _require_first(self) -> None:
        if not any(one.row.implementation == self.order[0] for one in self.series):
            raise Failed(self.dropped[0])

    def _play(self, unit: float, deadline: float) -> None:
        """The repeats, round-robin, there and back."""
        for number in range(self.repeats):
            began = time.monotonic()
            turns = self.series if number % 2 == 0 else self.series[::-1]
            self._attempt(lambda one: one.repeat(round(one.seconds(unit) * one.pace)), turns)
            now, rounds = time.monotonic(), number + 1
            if FEWEST_REPEATS <= rounds < self.repeats and 2 * now - began > deadline:
                self.dropped.append(f"{self.task.name}: repeats after the first {rounds}, for lack of time")
                return

    def enter(self, specs: list[Spec], parts: dict[str, str]) -> None:
        """Start a contestant, and a series for each of its parts."""
        spec = specs[0]
        flop = update_flop(self.task.observation_size, self.task.action_size, spec.hidden, spec.batch)
        matmul = 2 * 2 * spec.seeds * spec.batch * max(spec.hidden) ** 2 / flop
        contestant = Contestant(specs)
        for what, implementation in parts.items():
            row = Row(
                self.task.name,
                implementation,
                spec.seeds * len(specs),
                spec.batch,
                "float64" if what == "environments" else spec.precision,
                0.0,
            )
            variant = f"{spec.device} with {spec.threads} thread{'s' if spec.threads > 1 else ''}"
            per_step = matmul if what == "matmul" else float(spec.seeds)
            self.series.append(Series(contestant, row, what, per_step, variant))
        self._attempt(lambda one: one.contestant.wait_until_ready(), self.series[-len(parts) :][:1])

    def _attempt(self, action: Callable[[Series], None], turns: Sequence[Series]) -> None:
        """`action` for each in turn; a contestant that fails leaves, and it is said why."""
        for one in list(turns):
            if one in self.series:
                try:
                    action(one)
                except Failed as reason:
                    self._leave(one.contestant, str(reason))

    def _leave(self, contestant: Contestant, reason: str) -> None:
        contestant.close()
        rows = [one for one in self.series if one.contestant is contestant]
        self.series = [one for one in self.series if one.contestant is not contestant]
        if reason:
            row = rows[0].row
            what = f"{row.implementation}, {row.seeds} seeds, {row.precision}"
            self.dropped.append(f"{self.task.name}: {what}: {reason}")

    @staticmethod
    def _warm_up(one: Series) -> None:
        for steps in WARM_UP:
            one.repeat(steps)
        one.rates.clear()
        one.steps.clear()
        if one.what == "run":  # the first part, so that nothing else has used memory before
            memory = one.contestant.memory()
            one.row = replace(one.row, peak_memory_mib=memory if memory == memory else None)

    def _keep_fastest(self, implementation: str) -> None:
        """Of the ways to run a rival, the one that suits it best here."""
        rivals = [one for one in self.series if one.row.implementation == implementation]
        if len(rivals) < 2:
            return
        for _ in range(3):
            self._attempt(lambda one: one.repeat(max(10, round(TRIAL_SECONDS * one.pace))), rivals)
        rivals = [one for one in rivals if one in self.series]
        if not rivals:
            return
        rates = {one.variant: statistics.median(one.rates) for one in rivals}
        best = max(rates, key=lambda variant: rates[variant])
        for one in rivals:
            one.rates.clear()
            one.steps.clear()
            if one.variant != best:
                self._leave(one.contestant, "")
        tried = ", ".join(f"{variant} {rate:,.0f}/s" for variant, rate in rates.items())
        self.notes.append(f"{self.task.name}: {implementation} runs as is fastest for it, {best} ({tried}).")

    def fit(self, left: float) -> float:
        """Seconds that a run's repeat may take for all repeats to take `left` seconds.

        Above `REFERENCE`, as many seeds are left out as that demands, the most first.
        """
        while True:
            unit = LONGEST_REPEAT
            while unit > SHORTEST_REPEAT and sum(s.seconds(unit) for s in self.series) > left / self.repeats:
                unit *= 0.98
            large = [s for s in self.series if s.row.implementation == OURS and s.row.seeds > REFERENCE]
            if unit > SHORTEST_REPEAT or not large:
                return unit
            largest = max(large, key=lambda one: one.row.seeds)
            need = self.repeats * largest.seconds(unit)
            self._leave(largest.contestant, f"its repeats need {need:.0f} s or more, too long for --minutes")


def free_memory() -> float:
    """MiB that the machine could still give."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return float("inf")

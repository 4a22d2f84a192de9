"""Minutes until a level and the parts of a round: by hand; what is timed for them: who, on how many cores."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from aihf_control.envs.tasks import TASKS
from benchmarks.speed import learners, rounds, waits
from benchmarks.speed.learners import Learners
from benchmarks.speed.round_run import REFERENCE, RoundSpec, Stopwatch, measure
from benchmarks.speed.rounds import Round
from benchmarks.speed.rows import Row
from benchmarks.speed.runners import Baseline, Spec
from benchmarks.speed.waits import LEARNERS, Reach, Wait, reach, recorded

STEPS = np.arange(10) * 5_000


def curves(*seeds: list[float]) -> np.ndarray:
    return np.array(seeds, np.float64)


def test_a_level_is_reached_where_five_evaluations_are_at_it_on_average() -> None:
    spike = curves([0, 0, 99, 0, 0, 10, 10, 10, 10, 10])
    assert reach(STEPS, spike, 10) == Reach(20_000, 45_000)  # 99 / 5 at the fifth
    assert reach(STEPS, spike.clip(max=10), 10) == Reach(45_000, 45_000)  # only the last five are all at 10
    assert reach(STEPS, spike.clip(max=10), 11) == Reach(None, 45_000)


def test_of_five_seeds_the_best_and_the_worst_do_not_count() -> None:
    flat = curves(*([height] * 10 for height in (0.0, 6.0, 9.0, 12.0, 900.0)))
    assert reach(STEPS, flat, 9) == Reach(20_000, 45_000)  # (6 + 9 + 12) / 3, from the fifth evaluation on
    assert reach(STEPS, flat, 9.1) == Reach(None, 45_000)


def wait(steps: int | None, rate: float) -> Wait:
    row = Row("hopper", LEARNERS[0].name, 10, 128, "float32", rate)
    return Wait(row, LEARNERS[0], 3_000, Reach(steps, 200_000), "2 × 5", "3 × 100 steps, 99–101")


def test_minutes_are_five_seeds_times_steps_over_the_pace() -> None:
    assert wait(60_000, 100.0).minutes == 50.0  # 300,000 seed-steps in 3,000 s
    assert wait(None, 100.0).minutes == pytest.approx(166.67, abs=0.01)  # a million: all that was recorded


def test_the_page_says_that_a_curve_does_not_get_there() -> None:
    lines = waits.section([wait(60_000, 100.0), wait(None, 100.0)], "hopper")
    assert "### Minutes until the oracle returns 3,000" in lines
    assert "| 2 × 5 | 100 | 60,000 | 50.0 | its own |" in lines[-1]
    assert "| 2 × 5 | 100 | not within 200,000 | over 167 | its own |" in lines[-1]
    assert waits.section([wait(60_000, 100.0)], "halfcheetah") == []
    reached, never = waits.csv_text([wait(60_000, 100.0), wait(None, 100.0)]).splitlines()[1:]
    assert reached.endswith(",100.00,3000,60000,200000,50.00,learner/batch-norm")
    assert never.endswith(",100.00,3000,,200000,,learner/batch-norm")


def test_the_committed_curves_are_read() -> None:
    found = recorded("hopper")
    assert found["learner-plain/plain"] == Reach(None, 200_000)  # its best seed ends at 1,985
    normalised = found["learner/batch-norm"].steps
    assert normalised is not None and 100_000 < normalised < 200_000
    assert recorded("halfcheetah")["learner/batch-norm"].steps == 45_000
    assert {learner.curve for learner in LEARNERS} == set(found)


class Entered(Learners):
    """Remembers who enters, and starts no process."""

    def enter(self, specs: list[Spec], parts: dict[str, str]) -> None:
        name = next(iter(parts.values()))
        self.entered = [*getattr(self, "entered", []), (name, specs)]


@pytest.mark.parametrize(("device", "ours"), [("cpu", [0, 5, 10]), ("cuda", [0])])
def test_every_core_has_a_process_of_one_thread(device: str, ours: list[int]) -> None:
    spec = Spec("aihf_control", "hopper", device, threads=3, batch=64)
    match = Entered(TASKS["hopper"], spec, ("bfloat16", "float32"), repeats=5)
    match.enter_all()
    assert all(spec.threads == 1 and spec.batch == 128 for _, specs in match.entered for spec in specs)
    for name, specs in match.entered:
        own = name.startswith("aihf_control")
        assert [spec.first_seed for spec in specs] == (ours if own else [0, 1, 2])
        assert specs[0].seeds == (5 if own else 1)
    ways = [(name, specs[0].device, specs[0].precision) for name, specs in match.entered]
    assert ("aihf_control, plain", device, "bfloat16") in ways
    assert {way[1] for way in ways if way[0] == "Stable-Baselines3, SAC"} == {device, "cpu"}


def test_crossq_has_critics_as_wide_as_ours() -> None:
    spec = Spec("sb3_contrib", "hopper", "cpu", threads=1, batch=16, hidden=(16, 24), stored=64)
    contestant = Baseline(spec)
    contestant.prepare("run")(3)
    assert type(contestant.model).__name__ == "CrossQ" and contestant.model.num_timesteps == 3
    widths = [
        layer.out_features for layer in contestant.model.critic.modules() if hasattr(layer, "out_features")
    ]
    assert widths == 2 * [16, 24, 1]
    contestant.close()


class Ticks:
    """A clock that is read at known times."""

    def __init__(self, *times: float) -> None:
        self._times: Iterator[float] = iter(times)

    def __call__(self) -> float:
        return next(self._times)


def test_a_part_within_another_is_its_own() -> None:
    class Work:
        def inner(self, value: int) -> int:
            return value + 1

        def outer(self, value: int) -> int:
            return 2 * self.inner(value)

    watch, work = Stopwatch(Ticks(0, 2, 5, 9)), Work()
    watch.time(work, "inner", "inner")
    watch.time(work, "outer", "outer")
    assert work.outer(1) == 4
    assert watch.seconds == {"outer": 2 + 4, "inner": 3}
    assert Work().inner(1) == 2  # another object keeps its own, untimed


def test_a_rounds_steps_are_scaled_and_its_episodes_are_not() -> None:
    parts = {"updates": 4.0, "environments": 0.5, "rollouts": 3.0, "evaluation": 2.0, "reward learning": 1.0}
    found = Round("hopper", "float32", 5, steps=5_000, measured=500, seconds=parts)
    assert found.scaled() == parts | {"updates": 40.0, "environments": 5.0}
    assert found.played == 5 / 51
    assert "take 9.8%, not more than 10%." in "\n".join(rounds.section([found], "hopper"))
    longer = replace(found, seconds=parts | {"rollouts": 6.0})
    text = "\n".join(rounds.section([longer], "hopper"))
    assert "take 14.8%, more than 10%." in text and "| all | 54.0 | 100.0% |" in text


@pytest.mark.slow
def test_a_tiny_round_has_every_part() -> None:
    settings = replace(
        REFERENCE.settings,
        evaluation_episodes=1,
        sac=replace(REFERENCE.settings.sac, batch_size=16),
        aihf=replace(REFERENCE.settings.aihf, rollout_episodes=1, reward_steps=3),
    )
    feedback = replace(REFERENCE.feedback, demonstration_transitions=2_000, pairs=50, held_out_pairs=10)
    spec = RoundSpec("hopper", "cpu", "float32", "serial", 20, (0, 1), settings, feedback)
    found = measure(spec)
    assert (found.seeds, found.steps, found.measured) == (2, 5_000, 20)
    assert list(found.scaled()) == [part for part in rounds.PARTS if part != "alignment"]
    assert all(seconds > 0 for seconds in found.seconds.values())


@pytest.mark.slow
def test_tiny_learners_have_a_pace_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners, "BATCH", 16)
    spec = Spec("aihf_control", "hopper", "cpu", threads=1, stored=64)
    match = Learners(TASKS["hopper"], spec, ("float32",), repeats=1)
    found = match.waits(0.0, lambda line: None, recorded("hopper"))
    assert [each.learner for each in found] == list(LEARNERS)
    assert [each.at_once for each in found] == ["1 × 5", "1 × 5", "1 × 1", "1 × 1"]
    assert all(each.row.seed_steps_per_second > 0 for each in found)

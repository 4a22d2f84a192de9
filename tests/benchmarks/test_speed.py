"""`make speed`: its arithmetic by hand, and one tiny run of the real thing. Nothing here is timed."""

import time
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from aihf_control.envs.tasks import TASKS
from benchmarks.speed import match as speed_match
from benchmarks.speed.__main__ import Options, measure, slug
from benchmarks.speed.contestants import Contestant, Failed
from benchmarks.speed.match import Series, update_flop
from benchmarks.speed.plot import draw
from benchmarks.speed.report import Report, markdown, targets
from benchmarks.speed.rows import Row, csv_text, knee, read_csv, with_ratios
from benchmarks.speed.runners import Spec, environment
from benchmarks.speed.sweep import Sweep

HEADER = (
    "task,implementation,seeds,batch,precision,seed_steps_per_second,ratio_to_sb3,share_of_limit,"
    "peak_memory_mib"
)
RATES = {1: 100.0, 2: 190.0, 4: 260.0, 8: 300.0, 16: 329.0, 32: 420.0}


def rows() -> list[Row]:
    """Every kind of row; doubling 8 seeds gains 9.7%, doubling 16 gains more again."""
    made = [
        Row("hopper", "aihf_control", seeds, 256, "float32", rate, peak_memory_mib=10.0 * seeds)
        for seeds, rate in RATES.items()
    ]
    made += [
        Row("hopper", "limit", seeds, 256, "float32", 2 * rate if seeds == 8 else 500.0)
        for seeds, rate in RATES.items()
    ]
    return [
        *made,
        Row("hopper", "aihf_control", 8, 256, "bfloat16", 400.0),
        Row("hopper", "limit", 8, 256, "bfloat16", 640.0),
        Row("hopper", "sb3", 1, 256, "float32", 60.0),
        Row("hopper", "sb3 one process per core", 2, 256, "float32", 120.0),
        Row("hopper", "aihf_control update alone", 8, 256, "float32", 450.0),
        Row("hopper", "environments alone", 8, 256, "float64", 9_000.0),
    ]


def find(found: list[Row] | tuple[Row, ...], implementation: str, seeds: int, precision: str) -> Row:
    key = (implementation, seeds, precision)
    return next(row for row in found if (row.implementation, row.seeds, row.precision) == key)


def report(found: list[Row]) -> Report:
    return Report(
        rows=tuple(with_ratios(found)),
        timing=tuple(f"timing of row {number}" for number in range(len(found))),
        default_precision="float32",
        cuda=False,
        command="make speed",
        date="2026-01-01",
        machine="two cores",
        versions="torch 0",
        notes=("a note",),
        dropped=("128 seeds: too long",),
    )


def test_the_flop_of_an_update_are_those_counted_by_hand() -> None:
    # Observations of 2, actions of 1, a hidden layer of 3 and one of 5, a batch of 1.
    actor_layers, critic_layers = (2 * 3, 3 * 5, 5 * 2), (3 * 3, 3 * 5, 5 * 1)  # 31 and 29 products
    critic_loss = 31 + 2 * 29  # next actions, both targets
    critic_loss += 2 * 29 + 2 * 29 + 2 * (15 + 5)  # forward; to the weights; to the inputs of layers 2 and 3
    actor_loss = 31 + 2 * 29 + 2 * 29  # actions; forward through the critics; back to the actions
    actor_loss += 31 + (15 + 10)  # to the actor's weights; to the inputs of its layers 2 and 3
    assert (sum(actor_layers), sum(critic_layers)) == (31, 29)
    assert update_flop(2, 1, (3, 5), batch=1) == 2 * (critic_loss + actor_loss) == 2 * 448
    assert update_flop(2, 1, (3, 5), batch=7) == 7 * 2 * 448


def test_an_update_on_hopper_takes_about_570_megaflop() -> None:
    assert update_flop(11, 3, (256, 256), 256) == pytest.approx(570e6, rel=0.02)


def test_ratios_and_shares_follow_from_the_rates() -> None:
    found = with_ratios(rows())
    assert find(found, "aihf_control", 8, "float32").ratio_to_sb3 == 2.5  # 300 / 120
    assert find(found, "aihf_control", 8, "float32").share_of_limit == 0.5  # its limit is 600
    assert find(found, "aihf_control", 8, "bfloat16").share_of_limit == 0.625  # 400 / 640
    assert find(found, "sb3", 1, "float32").ratio_to_sb3 == 0.5
    assert find(found, "sb3", 1, "float32").share_of_limit is None
    update = find(found, "aihf_control update alone", 8, "float32")
    assert (update.ratio_to_sb3, update.share_of_limit) == (None, 0.75)
    assert find(found, "environments alone", 8, "float64").ratio_to_sb3 is None


def test_the_knee_is_the_first_doubling_that_gains_less_than_a_tenth() -> None:
    def curve(rates: dict[int, float]) -> list[Row]:
        return [Row("hopper", "aihf_control", seeds, 256, "float32", rate) for seeds, rate in rates.items()]

    assert knee(curve(RATES)) == 8
    assert knee(curve({1: 100.0, 2: 110.0, 4: 120.0})) == 2
    assert knee(curve({1: 100.0, 2: 200.0, 4: 400.0})) is None
    assert knee(curve({1: 100.0, 10: 100.0})) is None  # no doubling was measured


def test_targets_are_judged_by_the_numbers() -> None:
    found = with_ratios(rows())
    assert [goal.verdict for goal in targets(found, "hopper", "float32", cuda=False)] == ["met", "not met"]
    assert [goal.verdict for goal in targets(found, "hopper", "bfloat16", cuda=False)] == ["met", "met"]
    unmeasured = [row for row in found if row.seeds != 8]
    assert {goal.verdict for goal in targets(unmeasured, "hopper", "float32", cuda=False)} == {"not measured"}
    on_gpu = [replace(row, seed_steps_per_second=10 * row.seed_steps_per_second) for row in found]
    verdicts = [goal.verdict for goal in targets(on_gpu, "hopper", "float32", cuda=True)]
    assert verdicts == ["met", "not measured", "not measured"]  # exactly 1,000 steps a second with one seed
    assert targets(on_gpu, "halfcheetah", "float32", cuda=True) == []


def test_the_csv_has_the_promised_columns_and_reads_back(tmp_path: Path) -> None:
    found, path = with_ratios(rows()), tmp_path / "speed.csv"
    path.write_text(csv_text(found))
    assert path.read_text().splitlines()[0] == HEADER
    assert read_csv(path) == found
    assert with_ratios(read_csv(path)) == found


def test_the_page_says_what_the_numbers_mean() -> None:
    text = markdown(report(rows()))
    assert "Knee at 8 seeds" in text
    assert "| at least 2.5 × SB3 on the same cores, 8 seeds | 2.50 | met |" in text
    assert "| at least 60% of the limit, 8 seeds | 50.0% | not met |" in text
    assert "| aihf_control | 8 | float32 | 300.0 | 2.50 | 50% | 80 | timing of row 3 |" in text
    assert "- 128 seeds: too long" in text and "- a note" in text


def test_the_figure_has_a_row_of_four_panels_a_task() -> None:
    both = rows() + [replace(row, task="halfcheetah") for row in rows()]
    figure = draw(report(both))
    assert len(figure.axes) == 8
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("knee: 8") == 2
    assert "environments alone: 9,000–9,000, above this scale" in texts
    ratio = figure.axes[1].lines[0]
    np.testing.assert_array_equal(ratio.get_xdata(), list(RATES))
    assert np.asarray(ratio.get_ydata()) == pytest.approx([rate / 120 for rate in RATES.values()], abs=0.0006)


def test_a_contestant_that_cannot_play_says_why() -> None:
    contestant = Contestant([Spec("aihf_control", "no such task", "cpu", threads=1)])
    with pytest.raises(Failed, match="no such task"):
        contestant.wait_until_ready()
    contestant.close()


class Steady(Contestant):
    """Stands for processes whose steps take known times."""

    def __init__(self, *seconds: float) -> None:
        self.step_seconds, self.closed = seconds, False

    def measure(self, what: str, steps: int) -> list[float]:
        return [seconds * steps for seconds in self.step_seconds]

    def close(self) -> None:
        self.closed = True


def series(seeds: int, step_seconds: float) -> Series:
    row = Row("hopper", "aihf_control", seeds, 256, "float32", 0.0)
    made = Series(Steady(step_seconds), row, "run", float(seeds))
    made.repeat(10)
    return made


def test_the_most_seeds_are_left_out_first_when_time_is_short() -> None:
    match = Sweep(TASKS["hopper"], Spec("aihf_control", "hopper", "cpu", threads=1), (8, 128), repeats=5)
    slow = series(128, 0.5)  # 25 steps, the fewest of a repeat, take 12.5 s
    match.series = [series(8, 0.02), slow]
    assert match.fit(100.0) == 5.0  # 5 × (5 + 12.5) s fit
    assert len(match.series) == 2 and match.dropped == []
    assert 3.9 < match.fit(20.0) <= 4.0  # 62.5 s do not; alone, 8 seeds have 5 × 4 s
    assert [one.row.seeds for one in match.series] == [8]
    assert isinstance(slow.contestant, Steady) and slow.contestant.closed
    assert "128 seeds" in match.dropped[0] and "62 s" in match.dropped[0]
    match.fit(0.0)
    assert [one.row.seeds for one in match.series] == [8]  # the targets are set for it: it stays


class Starved(Steady):
    """Stands for a process that no longer answers once the others play."""

    def measure(self, what: str, steps: int) -> list[float]:
        if steps > 10:
            raise Failed("no answer within 180 s")
        return super().measure(what, steps)

    def memory(self) -> float:
        return 1.0


class Alone(Sweep):
    def enter_all(self) -> None:
        self.series = [
            Series(Starved(0.01), Row("hopper", "aihf_control", 1, 256, "float32", 0.0), "run", 1.0)
        ]


def test_without_a_row_of_this_suite_there_is_no_page() -> None:
    match = Alone(TASKS["hopper"], Spec("aihf_control", "hopper", "cpu", threads=1), (1,), repeats=3)
    with pytest.raises(Failed, match="hopper: aihf_control, 1 seeds, float32: no answer within 180 s"):
        match.measure(time.monotonic() + 60, lambda line: None)


def test_rates_add_up_over_processes_and_a_row_is_their_median() -> None:
    team = series(1, 0.1)
    team.rates.clear()
    for seconds in ((0.2, 0.1), (0.1, 0.1), (0.4, 0.4)):
        team.contestant = Steady(*seconds)
        team.repeat(10)
    assert team.rates == [15.0, 20.0, 5.0]
    assert team.pace == 2.5  # of the slower process
    assert team.finished()[0].seed_steps_per_second == 15.0


def test_a_tiny_run_writes_complete_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_match, "TRIAL_SECONDS", 0.05)
    options = Options(
        "hopper",
        "cpu",
        minutes=0,
        output=tmp_path,
        precision="float32",
        seeds=(1, 2),
        batch=16,
        hidden=(16, 16),
        repeats=2,
        stored=64,
    )
    folder = measure(options, "make speed")
    assert folder == tmp_path / "cpu"
    found = read_csv(folder / "speed.csv")
    cores = next(row.seeds for row in found if row.implementation == "sb3 one process per core")
    kinds = ("aihf_control", "aihf_control update alone", "environments alone", "limit")
    assert {(row.implementation, row.seeds) for row in found} >= {
        *((kind, seeds) for kind in kinds for seeds in (1, 2)), ("sb3", 1)
    }  # fmt: skip
    baseline = find(found, "sb3 one process per core", cores, "float32").seed_steps_per_second
    for row in found:
        assert (row.task, row.batch) == ("hopper", 16) and row.seed_steps_per_second > 0
        if row.implementation in ("aihf_control", "sb3", "sb3 one process per core"):
            assert row.ratio_to_sb3 == pytest.approx(row.seed_steps_per_second / baseline, abs=0.0006)
            assert row.peak_memory_mib is None or row.peak_memory_mib > 0
        if row.implementation in kinds[:2]:
            limit = find(found, "limit", row.seeds, row.precision).seed_steps_per_second
            assert row.share_of_limit == pytest.approx(row.seed_steps_per_second / limit, abs=0.0006)
    assert matplotlib.image.imread(folder / "speed.png").ndim == 3
    page = (folder / "speed.md").read_text()
    assert page.count("| not measured |") == 2  # the targets are set for 8 seeds
    assert page.count("| 2 × ") == len(found)  # repeats
    assert "- hopper: the waits and the round, for lack of time" in page
    assert (folder / "waits.csv").read_text().count("\n") == 1


def test_folders_are_named_after_the_device() -> None:
    assert slug("NVIDIA H200") == "nvidia-h200"
    assert slug("cpu") == "cpu"


def test_what_a_measurement_writes_is_no_committed_file() -> None:
    assert Options().output == Path(__file__).parents[2] / "results" / "runs" / "speed"


def test_a_contestants_environment_says_nothing_and_leaves_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    environment(TASKS["halfcheetah"]).close()
    assert capfd.readouterr() == ("", "") and list(tmp_path.iterdir()) == []

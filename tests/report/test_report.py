"""A study's report, on synthetic runs whose numbers can be checked by hand."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text

from aihf_control.errors import InvalidData
from aihf_control.methods.table import METHODS
from aihf_control.report.figure5 import figure5
from aihf_control.report.findings import yardstick
from aihf_control.report.latex import escape, latex
from aihf_control.report.profiles import profiles
from aihf_control.report.provenance import provenance
from aihf_control.report.results import NoResults, read_results
from aihf_control.report.reward_quality import reward_panels
from aihf_control.report.style import compact, spread
from aihf_control.report.table_csv import csv_text
from aihf_control.report.tables import markdown, tabulate, text
from aihf_control.report.tidy import read_study
from aihf_control.report.write import write_report
from aihf_control.runs.stored import add_runs
from aihf_control.words import seed_list
from benchmarks.figure5 import main

ROOT = Path(__file__).parents[2]
FILES = {
    "figure5.png", "figure5.pdf", "table.md", "table.csv", "table.tex", "PROVENANCE.md", "profiles.png",
    "report.html",
}  # fmt: skip
PREFERRED = ("reward_accuracy", "pearson_demonstrations", "spearman_demonstrations", "epic_distance")


def write_run(
    study: Path,
    task: str,
    method: str,
    seed: int,
    returns: Sequence[float],
    *,
    demonstrations: float = 900.0,
    random: float = 0.0,
    expert: float = 1000.0,
    learned: Sequence[str] = (),
    failed_at: int | None = None,
    seconds: float = 60.0,
    state: str = "finished",
    fixed: bool = False,
    rollouts: int = 0,
    **config: Any,
) -> Path:
    """One seed's folder: an evaluation every 10 steps; columns `learned` hold 0.6, 0.7, … but at step 0;
    `rollouts` are environment steps between two of them, beside SAC's."""
    folder = study / task / method / f"seed_{seed}"
    folder.mkdir(parents=True)
    lines = [",".join(["step", "return_mean", "environment_steps", *learned])]
    for row, value in enumerate(returns):
        shown = [f"{0.5 + row / 10}" if row else "" for _ in learned]
        lines.append(",".join([str(10 * row), str(value), str((10 + rollouts) * row), *shown]))
    (folder / "progress.csv").write_text("\n".join(lines) + "\n")
    feedback = {"sha256": f"{task:f<64}", "demonstrations_return": demonstrations, "demonstrations": 10_000}
    record = {
        "study": study.name,
        "task": task,
        "method": method,
        "seed": seed,
        "batch": [seed],
        "command": "make bench ENV=all STUDY=mine",
        "preset": "paper",
        "round_steps": 10,
        "steps": 20,
        "feedback": feedback | {"pairs": 20_000, "segment_length": 50},
        "references": {"random": random, "expert": expert},
        "settings": {"evaluation_episodes": 10, "fixed_horizon": fixed},
    }
    (folder / "config.json").write_text(json.dumps(record | config))
    status = {
        "state": "failed" if failed_at is not None else state,
        "step": 10 * max(0, len(returns) - 1),
        "wall_seconds": seconds,
        "batch_size": 1,
    }
    status |= {"failed_at_step": failed_at, "reason": "NaN" if failed_at is not None else None}
    (folder / "status.json").write_text(json.dumps(status))
    return folder


def two_tasks(root: Path) -> Path:
    """AIHF above RLHF on both; IRL on Hopper alone; IPL ends early; HalfCheetah is missing."""
    study = root / "mine"
    for seed in range(5):
        write_run(study, "hopper", "aihf", seed, [0, 100, *[800 + 10 * seed] * 5])
        write_run(study, "hopper", "rlhf", seed, [700, 400, *[100 + 10 * seed] * 5])
        write_run(study, "hopper", "ipl", seed, [600, 500 + seed])
        write_run(study, "hopper", "irl", seed, [0, 50, *[810 + 10 * seed] * 5])
        write_run(study, "hopper", "bc", seed, [650])
        write_run(study, "hopper", "oracle", seed, [0, 400, *[850] * 5, 990])
        write_run(study, "hopper", "constant_plus", seed, [0, 5, 5])
        write_run(study, "hopper", "mine", seed, [0, 5, 300])
        for method, returns in (
            ("aihf", [0, 100, *[1500 + 10 * seed] * 5]),
            ("rlhf", [900, 400, *[300] * 5]),
        ):
            write_run(
                study, "walker2d", method, seed, returns, random=-100.0, expert=1900.0, demonstrations=1800.0
            )
    return study


def rows(table: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["task"], row["method"]): row for row in csv.DictReader(table.splitlines())}


def words(figure: Figure) -> list[str]:
    return [item.get_text() for item in figure.findobj(Text) if isinstance(item, Text)]


def test_numbers_by_hand(tmp_path: Path) -> None:
    table = rows(csv_text(tabulate(read_results(two_tasks(tmp_path)))))
    aihf = table["hopper", "aihf"]
    assert float(aihf["final_return_estimate"]) == 820.0  # of 800 … 840, the middle three
    assert float(aihf["normalised_score_estimate"]) == pytest.approx(0.82)
    # (0 + 100) / 2 · 10 + (100 + 820) / 2 · 10 + 820 · 40, over 60 steps
    assert float(aihf["area_under_curve_estimate"]) == pytest.approx(37_900 / 60)
    assert aihf["final_return_interval"] == "bootstrap" and aihf["aihf_improvement_estimate"] == ""
    # 90% of 900 is 810: seed 0 stays at 800, the others are there at step 20
    assert (aihf["steps_to_90_percent"], aihf["seeds_to_90_percent"]) == ("20.0", "4")
    # 5 against 5, all above: 2 of the 252 ways to deal ten ranks are as far apart
    assert float(table["hopper", "rlhf"]["aihf_improvement_p"]) == pytest.approx(2 / 252)
    assert float(table["hopper", "rlhf"]["aihf_improvement_estimate"]) == 1.0
    # against 810, 820 … 850: of 25 pairs AIHF wins 6 and ties 4
    assert float(table["hopper", "irl"]["aihf_improvement_estimate"]) == 8 / 25
    # 0.80 … 0.84 on Hopper, (1500 + 100) / 2000 … = 0.80 … 0.82 on Walker2d; the middle six of ten
    pooled = sorted([0.80, 0.81, 0.82, 0.83, 0.84, 0.80, 0.805, 0.81, 0.815, 0.82])
    assert float(table["all", "aihf"]["normalised_score_estimate"]) == pytest.approx(sum(pooled[2:8]) / 6)
    assert table["all", "aihf"]["final_return_estimate"] == ""
    assert (table["all", "irl"]["tasks"], table["all", "aihf"]["tasks"]) == ("1", "2")
    assert float(table["all", "rlhf"]["aihf_improvement_estimate"]) == 1.0
    assert table["hopper", "constant_plus"]["seeds_finished"] == "5"
    assert table["walker2d", "ipl"]["seeds_finished"] == "0"
    assert (aihf["steps"], aihf["environment_steps"]) == ("60", "60.0")
    assert (table["hopper", "oracle"]["steps"], table["hopper", "ipl"]["steps"]) == ("70", "10")


def test_what_a_seed_took(tmp_path: Path) -> None:
    """Its share of its batch's wall time, and what its reward knew at the end."""
    study = tmp_path / "s"
    for seed in range(2):
        write_run(study, "hopper", "aihf", seed, [0, 1, 2], learned=PREFERRED, batch=[0, 1], seconds=100.0)
    write_run(study, "hopper", "aihf", 2, [0, 1, 2], learned=PREFERRED, batch=[2], seconds=80.0)
    tables = tabulate(read_results(study))
    row = rows(csv_text(tables))["hopper", "aihf"]
    assert float(row["wall_seconds"]) == 60.0 and float(row["reward_accuracy"]) == pytest.approx(0.7)
    assert "| 0.700 | 20 | 20 | 1 min |" in markdown(tables)
    printed = text(tables).splitlines()  # aligned: columns start at one place
    assert len({line.index(word) for line, word in zip(printed[1:4:2], ("Seeds", "3  "), strict=True)}) == 1


def test_a_failed_seed_scores_as_random_and_stays(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 100, *[1000] * 5], random=20.0)
    write_run(tmp_path / "s", "hopper", "aihf", 1, [0, 4000], failed_at=10, random=20.0)
    row = rows(csv_text(tabulate(read_results(tmp_path / "s"))))["hopper", "aihf"]
    assert (row["seeds_finished"], row["seeds_failed"]) == ("1", "1")
    assert (float(row["final_return_low"]), float(row["final_return_high"])) == (20.0, 1000.0)
    # 0 to 20, then 20: the 4000 is not counted
    assert float(row["area_under_curve_low"]) == pytest.approx((10 * 10 + 20 * 50) / 60)


def test_failed_seeds_without_references_score_zero(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [], failed_at=0, references=None)
    tables = tabulate(read_results(tmp_path / "s"))
    row = rows(csv_text(tables))["hopper", "aihf"]
    assert (row["final_return_estimate"], row["steps"]) == ("0.0", "20")
    assert row["normalised_score_estimate"] == "" and "no normalised score" in markdown(tables)


def test_adding_a_method_moves_no_other_number(tmp_path: Path) -> None:
    for seed in range(6):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [0, 5, 100.0 * seed])
    alone = rows(csv_text(tabulate(read_results(tmp_path / "s"))))["hopper", "aihf"]
    for seed in range(6):
        write_run(tmp_path / "s", "hopper", "rlhf", seed, [0, 9, 50.0 * seed])
    assert rows(csv_text(tabulate(read_results(tmp_path / "s"))))["hopper", "aihf"] == alone


def test_a_study_of_one_task_names_no_other(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2])
    study = read_results(tmp_path / "s")
    assert study.missing_tasks == () and "No results yet" not in "".join(words(figure5(tabulate(study))))
    assert (
        "HalfCheetah" not in markdown(tabulate(study)) and "RLHF" not in text(tabulate(study)).split("P(")[0]
    )


def test_sentences(tmp_path: Path) -> None:
    said = "\n".join(tabulate(read_results(two_tasks(tmp_path))).findings)
    for sentence in (
        # the oracle, longer trained, has 850 at AIHF's last step: 820 / 850
        "Hopper-v5: AIHF's final 820, at step 60, is 96% of 850, the lower of the demonstrations' mean 900 "
        "and the oracle's 850 at the same step.",
        "Walker2d-v5: AIHF's final 1,520, at step 60, is 84% of the demonstrations' mean, 1,800 (there is no",
        "Hopper-v5: AIHF is above RLHF and IPL and BC and mine: "
        "P(AIHF > RLHF) = 1.00 [1.00 to 1.00], p = 0.008; ",
        "Walker2d-v5: AIHF is above RLHF: P(AIHF > RLHF) = 1.00 [1.00 to 1.00], p = 0.008.",
        "Over all tasks: AIHF is above RLHF and IPL and BC and mine: P(AIHF > RLHF) = 1.00 [1.00 to 1.00]; ",
        "Hopper-v5: preferences do not measurably add to what the demonstrations alone give: P(AIHF > IRL)",
    ):
        assert sentence in said


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ((90, 91, 92, 93, 94), (1, 2, 3, 4, 5), "preferences add to what"),
        ((1, 2, 3, 4, 5), (90, 91, 92, 93, 94), "preferences take away from what"),
        ((1, 2, 3, 4, 5), (1, 2, 3, 4, 5), "preferences do not measurably add to what"),
        ((9, 9, 9), (1, 1, 1), "is not known: P(AIHF > IRL) = 1.00 (3 seeds: no verdict)."),
        ((9, 9, 9, 9, 9), (1, 1, 1, 1), "is not known: P(AIHF > IRL) = 1.00 (4 seeds: no verdict)."),
        ((9,), (1,), "is not known: P(AIHF > IRL) = 1.00 (1 seed: no verdict)."),
    ],
)
def test_what_preferences_add(
    tmp_path: Path, ours: Sequence[float], theirs: Sequence[float], words: str
) -> None:
    for method, finals in (("aihf", ours), ("irl", theirs)):
        for seed, final in enumerate(finals):
            write_run(tmp_path / "s", "hopper", method, seed, [0, 0, *[final] * 5])
    findings = tabulate(read_results(tmp_path / "s")).findings
    assert words in findings[-1]


def test_yardstick_below_zero_gives_no_share(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 0, *[5] * 5], demonstrations=-10.0)
    study = read_results(tmp_path / "s")
    measured = yardstick(study.tasks[0])
    assert measured is not None and measured.height == -10.0 and measured.share is None
    assert "has no yardstick above zero" in "\n".join(tabulate(study).findings)


def test_what_is_missing_or_failed_is_said_everywhere(tmp_path: Path) -> None:
    study = two_tasks(tmp_path)
    write_run(study, "hopper", "aihf", 7, [0, 50], failed_at=10)
    write_run(study, "walker2d", "irl", 3, [0, 50], state="running")
    write_run(study, "swimmer", "aihf", 0, [0], state="running")
    results = read_results(study)
    tables = tabulate(results)
    table, printed = markdown(tables), text(tables)
    for gap in (
        "HalfCheetah-v5: no run has ended.",
        "Swimmer-v5: no run has ended.",
        "Walker2d-v5: no run of IPL, BC, Oracle (true reward), Constant +1, mine.",
        "Walker2d-v5, IRL: seeds 3 are running or missing",
        "Hopper-v5, AIHF seed 7 failed at step 10: NaN.",
        "AIHF has more seeds on some tasks, which weigh more over all.",
    ):
        assert gap in table and gap in printed
    assert "| AIHF | 6 (1 failed) |" in table
    row = rows(csv_text(tables))["hopper", "aihf"]
    assert (row["seeds_finished"], row["seeds_failed"]) == ("5", "1")
    said = " ".join(words(figure5(tables))).replace("\n", " ")
    without = "IPL, BC, IRL, Oracle (true reward) and mine on Walker2d-v5"
    assert f"No results yet: HalfCheetah-v5 and Swimmer-v5; {without}." in said
    assert "(1 failed) for AIHF on Hopper-v5" in said


def test_a_pool_is_as_strong_as_its_weakest_task(tmp_path: Path) -> None:
    for task, seeds in (("hopper", 3), ("walker2d", 1)):
        for seed in range(seeds):
            write_run(tmp_path / "s", task, "aihf", seed, [0, 0, *[10.0 + seed] * 5])
            write_run(tmp_path / "s", task, "rlhf", seed, [0, 0, *[5.0 + seed] * 5])
    findings = tabulate(read_results(tmp_path / "s")).findings
    said = [words for words in findings if words.startswith("Over all tasks") and "RLHF" in words]
    assert len(said) == 1 and said[0].endswith("(1 seed: no verdict).")


def test_few_seeds_say_so(tmp_path: Path) -> None:
    for task in ("hopper", "walker2d"):
        for seed in range(3):
            write_run(tmp_path / "s", task, "aihf", seed, [0, 0, *[10.0 + seed] * 5])
            write_run(tmp_path / "s", task, "rlhf", seed, [0, 0, *[5.0 + seed] * 5])
    tables = tabulate(read_results(tmp_path / "s"))
    table = markdown(tables)
    assert "| AIHF | 3 | 11.0 [range 10.0 to 12.0] |" in table
    assert "| 1.00 (3 seeds: no verdict) |" in table and "AIHF is " not in table.split("## ")[1]
    row = rows(csv_text(tables))["all", "rlhf"]
    assert row["normalised_score_interval"] == "range" and row["aihf_improvement_low"] == ""


def test_both_forms_give_the_same_report(tmp_path: Path) -> None:
    """As trained, and as committed once every method was added, in two batches."""
    study, committed = two_tasks(tmp_path / "runs"), tmp_path / "results" / "mine"
    write_run(study, "hopper", "aihf", 7, [0, 50], failed_at=10)
    add_runs(study, committed, ["aihf", "ipl"])
    add_runs(study, committed)
    names = {path.relative_to(committed).as_posix() for path in committed.rglob("*.*")}
    assert {"runs.json", "hopper/aihf.csv", "walker2d/rlhf.csv"} < names and len(names) == 1 + 8 + 2
    contents = []
    for folder in (study, committed):
        report = write_report(folder, tmp_path / "out")
        assert {path.name for path in report.paths} == FILES
        contents.append({path.name: path.read_bytes() for path in report.paths})
    assert contents[0] == contents[1]
    assert b"CreationDate" not in contents[0]["figure5.pdf"]
    pd.testing.assert_frame_equal(read_study(study), read_study(committed))


def test_what_cannot_be_is_told_from_what_is_not_there_yet(tmp_path: Path) -> None:
    for fixed, study in ((True, tmp_path / "fixed"), (False, tmp_path / "standard")):
        for task in ("hopper", "walker2d"):
            write_run(study, task, "aihf", 0, [0, 1, 2], fixed=fixed)
        write_run(study, "hopper", "bc", 0, [650], fixed=fixed)
        results = read_results(study)
        said = " ".join(words(figure5(tabulate(results)))).replace("\n", " ")
        assert ("Not applicable: HalfCheetah-v5, which cannot fall." in said) == fixed
        assert ("No results yet: HalfCheetah-v5; BC on Walker2d-v5." in said) != fixed
        table = markdown(tabulate(results))
        assert ("HalfCheetah-v5: not applicable" in table) == fixed
        assert (
            "| BC | 1 | 650 (one seed) | n/a | – | 0.65 (one seed) | 0.00 (1 seed: no verdict) | n/a |"
            in table
        )
        assert "| BC | 0 | – | – | – | – | – | – | – | – | – |" in table  # on Walker2d
        # the end is 1 and 2 without the start's 0; 90% of 900 is never reached; AIHF is not compared with
        # itself; old runs recorded no accuracy
        assert "| AIHF | 1 | 1.5 (one seed) | 1.0 (one seed) | – | 0.00 (one seed) | n/a | – |" in table


def test_final_scores_stand_at_the_right_and_few_seeds_get_no_band(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [0, 0, *[100.0 * seed] * 5])
    study = read_results(tmp_path / "s")
    assert {"100", "900"} <= set(words(figure5(tabulate(study))))
    figure = profiles(study)
    assert figure is not None and not figure.axes[0].collections
    assert "No band, for there are under 5 seeds a task." in " ".join(words(figure)).replace("\n", " ")
    for seed in range(3, 5):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [0, 0, *[100.0 * seed] * 5])
    figure = profiles(read_results(tmp_path / "s"))
    assert figure is not None and len(figure.axes[0].collections) == 1


def test_panels_show_what_they_should(tmp_path: Path) -> None:
    figure = figure5(tabulate(read_results(two_tasks(tmp_path))))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Hopper-v5", "Walker2d-v5"]
    hopper = figure.axes[0]
    lines: dict[object, list[Line2D]] = {}
    for line in hopper.get_lines():
        lines.setdefault(line.get_color(), []).append(line)
    assert {METHODS[m].colour for m in ("aihf", "rlhf", "ipl", "irl", "oracle")} <= lines.keys()
    assert METHODS["constant_plus"].colour not in lines
    (ours,) = lines[METHODS["aihf"].colour][:1]
    assert np.asarray(ours.get_ydata()).tolist() == [0.0, 100.0, *[820.0] * 5] and ours.get_linewidth() > 2
    assert lines[METHODS["irl"].colour][0].get_linewidth() < 1.5
    # IPL's last of its own updates is at 10; it is held, dotted, to the oracle's 70
    held = [line for line in lines[METHODS["ipl"].colour] if line.get_linestyle() == ":"]
    assert [np.asarray(line.get_xdata()).tolist() for line in held] == [[10, 70]]
    assert hopper.get_xlim() == (0.0, 70.0)
    said = " ".join(" ".join(words(figure)).split())
    for part in (
        "IPL ended at 10 updates",
        "make bench ENV=all STUDY=mine",
        "seeds 0–4",
        "95% stratified bootstrap over seeds",
        "No results yet: HalfCheetah-v5; IPL, BC, IRL, Oracle (true reward) and mine on Walker2d-v5.",
        "Demonstrations' mean",
        "mine",
    ):
        assert part in said


def tick_labels(axis: Axis) -> list[Text]:
    """Those that are drawn: Matplotlib also keeps some beyond the ends."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_visible()]


def assert_readable(figure: Figure) -> None:
    """Words are inside the figure, and none lies on another."""
    figure.canvas.draw()
    shown: list[Text | Legend] = [*figure.texts, *figure.legends]
    for axes in figure.axes:
        bold = [
            item for item in axes.get_children() if isinstance(item, Text) and item.get_fontweight() == "bold"
        ]
        shown += [axes.xaxis.label, axes.yaxis.label, *bold, *axes.texts]
        shown += [*tick_labels(axes.xaxis), *tick_labels(axes.yaxis)]
    shown = [item for item in shown if not isinstance(item, Text) or item.get_text()]
    boxes = [item.get_window_extent() for item in shown]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0, shown[number]
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, shown[number]
        assert not [shown[i] for i in range(number) if box.overlaps(boxes[i])], shown[number]


@pytest.mark.parametrize(
    "tasks", [("hopper",), ("hopper", "walker2d"), ("hopper", "halfcheetah", "walker2d")]
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_no_words_overlap(tmp_path: Path, tasks: tuple[str, ...], seeds: int) -> None:
    scale = {"hopper": 1.0, "halfcheetah": -12.0, "walker2d": 4.0}
    for task in tasks:
        for seed in range(seeds):
            for method in ("aihf", "rlhf", "ipl", "irl", "oracle", "bc", "a_method_of_mine"):
                returns = [0.0] if method == "bc" else [900 * scale[task], 1000 * scale[task]]
                learned = PREFERRED if method in ("aihf", "rlhf", "irl") else ()
                failed = 10 if seed == 2 and method == "ipl" else None
                write_run(tmp_path / "s", task, method, seed, returns, learned=learned, failed_at=failed)
    study = read_results(tmp_path / "s")
    for figure in (figure5(tabulate(study)), profiles(study), reward_panels(study)):
        assert figure is not None
        assert_readable(figure)


def test_profiles_by_hand(tmp_path: Path) -> None:
    for seed, final in enumerate((100.0, 400.0, 400.0, 900.0)):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [0, 0, *[final] * 5])
        write_run(tmp_path / "s", "walker2d", "aihf", seed, [0, 0, *[2000.0] * 5])
        write_run(tmp_path / "s", "hopper", "rlhf", seed, [0, 0, *[0.0] * 5])
    figure = profiles(read_results(tmp_path / "s"))
    assert figure is not None
    (line,) = [line for line in figure.axes[0].get_lines() if line.get_color() == METHODS["aihf"].colour]
    shares = dict(zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True))
    near = {tau: shares[min(shares, key=lambda x: abs(x - tau))] for tau in (0.0, 0.3, 0.6, 1.2)}
    assert near == {0.0: 1.0, 0.3: 7 / 8, 0.6: 5 / 8, 1.2: 4 / 8}
    assert "RLHF (1 of 2 tasks)" in words(figure)


def test_what_the_reward_learned(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "s", "hopper", "aihf", seed, [0, 1, 2], learned=PREFERRED)
        write_run(tmp_path / "s", "hopper", "oracle", seed, [0, 1, 2])
    figure = reward_panels(read_results(tmp_path / "s"))
    assert figure is not None
    said = " ".join(words(figure)).replace("\n", " ")
    assert "Not recorded by these runs: Correlation on preference data; Correlation on the policy's" in said
    assert len(figure.axes) == 3 and "EPIC distance" in figure.axes[2].get_ylabel()
    (accuracy,) = [line for line in figure.axes[0].get_lines() if line.get_color() == METHODS["aihf"].colour]
    assert np.asarray(accuracy.get_xdata()).tolist() == [10, 20]  # undefined at step 0
    assert np.asarray(accuracy.get_ydata()).tolist() == pytest.approx([0.6, 0.7])


def test_old_runs_have_no_reward_figure_and_an_earlier_one_goes(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2])
    output.mkdir()
    (output / "reward.png").write_bytes(b"of other runs")
    write_report(tmp_path / "s", output)
    assert not (output / "reward.png").exists()


def test_provenance(tmp_path: Path) -> None:
    recorded: dict[str, Any] = {
        "commit": "0123456789abcdef0123456789abcdef01234567-dirty",
        "device": "NVIDIA H200",
        "threads": 16,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "settings": {"evaluation_episodes": 10, "sac": {"precision": "bfloat16"}},
    }
    code = {"object": "Mine", "file": "mine.py", "sha256": "ab" * 32, "package": "", "version": ""}
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2], batch=[0, 1], **recorded)
    write_run(tmp_path / "s", "hopper", "aihf", 1, [0, 1], batch=[0, 1], failed_at=10, **recorded)
    write_run(tmp_path / "s", "hopper", "mine", 0, [0, 1, 2], code=code, command="make other")
    said = provenance(read_results(tmp_path / "s"), tmp_path)
    for part in (
        "3 runs (1 failed) on Hopper-v5: 1 to 2 seeds a method, 20 steps a run, 2 min of wall time",
        "| Hopper-v5 | AIHF | 0–1 (failed: 1) | 20 | NVIDIA H200, 16 threads, bfloat16 | 1 min "
        "| `0123456789ab-dirty` | 1 |",
        "| Hopper-v5 | mine | 0 | 20 | not recorded | 1 min | not recorded | 2 |",
        "2. `make other`",
        "2 runs: python 3.11.7, torch 2.13.0",
        f"feedback sha256 `{'hopper':f<64}`",
        f"mine: `Mine` in `mine.py`, sha256 `{'ab' * 32}`",
    ):
        assert part in said
    assert str(tmp_path) not in said


@pytest.mark.parametrize(("theirs", "said"), [(f"{'hopper':f<64}", False), ("0" * 64, True)])
def test_provenance_says_whose_feedback_is_not_the_reference_studys(
    tmp_path: Path, theirs: str, said: bool
) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2])
    study = read_results(tmp_path / "s")
    words = "not bit for bit that of the study figure5, `000000000000`"
    assert words not in provenance(study, tmp_path)  # of which nothing is there
    record = {"demonstrations_return": 1.0, "demonstrations": 1, "pairs": 1, "segment_length": 1}
    write_run(tmp_path / "figure5", "hopper", "aihf", 0, [0, 1, 2], feedback=record | {"sha256": theirs})
    assert (words in provenance(study, tmp_path)) == said


def test_the_other_horizon_is_an_appendix(tmp_path: Path) -> None:
    for task in ("hopper", "walker2d", "halfcheetah"):
        write_run(tmp_path / "mine", task, "aihf", 0, [0, 0, *[800] * 5])
    for method in ("rlhf", "ipl"):
        write_run(tmp_path / "mine", "hopper", method, 0, [0, 0, *[70] * 5])
    for seed in range(3):
        write_run(
            tmp_path / "mine-fixed-horizon", "hopper", "aihf", seed, [0, 0, *[500 + seed] * 5], fixed=True
        )
    write_report(tmp_path / "mine", tmp_path / "out")
    said = (tmp_path / "out" / "appendix.md").read_text()
    assert "| RLHF | 70.0 (one seed) | – |" in said
    assert "| Method | mine (standard horizon) | mine-fixed-horizon (fixed horizon) |" in said
    assert "| AIHF | 800 (one seed) | 501 [range 500 to 502], 3 seeds |" in said
    assert "| IPL | 70.0 (one seed) | the same: it trains on data alone |" in said
    assert "## Walker2d-v5\n\nmine-fixed-horizon: no run here." in said
    assert "## HalfCheetah-v5\n\nmine-fixed-horizon: its robot cannot fall, so both rules are one." in said


def test_latex_is_whole_and_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, *[-20.0] * 5])
    write_run(tmp_path / "s", "hopper", "my_50%_method", 0, [0, 1, 2])
    tex = latex(tabulate(read_results(tmp_path / "s")))
    assert tex.isascii() and r"my\_50\%\_method" in tex and "$-$20.0 (1 seed)" in tex
    for environment in ("document", "table", "tabular"):
        assert tex.count(rf"\begin{{{environment}}}") == tex.count(rf"\end{{{environment}}}") == 1
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    cells = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(cells) == 2 and all(line.count(" & ") == 6 for line in cells)
    assert escape("a_b & 5% {#} −1 é") == r"a\_b \& 5\% \{\#\} $-$1 ?"


def test_errors_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoResults, match="no run of the study s has ended here"):
        write_report(tmp_path / "s", tmp_path / "out")
    folder = write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2])
    (folder / "progress.csv").write_text("step\n")
    with pytest.raises(InvalidData, match=r"seed_0/progress\.csv: column return_mean"):
        write_report(tmp_path / "s", tmp_path / "out")
    assert not (tmp_path / "out").exists()


WITHOUT_TORCH = """
import sys
class Absent:
    absent = "torch", "gymnasium", "mujoco", "minari", "stable_baselines3", "safetensors", "tyro", "h5py"
    def find_spec(self, name, path=None, target=None):
        if name in self.absent:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from benchmarks.figure5 import main
sys.exit(main(sys.argv[1:]))
"""


def test_redrawing_needs_no_torch_and_gives_the_same_bytes(tmp_path: Path) -> None:
    trained, study = tmp_path / "runs" / "mine", tmp_path / "results" / "mine"
    write_run(trained, "hopper", "aihf", 0, [0, 1, 2], learned=PREFERRED)
    write_run(trained, "walker2d", "aihf", 0, [0, 1, 2])
    add_runs(trained, study)
    add_runs(trained, study.with_name("variants"), ["aihf"], "another")  # which is not drawn
    command = [sys.executable, "-c", WITHOUT_TORCH, str(study.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = {path.name for path in study.iterdir() if path.is_file()}
    assert drawn == FILES | {"reward.png", "runs.json"}
    assert not (study.with_name("variants") / "table.md").exists()
    here = write_report(study, tmp_path / "here")
    for path in here.paths:
        assert path.read_bytes() == (study / path.name).read_bytes()
    image = matplotlib.image.imread(study / "figure5.png")
    assert image.shape[1] >= 1200 and image[..., :3].std() > 0.05


def test_an_unfinished_study_is_drawn_into_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "runs" / "mine"
    write_run(study, "hopper", "aihf", 0, [0, 1, 2])
    assert main(["--runs", str(study)]) == 0
    assert "Hopper-v5: no run of RLHF, IPL, BC, IRL" in capsys.readouterr().out
    assert (study / "figure5.png").exists()
    for arguments in (["--runs", str(tmp_path / "none")], [str(tmp_path / "none")]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_negative_zero_is_zero(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 0, *[-1.0] * 5])
    tables = tabulate(read_results(tmp_path / "s"))
    assert float(rows(csv_text(tables))["hopper", "aihf"]["normalised_score_estimate"]) == -0.001
    assert "-0.00" not in markdown(tables)


def test_spread_keeps_order_and_distance() -> None:
    np.testing.assert_allclose(spread([0.5, 0.5, 0.9], 0.1), [0.45, 0.55, 0.9])
    np.testing.assert_allclose(spread([1.0, 0.99, 0.0], 0.2), [1.0, 0.8, 0.0])
    np.testing.assert_allclose(spread([1.0], 0.2, top=0.9), [0.9])
    assert spread([0.3, 0.6], 0.1) == pytest.approx([0.3, 0.6])


def test_words_for_numbers() -> None:
    assert [compact(steps) for steps in (500, 1_500, 10_000, 2_000_000)] == ["500", "1.5k", "10k", "2M"]
    assert seed_list([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"


def test_errors_name_file_and_field(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2])

    def refused(match: str) -> None:
        with pytest.raises(InvalidData, match=match):
            write_report(tmp_path / "s", tmp_path / "report")
        assert not (tmp_path / "report").exists()

    progress = folder / "progress.csv"
    good = progress.read_text()
    progress.write_text(good.replace("return_mean", "return"))
    refused(r"seed_0/progress\.csv: column return_mean")
    progress.write_text(good.replace("10,1,", "10,nan,"))
    refused(r"seed_0/progress\.csv: return_mean in row 1 is nan")
    progress.write_text(good.replace("\n10,", "\n30,"))
    refused(r"seed_0/progress\.csv: step must be whole numbers that rise")
    progress.write_text(good)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": 4}))
    refused(r"seed_0/config\.json: seed is 4, the folder's 0")
    (folder / "config.json").write_text(
        json.dumps(config | {"feedback": config["feedback"] | {"pairs": "many"}})
    )
    refused(r"seed_0/config\.json: feedback\.pairs is 'many', expected int")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text('{"state": "done", "wall_seconds": 1.0}')
    refused(r"seed_0/status\.json: state is 'done'")
    (folder / "status.json").write_text(
        '{"state": "failed", "step": 1, "wall_seconds": 1.0, "batch_size": 1}'
    )
    refused(r"seed_0/status\.json: failed_at_step is None")


@pytest.mark.parametrize(
    ("name", "value"),
    [("sac.precision", {"sac": {"precision": "float32"}}), ("environments", {"environments": "envpool"})],
)
def test_one_arithmetic_and_one_simulator_a_comparison(
    tmp_path: Path, name: str, value: dict[str, Any]
) -> None:
    """As training refuses it; what old runs did not record is not held against them."""
    settings = {"evaluation_episodes": 10, "environments": "serial", "sac": {"precision": "bfloat16"}}
    write_run(tmp_path / "s", "hopper", "aihf", 0, [0, 1, 2], settings={"evaluation_episodes": 10})
    write_run(tmp_path / "s", "hopper", "aihf", 1, [0, 1, 2], settings=settings)
    write_run(tmp_path / "s", "walker2d", "aihf", 1, [0, 1, 2], settings=settings | value)
    assert len(read_results(tmp_path / "s").tasks) == 2
    write_run(tmp_path / "s", "hopper", "rlhf", 0, [0, 1, 2], settings=settings | value)
    message = rf"rlhf/seed_0/config\.json: settings\.{name} differs from .*aihf/seed_1/config\.json \(\w+ and"
    with pytest.raises(InvalidData, match=message):
        read_results(tmp_path / "s")


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    study = tmp_path / "s"
    write_run(study, "hopper", "aihf", 0, [0, 1, 2])
    folder = write_run(study, "hopper", "rlhf", 0, [0, 1, 2], demonstrations=1.0)
    with pytest.raises(InvalidData, match=r"rlhf/seed_0/config\.json: feedback differs from .*aihf"):
        read_results(study)
    shutil.rmtree(folder)
    write_run(study, "hopper", "aihf", 1, [0, 1])
    with pytest.raises(InvalidData, match=r"aihf/seed_1/progress\.csv: step has 2 rows up to 10"):
        read_results(study)

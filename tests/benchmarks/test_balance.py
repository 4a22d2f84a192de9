"""The balance of demonstrations and preferences, on runs whose contrast is plain."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.balance import cells
from benchmarks.balance.__main__ import main
from benchmarks.balance.map import advice, row

SEEDS = range(5)
FINALS = {
    "aihf": [10, 11, 12, 13, 14],
    "rlhf": [5, 5, 5, 5, 5],
    "preferences": [7, 3, 3, 3, 3],
    "irl": [4, 6, 4, 6, 4],
    "bc": [1] * 5,
    "ipl": [2] * 5,
}


def write_cell(runs: Path, cell: str, finals: dict[str, list[int]]) -> None:
    """Six evaluations of each run, all at its final return."""
    for method, values in finals.items():
        for seed, value in enumerate(values):
            folder = runs / f"balance-{cell}" / "halfcheetah" / method / f"seed_{seed}"
            folder.mkdir(parents=True)
            rows = "".join(f"{step},{value},0,1000,{step}\n" for step in range(0, 30_000, 5_000))
            (folder / "progress.csv").write_text(
                "step,return_mean,return_std,length_mean,environment_steps\n" + rows
            )
            status = {"state": "finished", "step": 25_000, "wall_seconds": 60.0, "batch_size": len(values)}
            (folder / "status.json").write_text(json.dumps(status))
            feedback = {"sha256": str(seed) * 64, "demonstrations_return": 9.0 + seed, "demonstrations": 1000,
                        "pairs": 500, "segment_length": 50}  # fmt: skip
            config = {"study": f"balance-{cell}", "task": "halfcheetah", "method": method, "seed": seed,
                      "batch": list(range(len(values))), "steps": 25_000, "round_steps": 5_000,
                      "settings": {"evaluation_episodes": 10, "sac": {"precision": "float32"}},
                      "command": "aihf bench", "commit": "abc", "device": "cpu: X", "preset": "reference",
                      "versions": {}, "feedback": feedback, "references": None}  # fmt: skip
            (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("balance")
    write_cell(tmp_path / "runs", "clone-1-noisy", FINALS)
    few = {name: values[:3] for name, values in FINALS.items()}
    write_cell(tmp_path / "runs", "own-mixed-clean", few)
    write_cell(tmp_path / "runs", "own-10-clean", {"aihf": FINALS["aihf"]})
    arguments = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "balance")]
    assert main(["add", *arguments]) == 0
    assert main(["draw", "--results", str(tmp_path / "balance")]) == 0
    return tmp_path / "balance"


def test_the_contrast_is_with_the_best_source_of_each_seed(drawn: Path) -> None:
    """From the same clone AIHF − max(RLHF, IRL) by seed: 10 − 5, 11 − 6, 12 − 5, 13 − 6, 14 − 5; with own
    starts RLHF from random counts too: 10 − 7, 11 − 6, 12 − 5."""
    table = pd.read_csv(drawn / "table.csv").set_index(["start", "demonstrations", "preferences"])
    won = table.loc[("clone", "1", "noisy")]
    assert won["contrast"] == pytest.approx(np.mean([5, 5, 7, 7, 9]))
    assert won["contrast_low"] > 0 and won["verdict"] == "above" and won["seeds"] == 5
    assert won["demonstrations_return"] == 11.0
    few = table.loc[("own", "mixed", "clean")]
    assert few["verdict"] == "open: under 5 seeds" and few["seeds"] == 3
    assert few["contrast"] == pytest.approx(np.mean([3, 5, 7]))


def test_the_advice_follows_the_verdicts(drawn: Path) -> None:
    said = (drawn / "table.md").read_text()
    assert "AIHF is above both sources with 1 expert episode and 500 pairs, 30% wrong (HalfCheetah-v5" in said
    assert "1 of 3 cells are open. 1 of 3 cells are not all run yet." in said
    assert "| 20,000 clean pairs | 12.0 | – | – | – | – | – | – | 0 | not all run yet |" in said
    before = [(drawn / name).read_bytes() for name in ("table.csv", "table.md", "balance.png")]
    assert main(["draw", "--results", str(drawn)]) == 0
    assert before == [(drawn / name).read_bytes() for name in ("table.csv", "table.md", "balance.png")]


def test_a_verdict_needs_the_whole_interval() -> None:
    assert cells.verdict(np.array([1.0, 2.0, 1.0, 2.0, 1.0])) == "above"
    assert cells.verdict(np.array([-1.0, -2.0, -1.0, -2.0, -1.0])) == "below"
    assert cells.verdict(np.array([-1.0, 2.0, -1.0, 2.0, -1.0])) == "open"


def test_a_cell_is_an_ordinary_study_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cells.options("clone-mixed-noisy") == (
        "--settings.start", "clone", "--demo-mix", "0.5", "--feedback.pairs", "500", "--label-error", "0.3",
    )  # fmt: skip
    assert cells.options("own-10-clean") == ()
    assert len(cells.CELLS) == 12
    assert main(["run", "--cells", "clone-2-clean"]) == 2
    assert "clone-2-clean is none of own-1-clean" in capsys.readouterr().err


def test_what_starts_from_the_clone_anyway_is_trained_once_and_counts_in_both(tmp_path: Path) -> None:
    assert cells.methods("own-1-noisy") == cells.METHODS
    assert cells.methods("clone-1-noisy") == ("aihf", "irl")
    write_cell(tmp_path / "runs", "own-1-noisy", FINALS)
    matched = {"aihf": [9, 9, 9, 9, 9], "irl": [7, 3, 3, 3, 3]}
    write_cell(tmp_path / "runs", "clone-1-noisy", matched)
    write_cell(tmp_path / "runs", "clone-1-clean", matched)  # its own cell has not been trained
    results = tmp_path / "balance"
    assert main(["add", "--runs", str(tmp_path / "runs"), "--results", str(results)]) == 0
    assert main(["draw", "--results", str(results)]) == 0
    table = pd.read_csv(results / "table.csv").set_index(["start", "preferences"])
    assert table.loc[("clone", "noisy"), "contrast"] == pytest.approx(np.mean([2, 4, 4, 4, 4]))
    assert table.loc[("clone", "noisy"), "rlhf_return"] == 5.0
    assert np.isnan(table.loc[("clone", "clean"), "contrast"])


def test_a_cell_that_is_lost_names_what_to_use(tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", "own-1-noisy", FINALS | {"irl": [20, 21, 22, 23, 25]})
    results = tmp_path / "balance"
    assert main(["add", "--runs", str(tmp_path / "runs"), "--results", str(results)]) == 0
    said = advice(pd.DataFrame([row(cell, task) for cell, task in cells.read_cells(results)]))
    assert "which is the one to use: IRL with 1 expert episode and 500 pairs, 30% wrong" in said


def test_a_cell_without_all_its_methods_has_its_returns_and_no_contrast(tmp_path: Path) -> None:
    """What has ended can be looked at while the rest still trains."""
    write_cell(tmp_path / "runs", "own-1-noisy", {"irl": [4, 6, 4, 6, 5]})
    results = tmp_path / "balance"
    assert main(["add", "--runs", str(tmp_path / "runs"), "--results", str(results)]) == 0
    assert main(["draw", "--results", str(results)]) == 0
    row = pd.read_csv(results / "table.csv").iloc[0]
    assert row["irl_return"] == 5.0 and np.isnan(row["contrast"])
    assert (results / "own-1-noisy" / "figure5.png").is_file()


def test_nothing_to_draw_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "--results", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == f"balance: {tmp_path}: no cell has results yet; `make balance-runs` trains them\n"
    )

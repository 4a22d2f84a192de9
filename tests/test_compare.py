"""The comparison of two learners, on curves whose answer is plain."""

import json
from pathlib import Path

import pytest

from benchmarks.compare import main

CONFIG = {
    "method": "oracle",
    "task": "hopper",
    "threads": 2,
    "device": "cpu",
    "versions": {"torch": "2"},
    "settings": {"sac": {"batch_size": 128, "precision": "bfloat16"}},
}


def write_runs(folder: Path, finals: list[float], first_seed: int = 0) -> Path:
    """Six evaluations a seed: 0, then the same return five times."""
    for seed, final in enumerate(finals, first_seed):
        run = folder / f"seed_{seed}"
        run.mkdir(parents=True)
        rows = "".join(f"{step},{final if step else 0.0},0,0,{step}\n" for step in range(0, 60, 10))
        (run / "progress.csv").write_text(
            "step,return_mean,return_std,length_mean,environment_steps\n" + rows
        )
        (run / "config.json").write_text(json.dumps(CONFIG))
    return folder


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_learner_that_wins_on_every_pair_of_seeds_has_probability_one(tmp_path: Path) -> None:
    old = write_runs(tmp_path / "old", [10, 20, 30, 40, 50])
    new = write_runs(tmp_path / "new", [60, 70, 80, 90, 100])
    assert main(old, new, tmp_path / "out") == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    _, before, after, better = row(text, "return at the last step")
    assert before.startswith("30 [") and after.startswith("80 [") and better == "1.00 [1.00, 1.00]"
    # a trapezoid from 0: the first of five equal parts has half the height
    assert row(text, "area under the curve")[1].startswith("27 [")
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


def test_one_pair_in_five_turned_around_is_counted(tmp_path: Path) -> None:
    old, new = write_runs(tmp_path / "old", [1, 2, 3, 4, 9]), write_runs(tmp_path / "new", [5, 6, 7, 8, 10])
    main(old, new, tmp_path / "out")
    # 9 beats 5, 6, 7 and 8: 21 of the 25 pairs are won
    assert row((tmp_path / "out" / "comparison.md").read_text(), "return")[3].startswith("0.84 [")


@pytest.mark.parametrize(
    ("count", "first", "message"),
    [(4, 0, "4 seeds, a comparison needs 5"), (5, 1, "compare the same seeds at the same steps")],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, first: int, message: str
) -> None:
    old = write_runs(tmp_path / "old", [1.0] * 5)
    new = write_runs(tmp_path / "new", [1.0] * count, first)
    assert main(old, new, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

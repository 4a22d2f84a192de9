"""The comparison of learners, on curves whose answer is plain."""

import json
from pathlib import Path

import pandas as pd
import pytest

from aihf_control.runs.stored import add_runs
from benchmarks.compare_learners import main

SAC = {"batch_size": 128, "precision": "bfloat16"}


def write_runs(study: Path, finals: list[float]) -> Path:
    """Evaluations at 0, 20,000 and 40,000 steps that rise from 0 to `finals`, a seed each."""
    for seed, final in enumerate(finals):
        run = study / "hopper" / "oracle" / f"seed_{seed}"
        run.mkdir(parents=True)
        rows = "".join(f"{step},{final * step / 40_000},1,2,{step}\n" for step in (0, 20_000, 40_000))
        (run / "progress.csv").write_text(
            "step,return_mean,return_std,length_mean,environment_steps\n" + rows
        )
        status = {"state": "finished", "step": 40_000, "wall_seconds": 400.0, "batch_size": len(finals)}
        (run / "status.json").write_text(json.dumps(status))
        config = {"study": study.name, "task": "hopper", "method": "oracle", "seed": seed,
                  "batch": list(range(len(finals))), "steps": 40_000, "settings": {"sac": SAC},
                  "command": f"aihf bench --study {study.name}", "commit": "abc", "device": "cpu: X",
                  "versions": {"torch": "2"}}  # fmt: skip
        (run / "config.json").write_text(json.dumps(config))
    return study


def test_curves_become_a_row_a_learner_with_its_command(tmp_path: Path) -> None:
    results = tmp_path / "learner"
    for name, finals in (("plain", [1.0, 2.0, 3.0, 4.0, 100.0]), ("other", [10.0, 20.0])):
        add_runs(write_runs(tmp_path / name, finals), results, ["oracle"], name)
    assert main([str(results)]) == 0
    table = pd.read_csv(results / "table.csv").set_index("critic")
    # every seed's mean over its two evaluations after the start is 3/4 of its end; the middle three of five
    assert table.loc["plain", "return_iqm"] == pytest.approx(2.2)  # 2.25, rounded
    assert list(table.loc["other", ["return_low", "return_high", "seeds"]]) == [7.5, 15.0, 2]
    assert table.loc["plain", "seconds_per_seed_step"] == 400 / (5 * 40_000)
    said = (results / "table.md").read_text()
    assert "Hopper-v5, plain: `aihf bench --study plain` at commit abc, bfloat16, cpu: X, seeds 0–4" in said
    assert (results / "learner.png").stat().st_size > 10_000


def test_nothing_to_compare_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"compare_learners: {tmp_path} has no curves\n"

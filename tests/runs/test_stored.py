"""A study's runs as trained and as committed: the same to the last digit, and never overwritten."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aihf_control.errors import InvalidData
from aihf_control.runs.folder import Status, write_config, write_progress, write_status
from aihf_control.runs.stored import _joined, add_runs, common, rest, stored_runs

ROWS: list[dict[str, float]] = [
    {"step": 0, "return_mean": 0.1 + 0.2, "environment_steps": 0},
    {"step": 10, "return_mean": -1e-300, "environment_steps": 12, "reward_accuracy": 1 / 3},
]


def write_run(
    study: Path, method: str, seed: int, batch: list[int], rows: list[dict[str, float]] = ROWS, **status: Any
) -> Path:
    folder = study / "hopper" / method / f"seed_{seed}"
    config = {"study": study.name, "task": "hopper", "method": method, "seed": seed, "batch": batch}
    write_config(folder, config | {"settings": {"sac": {"hidden": [2, 2], "rate": len(method)}, "alike": {}}})
    last = int(rows[-1]["step"]) if rows else 0
    written = Status("finished", last, 1.5, len(batch), rows_sha256=write_progress(folder, rows))
    write_status(folder, replace(written, **status))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_what_was_added_reads_as_what_was_trained(tmp_path: Path) -> None:
    study, results = tmp_path / "runs" / "mine", tmp_path / "results" / "mine"
    for seed in (0, 1):
        write_run(study, "aihf", seed, [0, 1])
    write_run(study, "bc", 3, [3], ROWS[:1])
    write_run(study, "bc", 4, [4], [], state="failed", failed_at_step=0, reason="NaN")
    said = add_runs(study, results)
    assert said == ["hopper/aihf: taken: seeds 0, 1", "hopper/bc: taken: seeds 3, 4"]
    assert sorted(contents(results)) == ["hopper/aihf.csv", "hopper/bc.csv", "runs.json"]
    lines = (results / "hopper" / "aihf.csv").read_text().splitlines()
    assert lines[:2] == [
        "step,seed,return_mean,environment_steps,reward_accuracy",
        "0,0,0.30000000000000004,0,",
    ]
    trained, committed = stored_runs(study), stored_runs(results)
    assert [run.config for run in committed] == [run.config for run in trained]
    assert [run.status for run in committed] == [run.status for run in trained]
    for one, other in zip(trained[:3], committed[:3], strict=True):
        pd.testing.assert_frame_equal(one.progress(), other.progress(), check_exact=True)
    assert committed[3].seed == 4 and committed[3].progress().empty
    record = json.loads((results / "runs.json").read_text())
    assert record["config"]["settings"]["sac"] == {"hidden": [2, 2]}  # said once
    assert [entry["seeds"] for entry in record["runs"]] == [[0, 1], [3], [4]]


def test_batches_come_in_one_by_one_and_only_once_they_ended(tmp_path: Path) -> None:
    study, results = tmp_path / "runs" / "mine", tmp_path / "results"
    write_run(study, "aihf", 0, [0, 1])
    write_run(study, "aihf", 1, [0, 1], state="running")
    with pytest.raises(InvalidData, match="has no runs of bc"):
        add_runs(study, results, ["bc"])
    write_run(study, "aihf", 2, [2])
    assert add_runs(study, results) == ["hopper/aihf: not ended: seeds 0, 1", "hopper/aihf: taken: seeds 2"]
    write_run(study, "aihf", 1, [0, 1])
    said = ["hopper/aihf: taken: seeds 0, 1", "hopper/aihf: there already: seeds 2"]
    assert add_runs(study, results, ["aihf"]) == said
    assert [run.seed for run in stored_runs(results)] == [0, 1, 2]
    before = contents(results)
    assert add_runs(study, results) == ["hopper/aihf: there already: seeds 0, 1, 2"]
    assert contents(results) == before
    shutil.rmtree(study / "hopper" / "aihf" / "seed_1")  # what is committed needs no trained run
    write_run(study, "bc", 0, [0])
    add_runs(study, results, ["bc"])
    assert contents(results)["hopper/aihf.csv"] == before["hopper/aihf.csv"]
    assert len(stored_runs(results)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [ROWS[0], ROWS[1] | {"return_mean": -1.1e-300}]}, r"\(seed 0\): its rows"),
        ({"wall_seconds": 1.6}, r"runs\.json \(hopper/aihf/seed_0\): its settings or status"),
    ],
)  # fmt: skip
def test_what_is_committed_is_never_overwritten(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    study, results = tmp_path / "runs" / "mine", tmp_path / "results"
    write_run(study, "aihf", 0, [0])
    add_runs(study, results)
    before = contents(results)
    write_run(study, "aihf", 0, [0], **change)
    write_run(study, "bc", 0, [0])
    with pytest.raises(InvalidData, match=message):
        add_runs(study, results)
    assert contents(results) == before


def test_a_method_may_get_another_name(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("plain", "batch-norm"):
        write_run(tmp_path / name, "oracle", 0, [0])
        add_runs(tmp_path / name, results, ["oracle"], name)
    runs = stored_runs(results)
    assert [(run.method, run.config["method"]) for run in runs] == [
        ("batch-norm", "oracle"),
        ("plain", "oracle"),
    ]
    write_run(tmp_path / "plain", "bc", 0, [0])
    with pytest.raises(InvalidData, match="several methods"):
        add_runs(tmp_path / "plain", results, rename="x")


HEADER = "step,seed,return_mean,environment_steps"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("runs.json", "{", r"runs\.json: cannot be read as JSON"),
        ("runs.json", '{"format": 2, "config": {}, "runs": []}', r"runs\.json: format is 2, not 1"),
        ("runs.json", '{"format": 1, "config": {}, "runs": [{"task": 3}]}', r"runs\[0\]\.task is 3"),
        ("hopper/aihf.csv", "step,return_mean\n0,1\n", r"aihf\.csv: has no column seed"),
        ("hopper/aihf.csv", "step,seed,return_mean\n0,0\n", r"aihf\.csv: cannot be read as CSV"),
        ("hopper/aihf.csv", f"{HEADER}\n0,0,x,0\n", r"\(seed 0\): column return_mean"),
        ("hopper/aihf.csv", f"{HEADER}\n5,0,1,0\n1,0,1,0\n", r"\(seed 0\): step must"),
    ],
)
def test_damage_is_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    write_run(tmp_path / "runs" / "mine", "aihf", 0, [0])
    add_runs(tmp_path / "runs" / "mine", tmp_path / "results")
    (tmp_path / "results" / file).write_text(text)
    with pytest.raises(InvalidData, match=message):
        stored_runs(tmp_path / "results")[0].progress()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "0.3333333333333333\n",
            "0.33\n",
            r"its rows, to row 1 of step 10, are not those that the run wrote",
        ),
        (",0.3333333333333333\n", ",\n", "are not those that the run wrote"),
        ("-1e-300", "-1e-3", "are not those that the run wrote"),
        (
            "10,-1e-300,12,0.3333333333333333\n",
            "",
            "row 0, the last one, is of step 0, and .* ended at step 10",
        ),
    ],
    ids=["a number cut", "a cell cut", "a number changed", "a row less"],
)
def test_rows_that_are_not_all_that_a_run_wrote_are_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    study, results = tmp_path / "runs" / "mine", tmp_path / "results"
    trained = write_run(study, "aihf", 0, [0]) / "progress.csv"
    add_runs(study, results)
    for folder, file, what in ((study, trained, old), (results, results / "hopper/aihf.csv", old)):
        text = file.read_text()
        what = what.replace("10,-1e", "10,0,-1e") if folder == results else what  # with its seed
        assert what in text
        file.write_text(text.replace(what, new))
        with pytest.raises(InvalidData, match=rf"(progress|aihf)\.csv.*: .*{message}"):
            stored_runs(folder)[0].progress()


LEAVES: st.SearchStrategy[Any] = st.sampled_from([0, 1, None, "x", [1, 2], {}])
INNER = LEAVES | st.dictionaries(st.sampled_from("ab"), LEAVES, max_size=2)
RECORDS = st.dictionaries(
    st.sampled_from("abc"), INNER | st.dictionaries(st.sampled_from("ab"), INNER, max_size=2)
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_what_is_alike_is_said_once_and_nothing_is_lost(records: list[dict[str, Any]]) -> None:
    shared = common(records)
    parts = [rest(record, shared) for record in records]
    assert [_joined(shared, part) for part in parts] == records
    assert len(records) > 1 or parts == [{}]

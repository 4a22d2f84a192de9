"""The files of a seed's folder, and which seeds belong together."""

import csv
import json
import math
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fakes import dead
from hypothesis import given, settings
from hypothesis import strategies as st

from aihf_control.errors import InvalidData
from aihf_control.runs.folder import (
    RunPaths,
    Status,
    clean_up_ended,
    differences,
    find_batches,
    read_config,
    read_status,
    write_config,
    write_progress,
    write_status,
)
from aihf_control.runs.locks import Job, Owner
from aihf_control.runs.processes import Process


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path, "bench", "hopper", "aihf")


def begin(paths: RunPaths, batch: list[int], state: Literal["running", "finished", "failed"]) -> None:
    for seed in batch:
        write_config(paths.seed(seed), {"seed": seed, "batch": batch})
        write_status(paths.seed(seed), Status(state, 5000, 1.5, len(batch)))


def test_paths(paths: RunPaths, tmp_path: Path) -> None:
    method = tmp_path / "bench" / "hopper" / "aihf"
    assert paths.folder == method
    assert paths.seed(3) == method / "seed_3"
    assert paths.checkpoint((0, 1, 2)) == method / "checkpoint_0-1-2"
    many = [paths.checkpoint(range(count)).name for count in (100, 101)]
    assert many[0] != many[1] and all(len(name) < 100 for name in many)
    assert many[0].startswith("checkpoint_100-seeds-")


@pytest.mark.parametrize("name", ["..", "../x", "/etc/x", "a/b", "a\0", "", "-x"])
def test_a_name_never_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidData, match=r"^task is "):
        RunPaths(tmp_path, "bench", name, "aihf")


def test_progress_by_hand(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 0, "return_mean": 1.5},
        {"step": np.int64(5000), "return_mean": 0.1, "accuracy": np.float32(0.5)},
        {"step": 10000, "accuracy": math.nan, "return_mean": -math.inf},
    ]
    write_progress(tmp_path, rows)
    expected = "step,return_mean,accuracy\n0,1.5,\n5000,0.1,0.5\n10000,-inf,nan\n"
    assert (tmp_path / "progress.csv").read_text() == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_floats_come_back_from_progress_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "floats"
    write_progress(folder, [{"value": value} for value in values])
    with (folder / "progress.csv").open() as file:
        read = [float(row["value"]) for row in csv.DictReader(file)]
    assert [struct.pack("<d", value) for value in read] == [struct.pack("<d", value) for value in values]


def test_status_round_trip_and_its_fields(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    status = Status("failed", 10000, 412.25, 3, failed_at_step=10000, reason="return is NaN")
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status and status.ended
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "state": "failed",
        "step": 10000,
        "wall_seconds": 412.25,
        "batch_size": 3,
        "failed_at_step": 10000,
        "reason": "return is NaN",
        "rows_sha256": None,
    }
    assert not Status("running", 0, 0.0, 1).ended


@pytest.mark.parametrize("text", ["{", "[]", "\udcff", '{"state": "running"}', "[" * 100_000])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidData, match=str(tmp_path / "status.json")):
        read_status(tmp_path)


def test_an_unfinished_batch_is_found_as_recorded(paths: RunPaths) -> None:
    assert find_batches(paths) == []
    begin(paths, [0, 1, 2], "finished")
    begin(paths, [7, 5], "running")
    write_config(paths.seed(9), {"seed": 9, "batch": [9, 10]})  # killed before the rest was written
    assert find_batches(paths) == [(7, 5), (9, 10)]
    write_status(paths.seed(1), Status("running", 5000, 1.0, 3))  # killed between two statuses
    assert find_batches(paths) == [(0, 1, 2), (7, 5), (9, 10)]


def test_a_failed_seed_does_not_end_its_batch(paths: RunPaths) -> None:
    begin(paths, [0, 1], "running")
    write_status(paths.seed(0), Status("failed", 5000, 1.0, 2, 5000, "NaN"))
    assert find_batches(paths) == [(0, 1)]
    write_status(paths.seed(1), Status("finished", 9000, 1.0, 2))
    assert find_batches(paths) == []


@pytest.mark.parametrize("batch", [None, [], "0-1", [0, "1"]])
def test_a_batch_that_is_none_is_named(paths: RunPaths, batch: Any) -> None:
    write_config(paths.seed(0), {"batch": batch})
    with pytest.raises(InvalidData, match=r"seed_0/config\.json: batch is "):
        find_batches(paths)


def test_only_checkpoints_of_finished_batches_are_removed(paths: RunPaths) -> None:
    begin(paths, [0, 1], "finished")
    begin(paths, [2], "running")
    for batch in ((0, 1), (2,)):
        paths.checkpoint(batch).mkdir()
        (paths.checkpoint(batch) / "round_00001.json").touch()
    clean_up_ended(paths)
    assert sorted(path.name for path in paths.folder.iterdir()) == [
        "checkpoint_2",
        "seed_0",
        "seed_1",
        "seed_2",
    ]


def test_of_an_ended_batch_the_locks_of_the_dead_go_and_those_of_the_living_stay(paths: RunPaths) -> None:
    begin(paths, [0, 1], "finished")
    begin(paths, [2], "finished")
    begin(paths, [3], "running")
    owners = {0: dead(), 1: dead(), 2: Process.current(), 3: dead()}
    for seed, owner in owners.items():
        (paths.seed(seed) / "lock.json").write_bytes(Owner(owner, Job("", 0), "now", "token").encode())
    clean_up_ended(paths)
    assert [path.parent.name for path in sorted(paths.folder.rglob("lock.json"))] == ["seed_2", "seed_3"]


def test_differences_by_hand(tmp_path: Path) -> None:
    recorded = {
        "command": "make bench",
        "batch": [0, 1],
        "device": "cpu",
        "versions": {"torch": "2.12", "numpy": "2.4"},
        "settings": {"sac": {"batch_size": 128, "rate": 1e-3}, "widths": [64, 64]},
    }
    now = {
        "command": "aihf bench",
        "batch": [0],
        "device": "cuda",
        "versions": {"torch": "2.13", "numpy": "2.4"},
        "settings": {"sac": {"batch_size": 256, "tau": 0.005}, "widths": (64, 64)},
    }
    write_config(tmp_path, recorded)
    read = read_config(tmp_path)
    assert read == recorded
    assert differences(read, now) == [
        'device: "cpu" there, "cuda" now',
        "settings.sac.batch_size: 128 there, 256 now",
        "settings.sac.rate: 0.001 there, missing now",
        "settings.sac.tau: missing there, 0.005 now",
        'versions.torch: "2.12" there, "2.13" now',
    ]
    assert differences(read, now | {"settings": {}}, ignored=("command", "device", "versions")) == [
        "batch: [0, 1] there, [0] now",
        "settings: missing there, {} now",
        "settings.sac.batch_size: 128 there, missing now",
        "settings.sac.rate: 0.001 there, missing now",
        "settings.widths: [64, 64] there, missing now",
    ]
    assert differences(read, recorded) == []

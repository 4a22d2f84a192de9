"""How many cores are ours: affinity, and the limits of control groups of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aihf_control.hardware import ONE_THREAD, usable_cores
from aihf_control.study import machine

SYS = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def root(folder: Path, group: str, files: dict[str, str]) -> Path:
    for name, text in ({"proc/self/cgroup": group} | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return folder


def test_without_limits_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(tmp_path) == 8
    assert usable_cores(root(tmp_path, "0::/", {f"{SYS}/cpu.max": "max 100000"})) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert usable_cores(root(tmp_path, "0::/", {f"{SYS}/cpu.max": "400000 100000"})) == 2


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("200000 100000", 2), ("350000 100000", 3), ("50000 100000", 1), ("max", 8), ("no numbers", 8)],
)
def test_a_limit_of_version_2_counts_in_whole_cores(tmp_path: Path, limit: str, cores: int) -> None:
    assert usable_cores(root(tmp_path, "0::/job", {f"{SYS}/job/cpu.max": limit})) == cores


def test_the_narrowest_group_above_counts(tmp_path: Path) -> None:
    files = {f"{SYS}/a/cpu.max": "300000 100000", f"{SYS}/a/b/cpu.max": "max 100000"}
    assert usable_cores(root(tmp_path, "0::/a/b", files)) == 3


def test_in_a_container_the_mount_is_its_group(tmp_path: Path) -> None:
    files = {f"{SYS}/cpu.max": "200000 100000"}
    assert usable_cores(root(tmp_path, "0::/docker/0123", files)) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("400000", 4), ("-1", 8)])
def test_a_quota_of_version_1(tmp_path: Path, mount: str, quota: str, cores: int) -> None:
    folder = f"{SYS}/{mount}/slurm/job"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    groups = "5:memory:/other\n4:cpu,cpuacct:/slurm/job"
    assert usable_cores(root(tmp_path, groups, files)) == cores


def test_one_thread_whatever_the_environment_says() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        machine.use_one_thread()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_process_that_is_started_has_one_thread() -> None:
    script = "import torch; print(torch.get_num_threads())"
    environment = os.environ | {"OMP_NUM_THREADS": "2"} | ONE_THREAD
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert done.stdout.split() == [b"1"]

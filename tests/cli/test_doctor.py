"""`aihf doctor` on a machine as it is, and on ones that something is wrong with."""

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from recorded_graphs import RecordedGraph, recorded_on_the_cpu

from aihf_control.cli import doctor
from aihf_control.cli.doctor import NOTE, OK, PROBLEM, Doctor, Line
from aihf_control.errors import InvalidChoice
from aihf_control.learn.cuda_graphs import FAULTS
from aihf_control.learn.graph_check import check_graphs
from aihf_control.learn.sac import SACConfig
from aihf_control.runs.locks import SeedLock

CPU = torch.device("cpu")


def test_every_line_has_a_verdict_and_a_healthy_cpu_none_that_is_bad(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Doctor(device="cpu", root=tmp_path).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(ok|note) +\S", line) for line in lines)
    names = [line[9:23].strip() for line in lines]
    assert names == ["device", "GPUs", "precision", "graphs", "cores", "threads", "environments", "MuJoCo",
                     "GL", "disk", "locks", "so"]  # fmt: skip
    assert any("a step of Hopper taken" in line for line in lines)


def test_a_full_disk_is_a_problem_and_the_exit_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**29))
    assert Doctor(device="cpu", root=tmp_path).run() == 1
    assert f"PROBLEM  disk          0.5 GiB free for {tmp_path}" in capsys.readouterr().out.splitlines()


def test_a_check_that_breaks_is_a_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Line:
        raise RuntimeError("no such symbol\nin a library")

    monkeypatch.setattr(doctor, "_simulator", broken)
    assert Doctor(device="cpu", root=tmp_path).run() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "PROBLEM  MuJoCo        RuntimeError: no such symbol" in lines and lines[-1].startswith(
        "ok       so"
    )


def test_locks_of_the_living_are_told_from_those_of_the_dead(tmp_path: Path) -> None:
    runs = tmp_path / "results/runs/bench/hopper/aihf"
    assert doctor._locks(tmp_path) == Line(OK, "locks", "0 seeds in training")
    with SeedLock([runs / "seed_0"]):
        (runs / "seed_1").mkdir()
        (runs / "seed_1/lock.json").write_text(json.dumps({"host": "gone"}))
        os.utime(runs / "seed_1/lock.json", (0, 0))
        found = doctor._locks(tmp_path)
        assert (
            found.verdict == NOTE
            and found.found == "1 seeds in training, 1 locks that the next run takes over"
        )


def test_threads_of_the_shell_that_are_not_used_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert doctor._threads(CPU) == Line(
        NOTE, "threads", "1 a job on a CPU; OMP_NUM_THREADS of this shell is not used"
    )


class Shifted(RecordedGraph):
    def replay(self) -> None:
        super().replay()
        self.metrics["critic_loss"].add_(100)


SMALL = SACConfig(hidden=(8, 8), batch_size=8)


@pytest.mark.parametrize(("graph", "verdict", "says"), [
    (RecordedGraph, OK, "20 replayed updates are 20 plain ones"),
    (Shifted, PROBLEM, "CUDA graphs are off for an update of SAC: critic_loss was"),
])  # fmt: skip
def test_graphs_are_tried_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch, graph: type[RecordedGraph], verdict: str, says: str
) -> None:
    monkeypatch.setattr(doctor, "SACConfig", lambda: SMALL)
    assert doctor._graphs(CPU).found == "none on a CPU: every step is called"
    with recorded_on_the_cpu(trial=True, graph=graph):
        found = doctor._graphs(CPU)
    assert found.verdict == verdict and says in found.found and FAULTS == []
    assert check_graphs(SMALL, CPU) == []


def test_a_device_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidChoice, match="DEVICE=cuda"):
        Doctor(device="cuda").run()

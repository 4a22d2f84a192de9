"""`make gpu-check`: its whole path at a small scale, and that it fails where something is wrong."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy
from recorded_graphs import RecordedGraph, recorded_on_the_cpu

from aihf_control.envs.tasks import TASKS
from benchmarks.gpu_check import __main__ as gpu_check
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.fast import Scale, told
from benchmarks.gpu_check.right import bits
from benchmarks.gpu_check.table import Row, Table

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One method, one seed, the toy task."""
    monkeypatch.setitem(TASKS, "hopper", replace(toy.TASK, name="hopper"))
    monkeypatch.setattr(gpu_check, "METHODS", {"bc": gpu_check.METHODS["bc"]})
    monkeypatch.setattr(gpu_check, "SMALL", Scale((1,), 2, 1, 200, 300))


def test_the_whole_path_is_one_table_on_disk(small: None, tmp_path: Path) -> None:
    assert (
        main(["--device", "cpu", "--parts", "graphs", "bits", "speed", "paper", "--output", str(tmp_path)])
        == 0
    )
    (folder,) = tmp_path.iterdir()
    rows = list(csv.DictReader((folder / "gpu.csv").read_text().splitlines()))
    assert [row["what"].split(",")[0] for row in rows] == [
        "batch-norm float32", "batch-norm bfloat16", "plain float32", "plain bfloat16", rows[4]["what"],
        *["update", "act", "store", "step"] * 2, "AIHF as PRESET=paper",
    ]  # fmt: skip
    assert rows[4]["found"] == "again equal, resumed equal, without graphs equal"
    assert rows[-1]["found"].startswith("1 seeds × 200 steps in ")
    text = (folder / "gpu.md").read_text()
    assert text.startswith("# cpu: ") and text.count("\n| ") == len(rows) + 2


class Forgetful(RecordedGraph):
    """Takes no step at all."""

    def replay(self) -> None:
        pass


@pytest.mark.parametrize(("graph", "verdict"), [(RecordedGraph, "ok"), (Forgetful, "failed")])
def test_graphs_that_were_left_for_plain_calls_are_a_failure(
    graph: type[RecordedGraph], verdict: str
) -> None:
    with recorded_on_the_cpu(trial=True, graph=graph):
        found, said = bits("bc", "float32", toy.TASK, toy.feedback(), CPU)
    assert said == verdict and ("graphs were OFF" in found) == (verdict == "failed")


def test_what_breaks_is_a_row_and_the_table_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> tuple[str, str]:
        raise RuntimeError("no kernel image\nis available")

    table = Table(tmp_path, "# A card")
    table.add("speed", "update", broken)
    table.add("speed", "act", lambda: told(0.002, 10, 1_000))
    assert [replace(row, seconds=0.0) for row in table.rows] == [
        Row("speed", "update", "RuntimeError: no kernel image", "failed", 0.0),
        Row("speed", "act", "2.000 ms, 500/s, 5,000 seed-steps/s, target 1,000/s", "not met", 0.0),
    ]
    assert "RuntimeError: no kernel image" in (tmp_path / "gpu.md").read_text()


def test_a_wrong_device_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--device", "tpu", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("gpu-check: DEVICE=tpu is not known")

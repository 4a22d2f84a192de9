"""What a study does about graphs and memory: none that is wrong is gone on with, none outlives its batch."""

import gc
import json
from pathlib import Path

import pytest
import torch
from recorded_graphs import RecordedGraph, recorded_on_the_cpu
from toy_bench import ROUND_STEPS, SEEDS, numbers, small_study, train

from aihf_control.errors import UserError
from aihf_control.learn.replay import ReplayBuffer
from aihf_control.report.results import read_results
from aihf_control.report.tables import notes
from aihf_control.study.training import BatchRun

RUNS = Path("results/runs/bench/hopper")


class Wrong(RecordedGraph):
    """A graph that tells other losses than it should."""

    def replay(self) -> None:
        super().replay()
        for name, values in self.metrics.items():
            if name.endswith("_loss"):
                values.add_(1)


def test_a_wrong_graph_is_said_in_a_line_in_config_json_and_in_the_report_and_plain_calls_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "plain", small_study(("aihf",)))
    capsys.readouterr()

    class Stopped(Exception):
        pass

    def stop(run: BatchRun, step: int) -> None:
        if step == 2 * ROUND_STEPS:
            raise Stopped

    with recorded_on_the_cpu(trial=True, graph=Wrong), pytest.raises(Stopped):
        train(tmp_path / "wrong", small_study(("aihf",)), stop)
    said = [line for line in capsys.readouterr().err.splitlines() if "CUDA graphs" in line]
    steps = {line.partition(": ")[0] for line in said}
    off = "hopper/aihf  CUDA graphs are off for"
    assert steps == {f"{off} SAC's critics alone", f"{off} an update of SAC"} and len(said) == 2
    assert all("critic_loss was" in line or "actor_loss was" in line for line in said)
    train(tmp_path / "wrong", small_study(("aihf",)))  # resumed without graphs, and it is still on record
    assert numbers(tmp_path / "wrong") == numbers(tmp_path / "plain")
    for seed in SEEDS:
        config = json.loads((tmp_path / "wrong" / RUNS / f"aihf/seed_{seed}/config.json").read_text())
        assert said == [f"hopper/aihf  {fault}" for fault in config["graphs_off"]]
    told = notes(read_results(tmp_path / "wrong" / RUNS.parent).tasks[0])
    assert told == [f"AIHF seed {seed}: {fault}." for seed in SEEDS for fault in config["graphs_off"]]
    plain = json.loads((tmp_path / "plain" / RUNS / "aihf/seed_0/config.json").read_text())
    assert "graphs_off" not in plain


def test_a_full_card_is_one_line_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    def full(run: BatchRun, step: int) -> None:
        if step == 2 * ROUND_STEPS:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
                "which 3.10 GiB is free. Including non-PyTorch memory, this process has 76.00 GiB in use."
            )

    with pytest.raises(UserError) as error:
        train(tmp_path / "full", small_study(("bc", "aihf")), full)
    assert str(error.value).startswith(
        "aihf: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
        "which 3.10 GiB is free: train fewer seeds at once (SEEDS_PER_JOB of a sweep)"
    )
    train(tmp_path / "whole", small_study(("bc", "aihf")))
    train(tmp_path / "full", small_study(("bc", "aihf")))
    assert numbers(tmp_path / "full") == numbers(tmp_path / "whole")


def memories() -> int:
    return sum(type(thing) is ReplayBuffer for thing in gc.get_objects())


def test_one_replay_memory_is_alive_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []

    def look(run: BatchRun, step: int) -> None:
        alive.append(memories())

    gc.collect()
    before = memories()
    gc.disable()  # so that nobody tidies up by chance
    try:
        train(tmp_path, small_study(("aihf", "rlhf", "oracle"), rounds=1), look)
    finally:
        gc.enable()
    assert set(alive) == {before + 1}

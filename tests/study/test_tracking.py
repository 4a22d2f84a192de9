"""What each tracker's own files say of a study, and of one that went on."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb_files
from toy_bench import SEEDS, small_study, train

from aihf_control.study.study import Study
from aihf_control.study.tracking import TrackedRun, Tracking, open_tracker
from aihf_control.study.training import BatchRun

Curve = dict[int, float]


class Stopped(Exception):
    """In place of a signal."""


def run_folder(root: Path, method: str, seed: int) -> Path:
    return root / "results" / "runs" / "bench" / "hopper" / method / f"seed_{seed}"


def curve(folder: Path) -> Curve:
    with (folder / "progress.csv").open() as file:
        return {int(row["step"]): float(row["return_mean"]) for row in csv.DictReader(file)}


def track(root: Path, study: Study, name: str) -> None:
    """The study in three processes' worth: stopped after a round, then to its end, then with a new seed."""
    tracking = Tracking({name: open_tracker(name)}, print)

    def stopped_after_a_round(run: BatchRun, step: int) -> None:
        tracking(run, step)
        if step:
            raise Stopped

    with pytest.raises(Stopped):
        train(root, study, stopped_after_a_round)
    tracking.close()
    for more in (study, replace(study, seeds=(*SEEDS, 2))):
        tracking = Tracking({name: open_tracker(name)}, print)
        train(root, more, tracking)
        tracking.close()


def test_tensorboard_reads_one_curve_a_run_under_the_same_tags(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra `tensorboard`"
    )
    study = small_study(("aihf", "oracle"), rounds=2)
    track(tmp_path, study, "tensorboard")
    tags = {}
    for method in study.methods:
        for seed in (*SEEDS, 2):
            folder = run_folder(tmp_path, method, seed)
            events = accumulator.EventAccumulator(str(folder / "events"))
            events.Reload()
            read = [(event.step, event.value) for event in events.Scalars("eval/return_mean")]
            written = curve(folder)
            assert [step for step, _ in read] == list(written) == [0, 4, 8]  # none is there twice
            assert dict(read) == pytest.approx(written, rel=1e-6)
            tags[method] = set(events.Tags()["scalars"])
            (plugin,) = [
                tag for tag in events.PluginTagToContent("hparams") if tag.endswith("session_start_info")
            ]
            said = events.PluginTagToContent("hparams")[plugin]
            assert all(word in said for word in (b"sac.batch_size", b"method", method.encode()))
        assert len(list((run_folder(tmp_path, method, 2) / "events").iterdir())) == 1
    assert tags["oracle"] <= tags["aihf"]  # which also has what its reward learned
    assert "reward/reward_accuracy" in tags["aihf"]


def test_wandb_without_a_network_has_one_id_a_run_and_its_latest_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    track(tmp_path, small_study(rounds=2), "wandb")
    ids = set()
    for seed in (*SEEDS, 2):
        folder = run_folder(tmp_path, "aihf", seed)
        files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
        (latest,) = (folder / "wandb" / "latest-run").glob("*.wandb")
        rows = wandb_files.history(latest)
        assert {row["_step"]: row["eval/return_mean"] for row in rows} == curve(folder)
        run = wandb_files.runs(latest)[0]
        assert (run.project, run.run_group) == ("bench", "hopper/aihf")
        assert run.display_name == f"hopper/aihf/seed_{seed}"
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config["method"] == "aihf" and config["sac.batch_size"] == 8
        assert {file.stem for file in files} == {f"run-{run.run_id}"}
        ids.add(run.run_id)
    assert len(ids) == 3


def test_trackio_goes_on_in_the_same_run_and_has_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio", reason="needs the extra `trackio`")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    track(tmp_path, small_study(rounds=2), "trackio")
    storage = sqlite_storage.SQLiteStorage
    assert sorted(storage.get_runs("bench")) == [f"hopper/aihf/seed_{seed}" for seed in (0, 1, 2)]
    for seed in (0, 1, 2):
        name = f"hopper/aihf/seed_{seed}"
        rows = storage.get_logs("bench", name)
        written = curve(run_folder(tmp_path, "aihf", seed))
        assert [(row["step"], row["eval/return_mean"]) for row in rows] == list(written.items())
        config: Any = storage.get_run_config("bench", name)
        assert config["method"] == "aihf" and config["_Group"] == "hopper/aihf"


def test_a_tracker_that_fails_costs_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Full:
        def log(self, run: TrackedRun, step: int, values: Mapping[str, float]) -> None:
            if step:
                raise OSError("no space left")

        def finish(self, run: TrackedRun) -> None:
            raise AssertionError("it was given up")

    train(tmp_path, small_study(rounds=2), Tracking({"full": Full()}, print))
    told = capsys.readouterr().out
    assert told.count("full stopped tracking, training goes on (OSError: no space left)") == 1
    assert len(curve(run_folder(tmp_path, "aihf", 0))) == 3

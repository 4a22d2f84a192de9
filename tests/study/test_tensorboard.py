"""What TensorBoard reads back of a study, and of one that went on."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy_bench import SEEDS, small_study, train

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="TensorBoard, the extra `tensorboard`, is not installed",
)


def test_tags_are_the_same_for_every_method_and_a_run_has_one_file(tmp_path: Path) -> None:
    from aihf_control.study.tensorboard import EventWriter

    study = small_study(("aihf", "oracle"), rounds=2)
    train(tmp_path, study, EventWriter())
    tags = {}
    for method in study.methods:
        for seed in SEEDS:
            run = tmp_path / "results" / "runs" / "bench" / "hopper" / method / f"seed_{seed}"
            assert len(list((run / "events").iterdir())) == 1
            events = accumulator.EventAccumulator(str(run / "events"))
            events.Reload()
            rows = (run / "progress.csv").read_text().splitlines()
            place = rows[0].split(",").index("return_mean")
            written = {int(row.split(",")[0]): float(row.split(",")[place]) for row in rows[1:]}
            read = {event.step: event.value for event in events.Scalars("eval/return_mean")}
            assert read == pytest.approx(written, rel=1e-6) and len(read) == 3
            tags[method] = set(events.Tags()["scalars"])
            (plugin,) = [
                tag for tag in events.PluginTagToContent("hparams") if tag.endswith("session_start_info")
            ]
            said = events.PluginTagToContent("hparams")[plugin]
            for word in (b"sac.batch_size", b"method", method.encode()):
                assert word in said
    assert tags["oracle"] <= tags["aihf"]  # which also has what its reward learned
    assert "reward/reward_accuracy" in tags["aihf"]
    more = replace(study, seeds=(*SEEDS, 2))
    train(tmp_path, more, EventWriter())
    assert len(list((tmp_path / "results/runs/bench/hopper/aihf/seed_0/events").iterdir())) == 1

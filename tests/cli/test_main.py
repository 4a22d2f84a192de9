"""The command line: names the right value, writes nothing when refused."""

from pathlib import Path

import pytest
import torch

from aihf_control.cli.bench import Bench
from aihf_control.cli.data import DataTrain
from aihf_control.cli.main import main, parse
from aihf_control.study.presets import PRESETS


def test_the_preset_sets_the_defaults_and_options_change_them() -> None:
    command = parse(["bench", "--task", "hopper", "--preset", "smoke", "--settings.sac.polyak", "0.01"])
    assert isinstance(command, Bench)
    assert command.settings.steps == PRESETS["smoke"].settings.steps == 1_500
    assert command.settings.sac.batch_size == PRESETS["smoke"].settings.sac.batch_size
    assert command.settings.sac.polyak == 0.01
    default = parse(["bench", "--task", "hopper"])
    assert isinstance(default, Bench) and default.settings == PRESETS["quick"].settings


def test_feedback_options() -> None:
    options = ["--feedback.demo-mix", "0.25", "--feedback.teacher.mistake", "0.1"]
    command = parse(["bench", "--task", "hopper", *options, "--preferences", "a-v0", "b-v0"])
    assert isinstance(command, Bench)
    assert (command.feedback.demo_mix, command.feedback.teacher.mistake) == (0.25, 0.1)
    assert command.preferences == ("a-v0", "b-v0")


def test_two_word_commands() -> None:
    command = parse(["data", "train", "--task", "hopper", "--seeds", "1000-1001"])
    assert isinstance(command, DataTrain) and command.seeds == "1000-1001"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bench", "--task", "hoper"], "did you mean hopper?"),
        (["bench", "--task", "hopper", "--preset", "smok"], "did you mean smoke?"),
        (["bench", "--task", "hopper", "--methods", "aihf,rlfh"], "did you mean rlhf?"),
        (["bench", "--task", "hopper", "--seeds", "3-1"], "its end is below its start"),
        (["bench", "--task", "hopper", "--device", "gpu"], "Valid: auto, cpu, cuda"),
        (["bench", "--task", "hopper", "--precision", "bf16"], "Valid: auto, float32, bfloat16"),
        (["bench", "--task", "hopper", "--jobs", "0"], "JOBS=0 is not a whole number from 1 up"),
        (["sweep", "--task", "hopper", "--dry-run", "--precision", "bf16"], "Valid: auto, float32, bfloat16"),
        (["sweep", "--task", "hopper", "--cpus", "2"], "CPUS is of CLUSTER=slurm"),
        (["sweep", "--task", "hopper", "--cluster", "slurm", "--jobs", "2"], "JOBS is of CLUSTER=local"),
        (["bench", "--task", "walker2d"], "aihf data train --task walker2d"),
        (["data", "train", "--task", "hopper", "--seeds", "0-1"], "seeds from 1000 up"),
        (["bench", "--task", "hopper", "--study", "../x"], "STUDY=../x"),
        (["brench"], "did you mean bench?"),
    ],
)
def test_errors_are_one_line_and_write_nothing(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AIHF_MINARI_ROOT", str(tmp_path / "minari"))
    if len(arguments) > 1:
        arguments = [*arguments, "--root", str(tmp_path)]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["sweep", "--dry-run"], ["job"], ["feedback", "build"]])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--feedback.teacher.mistake", "0.1"], "--feedback.teacher, as LABEL_ERROR,"),
        (["--feedback.teacher.skip-threshold", "2"], "--feedback.teacher, as LABEL_ERROR,"),
        (["--feedback.pairs", "100"], "--feedback.pairs"),
        (["--feedback.held-out-pairs", "100"], "--feedback.held-out-pairs"),
        (["--feedback.segment-length", "25"], "--feedback.segment-length"),
    ],
)
def test_peoples_labels_have_no_simulated_teacher(
    command: list[str], options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "labels.npz"
    file.touch()
    given = ["--task", "hopper", "--root", str(tmp_path), "--preference-file", str(file)]
    assert main([*command, *given, *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"aihf: {named} is of a simulated teacher") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["bench", "sweep", "job"])
def test_a_gpu_that_is_not_there_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--task", "hopper", "--device", "cuda", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "aihf: DEVICE=cuda: PyTorch sees no GPU on this machine: use DEVICE=cpu or auto\n"
    )
    assert list(tmp_path.iterdir()) == []

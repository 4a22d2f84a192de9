"""The command line: names the right value, writes nothing when refused."""

import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
import torch

from aihf_control import __version__
from aihf_control.cli.bench import Bench
from aihf_control.cli.data import DataBuild, DataTrain
from aihf_control.cli.main import COMMANDS, main, parse
from aihf_control.cli.sweep import Sweep
from aihf_control.cli.variables import VARIABLES, in_flags
from aihf_control.study.presets import PRESETS


def test_the_preset_sets_the_defaults_and_options_change_them() -> None:
    command = parse(["bench", "--env", "hopper", "--preset", "smoke", "--settings.sac.polyak", "0.01"])
    assert isinstance(command, Bench)
    assert command.settings.steps == PRESETS["smoke"].settings.steps == 1_500
    assert command.settings.sac.batch_size == PRESETS["smoke"].settings.sac.batch_size
    assert command.settings.sac.polyak == 0.01
    default = parse(["bench", "--env", "hopper"])
    assert isinstance(default, Bench) and default.settings == PRESETS["quick"].settings


def test_feedback_options() -> None:
    options = ["--demo-mix", "0.25", "--demo_noise=0.5", "--label-error=0.1", "--preferences", "a-v0,b-v0"]
    command = parse(["bench", *options])
    assert isinstance(command, Bench)
    asked = command.feedback
    assert (asked.demo_mix, asked.demo_noise, asked.teacher.mistake) == (0.25, 0.5, 0.1)
    assert command.preferences == "a-v0,b-v0" and command.shared == tuple(options)


def test_flags_have_the_names_of_makes_variables_and_old_ones_still_mean_them() -> None:
    for target, kind in (("bench", Bench), ("sweep", Sweep), ("data", DataBuild)):
        taken = {name for name, row in VARIABLES.items() if target in row.targets}
        nested = {"DEMO_MIX", "DEMO_NOISE", "LABEL_ERROR"}
        assert taken - nested <= {field.name.upper() for field in fields(kind)}
    old = "--task=ant --feedback.demo_mix 0.25 --feedback.demo-noise=0.5 --feedback.teacher.mistake 0.1"
    old, new = f"bench {old}", "bench --env=ant --demo-mix 0.25 --demo-noise=0.5 --label-error 0.1"
    assert parse(old.split()) == parse(new.split())
    committed = "bench --task hopper --preset reference --methods aihf --study x --settings.fixed-horizon"
    command = parse(committed.split())
    assert isinstance(command, Bench) and command.env == "hopper" and command.settings.fixed_horizon


def test_messages_speak_of_what_was_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["sweep", "--gpus", "1"]) == 2
    assert capsys.readouterr().err == (
        "aihf: --gpus is of --cluster slurm: leave it out, or add --cluster slurm\n"
    )
    monkeypatch.setenv("AIHF_COMMAND", "make sweep GPUS=1")
    assert main(["sweep", "--gpus", "1"]) == 2
    assert "GPUS is of CLUSTER=slurm" in capsys.readouterr().err
    assert in_flags("FORCE_NEW=1 compares runs: use STUDY=name, GPUS=1 or 2, AN_ENV=x") == (
        "--force-new compares runs: use --study name, --gpus 1 or 2, AN_ENV=x"
    )


def test_help_and_version_need_no_torch() -> None:
    code = (
        "import sys; from aihf_control.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'scipy', 'matplotlib', 'numpy', 'tyro'} & sys.modules.keys()))"
    )
    for option, words in (
        ("--help", ["aihf bench", "aihf preferences import"]),
        ("--version", [__version__]),
    ):
        line = [sys.executable, "-c", code, option]
        printed = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout
        assert printed.splitlines()[-1] == "[]" and all(word in printed for word in words)


def test_every_command_is_where_the_table_says() -> None:
    for name, (place, line) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        kind = getattr(import_module(f"aihf_control.cli.{module}"), attribute)
        assert callable(kind.run) and line.endswith("."), name


def test_two_word_commands() -> None:
    command = parse(["data", "train", "--env", "hopper", "--seeds", "1000-1001"])
    assert isinstance(command, DataTrain) and command.seeds == "1000-1001"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bench", "--env", "hoper"], "did you mean hopper?"),
        (["bench", "--env", "hopper", "--preset", "smok"], "did you mean smoke?"),
        (["bench", "--env", "hopper", "--methods", "aihf,rlfh"], "did you mean rlhf?"),
        (["bench", "--env", "hopper", "--seeds", "3-1"], "its end is below its start"),
        (["bench", "--env", "hopper", "--device", "gpu"], "Valid: auto, cpu, cuda"),
        (["bench", "--env", "hopper", "--precision", "bf16"], "Valid: auto, float32, bfloat16"),
        (["bench", "--env", "hopper", "--jobs", "0"], "--jobs 0 is not a whole number from 1 up"),
        (["sweep", "--env", "hopper", "--dry-run", "--precision", "bf16"], "Valid: auto, float32, bfloat16"),
        (["sweep", "--env", "hopper", "--cpus", "2"], "--cpus is of --cluster slurm"),
        (["sweep", "--env", "hopper", "--cluster", "slurm", "--jobs", "2"], "--jobs is of --cluster local"),
        (["bench", "--env", "walker2d"], "aihf data train --env walker2d"),
        (["data", "train", "--env", "hopper", "--seeds", "0-1"], "seeds from 1000 up"),
        (["bench", "--env", "hopper", "--study", "../x"], "--study ../x"),
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
        (["--feedback.teacher.mistake", "0.1"], "--feedback.teacher, as --label-error,"),
        (["--feedback.teacher.skip-threshold", "2"], "--feedback.teacher, as --label-error,"),
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
    given = ["--env", "hopper", "--root", str(tmp_path), "--preference-file", str(file)]
    assert main([*command, *given, *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"aihf: {named} is of a simulated teacher") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["bench", "sweep", "job"])
def test_a_gpu_that_is_not_there_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--env", "hopper", "--device", "cuda", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "aihf: --device cuda: PyTorch sees no GPU on this machine: use --device cpu or auto\n"
    )
    assert list(tmp_path.iterdir()) == []

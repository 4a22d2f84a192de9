"""A run that was killed, told to stop, or damaged ends with the numbers it would have had."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
import toy_bench
from toy_bench import ROUND_STEPS, SECONDS, SEEDS, aihf, ended, leftovers, numbers, small_study, start, train

from aihf_control.errors import InvalidData
from aihf_control.report.results import read_results
from aihf_control.report.table_csv import csv_text
from aihf_control.report.tables import notes, tabulate
from aihf_control.runs.locks import Locked
from aihf_control.study import machine
from aihf_control.study.checkpoints import Checkpoint
from aihf_control.study.prepare import Folders
from aihf_control.study.study import name_beside, run_study
from aihf_control.study.training import BatchRun

METHOD = Path("results/runs/bench/hopper/aihf")


def table(root: Path) -> list[dict[str, str]]:
    """The table without the column that says how long it took."""
    rows = csv_text(tabulate(read_results(root / METHOD.parents[1])))
    return [
        {name: value for name, value in row.items() if "seconds" not in name}
        for row in csv.DictReader(rows.splitlines())
    ]


def steps(folder: Path) -> list[int]:
    with (folder / "progress.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def checkpoint_of(root: Path) -> Path:
    return root / METHOD / "checkpoint_0-1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds, uninterrupted."""
    root = tmp_path_factory.mktemp("whole")
    train(root, small_study())
    assert len(numbers(root)) == 3 * len(SEEDS) and leftovers(root) == []
    return root


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("whole")  # so that this process, of which the others are copies, is warm
def test_kills_at_random_moments_change_nothing(tmp_path: Path, kills: int) -> None:
    rounds_in_all = 2 * kills + 2
    study, log = small_study(rounds=rounds_in_all), tmp_path / "log"
    began = time.monotonic()
    assert ended(start(lambda: train(tmp_path / "whole", study), log)) == 0
    a_round = (time.monotonic() - began) / rounds_in_all

    moments, root, rounds = random.Random(0), tmp_path / "killed", []
    for kill in range(kills):
        reader, writer = os.pipe()

        def live(writer: int = writer) -> None:
            done = 0

            def tell(run: BatchRun, step: int) -> None:
                nonlocal done
                done += 1
                os.write(writer, b".")
                while done == 2:  # so that all kills come before the end, however late each is
                    time.sleep(1)

            train(root, study, tell)

        pid = start(live, log)
        os.close(writer)
        if kill % 3:  # else it dies while it starts
            assert os.read(reader, 1) == b"."
        time.sleep(moments.uniform(0, 1.5 * a_round))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        os.close(reader)
        saved = Checkpoint(checkpoint_of(root), lambda line: None).load_latest()
        rounds.append(saved.round if saved else -1)
    assert rounds == sorted(rounds) and 0 < rounds[-1] < rounds_in_all

    assert ended(start(lambda: train(root, study), log)) == 0
    assert numbers(root) == numbers(tmp_path / "whole")
    assert table(root) == table(tmp_path / "whole") != []
    for seed in SEEDS:
        assert steps(root / METHOD / f"seed_{seed}") == [n * ROUND_STEPS for n in range(rounds_in_all + 1)]
    assert leftovers(root) == []


@pytest.mark.slow
def test_the_same_command_after_each_of_twenty_kills(tmp_path: Path) -> None:
    """As above with processes started by a shell's line, killed wherever they are: in an import, too."""
    script = Path(toy_bench.__file__)
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    methods = ("aihf", "ipl", "oracle")

    def command(root: Path) -> subprocess.Popen[bytes]:
        line = ["bench", "--env", "hopper", "--methods", ",".join(methods), "--steps", "400"]
        return subprocess.Popen(
            [sys.executable, str(script), *line, "--root", str(root)],
            env=environment | {"AIHF_COMMAND": "make bench"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    began = time.monotonic()
    assert command(tmp_path / "whole").wait() == 0
    length, moments, root = time.monotonic() - began, random.Random(1), tmp_path / "killed"
    for _ in range(20):
        process = command(root)
        time.sleep(moments.uniform(0.1, 0.6) * length)
        process.kill()
        process.wait()
    assert command(root).wait() == 0
    assert numbers(root) == numbers(tmp_path / "whole")
    assert table(root) == table(tmp_path / "whole")
    assert leftovers(root) == []


def stopped_at(root: Path, step: int, log: Path) -> None:
    """Train until a kill right after the checkpoint of `step`."""

    def kill(run: BatchRun, now: int) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(start(lambda: train(root, small_study(), kill), log)) == -signal.SIGKILL


def test_what_a_kill_kept_from_the_observer_is_shown_to_it_first(tmp_path: Path) -> None:
    """As a snapshot of `data train`, which is made after the checkpoint and cannot be made later."""
    stopped_at(tmp_path, 4, tmp_path / "log")
    seen: list[tuple[int, float]] = []
    train(tmp_path, small_study(), lambda run, now: seen.append((now, run.record.rows[0][-1]["step"])))
    assert seen[0] == (4, 4) and [now for now, _ in seen] == sorted({now for now, _ in seen})


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("state_00002.safetensors", flip_a_bit, "SHA-256 is "),
        ("replay_00002.safetensors", truncate, "SHA-256 is "),
        ("round_00002.json", flip_a_bit, "SHA-256 is "),
        ("state_00002.safetensors", Path.unlink, "No such file"),
        ("round_00002.json", Path.unlink, "is missing"),
    ],
)
def test_a_damaged_checkpoint_costs_a_round_and_no_more(
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    damage: Callable[[Path], None],
    words: str,
) -> None:
    stopped_at(tmp_path, 8, tmp_path / "log")
    path, evaluated = checkpoint_of(tmp_path) / file, list[int]()
    damage(path)
    train(tmp_path, small_study(), lambda run, step: evaluated.append(step))
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warning.startswith(f"warning: {path}: {words}")
    assert warning.endswith(": round 2 is not used, the one before is tried")
    assert [step for step in evaluated if step > 4] == [8, 12]  # round 2 is done again
    assert numbers(tmp_path) == numbers(whole)


def test_a_second_process_is_told_who_has_the_seeds(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def live() -> None:
        def hold(run: BatchRun, step: int) -> None:
            os.write(writer, b".")
            signal.pause()

        train(tmp_path, small_study(), hold)

    pid = start(live, tmp_path / "log")
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"."
        before = {path: path.read_bytes() for path in (tmp_path / METHOD).rglob("*") if path.is_file()}
        since = json.loads(before[tmp_path / METHOD / "seed_0/lock.json"])["since"]
        with pytest.raises(Locked, match=f"seed_0 is in use: process {pid} on .* has it since {since}"):
            train(tmp_path, small_study())
        after = {path: path.read_bytes() for path in (tmp_path / METHOD).rglob("*") if path.is_file()}
        assert after == before
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    train(tmp_path, small_study())  # and a dead one is followed at once
    assert leftovers(tmp_path) == []


JOB = ["job", "--env", "hopper", "--device", "cpu", "--precision", "float32", "--environments", "serial"]
JOB += ["--root"]


def saved(root: Path) -> dict[str, bytes]:
    """The checkpoint, but for what is being written."""
    return {path.name: path.read_bytes() for path in checkpoint_of(root).glob("[rs]*")}


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_in_a_round_drops_it_and_asks_for_a_requeue(
    whole: Path, tmp_path: Path, first: signal.Signals
) -> None:
    (told, tell), (resumed, resume) = os.pipe(), os.pipe()
    step = toy.TwoStep.step

    def live() -> int:
        taken = 0

        def slow(env: toy.TwoStep, action: np.ndarray) -> object:
            nonlocal taken
            taken += (checkpoint_of(tmp_path) / "round_00002.json").exists()
            if taken == 3:  # in the middle of the round after
                try:
                    os.write(tell, b"1")
                    time.sleep(SECONDS)
                finally:  # on its way out
                    os.write(tell, b"2")
                    os.read(resumed, 1)
            return step(env, action)

        toy.TwoStep.step = slow  # type: ignore[assignment,method-assign]
        return aihf([*JOB, str(tmp_path)], rounds=3)

    pid = start(live, tmp_path / "log")
    os.close(tell)
    assert os.read(told, 1) == b"1"
    before, began = saved(tmp_path), time.monotonic()
    os.kill(pid, first)
    assert os.read(told, 1) == b"2"
    for signum in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        os.kill(pid, signum)
    os.write(resume, b".")
    assert ended(pid) == 75
    assert time.monotonic() - began < 10
    assert (tmp_path / "log").read_text().splitlines()[-1] == f"aihf: stopped by {first.name}"
    assert saved(tmp_path) == before
    assert list(tmp_path.rglob("lock.json")) == []
    train(tmp_path, small_study())
    assert numbers(tmp_path) == numbers(whole)


def test_a_signal_in_a_save_waits_for_its_end(whole: Path, tmp_path: Path) -> None:
    (told, tell), (resumed, resume) = os.pipe(), os.pipe()
    replace_file = os.replace

    def live() -> int:
        def slow(source: Path, target: Path) -> None:
            if target.name == "state_00002.safetensors":
                os.write(tell, b".")
                os.read(resumed, 1)
            replace_file(source, target)

        os.replace = slow  # type: ignore[assignment]
        return aihf([*JOB, str(tmp_path)], rounds=3)

    pid = start(live, tmp_path / "log")
    os.close(tell)
    assert os.read(told, 1) == b"."
    for signum in (signal.SIGTERM, signal.SIGTERM):
        os.kill(pid, signum)
    os.write(resume, b".")
    assert ended(pid, within=10) == 75
    loaded = Checkpoint(checkpoint_of(tmp_path)).load_latest()
    assert loaded is not None and loaded.round == 2
    assert steps(tmp_path / METHOD / "seed_1") == [0, 4, 8]
    train(tmp_path, small_study())
    assert numbers(tmp_path) == numbers(whole)


def held(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ended_before", [False, True])
def test_other_versions_and_settings_are_listed_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_before: bool
) -> None:
    if ended_before:
        train(tmp_path, small_study())
    else:
        stopped_at(tmp_path, 4, tmp_path / "log")
    before, ours = held(tmp_path), machine.versions()
    theirs = ours | {"torch": "3.0.0", "mujoco": "9.9"}
    monkeypatch.setattr(machine, "versions", lambda environments: theirs)
    other = small_study(("bc", "aihf"), rounds=4)
    with pytest.raises(InvalidData) as raised:
        train(tmp_path, other)
    assert str(raised.value) == (
        f"{tmp_path / METHOD / 'seed_0'} was made with other settings (settings.steps: 12 there, 16 now; "
        f'steps: 12 there, 16 now; versions.mujoco: "{ours["mujoco"]}" there, "9.9" now; '
        f'versions.torch: "{ours["torch"]}" there, "3.0.0" now): use the same ones, or another --study '
        "(STUDY=name), or --force-new (FORCE_NEW=1), which starts over beside it"
    )
    assert held(tmp_path) == before  # and no run of bc, whose turn comes first


def test_another_device_goes_on_only_when_asked_and_the_run_is_marked(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(tmp_path, 4, tmp_path / "log")
    before, here = held(tmp_path), machine.describe_device(torch.device("cpu"))
    monkeypatch.setattr(machine, "describe_device", lambda device: "another")
    with pytest.raises(InvalidData) as raised:
        train(tmp_path, small_study())
    assert f'device: "{here}" there, "another" now' in str(raised.value)
    assert str(raised.value).endswith("or --other-device (OTHER_DEVICE=1) to go on here, marked as moved")
    assert held(tmp_path) == before
    with pytest.raises(InvalidData, match=r"settings\.steps"):  # which is another run, wherever it goes on
        train(tmp_path, replace(small_study(rounds=4), other_device=True))

    train(tmp_path, replace(small_study(), other_device=True))
    move = {"step": 4, "before": here, "after": "another"}
    for seed in SEEDS:
        config = json.loads((tmp_path / METHOD / f"seed_{seed}/config.json").read_text())
        assert config["moved"] == [move] and config["device"] == "another"
    told = notes(read_results(tmp_path / "results/runs/bench").tasks[0])
    assert f"AIHF seed 1 moved after step 4 from {move['before']} to {move['after']}" in told[1]
    assert numbers(tmp_path) == numbers(whole)  # since here only its name was another


def test_another_instruction_set_is_another_device(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(tmp_path, 4, tmp_path / "log")
    here = machine.instructions(torch.device("cpu"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(
        InvalidData, match=f'instructions: "{here}" there, "{here} ONEDNN_MAX_CPU_ISA=AVX2" now'
    ):
        train(tmp_path, small_study())
    record = tmp_path / METHOD / "seed_0/config.json"
    train(tmp_path, replace(small_study(), other_device=True))
    move = {"step": 4, "before": here, "after": f"{here} ONEDNN_MAX_CPU_ISA=AVX2"}
    assert json.loads(record.read_text())["moved"] == [move]


def test_a_run_of_before_instructions_were_recorded_goes_on(whole: Path, tmp_path: Path) -> None:
    stopped_at(tmp_path, 4, tmp_path / "log")
    for seed in SEEDS:
        record = tmp_path / METHOD / f"seed_{seed}/config.json"
        old = json.loads(record.read_text())
        del old["instructions"]
        record.write_text(json.dumps(old))
    train(tmp_path, small_study())
    assert json.loads(record.read_text())["moved"] == []
    assert numbers(tmp_path) == numbers(whole)


def test_a_batch_goes_on_as_recorded_whatever_seeds_are_asked_for(whole: Path, tmp_path: Path) -> None:
    stopped_at(tmp_path, 4, tmp_path / "log")
    lines: list[str] = []
    run_study(small_study(seeds=(1,)), toy.feedback(), Folders(tmp_path), lines.append)
    assert lines == ["aihf: resuming seeds 0, 1"]
    assert numbers(tmp_path) == numbers(whole)


def test_a_new_start_is_beside_the_old_one_and_found_again(whole: Path, tmp_path: Path) -> None:
    folders, first, other = Folders(tmp_path), small_study(), small_study(rounds=2)
    assert name_beside([(first, toy.feedback())], folders) == "bench"
    stopped_at(tmp_path, 4, tmp_path / "log")
    before = held(tmp_path)
    assert name_beside([(first, toy.feedback())], folders) == "bench"
    name = name_beside([(other, toy.feedback())], folders)
    assert name == "bench-2"
    train(tmp_path, replace(other, name=name))
    assert {path: content for path, content in held(tmp_path).items() if path in before} == before
    # asked for again, as by a queue, it is that one, though another is still unfinished
    assert name_beside([(other, toy.feedback())], folders) == "bench-2"
    third = small_study(rounds=1)
    assert name_beside([(third, toy.feedback())], folders) == "bench-3"
    (tmp_path / METHOD / "seed_0/config.json").write_text("{")  # not even this stands in the way
    assert name_beside([(third, toy.feedback())], folders) == "bench-3"

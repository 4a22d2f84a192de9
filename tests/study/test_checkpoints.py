"""A checkpoint is the previous round or the new one, never a mix, wherever a save is cut off."""

import errno
import json
import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aihf_control.errors import InvalidData
from aihf_control.runs.files import CannotWrite
from aihf_control.study.checkpoints import Checkpoint, Loaded

SEEDS, NEW_STEPS, WIDTH = 2, 4, 5
CALLS_OF_A_SAVE = 12
"""Three files, for each: write, fsync, replace, fsync of the folder."""


def save(checkpoint: Checkpoint, round: int) -> None:
    """Round n holds n everywhere, so that a mix of two rounds shows."""
    tensors = {"weights": torch.full((SEEDS, 300), float(round)), "updates": torch.tensor(round)}
    rows = torch.full((SEEDS, NEW_STEPS, WIDTH), float(round))
    record = {"rows": [{"step": n, "return": n / 3} for n in range(round + 1)]}
    checkpoint.save(round, tensors, rows, record)


def check(loaded: Loaded | None, round: int) -> None:
    assert loaded is not None and loaded.round == round
    assert loaded.tensors.keys() == {"weights", "updates"}
    assert torch.equal(loaded.tensors["weights"], torch.full((SEEDS, 300), float(round)))
    assert loaded.tensors["updates"].item() == round
    rows = list(loaded.replay())
    assert len(rows) == round
    for n, added in enumerate(rows, start=1):
        assert torch.equal(added, torch.full((SEEDS, NEW_STEPS, WIDTH), float(n)))
    assert loaded.record == {"rows": [{"step": n, "return": n / 3} for n in range(round + 1)]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def saved_rounds(folder: Path, last: int) -> Checkpoint:
    checkpoint = Checkpoint(folder)
    assert checkpoint.load_latest() is None
    for round in range(1, last + 1):
        save(checkpoint, round)
    return checkpoint


def intercept(patch: pytest.MonkeyPatch, count: int, action: Callable[[], object]) -> None:
    """Do `action` at the `count`-th write, fsync or replace from now on; a write first does half its work."""
    calls = 0

    def wrap(function: Callable[..., Any], partial: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                if partial:
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                action()
            return function(*arguments)

        return wrapped

    for name in ("write", "fsync", "replace"):
        patch.setattr(os, name, wrap(getattr(os, name), name == "write"))


def in_a_child(work: Callable[[], object]) -> int:
    """Start `work` in a copy of this process, which ends with it; returns the pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def killed(pid: int) -> bool:
    return os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_two_states_and_all_replay_files_are_kept(tmp_path: Path) -> None:
    checkpoint = saved_rounds(tmp_path, 3)
    (tmp_path / "note.txt").touch()
    save(checkpoint, 4)
    assert names(tmp_path) == [
        "note.txt",
        "replay_00001.safetensors",
        "replay_00002.safetensors",
        "replay_00003.safetensors",
        "replay_00004.safetensors",
        "round_00003.json",
        "round_00004.json",
        "state_00003.safetensors",
        "state_00004.safetensors",
    ]
    check(Checkpoint(tmp_path).load_latest(), 4)


def test_an_earlier_replay_file_is_never_written_again(tmp_path: Path) -> None:
    checkpoint = saved_rounds(tmp_path, 1)
    before = (tmp_path / "replay_00001.safetensors").stat()
    save(checkpoint, 2)
    after = (tmp_path / "replay_00001.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_batch_without_replay(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(7, {"a": torch.ones(1)}, None, {})
    loaded = Checkpoint(tmp_path).load_latest()
    assert loaded is not None and loaded.round == 7 and list(loaded.replay()) == []


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    special = torch.tensor([0x7FC12345, 0x7F800000, -0x80000000, 1], dtype=torch.int32).view(torch.float32)
    matrix = torch.arange(6.0, dtype=torch.float64).view(2, 3) / 7
    tensors = {
        "NaN with payload, infinity, minus zero, denormal": special,
        "transposed": matrix.t(),
        "shares memory": matrix[:, 1],
        "expanded": matrix[:1].expand(4, 3),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
        "bfloat16": matrix.bfloat16(),
        "bool": matrix > 0.3,
        "needs gradient": matrix.clone().requires_grad_(),
    }
    Checkpoint(tmp_path).save(1, tensors, None, {})
    loaded = Checkpoint(tmp_path).load_latest()
    assert loaded is not None and loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        back = loaded.tensors[name]
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape), name
        assert bits(back) == bits(tensor.detach()), name


def test_the_record_keeps_its_order_and_a_diverged_seeds_numbers(tmp_path: Path) -> None:
    row = {"step": 5, "return_mean": 0.1 + 0.2, "a_diagnostic": math.nan, "loss": -math.inf}
    Checkpoint(tmp_path).save(1, {}, None, {"rows": [row], "pair": (1, 2), "of": {3: "text"}})
    loaded = Checkpoint(tmp_path).load_latest()
    assert loaded is not None
    (back,) = loaded.record["rows"]
    assert list(back) == list(row)  # the columns of progress.csv are in the order first seen
    assert (back["step"], back["return_mean"], back["loss"]) == (5, 0.1 + 0.2, -math.inf)
    assert math.isnan(back["a_diagnostic"])
    assert (loaded.record["pair"], loaded.record["of"]) == ([1, 2], {"3": "text"})


def test_an_error_at_any_call_leaves_the_previous_or_the_new_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starve() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rounds = []
    for count in range(1, CALLS_OF_A_SAVE + 1):
        folder = tmp_path / str(count)
        checkpoint = saved_rounds(folder, 2)
        with monkeypatch.context() as patch, pytest.raises(CannotWrite, match=str(folder)):
            intercept(patch, count, starve)
            save(checkpoint, 3)
        assert not any(name.startswith(".tmp-") for name in names(folder))
        again = Checkpoint(folder)
        loaded = again.load_latest()
        assert loaded is not None
        check(loaded, loaded.round)
        rounds.append(loaded.round)
        save(again, loaded.round + 1)
        check(Checkpoint(folder).load_latest(), loaded.round + 1)
    assert rounds == [2] * (CALLS_OF_A_SAVE - 1) + [3]  # the last call is the folder's fsync


def test_a_kill_at_any_call_leaves_the_previous_or_the_new_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []
    for count in range(1, CALLS_OF_A_SAVE + 1):
        folder = tmp_path / str(count)
        checkpoint = saved_rounds(folder, 2)
        with monkeypatch.context() as patch:
            intercept(patch, count, lambda: os.kill(os.getpid(), signal.SIGKILL))
            assert killed(in_a_child(lambda checkpoint=checkpoint: save(checkpoint, 3)))  # type: ignore[misc]
        loaded = Checkpoint(folder).load_latest()
        assert loaded is not None
        check(loaded, loaded.round)
        rounds.append(loaded.round)
        assert not any(name.startswith(".tmp-") for name in names(folder))
    assert rounds == [2] * (CALLS_OF_A_SAVE - 1) + [3]


def test_a_run_killed_at_random_moments_goes_on_from_a_whole_round(tmp_path: Path) -> None:
    moments, done = random.Random(0), 0
    for _ in range(6):
        reader, writer = os.pipe()

        def run(writer: int = writer) -> None:
            checkpoint = Checkpoint(tmp_path)
            loaded = checkpoint.load_latest()
            round = loaded.round if loaded else 0
            while True:
                round += 1
                save(checkpoint, round)
                os.write(writer, b".")

        pid = in_a_child(run)
        os.close(writer)
        assert os.read(reader, 1) == b"."  # it has saved a round
        time.sleep(moments.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        assert killed(pid)
        os.close(reader)
        loaded = Checkpoint(tmp_path).load_latest()
        assert loaded is not None and loaded.round > done
        check(loaded, loaded.round)
        done = loaded.round


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # in the data of a tensor, in the record of a manifest
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, Path.unlink])
@pytest.mark.parametrize("file", ["state_00003.safetensors", "replay_00003.safetensors", "round_00003.json"])
def test_damage_is_named_and_the_round_before_is_used(
    tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    saved_rounds(tmp_path, 3)
    damage(tmp_path / file)
    warnings: list[str] = []
    checkpoint = Checkpoint(tmp_path, warnings.append)
    check(checkpoint.load_latest(), 2)
    assert len(warnings) == 1 and warnings[0].startswith(f"{tmp_path / file}: ") and "\n" not in warnings[0]
    assert warnings[0].endswith(": round 3 is not used, the one before is tried")
    if damage is flip_a_bit:
        assert warnings[0].count("…") == 2 and "SHA-256" in warnings[0]
    save(checkpoint, 3)
    check(Checkpoint(tmp_path, warnings.append).load_latest(), 3)


def test_without_a_whole_round_it_says_so(tmp_path: Path) -> None:
    saved_rounds(tmp_path, 3)
    flip_a_bit(tmp_path / "replay_00001.safetensors")
    warnings: list[str] = []
    checkpoint = Checkpoint(tmp_path, warnings.append)
    assert checkpoint.load_latest() is None
    assert len(warnings) == 3 and warnings[2].endswith("starting from the beginning")
    save(checkpoint, 1)
    assert names(tmp_path) == ["replay_00001.safetensors", "round_00001.json", "state_00001.safetensors"]


def test_warnings_are_printed_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_rounds(tmp_path, 2)
    flip_a_bit(tmp_path / "state_00002.safetensors")
    check(Checkpoint(tmp_path).load_latest(), 1)
    assert capsys.readouterr().err.startswith(f"warning: {tmp_path / 'state_00002.safetensors'}: SHA-256 is ")


def test_garbage_in_the_folder_is_no_obstacle(tmp_path: Path) -> None:
    saved_rounds(tmp_path, 2)
    (tmp_path / "round_00009.json").mkdir()
    texts = ("[]", "{}", "null", "[" * 100_000, '{"sha256": 3}', "\x00")
    for round, text in enumerate(texts, start=10):
        (tmp_path / f"round_{round:05d}.json").write_text(text)
    (tmp_path / "round_00020.json").write_bytes(b"\xff\xfe")
    (tmp_path / "round_00021.json").write_bytes((tmp_path / "round_00001.json").read_bytes())
    (tmp_path / "round_x.json").touch()
    warnings: list[str] = []
    check(Checkpoint(tmp_path, warnings.append).load_latest(), 2)
    assert len(warnings) == 1 + len(texts) + 2


def test_a_checkpoint_of_another_format_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aihf_control.study.checkpoints.FORMAT", 2)
    saved_rounds(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(InvalidData, match="format is not 1"):
        Checkpoint(tmp_path).load_latest()
    assert json.loads((tmp_path / "round_00001.json").read_text())["format"] == 2


def test_a_removed_checkpoint_is_gone(tmp_path: Path) -> None:
    checkpoint = saved_rounds(tmp_path / "checkpoint_0", 1)
    checkpoint.remove()
    checkpoint.remove()
    assert names(tmp_path) == []
    assert Checkpoint(tmp_path / "checkpoint_0").load_latest() is None

"""Files are whole or absent: failures are injected where the system would fail."""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aihf_control.runs.files import (
    LEFTOVER_SECONDS,
    CannotWrite,
    make_folder,
    naming,
    remove_folder,
    remove_leftovers,
    sha256,
    temporary_beside,
    write_atomically,
    write_json,
)
from aihf_control.runs.processes import Process


def failing(code: int) -> Callable[..., int]:
    def fail(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_and_replaced_with_the_rights_of_any_other(tmp_path: Path) -> None:
    path, other = tmp_path / "a.bin", tmp_path / "other"
    other.write_bytes(b"")
    for content in (b"first", b"", b"x" * 100_000):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["a.bin", "other"]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_system_that_writes_byte_by_byte_gets_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:1]))
    write_atomically(tmp_path / "a", b"every byte")
    assert (tmp_path / "a").read_bytes() == b"every byte"


@pytest.mark.parametrize(
    ("function", "code", "remedy"),
    [
        ("write", errno.ENOSPC, "No space left on device: free some space and run"),
        ("fsync", errno.EDQUOT, "free some of your quota and run"),
        ("open", errno.EROFS, "Read-only file system: choose a folder that can be written and run"),
        ("replace", errno.EACCES, "Permission denied: choose a folder that you may write and run"),
    ],
)
def test_a_failure_names_the_path_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, remedy: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(code))
        with pytest.raises(CannotWrite) as raised:
            write_atomically(path, b"new")
    assert str(raised.value).startswith(f"{path} cannot be written: ") and remedy in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        CannotWrite, match=f"^{tmp_path / 'file' / 'folder'} cannot be written: Not a directory"
    ):
        make_folder(tmp_path / "file" / "folder")


def test_a_named_failure_keeps_its_first_name(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match=r"^inner "), naming(Path("outer")), naming(Path("inner")):
        raise OSError(errno.EIO, "broken")


def test_a_file_system_that_cannot_sync_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_atomically(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    here = Process.current()
    writers = {
        "living": here,
        "recycled pid": replace(here, started=here.started + 1),
        "before the reboot": replace(here, boot="00000000"),
        "elsewhere": replace(here, host="else-where"),
        "elsewhere, old": replace(here, host="else-where", pid=77),
    }
    paths = {name: tmp_path / f".tmp-{writer}-0123abcd" for name, writer in writers.items()}
    for path in paths.values():
        path.touch()
    os.utime(paths["elsewhere, old"], (0, time.time() - LEFTOVER_SECONDS - 60))
    folder = tmp_path / f".tmp-{writers['recycled pid']}-00000000"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "kept.json").touch()
    assert temporary_beside(tmp_path / "x").name.startswith(f".tmp-{here}-")

    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([paths["living"].name, paths["elsewhere"].name, "kept.json"])
    remove_leftovers(tmp_path / "absent")


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c").touch()
    remove_folder(folder)
    remove_folder(folder)
    assert names(tmp_path) == []


def test_sha256_of_the_standards_example(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "a") == expected


def test_json_has_sorted_keys_and_plain_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": np.float32(0.5), "a": [np.int64(2), "é"]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    2,\n    "é"\n  ],\n  "b": 0.5\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_refuses_what_others_cannot_read(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=str(path)):
        write_json(path, {"a": value})
    assert path.read_bytes() == before and names(tmp_path) == ["a.json"]

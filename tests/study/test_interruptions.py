"""What users do to a running study: Ctrl-C, full and read-only disks, another folder, old locks."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import dead
from toy_bench import SECONDS, SEEDS, aihf, ended, leftovers, numbers, small_study, start, train

from aihf_control.runs.files import TEMPORARY_PREFIX
from aihf_control.runs.locks import Job, Owner
from aihf_control.study.checkpoints import Checkpoint
from aihf_control.study.prepare import Folders

METHOD = Path("results/runs/bench/hopper/aihf")
ROUNDS = 3
JOB = ["job", "--env", "hopper", "--device", "cpu", "--precision", "float32", "--environments", "serial"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The numbers of an uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    assert job(root, root / "log")[0] == 0
    return numbers(root)


def job(root: Path, log: Path) -> tuple[int, str]:
    """The same command as ever, in a process of its own: its exit status and all that it said."""
    status = ended(start(lambda: aihf([*JOB, "--root", str(root)], rounds=ROUNDS), log))
    return status, log.read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system needs the right to mount one: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_full_disk_is_named_and_costs_a_round_at_most(
    small_disk: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    def fill(step: int) -> None:
        free = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - 20_000))

    def starve() -> int:
        train(small_disk, small_study(rounds=ROUNDS), lambda run, step: fill(step) if step == 4 else None)
        return 0

    log = tmp_path / "log"
    assert ended(start(starve, log)) == 1
    told = log.read_text().splitlines()[-1]
    assert str(small_disk / METHOD) in told and "No space left on device: free some space" in told
    loaded = Checkpoint(small_disk / METHOD / "checkpoint_0-1").load_latest()
    assert loaded is not None and loaded.round == 1
    status, said = job(small_disk, log)  # there is still no space: the same answer, by exit status too
    assert status == 2 and "No space left on device: free some space" in said.splitlines()[-1]
    (small_disk / "filler").unlink()
    assert job(small_disk, log)[0] == 0
    assert numbers(small_disk) == whole and leftovers(small_disk) == []


def test_a_read_only_disk_is_named_and_the_next_call_works(
    small_disk: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    remount(small_disk, "ro")
    status, said = job(small_disk, tmp_path / "log")
    assert status == 2 and f"{small_disk / 'results'}" in said and "Read-only file system" in said
    assert "Traceback" not in said
    remount(small_disk, "rw")
    assert job(small_disk, tmp_path / "log")[0] == 0
    assert numbers(small_disk) == whole


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    root, log = tmp_path / "root", tmp_path / "log"

    def interruptible() -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run as `… &`
        return aihf([*JOB, "--root", str(root)], rounds=ROUNDS)

    pid = start(interruptible, log)
    wait_for((root / METHOD / "seed_0" / "status.json").exists)
    os.kill(pid, signal.SIGINT)
    assert ended(pid) == 130
    assert log.read_text().endswith("aihf: interrupted: the same command goes on from the last round\n")
    assert not list(root.rglob("lock.json"))
    assert job(root, log)[0] == 0
    assert numbers(root) == whole and leftovers(root) == []


def test_a_queue_of_old_locks_and_half_written_files_is_no_obstacle(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    for seed in SEEDS:
        folder = tmp_path / METHOD / f"seed_{seed}"
        folder.mkdir(parents=True)
        for number in range(200):
            old = Owner(dead(), Job("", 0), "long ago", f"{number}").encode()
            claim = folder / f"{TEMPORARY_PREFIX}lock-{number:016x}.json"
            claim.write_bytes(old)
            os.utime(claim, (0, 0))
            (folder / f"{TEMPORARY_PREFIX}{dead()}-{number:08x}").write_text("step,re")
        (folder / "lock.json").write_bytes(old)
    assert job(tmp_path, tmp_path / "log")[0] == 0
    assert numbers(tmp_path) == whole and leftovers(tmp_path) == []


def test_results_are_the_checkouts_whatever_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    checkout = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(tmp_path)
    assert Folders.default_root() == checkout
    assert job(Path("elsewhere"), tmp_path / "log")[0] == 0  # and a given one is seen from there
    assert numbers(tmp_path / "elsewhere") == whole

"""Who may write a seed's folder. Owners are real processes, or records of ones that could be."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import dead

from aihf_control.runs import locks
from aihf_control.runs.files import CannotWrite
from aihf_control.runs.locks import ABANDONED_SECONDS, Job, Locked, Owner, SeedLock
from aihf_control.runs.processes import Process

NO_JOB = Job("", 0)


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def living() -> Iterator[Process]:
    """A process of this host that is not this one."""
    child = subprocess.Popen(["sleep", "600"])
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    yield replace(Process.current(), pid=child.pid, started=int(fields[19]))
    child.kill()
    child.wait()


def foreign() -> Process:
    return replace(Process.current(), host="node7", pid=4711)


def held_by(folder: Path, process: Process, job: Job = NO_JOB, age: float = 0.0) -> bytes:
    """Write the lock of `process`, whose last heartbeat was `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = Owner(process, job, "2026-01-02 03:04:05 UTC", "token")
    path = folder / "lock.json"
    path.write_bytes(owner.encode())
    os.utime(path, (0, time.time() - age))
    return owner.encode()


def taken_over(folder: Path) -> bool:
    """Whether a lock can be had; without one, the holder's lock must be as it was."""
    before = (folder / "lock.json").read_bytes()
    try:
        with SeedLock([folder]):
            owner = Owner.decode((folder / "lock.json").read_bytes())
            assert owner is not None and owner.process == Process.current()
    except Locked:
        assert (folder / "lock.json").read_bytes() == before
        return False
    assert list(folder.iterdir()) == []
    return True


def test_a_lock_is_there_while_held_and_says_by_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    folders = [tmp_path / "seed_1", tmp_path / "seed_0"]
    with SeedLock(folders) as lock:
        lock.confirm()
        for folder in folders:
            record = json.loads((folder / "lock.json").read_text())
            assert record["process"]["pid"] == os.getpid()
            assert record["job"] == {"id": "55", "restarts": 0}
        with pytest.raises(Locked, match=f"seed_0 is in use: process {os.getpid()} on "), SeedLock(folders):
            pass
        lock.confirm()
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_living_owner_is_refused_with_his_name_and_kept(tmp_path: Path, living: Process) -> None:
    held_by(tmp_path / "seed_1", living, Job("55", 0), age=10 * ABANDONED_SECONDS)  # halted, but alive
    with pytest.raises(Locked) as raised, SeedLock([tmp_path / "seed_0", tmp_path / "seed_1"]):
        pass
    message = str(raised.value)
    assert "\n" not in message
    expected = f"process {living.pid} on {living.host} has it since 2026-01-02 03:04:05 UTC, job 55:"
    assert message.startswith(f"{tmp_path / 'seed_1'} is in use: {expected}")
    assert list((tmp_path / "seed_0").iterdir()) == []  # given back
    assert not taken_over(tmp_path / "seed_1")


def test_the_dead_are_followed_at_once(tmp_path: Path, living: Process) -> None:
    held_by(tmp_path, dead())
    assert taken_over(tmp_path)
    held_by(tmp_path, replace(living, started=living.started - 1))  # the pid was given to another process
    assert taken_over(tmp_path)


def test_another_host_is_followed_after_ten_minutes_without_a_heartbeat(tmp_path: Path) -> None:
    for process in (foreign(), replace(dead(), namespace="1")):
        held_by(tmp_path, process, age=ABANDONED_SECONDS - 60)
        assert not taken_over(tmp_path)
        held_by(tmp_path, process, age=ABANDONED_SECONDS + 1)
        assert taken_over(tmp_path)


def test_a_requeued_job_follows_itself_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    held_by(tmp_path, foreign(), Job("55", 0))
    assert not taken_over(tmp_path)  # a second process of the job that still runs
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    held_by(tmp_path, foreign(), Job("56", 0))
    assert not taken_over(tmp_path)
    held_by(tmp_path, foreign(), Job("55", 1))
    assert not taken_over(tmp_path)
    held_by(tmp_path, foreign(), Job("55", 0))
    assert taken_over(tmp_path)


def test_a_living_process_of_the_requeued_job_is_waited_for_and_never_robbed(
    tmp_path: Path, living: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr(locks, "PREDECESSOR_SECONDS", 0.3)
    theirs = held_by(tmp_path, living, Job("55", 0))
    with pytest.raises(Locked, match=f"in use: process {living.pid} on "), SeedLock([tmp_path]):
        pass
    assert (tmp_path / "lock.json").read_bytes() == theirs
    monkeypatch.setattr(locks, "PREDECESSOR_SECONDS", 30.0)
    threading.Timer(0.5, os.kill, (living.pid, signal.SIGKILL)).start()  # it ends meanwhile
    assert taken_over(tmp_path)


def test_jobs_by_their_environment() -> None:
    assert Job.current({}) == Job("", 0)
    array = {"SLURM_JOB_ID": "90", "SLURM_ARRAY_JOB_ID": "88", "SLURM_ARRAY_TASK_ID": "2"}
    assert Job.current(array) == Job("88_2", 0)
    assert Job.current({"SLURM_JOB_ID": "90", "SLURM_RESTART_COUNT": "3"}) == Job("90", 3)
    assert not Job("", 1).follows(Job("", 0))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"process": {"pid": "x"}}', b"[" * 100_000])
def test_an_unreadable_lock_is_given_up_after_ten_minutes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock.json"
    path.write_bytes(content)
    assert not taken_over(tmp_path)
    os.utime(path, (0, time.time() - ABANDONED_SECONDS - 1))
    assert taken_over(tmp_path)


def test_a_slow_claimant_does_not_take_the_lock_of_a_faster_one(
    tmp_path: Path, living: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(tmp_path, dead())
    path, abandoned = tmp_path / "lock.json", locks._abandoned
    faster = Owner(living, NO_JOB, "now", "faster").encode()

    def overtaken(path_: Path, content: bytes) -> bool:
        monkeypatch.setattr(locks, "_abandoned", abandoned)
        verdict = abandoned(path_, content)
        locks._claim(path_, faster)  # meanwhile the other one does all of its claim
        return verdict

    monkeypatch.setattr(locks, "_abandoned", overtaken)
    with pytest.raises(Locked, match=f"process {living.pid} "), SeedLock([tmp_path]):
        pass
    assert path.read_bytes() == faster and list(tmp_path.iterdir()) == [path]


def test_a_claimant_that_died_in_the_middle_is_no_obstacle(tmp_path: Path, living: Process) -> None:
    held_by(tmp_path, dead())
    path = tmp_path / "lock.json"
    successor = locks._successor(path, path.read_bytes())
    successor.write_bytes(Owner(living, NO_JOB, "now", "claimant").encode())
    assert not taken_over(tmp_path)  # it lives, and is about to take over
    successor.write_bytes(Owner(dead(), NO_JOB, "now", "claimant").encode())
    assert taken_over(tmp_path)


CLAIMANT = """
import sys
from pathlib import Path
from aihf_control.runs.locks import Locked, SeedLock
held = []
for line in sys.stdin:
    lock = SeedLock([Path(line.strip())])
    try:
        held.append(lock.__enter__())
        print("won", flush=True)
    except Locked:
        print("locked", flush=True)
"""


def test_of_processes_that_race_for_a_dead_owners_lock_exactly_one_wins(tmp_path: Path) -> None:
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(2)
    ]
    try:
        for race in range(40):
            folder = tmp_path / str(race)
            held_by(folder, dead())
            for claimant in claimants:
                assert claimant.stdin is not None
                claimant.stdin.write(f"{folder}\n")
            results = [claimant.stdout.readline() for claimant in claimants if claimant.stdout is not None]
            assert sorted(results) == ["locked\n", "won\n"]
            winner = Owner.decode((folder / "lock.json").read_bytes())
            assert winner is not None and winner.process.pid == claimants[results.index("won\n")].pid
            assert len(list(folder.iterdir())) == 1
    finally:
        for claimant in claimants:
            claimant.kill()
            claimant.communicate()


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.01)
    path, deadline = tmp_path / "lock.json", time.monotonic() + 30
    with SeedLock([tmp_path]) as lock:
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
    assert not lock._heart.is_alive()


def test_a_lock_that_was_taken_over_is_noticed_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SeedLock([tmp_path]) as lock:
        theirs = held_by(tmp_path, foreign())
        with pytest.raises(Locked, match=f"{tmp_path}: this process lost it, .* process 4711 on node7 "):
            lock.confirm()
    assert (tmp_path / "lock.json").read_bytes() == theirs
    assert len(list(tmp_path.iterdir())) == 1


def test_the_half_written_files_of_the_previous_owner_go(tmp_path: Path) -> None:
    held_by(tmp_path, dead())
    (tmp_path / f".tmp-{dead()}-0123abcd").touch()
    with SeedLock([tmp_path]):
        assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=str(tmp_path / "file" / "seed_0")):
        SeedLock([tmp_path / "file" / "seed_0"]).__enter__()

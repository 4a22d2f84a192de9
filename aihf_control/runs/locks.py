"""One process a seed folder: a lock file that names its owner, and is taken over when the owner is gone."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from aihf_control.errors import UserError
from aihf_control.runs.files import TEMPORARY_PREFIX, make_folder, naming, remove_leftovers, write_all
from aihf_control.runs.processes import Process
from aihf_control.runs.signals import uninterrupted

LOCK_NAME = "lock.json"
HEARTBEAT_SECONDS = 60.0
ABANDONED_SECONDS = 600.0
"""Time without a heartbeat after which the lock of another host is taken over."""
PREDECESSOR_SECONDS = 60.0
"""What a process of the same job, from before it was requeued, may take to end on this host."""
POLL_SECONDS = 0.2


class Locked(UserError, RuntimeError):
    """Another process has the folder; the one line says which (host, pid, since when, job)."""


@dataclass(frozen=True)
class Job:
    """A Slurm job, or task of an array, and how often it was requeued; `id` is "" outside of Slurm."""

    id: str
    restarts: int

    @staticmethod
    def current(environment: Mapping[str, str] = os.environ) -> Job:
        """The job that this process is part of."""
        array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
        name = f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")
        restarts = environment.get("SLURM_RESTART_COUNT", "0")
        return Job(name, int(restarts) if restarts.isdecimal() else 0)

    def follows(self, other: Job) -> bool:
        """Whether this is `other`, requeued since. Two processes of one running job are not."""
        return self.id != "" and self.id == other.id and self.restarts > other.restarts


@dataclass(frozen=True)
class Owner:
    """What `lock.json` says: `token` tells two locks of one process apart."""

    process: Process
    job: Job
    since: str
    token: str

    @staticmethod
    def current() -> Owner:
        """A new owner: this process."""
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return Owner(Process.current(), Job.current(), since, secrets.token_hex(8))

    def encode(self) -> bytes:
        """The content of a lock file."""
        return f"{json.dumps(asdict(self), indent=2)}\n".encode()

    @staticmethod
    def decode(content: bytes) -> Owner | None:
        """The inverse of `encode`; None for anything else, such as a file that is being written."""
        try:
            record = json.loads(content)
            process = Process(**{f.name: record["process"][f.name] for f in fields(Process)})
            job = Job(str(record["job"]["id"]), int(record["job"]["restarts"]))
            sane = isinstance(process.pid, int) and process.pid > 0
            return Owner(process, job, str(record["since"]), str(record["token"])) if sane else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def is_held(folder: Path) -> bool:
    """Whether a process has `folder`, as far as can be told from here."""
    path = folder / LOCK_NAME
    content = _read(path)
    return content is not None and not _abandoned(path, content)


def refuse_held(folders: Iterable[Path]) -> None:
    """Raise `Locked` if a process has one of them, as far as can be told from here."""
    for folder in folders:
        if is_held(folder):
            raise Locked(f"{folder} is in use: {_holder(_read(folder / LOCK_NAME))}")


class SeedLock:
    """A context in which this process alone writes `folders`, which are made; `Locked` if it cannot be.

    Taken over at once are locks of a dead process of this host and those that the same Slurm job had on
    another before it was requeued; locks of another host once they had no heartbeat for ten minutes. A
    process of this host that lives is waited for if it is the same job's, a minute, and never robbed. On
    entry the half-written files of the previous owner are removed.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._paths = sorted({folder / LOCK_NAME for folder in folders})
        self._content = b""
        self._held: list[Path] = []
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lock heartbeat", daemon=True)

    def __enter__(self) -> SeedLock:
        self._content = Owner.current().encode()
        _wait_for_predecessors(self._paths)
        try:
            with uninterrupted():
                for path in self._paths:
                    make_folder(path.parent)
                    _claim(path, self._content)
                    self._held.append(path)
                    remove_leftovers(path.parent)
            self._heart.start()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with uninterrupted():
            self._heart.join(timeout=5.0)
            self._release()

    def confirm(self) -> None:
        """Raise `Locked` if a lock was taken over, as when this machine slept. Call before each save."""
        for path in self._held:
            content = _read(path)
            if content != self._content:
                raise Locked(f"{path.parent}: this process lost it, halted for long; {_holder(content)}")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            for path in self._paths:
                with suppress(OSError):
                    if _read(path) == self._content:
                        os.utime(path)

    def _release(self) -> None:
        while self._held:
            path = self._held.pop()
            successor = _successor(path, self._content)
            with suppress(OSError):
                if _create(successor, self._content):  # else someone is taking it over just now
                    if _read(path) == self._content:
                        path.unlink()
                    successor.unlink()


def _wait_for_predecessors(paths: Sequence[Path]) -> None:
    """Until no process that this job had here before it was requeued still ends, or a minute is over."""
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while time.monotonic() < deadline and any(map(_is_predecessors, paths)):
        time.sleep(POLL_SECONDS)


def _is_predecessors(path: Path) -> bool:
    owner = Owner.decode(_read(path) or b"")
    return owner is not None and Job.current().follows(owner.job) and owner.process.is_alive()


def _claim(path: Path, content: bytes) -> None:
    """Make `path`, with `content`, if it is absent or may be taken over; else raise `Locked`.

    Only who owns the successor of an abandoned lock may replace it. The successor's name is made from
    that lock's content, so a slow claimant cannot take the lock of a faster one for the abandoned one.
    A successor that was itself abandoned is claimed in the same way.
    """
    while not _create(path, content):
        found = _read(path)
        if found is None:
            continue
        if not _abandoned(path, found):
            raise Locked(f"{path.parent} is in use: {_holder(found)}")
        successor = _successor(path, found)
        _claim(successor, content)
        with naming(path):
            if _read(path) == found:
                with suppress(FileNotFoundError):
                    os.replace(successor, path)
            else:
                successor.unlink(missing_ok=True)
        if _read(path) == content:
            return


def _successor(path: Path, content: bytes) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}lock-{hashlib.sha256(content).hexdigest()[:16]}.json")


def _create(path: Path, content: bytes) -> bool:
    with naming(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            write_all(descriptor, content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _abandoned(path: Path, content: bytes) -> bool:
    owner = Owner.decode(content)
    if owner and owner.process.is_alive():
        return False  # even if it is halted and its heart does not beat
    if owner and (owner.process.is_dead() or Job.current().follows(owner.job)):
        return True
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return True  # given back just now


def _holder(content: bytes | None) -> str:
    owner = Owner.decode(content or b"")
    if owner is None:
        return "its lock is unreadable, and given up after 10 minutes"
    job = f", job {owner.job.id}" if owner.job.id else ""
    process = owner.process
    return (
        f"process {process.pid} on {process.host} has it since {owner.since}{job}: wait for it or stop it "
        "(the lock of another host is given up after 10 minutes without a heartbeat)"
    )

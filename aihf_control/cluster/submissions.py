"""What a bench or a sweep writes beside the runs: its plan, its jobs' logs, and how often each of them died.

A submission has a folder of its own, `results/runs/<study>/sweeps/<time>-<token>/`; `plan.json` in it is
written by who submits, `<group>.json` by that group's job alone. So no two processes write one file.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aihf_control.cluster.plan import Group
from aihf_control.runs.files import build, make_folder, read_json, read_json_if_there, write_json
from aihf_control.runs.signals import REQUEUE_ME

FOLDER = "sweeps"
MOST_RETRIES = 3
"""How often a job that died is started again; being told to stop (preempted, out of time) is no death."""

LOG_END = 10_000  # bytes of a log that are looked at


@dataclass(frozen=True)
class Submission:
    """`plan.json`: what one command handed to `cluster`; `jobs` are the groups' ids there, if any."""

    study: str
    command: str
    cluster: str
    submitted: str
    groups: tuple[Group, ...]
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempts:
    """`<group>.json`: how often its job died, and the exit status with which it was given up, if it was."""

    deaths: int = 0
    given_up: int | None = None


def verdict(status: int, attempts: Attempts) -> tuple[bool, Attempts]:
    """Whether a job that ended with `status` is to be started again, and what to remember of it.

    0 is its end, and `REQUEUE_ME` a stop that costs nothing. 2 is a mistake, which the same command would
    repeat. Anything else is a death (a signal, memory, a fault), of which `MOST_RETRIES` are excused.
    """
    if status in (0, REQUEUE_ME):
        return status == REQUEUE_ME, attempts
    deaths = attempts.deaths + 1
    again = status != 2 and deaths <= MOST_RETRIES
    return again, Attempts(deaths, None if again else status)


def conclude(folder: Path, group: Group, status: int) -> bool:
    """Remember how a group's job ended; whether it is to be started again."""
    before = read_attempts(folder, group)
    again, attempts = verdict(status, before)
    if attempts != before:
        write_json(folder / f"{group.name}.json", asdict(attempts))
    return again


def read_attempts(folder: Path, group: Group) -> Attempts:
    """What is remembered of a group's job. Raises `InvalidData`."""
    path = folder / f"{group.name}.json"
    record = read_json_if_there(path)
    return Attempts() if record is None else build(path, Attempts, record)


def new_folder(study: Path) -> Path:
    """Make a submission's folder in a study's; names sort by time."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = study / FOLDER / f"{stamp}-{secrets.token_hex(3)}"
    make_folder(folder)
    return folder


def now() -> str:
    """The time, as in a plan."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def write_submission(folder: Path, submission: Submission) -> None:
    """Write `plan.json`. Raises `CannotWrite`."""
    write_json(folder / "plan.json", asdict(submission))


def read_submission(folder: Path) -> Submission:
    """The plan in a submission's folder. Raises `InvalidData`, naming file and field."""
    path = folder / "plan.json"
    return build(path, Submission, read_json(path))


def read_submissions(study: Path) -> list[tuple[Path, Submission]]:
    """All submissions of a study with their folders, oldest first. Raises `InvalidData`."""
    folders = sorted(path.parent for path in (study / FOLDER).glob("*/plan.json"))
    return [(folder, read_submission(folder)) for folder in folders]


SLURM = "slurm"
"""In a submission's folder, what submitit writes: the batch script, its own files, the jobs' output."""


def log_of(folder: Path, group: Group, job: str = "") -> Path:
    """Where a group's job writes, each start after the one before; `job` is its id on Slurm."""
    return folder / SLURM / f"{job}_0_log.out" if job else folder / f"{group.name}.log"


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The end of a log, without empty lines; nothing if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.rstrip()[:300] for line in lines if line.strip()][-count:]

"""Cutting a study into jobs, remembering how they ended, estimating them, and saying how far they are."""

import io
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from aihf_control.cli.bench import shared_options
from aihf_control.cli.sweep import Sweep
from aihf_control.cli.values import parse_minutes, parse_seeds
from aihf_control.cluster import status
from aihf_control.cluster.estimate import Pace, estimate, paces
from aihf_control.cluster.job_display import JobDisplay
from aihf_control.cluster.local import LocalJobs
from aihf_control.cluster.plan import Group, job_arguments, plan, seed_range
from aihf_control.cluster.submissions import (
    MOST_RETRIES,
    Attempts,
    Submission,
    conclude,
    last_lines,
    log_of,
    new_folder,
    read_attempts,
    read_submissions,
    verdict,
    write_submission,
)
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.runs.folder import RunPaths, Status, write_config, write_status
from aihf_control.runs.locks import SeedLock

STUDY = "grid"


def begin(
    runs: Path, task: str, method: str, seeds: tuple[int, ...], status: Status | None = None, **config: object
) -> None:
    """Write the run directories of a batch that was begun, and with `status` reached a checkpoint."""
    for seed in seeds:
        folder = RunPaths(runs, STUDY, task, method).seed(seed)
        place = {"study": STUDY, "task": task, "method": method, "seed": seed}
        record = {"batch": list(seeds), "steps": 100, "device": "cpu"}
        write_config(folder, place | record | config)
        if status is not None:
            write_status(folder, status)


def at(step: int, state: str = "running", seconds: float = 50.0, batch: int = 2) -> Status:
    failed = {"failed_at_step": step, "reason": "NaN"} if state == "failed" else {}
    return Status(state, step, seconds, batch, **failed)  # type: ignore[arg-type]


def test_a_job_for_each_task_method_and_group_of_seeds(tmp_path: Path) -> None:
    groups = plan(tmp_path, STUDY, ["hopper", "walker2d"], ["aihf", "ipl"], range(5), 2)
    assert len(groups) == 2 * 2 * 3
    first = [(group.task, group.method, group.seeds) for group in groups[:4]]
    assert first == [(t, m, (0, 1)) for t in ("hopper", "walker2d") for m in ("aihf", "ipl")]
    assert {group.seeds for group in groups} == {(0, 1), (2, 3), (4,)}
    assert len({group.name for group in groups}) == len(groups)


def test_what_has_ended_is_left_out_and_what_was_begun_is_a_job_as_it_was(tmp_path: Path) -> None:
    begin(tmp_path, "hopper", "aihf", (0, 1), at(100, "finished"))
    begin(tmp_path, "hopper", "aihf", (2, 3), at(100, "failed"))
    begin(tmp_path, "hopper", "aihf", (4, 5, 6), at(40))
    groups = plan(tmp_path, STUDY, ["hopper"], ["aihf"], range(9), 2)
    assert [group.seeds for group in groups] == [(4, 5, 6), (7, 8)]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 7), (3, 5)])
def test_seeds_are_written_as_they_are_read(seeds: tuple[int, ...]) -> None:
    assert parse_seeds(seed_range(seeds)) == seeds


def test_a_job_is_of_its_group_with_the_options_that_all_share() -> None:
    group = Group("hopper", "mine", (0, 1, 2))
    options = ["--env", "all", "--seeds=0-9", "--preset", "smoke", "--cluster", "slurm", "--gpus", "1"]
    options += [
        "--methods",
        "aihf,mine=m.py:Mine",
        "--time",
        "20",
        "--force-new",
        "--jobs",
        "3",
        "--settings.round-steps",
        "7",
    ]
    shared = shared_options(Sweep, options)
    assert shared == ("--preset", "smoke", "--settings.round-steps", "7")
    arguments = job_arguments(group, group.task, "mine=m.py:Mine", STUDY, shared)
    assert " ".join(arguments) == (
        "job --env hopper --methods mine=m.py:Mine --seeds 0-2 --study grid "
        "--preset smoke --settings.round-steps 7"
    )


def test_which_ends_are_deaths() -> None:
    fresh = Attempts()
    assert verdict(0, fresh) == (False, fresh)
    assert verdict(75, fresh) == (True, fresh)  # preempted, as often as the cluster likes
    assert verdict(2, fresh) == (False, Attempts(1, 2))  # a mistake is repeated by the same command
    attempts, again = fresh, True
    for _ in range(MOST_RETRIES):
        again, attempts = verdict(137, attempts)
        assert again
    assert verdict(137, attempts) == (False, Attempts(MOST_RETRIES + 1, 137))


def test_a_jobs_ends_are_remembered_beside_its_plan(tmp_path: Path) -> None:
    one, other = Group("hopper", "aihf", (0,)), Group("hopper", "aihf", (1,))
    assert not conclude(tmp_path, other, 0) and not list(tmp_path.iterdir())
    assert [conclude(tmp_path, one, status) for status in (137, 75, 137)] == [True] * 3
    assert read_attempts(tmp_path, one) == Attempts(2) and read_attempts(tmp_path, other) == Attempts()


def test_a_plan_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    folders = [new_folder(tmp_path) for _ in range(2)]
    groups = plan(tmp_path, STUDY, ["hopper"], ["aihf"], range(4), 2)
    ours = Submission(STUDY, "make sweep", "slurm", "today", groups, ("7_0", "7_1"))
    for folder in folders:
        write_submission(folder, ours)
    assert [found for _, found in read_submissions(tmp_path)] == [ours, ours]
    broken = asdict(ours) | {"groups": [{"task": "hopper", "method": 3, "seeds": [0]}]}
    (folders[0] / "plan.json").write_text(json.dumps(broken))
    with pytest.raises(InvalidData, match=r"plan\.json: groups\[0\]\.method is 3, expected str"):
        read_submissions(tmp_path)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == []
    log.write_bytes(b"x" * 20_000 + b"\n\nfirst\n" + b"\xff second \n\n")
    assert last_lines(log, 2) == ["first", "� second"]


@pytest.mark.parametrize(("text", "minutes"), [("240", 240), ("4:00:00", 240), ("1-12:00:30", 2161)])
def test_time_limits(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "1", "4:00", "-5", "4h", "0:00:30", "1-2"])
def test_wrong_time_limits_are_named(text: str) -> None:
    with pytest.raises(InvalidChoice, match=f"TIME={text} is "):
        parse_minutes(text)


def test_hours_follow_from_a_run_that_was_measured(tmp_path: Path) -> None:
    begin(tmp_path, "hopper", "aihf", (0, 1), at(100, "finished", seconds=3600.0))
    begin(tmp_path, "hopper", "aihf", (2, 3), at(10, "finished", seconds=9999.0))  # shorter: not used
    begin(tmp_path, "hopper", "ipl", (0, 1), at(100, "finished"), device="NVIDIA H200")
    known = paces([tmp_path / STUDY], "CPU")
    assert known == {("hopper", "aihf"): Pace(18.0, 2, 100)}
    groups = plan(tmp_path / "none", STUDY, ["hopper"], ["aihf"], range(4), 2)
    text = estimate(groups, ["hopper"], {"aihf": 100}, known, "CPU")
    assert "0–1 | 2–3" in text and "  1 h 00 min\n" in text and "  2 h 00 min\n" in text
    assert text.endswith("2 jobs, 4 runs. About 2.0 CPU hours in all, at the pace of earlier runs.")
    other = plan(tmp_path / "none", STUDY, ["hopper"], ["aihf", "ipl"], range(2), 2)
    text = estimate(other, ["hopper"], {"aihf": 100, "ipl": 100}, known, "CPU")
    assert text.endswith("No run on a CPU tells yet how long these take: IPL on Hopper-v5. "
                         "About 1.0 CPU hours without them.")  # fmt: skip


def states(runs: Path) -> dict[str, tuple[list[int], ...]]:
    read = status.read_progress(runs / STUDY)
    return {line.method: tuple(line.of(state) for state in status.STATES) for line in read.methods}


def test_status_of_every_kind_of_seed(tmp_path: Path) -> None:
    groups = plan(tmp_path, STUDY, ["hopper"], ["aihf", "ipl"], range(8), 2)
    write_submission(new_folder(tmp_path / STUDY), Submission(STUDY, "c", "slurm", "today", groups))
    begin(tmp_path, "hopper", "aihf", (0,), at(100, "finished"))
    begin(tmp_path, "hopper", "aihf", (1,), at(30, "failed"))
    begin(tmp_path, "hopper", "aihf", (2, 3), at(40, seconds=80.0))
    begin(tmp_path, "hopper", "aihf", (4, 5), at(20))
    paths = RunPaths(tmp_path, STUDY, "hopper", "aihf")
    with SeedLock([paths.seed(2), paths.seed(3)]):
        assert states(tmp_path) == {
            "aihf": ([0], [1], [2, 3], [4, 5], [6, 7]),
            "ipl": ([], [], [], [], [*range(8)]),
        }
        read = status.read_progress(tmp_path / STUDY)
        (running,) = {seed.seconds_left for seed in read.methods[0].seeds if seed.state == "running"}
        assert running == 60 * 80.0 / 40 and not read.done  # 60 steps left, two seconds each
        text = status.table(read)
    row = text.splitlines()[2].split()
    assert row[:8] == ["Hopper-v5", "AIHF", "0–7", "1", "1", "2", "2", "2"]
    assert row[8:] == ["20–100", "of", "100", "2", "min"]
    assert "2 of 16 runs have ended." in text


def test_a_study_is_done_when_every_planned_seed_has_ended(tmp_path: Path) -> None:
    groups = plan(tmp_path, STUDY, ["hopper"], ["bc"], range(2), 2)
    write_submission(new_folder(tmp_path / STUDY), Submission(STUDY, "c", "local", "today", groups))
    assert not status.read_progress(tmp_path / STUDY).done
    begin(tmp_path, "hopper", "bc", (0, 1), at(0, "finished"))
    assert status.read_progress(tmp_path / STUDY).done


@pytest.mark.parametrize("jobs", [(), ("17_0",)], ids=["local", "slurm"])
def test_a_lost_job_is_named_with_the_end_of_its_log_until_its_seeds_have_ended(
    tmp_path: Path, jobs: tuple[str, ...]
) -> None:
    (group,) = plan(tmp_path, STUDY, ["hopper"], ["aihf"], range(2), 2)
    folder = new_folder(tmp_path / STUDY)
    write_submission(folder, Submission(STUDY, "c", "any", "today", (group,), jobs))
    log = log_of(folder, group, *jobs)
    log.parent.mkdir(exist_ok=True)
    log.write_text("all was well\nout of memory\n")
    for _ in range(MOST_RETRIES + 1):
        conclude(folder, group, 137)
    text = status.table(status.read_progress(tmp_path / STUDY))
    assert "hopper-aihf-0-1 died 4 times, was given up with exit status 137" in text
    assert text.endswith("    all was well\n    out of memory")
    begin(tmp_path, "hopper", "aihf", (0, 1), at(100, "finished"))
    assert status.read_progress(tmp_path / STUDY).lost == ()


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidData, match="no run and no sweep here"):
            status.read_progress(folder)


def jobs_here(folder: Path, programs: dict[str, str], places: int) -> tuple[LocalJobs, list[str]]:
    """Jobs whose command is a small Python program by the method's name; what they said."""
    said: list[str] = []
    place = {"FOLDER": str(folder)}
    display = JobDisplay(said.append, io.StringIO())
    here = LocalJobs(
        folder, lambda group: [sys.executable, "-c", programs[group.method]], [place] * places, display
    )
    return here, said


COUNTING = """
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["FOLDER"])
(folder / f"began-{os.getpid()}").touch()
time.sleep(0.3)
now = len(list(folder.glob("began-*"))) - len(list(folder.glob("ended-*")))
(folder / f"most-{now}-{os.getpid()}").touch()
(folder / f"ended-{os.getpid()}").touch()
"""


def test_as_many_jobs_at_once_as_there_are_places(tmp_path: Path) -> None:
    groups = [Group("hopper", "aihf", (seed,)) for seed in range(5)]
    here, said = jobs_here(tmp_path, {"aihf": COUNTING}, places=2)
    assert here.run(groups) == []
    assert len(list(tmp_path.glob("ended-*"))) == 5
    assert {path.name.split("-")[1] for path in tmp_path.glob("most-*")} <= {"1", "2"}
    assert said[-1] == "5 of 5 jobs have ended"


DYING = """
import os, pathlib, signal, sys
starts = pathlib.Path(os.environ["FOLDER"], "starts")
with starts.open("a") as file:
    file.write("x")
print("start", len(starts.read_text()), flush=True)
if len(starts.read_text()) <= DEATHS:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("deaths", [2, MOST_RETRIES + 1])
def test_a_job_that_dies_is_started_again_so_often_and_no_more(tmp_path: Path, deaths: int) -> None:
    group = Group("hopper", "aihf", (0,))
    here, said = jobs_here(tmp_path, {"aihf": DYING.replace("DEATHS", str(deaths))}, places=1)
    given_up = here.run([group])
    assert given_up == ([group] if deaths > MOST_RETRIES else [])
    assert read_attempts(tmp_path, group) == Attempts(deaths, 137 if given_up else None)
    starts = [f"start {n}" for n in range(1, min(deaths, MOST_RETRIES) + 2)]
    assert log_of(tmp_path, group).read_text().splitlines() == starts
    assert any("ended with status 137, starting again" in line for line in said)


STOPPABLE = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
pathlib.Path(os.environ["FOLDER"], "ready").touch()
time.sleep(60)
"""


class Stop(Exception):
    pass


def stop(*_: object) -> None:
    raise Stop


def test_a_stopped_sweep_stops_its_jobs_and_starts_no_more(tmp_path: Path) -> None:
    def signal_when_ready() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    here, said = jobs_here(tmp_path, {"aihf": STOPPABLE}, places=1)
    old = signal.signal(signal.SIGUSR1, stop)
    threading.Thread(target=signal_when_ready, daemon=True).start()
    try:
        with pytest.raises(Stop):
            here.run([Group("hopper", "aihf", (seed,)) for seed in range(3)])
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert sum("started" in line for line in said) == 1 and not list(tmp_path.glob("*.json"))
    assert said[-1] == "stopping 1 jobs; the same command goes on from their last rounds"

"""`aihf bench` on a CPU: jobs of one thread, whose number, cores and interruptions change no number."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_bench
from toy_bench import SECONDS, leftovers, numbers, small_study, train

from aihf_control.runs.locks import SeedLock, is_held
from aihf_control.runs.processes import Process

SCRIPT = Path(toy_bench.__file__)
ROOT = Path(__file__).parents[2]
METHODS = "aihf,bc"
RUNS = Path("results/runs/bench")


def bench(root: Path, *options: str, threads: int = 1, rounds: int = 3) -> subprocess.Popen[str]:
    """The toy's bench, in a process and with jobs of its own."""
    line = ["bench", "--env", "hopper", "--precision", "float32", "--root", str(root), *options]
    environment = {"PYTHONPATH": str(SCRIPT.parents[2]), "AIHF_COMMAND": "make bench"}
    environment |= {"TOY_ROUNDS": str(rounds), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *line],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    text = process.communicate(timeout=SECONDS)[0]
    return process.returncode, text


def jobs_of(root: Path) -> list[int]:
    """The processes whose command line names `root`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(root) in words:
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both methods, one job after the other, the longer first."""
    root = tmp_path_factory.mktemp("whole")
    status, text = said(bench(root, "--methods", METHODS, "--jobs", "1"))
    assert status == 0, text
    assert "bench: 2 jobs, 1 at once, logs in " in text
    assert text.index("hopper-aihf-0-1  finished") < text.index("hopper-bc-0-1  started")
    assert "12/12 steps" in text and "2 of 2 jobs have ended\n" in text and "Final return" in text
    logs = {path.name for path in root.glob(f"{RUNS}/sweeps/*/*.log")}
    assert logs == {"hopper-aihf-0-1.log", "hopper-bc-0-1.log"}
    return root


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_jobs_at_once_cores_and_threads_change_no_number(tmp_path: Path, whole: Path) -> None:
    status, text = said(bench(tmp_path, "--methods", METHODS, "--jobs", "2", threads=2))
    assert status == 0 and "2 jobs, 2 at once" in text
    assert numbers(tmp_path) == numbers(whole) and leftovers(tmp_path) == []
    config = json.loads((tmp_path / RUNS / "hopper/aihf/seed_0/config.json").read_text())
    assert "threads" not in config and config["command"] == "make bench"

    one, all_cores = tmp_path / "one core", os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_cores)})
    try:
        process = bench(one, "--methods", METHODS)
    finally:
        os.sched_setaffinity(0, all_cores)
    status, text = said(process)
    assert status == 0 and "2 jobs, 1 at once" in text
    assert numbers(one) == numbers(whole)


def test_a_bench_writes_where_nothing_is_committed(whole: Path) -> None:
    """Its runs and their report are in results/runs, which git ignores as it does what is built."""
    files = [path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()]
    assert "results/runs/bench/table.md" in files
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line[:1] == "/"]
    assert not [file for file in files if not any(Path(file).is_relative_to(folder) for folder in ignored)]


def test_an_ended_study_is_reported_again_and_nothing_starts(whole: Path) -> None:
    before = numbers(whole)
    status, text = said(bench(whole, "--methods", "bc"))
    assert status == 0 and "all of these runs have ended already" in text and "started" not in text
    assert "Final return" in text and numbers(whole) == before
    assert "\nAIHF  " in text and "\nBC  " in text  # all that the study has, not what the call named


@pytest.mark.parametrize(
    ("signum", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 75, "stopped by SIGTERM")],
)
def test_a_signal_stops_every_job_and_the_same_command_goes_on(
    tmp_path: Path, signum: signal.Signals, status: int, word: str
) -> None:
    options, rounds = ("--methods", "aihf,rlhf", "--jobs", "2"), 40  # more than a busy machine ends at once
    process = bench(tmp_path, *options, rounds=rounds)
    wait_for(lambda: len(list(tmp_path.glob(f"{RUNS}/hopper/*/seed_0/status.json"))) == 2)
    process.send_signal(signum)
    ended, text = said(process)
    assert ended == status and text.splitlines()[-1].startswith(f"aihf: {word}")
    assert jobs_of(tmp_path) == [] and not list(tmp_path.rglob("lock.json"))
    assert said(bench(tmp_path, *options, rounds=rounds))[0] == 0
    unstopped = small_study(("aihf", "rlhf"), rounds=rounds)
    train(tmp_path / "unstopped", unstopped)
    stopped = {name: held for name, held in numbers(tmp_path).items() if name.startswith("bench/")}
    assert stopped == numbers(tmp_path / "unstopped") and leftovers(tmp_path) == []


def test_jobs_end_at_once_with_who_started_them_and_their_seeds_are_free(tmp_path: Path) -> None:
    process = bench(tmp_path, rounds=2_000)
    wait_for((tmp_path / RUNS / "hopper/aihf/seed_0/status.json").exists)
    assert len(jobs_of(tmp_path)) == 2
    process.kill()
    said(process)
    wait_for(lambda: jobs_of(tmp_path) == [])
    wait_for(lambda: not is_held(tmp_path / RUNS / "hopper/aihf/seed_0"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


BROKEN = """
from aihf_control.methods.controls import KnownReward
from aihf_control.errors import InvalidData

class Broken(KnownReward):
    def start(self):
        raise InvalidData("my data are not here")
"""


def test_a_failing_job_shows_the_end_of_its_log_and_the_others_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    status, text = said(bench(tmp_path, "--methods", f"broken={file}:Broken,bc", "--jobs", "1"))
    assert status == 1
    assert "hopper-broken-0-1  given up after 1 attempts, status 2; the end of " in text
    assert "\n    aihf: my data are not here\n" in text
    assert text.index("hopper-bc-0-1  finished") < text.index("Final return")


def test_seeds_that_another_process_has_are_named_before_anything_starts(tmp_path: Path) -> None:
    with SeedLock([tmp_path / RUNS / "hopper/aihf/seed_1"]):
        status, text = said(bench(tmp_path))
    assert status == 2 and f"seed_1 is in use: process {Process.current().pid} " in text.splitlines()[-1]
    assert "started" not in text and not (tmp_path / RUNS / "sweeps").exists()


def test_a_learner_has_one_thread_even_where_two_would_round_otherwise(tmp_path: Path) -> None:
    study = small_study(("oracle",), rounds=4, seeds=(0,))
    wide = replace(study.settings.sac, hidden=(256, 256), batch_size=10)
    study = replace(study, settings=replace(study.settings, sac=wide, evaluation_episodes=10))
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            train(tmp_path / str(threads), study)
        finally:
            torch.set_num_threads(before)
        found.append(numbers(tmp_path / str(threads)))
    assert found[0] == found[1]

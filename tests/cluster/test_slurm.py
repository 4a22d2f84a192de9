"""`aihf sweep` on a real Slurm: preempted, requeued, killed, and in the end bit for bit a local run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_here import SlurmHere, slurm, why_not

from aihf_control.data.datasets import minari_root
from aihf_control.study.prepare import Folders

pytestmark = pytest.mark.slurm

CHECKOUT = Path(__file__).parents[2]
METHODS, SEEDS, STEPS = ("aihf", "oracle"), range(4), 3_000
SIZES = ["--env", "hopper", "--preset", "smoke", "--methods", ",".join(METHODS), "--seeds", "0-3"]
SIZES += ["--seeds-per-job", "2", "--steps", str(STEPS)]
PATIENCE = 600.0  # seconds for a requeued job to run again: Slurm lets it wait for two minutes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmHere]:
    if reason := why_not():
        pytest.skip(reason)
    pytest.importorskip("submitit", reason="submitit is not installed: make test-slurm installs it")
    with slurm(tmp_path_factory.mktemp("slurm")) as here:
        yield here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's folders, with the data that this one has built already."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(CHECKOUT / "data" / "policies", folder / "data" / "policies")
    os.environ["AIHF_MINARI_ROOT"] = str(minari_root(CHECKOUT))
    return folder


def aihf(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "aihf_control", *arguments],
        env=environment or dict(os.environ),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    return done.returncode, done.stdout + done.stderr


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)


def step(runs: Path, method: str, seed: int) -> int:
    path = runs / "hopper" / method / f"seed_{seed}" / "status.json"
    return json.loads(path.read_text())["step"] if path.exists() else -1


def progress(runs: Path) -> dict[str, bytes]:
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.rglob("progress.csv")}


class Timeline:
    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {what}", flush=True)


def test_a_sweep_is_preempted_killed_and_requeued_and_ends_with_the_same_numbers(
    cluster: SlurmHere, root: Path
) -> None:
    at, runs = Timeline(), Folders(root).runs / "cluster"
    options = [*SIZES, "--root", str(root)]
    sweep = ["sweep", *options, "--study", "cluster", "--cluster", "slurm", "--partition", "low"]
    status, said = aihf(*sweep, "--time", "5", environment=cluster.environment)
    assert status == 0, said
    (plan,) = runs.glob("sweeps/*/plan.json")
    jobs = json.loads(plan.read_text())["jobs"]
    at(f"submitted {', '.join(jobs)}")
    assert len(jobs) == 4 and aihf("status", str(runs))[0] == 1

    wait_for(lambda: step(runs, "aihf", 0) >= 500, "a first round")
    high = cluster.run(
        "sbatch", "--parsable", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 3"
    ).strip()
    reached = step(runs, "aihf", 0)
    at(f"a job of higher priority, {high}, wants both cores; aihf 0-1 is at step {reached}")
    wait_for(lambda: cluster.queue().get(high) != "PENDING", "the preemption", 60)
    assert cluster.queue().get(jobs[0], "PENDING") != "RUNNING"
    at(f"preempted; the queue: {cluster.queue()}")
    assert STEPS > step(runs, "aihf", 0) >= reached

    wait_for(lambda: cluster.queue().get(jobs[0]) == "RUNNING", "the preempted job")
    at(f"{jobs[0]} runs again from step {step(runs, 'aihf', 0)}")
    lock = runs / "hopper" / "aihf" / "seed_0" / "lock.json"
    wait_for(lambda: lock.exists() and step(runs, "aihf", 0) > reached, "its next round")
    os.kill(json.loads(lock.read_text())["process"]["pid"], signal.SIGKILL)
    killed = step(runs, "aihf", 0)
    at(f"killed its process at step {killed}")
    deaths = plan.parent / "hopper-aihf-0-1.json"
    wait_for(deaths.exists, "the death to be noticed", 60)
    assert json.loads(deaths.read_text()) == {"deaths": 1, "given_up": None}

    wait_for(lambda: aihf("status", str(runs))[0] == 0, "all runs to end")
    at(f"all done; restarts of {jobs[0]}: {cluster.detail(jobs[0], 'Restarts')}")
    print(aihf("status", str(runs))[1])
    local = Folders(root).runs / "local"
    status, said = aihf("sweep", *options, "--study", "local", "--cluster", "local")
    assert status == 0, said
    at("the same sweep, run locally")
    assert len(progress(runs)) == len(METHODS) * len(SEEDS)
    assert progress(runs) == progress(local)


def test_a_job_stops_before_its_time_is_up_and_goes_on_in_its_next_turn(
    cluster: SlurmHere, root: Path
) -> None:
    at, runs = Timeline(), Folders(root).runs / "short"
    sizes = ["--env", "hopper", "--preset", "smoke", "--methods", "oracle", "--seeds", "0"]
    sweep = ["sweep", *sizes, "--steps", "400_000", "--root", str(root), "--study", "short"]
    status, said = aihf(*sweep, "--cluster", "slurm", "--time", "2", environment=cluster.environment)
    assert status == 0, said
    (plan,) = runs.glob("sweeps/*/plan.json")
    (job,) = json.loads(plan.read_text())["jobs"]
    at(f"submitted {job} with a limit of two minutes")
    wait_for(lambda: cluster.detail(job, "Restarts") == "1", "its requeue", 200)
    reached = step(runs, "oracle", 0)
    at(f"requeued at step {reached}")
    assert 0 < reached < 400_000 and not (plan.parent / "hopper-oracle-0.json").exists()

    wait_for(lambda: cluster.queue().get(job) == "RUNNING", "its next turn")
    lock = runs / "hopper" / "oracle" / "seed_0" / "lock.json"
    wait_for(lock.exists, "its lock", 60)
    cluster.run("scancel", job)
    wait_for(lambda: job not in cluster.queue(), "the cancellation", 60)
    time.sleep(10)
    assert job not in cluster.queue()  # what the user cancels does not come back
    at(f"cancelled {job}; the lock is {'left' if lock.exists() else 'gone'}")

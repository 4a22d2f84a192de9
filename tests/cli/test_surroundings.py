"""A process of ours does not depend on what other programs were told."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy_bench

from aihf_control.cli import main as cli
from aihf_control.cli import surroundings
from aihf_control.cluster import local
from aihf_control.cluster.job_display import JobDisplay
from aihf_control.cluster.local import LocalJobs
from aihf_control.cluster.plan import Group

ROOT = Path(__file__).parents[2]


def test_a_notebooks_backend_a_foreign_context_and_an_ascii_stream_stop_nothing() -> None:
    """All of them at once, in the process that draws, simulates and prints."""
    script = """
from aihf_control.cli.surroundings import settle
assert settle("bench") is None
from aihf_control.envs.tasks import TASKS, make_env
from aihf_control.report.style import render
make_env(TASKS["hopper"]).reset(seed=0)
print("1 ± 2, 3–4, 5 × 6, −7, π")
"""
    surrounded = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline", "MUJOCO_GL": "foo", "COLUMNS": "3",
        "PYTHONIOENCODING": "ascii",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | surrounded, capture_output=True, check=False
    )
    assert (run.stderr, run.stdout) == (b"", b"1 +/- 2, 3-4, 5 x 6, -7, ?\n")


def test_help_is_laid_out_in_the_narrowest_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, then in (("3", "80"), ("0", "80"), ("100", "100")):
        monkeypatch.setenv("COLUMNS", columns)
        surroundings.settle()
        assert os.environ["COLUMNS"] == then


def test_only_a_command_that_draws_needs_its_context(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "foo")
    assert cli.main(["video", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert told == "aihf: MUJOCO_GL=foo is no context of MuJoCo's: leave it out, or name egl or osmesa\n"
    assert surroundings.settle("job") is None and os.environ["MUJOCO_GL"] == "disable"


def test_a_stream_says_what_it_can() -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="spelt")
    latin.write("± – é")
    latin.flush()
    assert latin.buffer.getvalue().decode("latin-1") == "± - é"


WORKERS = """
from aihf_control.cli.surroundings import settle
settle("job")
from aihf_control.envs.tasks import TASKS
from aihf_control.envs.workers import WorkerEnvironments
envs = WorkerEnvironments(TASKS["hopper"], 2, fixed_horizon=False, autoreset=True, workers=2)
envs.reset([0, 1])
envs.close()
"""


def without_streams(*line: str) -> int:
    """The status of a Python without standard input, output and error, as a service may have it."""
    shell = ["sh", "-c", '"$0" "$@" <&- >&- 2>&-', sys.executable, *line]
    told = {"TOY_ROUNDS": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(shell, env=os.environ | told, cwd=ROOT, check=False).returncode


def test_closed_streams_are_no_obstacle(tmp_path: Path) -> None:
    """The socket to a worker or a job would have their numbers, and be shut by its new standard input."""
    assert without_streams("-c", WORKERS) == 0
    options = ["--env", "hopper", "--precision", "float32", "--root", str(tmp_path)]
    assert without_streams(toy_bench.__file__, "bench", *options) == 0
    statuses = [
        json.loads(path.read_text()) for path in tmp_path.glob("results/runs/bench/*/*/*/status.json")
    ]
    assert [status["state"] for status in statuses] == ["finished"] * 2


def test_output_that_nobody_reads_is_said_on_the_other_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Shut:
        def run(self) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(cli, "parse", lambda arguments: Shut())
    assert cli.main(["status"]) == 128 + signal.SIGPIPE
    told = capsys.readouterr().err
    assert told.startswith("aihf: nobody reads standard output any more") and told.count("\n") == 1


def test_jobs_are_stopped_and_waited_for_when_nobody_reads_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    def say(line: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(local.subprocess, "Popen", start)
    sleep: Callable[[Group], list[str]] = lambda group: [sys.executable, "-c", "import time; time.sleep(60)"]  # noqa: E731
    (tmp_path / "logs").mkdir()
    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        LocalJobs(tmp_path, sleep, [{}], JobDisplay(say, io.StringIO())).run([Group("hopper", "bc", (0,))])
    assert [job.returncode for job in started] == [-signal.SIGTERM] and time.monotonic() - began < 30


@pytest.mark.parametrize(("arguments", "status"), [(["data", "--help"], 0), (["data"], 2)])
def test_the_first_word_of_two_lists_the_second(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    told = capsys.readouterr().out
    assert exit.value.code == status
    assert "aihf data train" in told and "aihf data build" in told and "bench" not in told


OTHERS_ARE_THERE: Any = SimpleNamespace(open_tracker=object)


@pytest.mark.parametrize(
    ("asked", "name", "imported"),
    [
        (["--tensorboard"], "tensorboard", "torch.utils.tensorboard"),
        (["--track", "wandb"], "wandb", "wandb"),
        (["--track", "tensorboard,trackio"], "trackio", "trackio"),
    ],
)
def test_a_tracker_that_cannot_be_imported_is_said_before_training(
    asked: list[str],
    name: str,
    imported: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "aihf_control.study.tensorboard", OTHERS_ARE_THERE)
    monkeypatch.delitem(sys.modules, f"aihf_control.study.{name}", raising=False)
    monkeypatch.setitem(sys.modules, imported, None)
    assert cli.main(["bench", *asked, "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"aihf: {' '.join(asked)} needs the extra {name} (") and told.count("\n") == 1
    assert f"'.[{name}]'" in told and list(tmp_path.iterdir()) == []

"""A sweep's jobs as one Slurm array, through submitit.

submitit writes the batch script and runs `BenchJob` in it. What becomes of a job is decided here, by the
exit status of `aihf job`, because submitit takes every signal to a short job for its timeout, ignores
SIGTERM, and gives up after a number of timeouts. So a job answers signals by itself, and the last line of
the batch script, `python -m aihf_control.cluster.slurm FOLDER INDEX STATUS`, requeues it.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from aihf_control.cluster.submissions import SLURM, conclude, read_submission
from aihf_control.errors import InvalidChoice
from aihf_control.hardware import ONE_THREAD
from aihf_control.runs.signals import PREEMPTING, REQUEUE_ME

SIGNAL_SECONDS = 60
"""How long before a job's time is up it is told to stop."""


@dataclass(frozen=True)
class Resources:
    """What every job asks for; `minutes` may pass many times over, a job goes on where it was stopped."""

    partition: str | None = None
    account: str | None = None
    gpus: int = 0
    cpus: int = 1
    memory_gb: int | None = None
    minutes: int = 240

    def parameters(self, name: str) -> dict[str, object]:
        """As submitit's Slurm executor calls them."""
        given = {
            "partition": self.partition,
            "account": self.account,
            "gpus_per_node": self.gpus or None,
            "mem": f"{self.memory_gb}GB" if self.memory_gb else None,
        }
        return {option: value for option, value in given.items() if value is not None} | {
            "job_name": name,
            "time": self.minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus,
            "signal_delay_s": SIGNAL_SECONDS,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True},
        }


@dataclass(frozen=True)
class BenchJob:
    """What runs on the node: `aihf` with `arguments`, in this process, which it ends with its status."""

    arguments: tuple[str, ...]
    command: str
    """What the user typed, for the record."""

    def __call__(self) -> None:
        """Run it; raises `SystemExit`, also at its good end: submitit has no result to keep."""
        for signum in PREEMPTING:  # until `aihf` answers them: nothing is there to be saved
            signal.signal(signum, _leave)
        os.environ["AIHF_COMMAND"] = self.command
        sys.argv = ["aihf", *self.arguments]
        runpy.run_module("aihf_control", run_name="__main__")


def _leave(signum: int, frame: FrameType | None) -> None:
    os._exit(REQUEUE_ME)


def need_slurm() -> None:
    """Raise `InvalidChoice` unless jobs can be submitted from here."""
    if shutil.which("sbatch") is None:
        raise InvalidChoice("CLUSTER=slurm: there is no sbatch on this machine: run it on a login node")
    if importlib.util.find_spec("submitit") is None:
        raise InvalidChoice("CLUSTER=slurm needs submitit: pip install -c constraints.txt -e '.[slurm]'")


def submit(folder: Path, name: str, jobs: Sequence[BenchJob], resources: Resources) -> tuple[str, ...]:
    """Hand `jobs` to Slurm as one array; their ids. `plan.json` is in `folder`, one group a job, already.

    Raises `InvalidChoice` where there is no Slurm or it refuses, with its own words.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    after = [sys.executable, "-m", "aihf_control.cluster.slurm", str(folder)]
    try:
        executor = SlurmExecutor(folder / SLURM)
        executor.update_parameters(
            **resources.parameters(name),
            setup=[f"export {name}={value}" for name, value in ONE_THREAD.items()],
            # the status of the line before is the job's, or tells how it was killed
            teardown=[f'{shlex.join(after)} "${{SLURM_ARRAY_TASK_ID:-0}}" $?'],
        )
        submitted = executor.map_array(BenchJob.__call__, jobs)
    except (RuntimeError, FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        raise InvalidChoice(f"CLUSTER=slurm: {' '.join(str(error).split())}") from error
    return tuple(job.job_id for job in submitted)


def main(arguments: Sequence[str]) -> int:
    """The last line of the batch script: remember how the job ended, and requeue it if it is to go on."""
    folder, index, status = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    again = conclude(folder, read_submission(folder).groups[index], status)
    if again:
        job = os.environ["SLURM_JOB_ID"]
        print(f"aihf: job ended with status {status}, requeueing it", flush=True)
        return subprocess.run(["scontrol", "requeue", job]).returncode
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A real Slurm of one node on this machine, for as long as a test needs it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SECONDS = 60.0
"""How long a daemon may take to start, and the node to be idle."""

# Two partitions: a job in `high` preempts one in `low`, which hears of it and has 30 s to leave.
# Accounting and cgroups are left out: they need more than one unprivileged machine has.
CONFIGURATION = """\
ClusterName=aihf
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={scratch}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool
SlurmctldLogFile={scratch}/slurmctld.log
SlurmdLogFile={scratch}/slurmd.log
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5
ReturnToService=2
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=30 PreemptMode=REQUEUE MaxTime=60
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=60
"""


def why_not() -> str:
    """Why Slurm cannot run here, "" if it can; as root it is installed from Debian's packages first."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if all(map(shutil.which, (*DAEMONS, "sbatch"))):
        return ""
    if shutil.which("apt-get") is None:
        return "Slurm is not installed, and there is no apt-get to install it with"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "slurm-wlm", "munge"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return f"apt-get cannot install slurm-wlm and munge: {done.stderr.strip().splitlines()[-1]}"
    return ""


@dataclass(frozen=True)
class SlurmHere:
    """`environment` makes sbatch and the like talk to it; `pids` are its daemons."""

    environment: dict[str, str]
    pids: tuple[int, ...]

    def run(self, *command: str) -> str:
        """A command's output; `CalledProcessError` if it fails."""
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return done.stdout

    def queue(self) -> dict[str, str]:
        """Job id, of an array with its index, → state, of jobs that wait or run."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split(None, 1) for line in lines)

    def detail(self, job: str, name: str) -> str:
        """One field of a job, as `RestartCnt`."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


@contextmanager
def slurm(scratch: Path, cpus: int = 2) -> Iterator[SlurmHere]:
    """Start the three daemons on loopback with everything in `scratch`, and stop them by their own ids."""
    scratch.chmod(0o755)
    for name in ("state", "spool"):
        (scratch / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    text = CONFIGURATION.format(host=host, scratch=scratch, cpus=cpus, **ports)
    (scratch / "slurm.conf").write_text(text)
    (scratch / "cgroup.conf").touch()
    key = scratch / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(scratch / "slurm.conf")}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={scratch}/munge.socket"]
    munge += [f"--{name}-file={scratch}/munged.{name}" for name in ("pid", "log", "seed")]
    with ExitStack() as daemons:
        pids = [daemons.enter_context(_daemon(munge, environment, scratch))]
        _wait_for(lambda: (scratch / "munge.socket").exists(), "munged's socket")
        pids += [daemons.enter_context(_daemon([name, "-D"], environment, scratch)) for name in DAEMONS[1:]]
        here = SlurmHere(environment, tuple(pids))
        _wait_for(lambda: _idle(here), f"an idle node; see the logs in {scratch}")
        yield here
        here.run("scancel", "--full", "--user=root")
        _wait_for(lambda: not here.queue(), "an empty queue")


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], scratch: Path) -> Iterator[int]:
    with (scratch / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _idle(here: SlurmHere) -> bool:
    try:
        return "idle" in here.run("sinfo", "--noheader", "--format=%T")
    except subprocess.CalledProcessError:  # the controller does not answer yet
        return False


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

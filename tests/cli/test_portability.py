"""Systems that have less than Linux: macOS and Windows, of which a process here can only be told."""

import os
import subprocess
import sys
from pathlib import Path

import toy_bench

SUPPORT = Path(toy_bench.__file__).parent

POORER = """
import os, signal, socket, sys
for module, names in {
    os: ("sched_getaffinity", "sched_setaffinity", "memfd_create", "fork", "O_DIRECTORY"),
    signal: ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGPIPE", "pthread_sigmask"),
    socket: ("AF_UNIX", "SOCK_SEQPACKET"),
}.items():
    for name in names:
        delattr(module, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
from toy_bench import aihf
from aihf_control.cli.main import main
root = sys.argv[1]
try:
    main(["--help"])
except SystemExit as end:
    print("help", end.code)
bench = ["--env", "hopper", "--device", "cpu", "--precision", "float32", "--root", root]
print("bench", aihf(["bench", *bench], rounds=3))
print("report", main(["report", f"{root}/results/runs/bench"]))
print("sweep", main(["sweep", *bench]))
print("workers", main(["bench", *bench, "--environments", "workers"]))
"""


def test_without_what_windows_lacks_help_report_and_a_serial_bench_work(tmp_path: Path) -> None:
    path = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", POORER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    answers = {"help 0", "bench 0", "report 0", "sweep 2", "workers 2"}
    assert answers <= set(done.stdout.splitlines()), done.stdout + done.stderr
    refused = [line for line in done.stderr.splitlines() if line.startswith("aihf: ")]
    assert refused == [
        "aihf: --cluster local needs Linux or macOS: `aihf bench` trains without jobs",
        "aihf: --environments workers needs Linux or macOS: choose serial",
    ]
    assert len(list(tmp_path.glob("results/runs/bench/hopper/aihf/seed_*/policy.zip"))) == 2
    assert not list(tmp_path.glob("results/runs/bench/sweeps/*"))

"""A process is told from the next one with its pid, and from one elsewhere."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from aihf_control.runs.processes import Process


def test_this_process_lives_and_survives_a_round_trip_through_text() -> None:
    here = Process.current()
    assert here.pid == os.getpid() and here.is_local() and not here.is_dead()
    assert Process.parse(str(here)) == here
    dashed = replace(here, host="node-7-a.cluster")
    assert Process.parse(str(dashed)) == dashed
    for text in ("", "host-1", f"{here}x", "a/b"):
        assert Process.parse(text) is None


def test_a_process_is_dead_once_killed_even_while_nobody_has_collected_it() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        process = replace(Process.current(), pid=child.pid, started=int(fields[19]))
        assert not process.is_dead()
        assert replace(process, started=process.started - 1).is_dead()  # the pid is used again
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
        assert process.is_dead()
    finally:
        child.kill()
        child.wait()
    assert process.is_dead()


def test_what_cannot_be_seen_from_here_is_not_called_dead() -> None:
    gone = replace(Process.current(), pid=2**22 + 1)  # above the largest pid Linux gives
    assert gone.is_dead()
    assert not replace(gone, host="elsewhere").is_dead()
    assert not replace(gone, namespace="1").is_dead()  # another container of this machine
    assert replace(gone, boot="00000000").is_dead()

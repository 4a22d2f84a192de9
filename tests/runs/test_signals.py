"""Signals sent for real, to this process or to a small one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from aihf_control.runs.signals import PREEMPTING, REQUEUE_ME, Preempted, interruptible, uninterrupted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    old = {signum: signal.getsignal(signum) for signum in (*PREEMPTING, signal.SIGINT)}
    # ignored where the tests run as `make test &`, or by nohup
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in PREEMPTING:
        signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, handler in old.items():
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", PREEMPTING)
def test_a_signal_stops_a_loop_with_requeue_me(signum: signal.Signals) -> None:
    with pytest.raises(Preempted) as raised, interruptible():
        for _ in range(10_000_000):
            send(signum)
    assert raised.value.code == REQUEUE_ME == 75
    assert str(raised.value) == f"stopped by {signum.name}"


def test_ctrl_c_is_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        send(signal.SIGINT)


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_waits_for_the_outermost_uninterrupted(signum: int, error: type[BaseException]) -> None:
    done = []
    with pytest.raises(error), interruptible():
        with uninterrupted():
            with uninterrupted():
                send(signum)
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"]


def test_a_second_signal_changes_nothing() -> None:
    seen: list[str] = []
    with pytest.raises(Preempted) as raised, interruptible():
        try:
            with uninterrupted():
                send(signal.SIGUSR1)
                send(signal.SIGTERM)
        except Preempted:
            send(signal.SIGTERM)
            send(signal.SIGINT)
            with uninterrupted():
                send(signal.SIGUSR2)
            seen.append("cleaned up")
            raise
    assert raised.value.signal_name == "SIGUSR1" and seen == ["cleaned up"]
    send(signal.SIGTERM)  # on the way out it is ignored, or the exit status would change


def test_an_error_of_the_body_is_not_hidden_by_a_signal() -> None:
    with pytest.raises(OSError, match="disk full"), interruptible(), uninterrupted():
        send(signal.SIGTERM)
        raise OSError("disk full")


def test_old_handlers_come_back() -> None:
    before = {signum: signal.getsignal(signum) for signum in (*PREEMPTING, signal.SIGINT)}
    with interruptible():
        assert all(signal.getsignal(signum) != handler for signum, handler in before.items())
    assert {signum: signal.getsignal(signum) for signum in before} == before
    with pytest.raises(ZeroDivisionError), interruptible():
        _ = 1 / 0
    assert {signum: signal.getsignal(signum) for signum in before} == before
    with interruptible(), pytest.raises(Preempted):  # and a new context starts afresh
        send(signal.SIGTERM)


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        send(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_installs_nothing() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with interruptible(), uninterrupted():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


PROGRAM = """
import sys
from aihf_control.runs.signals import interruptible
with interruptible():
    try:
        print("ready", flush=True)
        while True:
            pass
    finally:
        print("stopping", flush=True)
        sys.stdin.readline()
"""


def test_a_process_exits_with_requeue_me_whatever_follows() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    process.communicate("\n")
    assert process.returncode == 75

"""What a person sees of several jobs at once, and the line on which they tell."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

from fakes import Terminal

from aihf_control.cluster.job_display import JobDisplay
from aihf_control.cluster.job_line import Line
from aihf_control.runs.progress import Progress, Tick
from aihf_control.runs.signals import REQUEUE_ME

ROOT = Path(__file__).parents[2]


def test_a_log_has_a_line_at_the_start_and_at_each_tenth() -> None:
    said: list[str] = []
    display = JobDisplay(said.append, io.StringIO())
    display.start(0, "hopper-aihf-0-2")
    for done in range(0, 1001, 50):
        display.tick(0, "hopper-aihf-0-2", Tick(done, 1000, "return 3", "75 seed-steps/s"))
    display.end(0)
    assert said[:2] == [
        "hopper-aihf-0-2  started",
        "hopper-aihf-0-2  100/1,000 steps  last return 3  75 seed-steps/s",
    ]
    assert len(said) == 1 + 10 and said[-1].startswith("hopper-aihf-0-2  1,000/1,000 steps")


def test_a_terminal_has_a_bar_a_job_and_lines_above() -> None:
    said: list[str] = []
    terminal = Terminal()
    display = JobDisplay(said.append, terminal)
    for place, name in enumerate(("first", "second")):
        display.start(place, name)
        display.tick(place, name, Tick(40 + place, 100, "return 3"))
    display.say("a line")
    for place in range(2):
        display.end(place)
    shown = terminal.getvalue()
    assert said == ["a line"]
    assert "first:  40%" in shown and "second:  41%" in shown and "return 3" in shown


JOB = """
import sys, time
from aihf_control.cluster.job_line import Starter
from aihf_control.runs.progress import Progress
starter = Starter(int(sys.argv[1]))
with Progress(1000, "toy", listener=starter.tell) as progress:
    progress.report(5.0)
    progress.advance(500)
    progress.report(7.0)
    print("told", flush=True)
    time.sleep(60)
"""


def test_a_job_tells_how_far_it_is_and_ends_with_who_started_it() -> None:
    line = Line()
    number = line.theirs.fileno()
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(number)],
        pass_fds=(number,),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    line.hand_over()
    assert process.stdout is not None and process.stdout.readline() == b"told\n"
    ticks = [(tick.done, tick.total, tick.result) for tick in line.ticks()]
    assert ticks[0] == (0, 1000, "return 5") and ticks[-1] == (500, 1000, "return 7")
    assert list(line.ticks()) == []
    began = time.monotonic()
    line.close()  # as when this process is killed
    assert process.wait(30) == REQUEUE_ME and time.monotonic() - began < 10
    process.stdout.close()


def test_a_line_that_came_in_pieces_is_read_once_it_is_whole_and_a_torn_one_is_left_out() -> None:
    line = Line()
    whole = b'{"done": 1, "total": 2, "result": "", "pace": ""}\n'
    line.theirs.sendall(whole + whole[:20])
    assert [tick.done for tick in line.ticks()] == [1]
    line.theirs.sendall(whole[20:] + whole[:20] + whole + whole)
    assert [tick.done for tick in line.ticks()] == [1, 1]
    line.theirs.close()
    line.close()


def test_ticks_are_two_a_second() -> None:
    told: list[Tick] = []
    now = 0.0
    progress = Progress(1000, "toy", stream=io.StringIO(), clock=lambda: now, listener=told.append)
    for step in range(1000):
        now = step / 100  # ten seconds in all
        progress.advance()
    assert 15 <= len(told) <= 21

"""What a log and a terminal show, with a clock of our own."""

import io

import pytest
from fakes import Clock, Terminal

from aihf_control.runs.progress import Progress
from aihf_control.words import duration


def test_a_log_has_one_line_a_report() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(25_000, "aihf", seeds=3, stream=stream, clock=clock) as progress:
        progress.report(18.2, 3.4)
        for _ in range(5000):
            progress.advance()
        clock.now += 100.0  # 50 steps a second of each of 3 seeds; 20,000 steps are left
        progress.report(1312.4, 19.6)
        progress.advance(20_000)
        clock.now += 400.0
        progress.report(-5.0)
        progress.note("seed 2 failed at step 25,000")
    assert stream.getvalue().splitlines() == [
        "aihf  0/25,000 steps  return 18 ± 3",
        "aihf  5,000/25,000 steps  return 1,312 ± 20  150 seed-steps/s  7 min left",
        "aihf  25,000/25,000 steps  return -5  150 seed-steps/s",
        "aihf  seed 2 failed at step 25,000",
    ]


def test_a_resumed_run_counts_only_its_own_steps_in_the_speed() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(1000, "rlhf", start=900, stream=stream, clock=clock)
    progress.advance(50)
    clock.now += 25.0
    progress.report(0.0)
    assert stream.getvalue() == "rlhf  950/1,000 steps  return 0  2 seed-steps/s  25 s left\n"


def test_a_terminal_has_a_bar() -> None:
    stream = Terminal()
    with Progress(100, "ipl", start=40, stream=stream) as progress:
        progress.report(312.0, 20.0)
        progress.note("one line")
        progress.advance(60)
    shown = stream.getvalue()
    assert "ipl:  40%" in shown and "40/100" in shown and "100/100" in shown
    assert "return 312 ± 20" in shown
    assert "\ripl  one line\n" in shown or "\nipl  one line\n" in shown
    assert "return 312 ± 20\n" not in shown  # the postfix is part of the bar, not a line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.5, "1 min"), (150, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

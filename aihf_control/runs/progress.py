"""How far a run is: a bar on a terminal, plain lines in a log, ticks for who listens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from aihf_control.words import duration

TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Tick:
    """How far a batch is: steps `done` of `total`, its last evaluation and its pace, both for people."""

    done: int
    total: int
    result: str = ""
    pace: str = ""


Listener = Callable[[Tick], None]


class Progress:
    """Counts the steps of a batch of `seeds` seeds up to `total`, from `start` on if it was resumed.

    A step is one of every seed. On a terminal `advance` moves a bar with the time left; elsewhere each
    `report` writes one line. `clock` is in seconds. `listener` is told of every report, and in between
    every `TICK_SECONDS`.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        seeds: int = 1,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        listener: Listener | None = None,
    ) -> None:
        self.total, self.label, self.seeds, self.done = total, label, seeds, start
        self._stream = sys.stderr if stream is None else stream
        self._clock, self._start, self._began = clock, start, clock()
        self._listener, self._told, self._result = listener, -TICK_SECONDS, ""
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, initial=start, desc=label, unit="step", file=self._stream, dynamic_ncols=True
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more steps of every seed; cheap."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)
        if self._listener is not None and self._clock() - self._told >= TICK_SECONDS:
            self._tell()

    def report(self, return_mean: float, return_deviation: float | None = None) -> None:
        """Show an evaluation: the mean true return and, of several seeds, their standard deviation."""
        spread = "" if return_deviation is None else f" ± {return_deviation:,.0f}"
        self._result = f"return {return_mean:,.0f}{spread}"
        if self._bar is not None:
            self._bar.set_postfix_str(self._result)
        else:
            count = [f"{self.done:,}/{self.total:,} steps"] if self.total else []
            self._line("  ".join([*count, self._result, *self._pace()]))
        self._tell()

    def note(self, text: str) -> None:
        """Write a line for people, above the bar if there is one."""
        self._line(text)

    def close(self) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()

    def _tell(self) -> None:
        if self._listener is not None:
            self._told = self._clock()
            self._listener(Tick(self.done, self.total, self._result, "  ".join(self._pace())))

    def _line(self, text: str) -> None:
        line = f"{self.label}  {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def _pace(self) -> list[str]:
        steps, seconds = self.done - self._start, self._clock() - self._began
        if steps <= 0 or seconds <= 0:
            return []
        speed = f"{self.seeds * steps / seconds:,.0f} seed-steps/s"
        left = (self.total - self.done) * seconds / steps
        return [speed, f"{duration(left)} left"] if left > 0 else [speed]

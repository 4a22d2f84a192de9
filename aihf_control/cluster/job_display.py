"""What a person sees of jobs that run at once: a bar each on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from aihf_control.runs.progress import Tick

Say = Callable[[str], None]


class JobDisplay:
    """Jobs have a `place` each, from 0 on, which is the line of their bar; `say` prints a line."""

    def __init__(self, say: Say, stream: TextIO | None = None) -> None:
        self._print, self._stream = say, sys.stderr if stream is None else stream
        self._bars: dict[int, tqdm] = {}
        self._tenths: dict[int, int] = {}

    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        with tqdm.external_write_mode(file=self._stream):
            self._print(text)

    def start(self, place: int, name: str) -> None:
        """A job begins, for the first time or again."""
        self._tenths[place] = 0
        if self._stream.isatty():
            self._bars[place] = tqdm(
                desc=name, unit="step", position=place, file=self._stream, leave=False, dynamic_ncols=True
            )
        else:
            self._print(f"{name}  started")

    def tick(self, place: int, name: str, tick: Tick) -> None:
        """A job is that far: its bar moves, or a line says so at each tenth."""
        if (bar := self._bars.get(place)) is not None:
            if bar.total is None and tick.total:  # the clock starts where training does, or goes on
                bar.reset(total=tick.total)
                bar.initial = tick.done
            bar.n = tick.done
            bar.set_postfix_str(tick.result)
        elif tick.total and (tenth := 10 * tick.done // tick.total) > self._tenths[place]:
            self._tenths[place] = tenth
            last = f"last {tick.result}" if tick.result else ""
            parts = (name, f"{tick.done:,}/{tick.total:,} steps", last, tick.pace)
            self._print("  ".join(filter(None, parts)))

    def end(self, place: int) -> None:
        """A job has no bar any more."""
        if (bar := self._bars.pop(place, None)) is not None:
            bar.close()

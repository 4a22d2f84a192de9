"""What was found out: a row a finding, complete on disk at any moment."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aihf_control.errors import UserError
from aihf_control.runs.files import make_folder, write_atomically
from aihf_control.words import markdown_table


@dataclass(frozen=True)
class Row:
    """One thing that was found out."""

    part: str
    what: str
    found: str
    verdict: str
    """ok, failed, met, not met, or nothing where nothing was asked."""
    seconds: float


class Table:
    """What was found so far, kept on disk from row to row."""

    def __init__(self, folder: Path, heading: str) -> None:
        self.rows: list[Row] = []
        self._folder, self._heading = folder, heading
        make_folder(folder)

    def add(self, part: str, what: str, find: Callable[[], tuple[str, str]]) -> None:
        """Find one thing out; what breaks is a failure of its own."""
        began = time.monotonic()
        try:
            found, verdict = find()
        except Exception as error:  # whatever a driver makes of it: the rest is worth knowing all the same
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            found, verdict = kind + (str(error).splitlines() or [""])[0][:200], "failed"
        row = Row(part, what, found, verdict, time.monotonic() - began)
        self.rows.append(row)
        print(f"{row.part:<8}{row.what:<42}{row.verdict:<9}{row.found}", flush=True)
        write_atomically(self._folder / "gpu.md", self.markdown().encode())
        write_atomically(self._folder / "gpu.csv", self.csv().encode())

    def markdown(self) -> str:
        """The heading and the table."""
        cells = [(row.part, row.what, row.found, row.verdict, f"{row.seconds:.1f}") for row in self.rows]
        table = markdown_table(("part", "what", "found", "verdict", "s"), cells)
        return f"{self._heading}\n\n{table}\n"

    def csv(self) -> str:
        """A line a row."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("part", "what", "found", "verdict", "seconds"))
        writer.writerows((r.part, r.what, r.found, r.verdict, round(r.seconds, 3)) for r in self.rows)
        return buffer.getvalue()

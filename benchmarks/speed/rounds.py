"""Where the seconds of a round of AIHF go, as `round_run` measures them. Needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aihf_control.words import markdown_table

A_STEP = ("alignment", "updates", "environments", "acting and replay")
"""Parts that last as long as the round has steps; on a GPU they overlap, and are alignment."""
PLAYED = ("rollouts", "evaluation")
PARTS = (*A_STEP, *PLAYED, "reward learning", "diagnostics", "checkpoint and records")
LARGEST_SHARE = 0.1
"""Of a round that playing whole episodes should take."""


@dataclass(frozen=True)
class Round:
    """One round of AIHF: `seconds` of each part, of which those of `A_STEP` were measured over `measured`
    steps."""

    task: str
    precision: str
    seeds: int
    steps: int
    measured: int
    seconds: Mapping[str, float]

    def scaled(self) -> dict[str, float]:
        """Seconds of each part in a round of `steps`, in the order of `PARTS`."""
        factor = self.steps / self.measured
        found = {part: self.seconds[part] for part in PARTS if part in self.seconds}
        return {part: value * factor if part in A_STEP else value for part, value in found.items()}

    @property
    def played(self) -> float:
        """The share of rollouts and evaluation together."""
        scaled = self.scaled()
        return sum(scaled.get(part, 0.0) for part in PLAYED) / sum(scaled.values())


def section(rounds: Sequence[Round], task: str) -> list[str]:
    """The lines of speed.md for a task."""
    lines = []
    for each in (one for one in rounds if one.task == task):
        scaled = each.scaled()
        whole = sum(scaled.values())
        cells = [(part, f"{value:.1f}", f"{value / whole:.1%}") for part, value in scaled.items()]
        cells.append(("all", f"{whole:.1f}", "100.0%"))
        word = "more" if each.played > LARGEST_SHARE else "not more"
        lines += [
            "",
            "### A round of AIHF",
            "",
            f"{each.seeds} seeds in one process of one thread, {each.steps:,} steps, {each.precision}. "
            f"Rollouts and evaluation together take {each.played:.1%}, {word} than {LARGEST_SHARE:.0%}.",
            "",
            markdown_table(("Part", "Seconds", "Share"), cells, "<>>"),
        ]
    return lines


def note(rounds: Sequence[Round]) -> list[str]:
    """How the rounds were measured."""
    if not rounds:
        return []
    return [
        "A round is AIHF's of PRESET=reference, as a study trains it, checkpoint included. Its steps were "
        f"measured over {rounds[0].measured:,} and scaled; rollouts, evaluation and diagnostics were "
        "measured whole, of the expert policy of the reference data, whose episodes are long: what playing "
        "costs in the end, not at the start."
    ]


def csv_text(rounds: Sequence[Round]) -> str:
    """round.csv: a line a part, as scaled."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("task", "precision", "seeds", "steps", "measured_steps", "part", "seconds"))
    for each in rounds:
        for part, value in each.scaled().items():
            writer.writerow(
                (each.task, each.precision, each.seeds, each.steps, each.measured, part, f"{value:.3f}")
            )
    return buffer.getvalue()

"""How a number of seconds and a list of seeds are written for people (standard library only)."""

from __future__ import annotations

from collections.abc import Sequence


def seed_list(seeds: Sequence[int]) -> str:
    """Sorted seeds for people: `0, 1, 2, 3, 7` → "0–3, 7"."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `3 min`, `2 h 05 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

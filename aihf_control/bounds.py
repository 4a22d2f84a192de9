"""The range of a setting, stated with its type: `steps: Count = 40_000` (standard library only)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from aihf_control.errors import InvalidChoice


@dataclass(frozen=True)
class Within:
    """An interval as mathematics writes it: a square bracket's end belongs to it, a round one's does not."""

    interval: str
    whole: bool = False
    """Whether only whole numbers are in it."""

    def __contains__(self, value: float) -> bool:
        low, high = (float(end.replace("∞", "inf")) for end in self.interval[1:-1].split(","))
        above = low <= value if self.interval[0] == "[" else low < value
        below = value <= high if self.interval[-1] == "]" else value < high
        return above and below and (not self.whole or value == int(value))  # NaN is in no interval

    def __str__(self) -> str:
        """`a whole number from 1 up`, `a number in (0, 1]`."""
        kind = "a whole number" if self.whole else "a number"
        low, _, high = self.interval[1:-1].partition(", ")
        if high != "∞":
            return f"{kind} in {self.interval}"
        if low == "-∞":
            return f"{kind} that is finite"
        return f"{kind} from {low} up" if self.interval[0] == "[" else f"{kind} above {low}"


Count = Annotated[int, Within("[1, ∞)", whole=True)]
Amount = Annotated[int, Within("[0, ∞)", whole=True)]
Positive = Annotated[float, Within("(0, ∞)")]
NotNegative = Annotated[float, Within("[0, ∞)")]
Finite = Annotated[float, Within("(-∞, ∞)")]
Share = Annotated[float, Within("[0, 1]")]
PositiveShare = Annotated[float, Within("(0, 1]")]


def require_within(settings: Any, block: str) -> None:
    """Raise `InvalidChoice` for the first field of the dataclass `settings` outside of its range.

    `block` is how a command line names these settings: `settings.sac`. A field whose type admits None may be
    None; of a tuple every member counts.
    """
    for name, (range_, optional) in ranges(type(settings)).items():
        value = getattr(settings, name)
        members = value if isinstance(value, tuple) else (value,)
        if value is None and optional:
            continue
        if any(member not in range_ for member in members):
            option = f"--{block}.{name}".replace("_", "-")
            raise InvalidChoice(f"{option} is {value}, not {range_}")


def ranges(kind: type) -> dict[str, tuple[Within, bool]]:
    """Of each field of a dataclass that has one its range, and whether it may be None."""
    hints = get_type_hints(kind, include_extras=True)
    found = {field.name: list(_parts(hints[field.name])) for field in fields(kind)}
    return {
        name: (part, NoneType in parts)
        for name, parts in found.items()
        for part in parts
        if isinstance(part, Within)
    }


def _parts(hint: Any) -> Iterator[Any]:
    """All that a type is made of, outside in."""
    yield hint
    for part in (*get_args(hint), *getattr(hint, "__metadata__", ())):
        yield from _parts(part)

"""What a user may ask for by name, checked with the standard library alone.

`python3 -m aihf_control.choices ENV=hoper` answers before anything is installed or written: one
line on standard output for the first wrong value, nothing when all are right.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable

from aihf_control.tasks import TASKS

METHODS = ("aihf", "rlhf", "ipl", "bc", "irl", "oracle")
PRESETS = ("smoke", "quick", "paper")
LARGEST_SEED = 1_000_000
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
BACKENDS = ("auto", "serial", "workers", "envpool")


class InvalidChoice(ValueError):
    """A name or number that the user gave is not one of the valid ones."""


def choose(variable: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is among `valid`, else raise `InvalidChoice` with the nearest name."""
    names = list(valid)
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidChoice(f"{variable}={value} is not known: {hint}Valid: {', '.join(names)}")


def parse_methods(value: str) -> tuple[str, ...]:
    """`"aihf,rlhf"` → `("aihf", "rlhf")`."""
    return tuple(dict.fromkeys(choose("METHODS", name.strip(), METHODS) for name in value.split(",")))


def parse_seeds(value: str) -> tuple[int, ...]:
    """`"0-2,7"` → `(0, 1, 2, 7)`; seeds are whole numbers from 0, sorted, without repeats."""
    seeds: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise InvalidChoice(
                f"SEEDS={value} is not a list of seeds below {LARGEST_SEED:,}: write 0-2 or 0,1,2"
            )
        if dash and int(last) < int(first):
            raise InvalidChoice(f"SEEDS={value}: the range {part} is empty, its end is below its start")
        seeds.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(seeds))


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < LARGEST_SEED


def parse_study(value: str) -> str:
    """A study's name, which becomes a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise InvalidChoice(f"STUDY={value} cannot name a folder: use letters, digits, '.', '_' and '-'")
    return value


def parse_share(variable: str, value: str) -> float:
    """A number in [0, 1]."""
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise InvalidChoice(f"{variable}={value} is not a number from 0 to 1")
    return share


def parse_steps(value: str) -> int:
    """A whole number of steps, at least 1."""
    digits = value.replace("_", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and int(digits) > 0):
        raise InvalidChoice(f"STEPS={value} is not a whole number above 0")
    return int(digits)


CHECKS = {
    "ENV": lambda value: choose("ENV", value, TASKS),
    "METHODS": parse_methods,
    "SEEDS": parse_seeds,
    "STEPS": parse_steps,
    "PRESET": lambda value: choose("PRESET", value, PRESETS),
    "STUDY": parse_study,
    "DEVICE": lambda value: choose("DEVICE", value, DEVICES),
    "PRECISION": lambda value: choose("PRECISION", value, PRECISIONS),
    "ENVIRONMENTS": lambda value: choose("ENVIRONMENTS", value, BACKENDS),
    "DEMO_MIX": lambda value: parse_share("DEMO_MIX", value),
    "DEMO_NOISE": lambda value: parse_share("DEMO_NOISE", value),
    "LABEL_ERROR": lambda value: parse_share("LABEL_ERROR", value),
}


def main(arguments: list[str]) -> int:
    """Check `VARIABLE=value` arguments; an empty value means the default and is skipped."""
    for argument in arguments:
        variable, _, value = argument.partition("=")
        try:
            if value:
                CHECKS[variable](value)
        except InvalidChoice as error:
            print(error)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Mistakes that a user can mend, each told in one line (standard library only)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that a user can mend: `aihf` prints its line, without a traceback."""


class InvalidChoice(UserError):
    """A name or number that the user gave is not one of the valid ones.

    No ValueError, which tyro would print in a box of its own, with words of its own.
    """


class InvalidData(UserError, ValueError):
    """Data from outside breaks a rule; the message names the field and the first bad index."""


def choose(variable: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is among `valid`, else raise `InvalidChoice` with the nearest name."""
    names = list(valid)
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidChoice(f"{variable}={value} is not known: {hint}Valid: {', '.join(names)}")

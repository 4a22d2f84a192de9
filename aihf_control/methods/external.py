"""Methods from outside the package: a class in a user's file, or an entry point of an installed package.

`register` runs their code, as asked for on the command line, and puts them into `table.OWN`, beside the
built-in ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from aihf_control.errors import InvalidChoice
from aihf_control.methods.method import Context, Method
from aihf_control.methods.table import ENTRY_POINTS, METHODS, OWN, ChosenMethod
from aihf_control.own_code import Source, load_entry_point, load_file

OWED = tuple(name for name, member in vars(Method).items() if callable(member) and name[0] != "_")
"""What can be checked of a class before anything is trained: `start`, `run_round` and the like."""

SOURCES: dict[str, Source] = {}
"""The registered methods that are not built in."""


def register(chosen: Iterable[ChosenMethod]) -> tuple[str, ...]:
    """Load what is not built in, and return all names, under which `make` finds them now.

    Raises `InvalidChoice`: the code cannot be loaded, or is no class that makes a `Method` from a `Context`.
    """
    names = []
    for method in chosen:
        if method.name not in METHODS:
            make, source = _load(method)
            OWN[method.name], SOURCES[method.name] = _checked(method.name, make), source
        names.append(method.name)
    return tuple(names)


def _load(method: ChosenMethod) -> tuple[Any, Source]:
    asked = f"METHODS={method.name}"
    if method.file:
        return load_file(asked, method.file, method.attribute, type)
    return load_entry_point(asked, ENTRY_POINTS, method.name)


def _checked(name: str, make: Any) -> Callable[[Context], Method]:
    """`make`, if it can be called with a `Context` and, being a class, has every method that it owes."""
    try:
        inspect.signature(make).bind(None)
    except (TypeError, ValueError) as error:
        raise InvalidChoice(
            f"METHODS={name}: {getattr(make, '__name__', make)} cannot be called with a Context ({error}): "
            "it needs __init__(self, context)"
        ) from None
    missing = [owed for owed in OWED if isinstance(make, type) and not callable(getattr(make, owed, None))]
    if missing:
        raise InvalidChoice(
            f"METHODS={name}: {make.__name__} has no {', '.join(missing)}: inherit SACMethod, or write what "
            "aihf_control/methods/method.py asks for"
        )
    built: Callable[[Context], Method] = make
    return built

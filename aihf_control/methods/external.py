"""Methods from outside the package: a class in a user's file, or an entry point of an installed package.

`register` runs their code, as asked for on the command line, and puts them into `table.OWN`, beside the
built-in ones. What they were is recorded with every run, so that no curve mixes two versions of a method.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from aihf_control.errors import InvalidChoice
from aihf_control.methods.method import Context, Method
from aihf_control.methods.table import ENTRY_POINTS, METHODS, OWN, ChosenMethod
from aihf_control.runs.files import sha256

OWED = tuple(name for name, member in vars(Method).items() if callable(member) and name[0] != "_")
"""What can be checked of a class before anything is trained: `start`, `run_round` and the like."""


@dataclass(frozen=True)
class Source:
    """What a method's code was, as `config.json` keeps it."""

    object: str
    """The class, by its name in the file."""
    file: str
    """The file's name without its folder, which says nothing on another machine."""
    sha256: str
    """Of the file that the class is in; what it imports is not looked at."""
    package: str = ""
    version: str = ""


SOURCES: dict[str, Source] = {}
"""The registered methods that are not built in."""


def register(chosen: Iterable[ChosenMethod]) -> tuple[str, ...]:
    """Load what is not built in, and return all names, under which `make` finds them now.

    Raises `InvalidChoice`: the code cannot be loaded, or is no class that makes a `Method` from a `Context`.
    """
    names = []
    for method in chosen:
        if method.name not in METHODS:
            make, source = _from_file(method) if method.file else _from_package(method.name)
            OWN[method.name], SOURCES[method.name] = _checked(method.name, make), source
        names.append(method.name)
    return tuple(names)


def _from_file(method: ChosenMethod) -> tuple[Any, Source]:
    """Run the very bytes that are hashed: neither a cached .pyc nor a file saved a moment later."""
    path = Path(method.file)
    content = path.read_bytes()
    module = ModuleType(f"aihf_method_{method.name}")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module  # where dataclasses look their annotations up
    try:
        exec(compile(content, module.__file__, "exec"), vars(module))
    except Exception as error:
        raise InvalidChoice(
            f"METHODS={method.name}: {path.name} cannot be loaded: {_where(error, module.__file__)}"
        ) from error
    if not hasattr(module, method.attribute):
        own = [name for name, value in vars(module).items() if _is_of(value, module)]
        raise InvalidChoice(
            f"METHODS={method.name}: there is no {method.attribute} in {path.name}, whose classes are: "
            f"{', '.join(own) or 'none'}"
        )
    source = Source(method.attribute, path.name, hashlib.sha256(content).hexdigest())
    return getattr(module, method.attribute), source


def _is_of(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def _from_package(name: str) -> tuple[Any, Source]:
    point = _entry_point(name)
    try:
        made = point.load()
    except Exception as error:
        raise InvalidChoice(f"METHODS={name}: {point.value} cannot be loaded: {_where(error)}") from error
    path = Path(sys.modules[point.module].__file__ or "")
    assert point.dist is not None  # it came from a package's own list
    return made, Source(point.attr, path.name, sha256(path), point.dist.name, point.dist.version)


def _entry_point(name: str) -> EntryPoint:
    points = list(entry_points(group=ENTRY_POINTS, name=name))
    if len(points) > 1:
        packages = " and ".join(point.dist.name for point in points if point.dist)
        raise InvalidChoice(f"METHODS={name}: {packages} both offer it: uninstall one of them")
    if not points:
        raise InvalidChoice(f"METHODS={name}: no installed package offers it any more")
    return points[0]


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


def _where(error: Exception, file: str = "") -> str:
    """One line: what went wrong, and in which line of the user's code, or of what that called."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename == file), frames[-1])
    place = "" if isinstance(error, SyntaxError) else f", {Path(last.filename).name} line {last.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"

"""Code from outside the package: a name in a user's file, or an entry point of an installed package.

Loading it runs it, as was asked for on the command line. What it was is recorded with every run that it
took part in, so that no curve mixes two versions of a method or of a task. Standard library only.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from aihf_control.errors import InvalidChoice

FOLDER_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What may name a folder of results: nothing that leads out of where it is put."""


@dataclass(frozen=True)
class Source:
    """What code was, as `config.json` keeps it."""

    object: str
    """Its name in the file."""
    file: str
    """The file's name without its folder, which says nothing on another machine."""
    sha256: str
    """Of that file; what it imports is not looked at."""
    package: str = ""
    version: str = ""


def is_file_entry(entry: str) -> bool:
    """Whether `entry` is meant as a name in a file, `my_method.py:MyMethod`, and not as a known name."""
    return re.search(r"[=:/]|\.py$", entry) is not None


def split_place(asked: str, place: str, example: str) -> tuple[str, str]:
    """`path/to/my_task.py:TASK` → the file, which must be there, and the name in it.

    Raises `InvalidChoice`, beginning with `asked`.
    """
    file, _, attribute = place.rpartition(":")
    if not file.endswith(".py") or not attribute.isidentifier():
        raise InvalidChoice(f"{asked} names nothing in a file: write {example}")
    if not Path(file).is_file():
        raise InvalidChoice(f"{asked}: there is no file {file}")
    return file, attribute


def require_folder_name(asked: str, name: str, example: str) -> str:
    """`name`, if it may name a folder; raises `InvalidChoice`, beginning with `asked`."""
    if not re.fullmatch(FOLDER_NAME, name):
        raise InvalidChoice(
            f"{asked}: {name!r} cannot name a folder: use letters, digits, '.', '_' and '-', as in {example}"
        )
    return name


def load_file(asked: str, file: str, attribute: str, kind: type) -> tuple[Any, Source]:
    """`attribute` of `file`, by running the very bytes that are hashed: neither a cached .pyc nor a file that
    is saved a moment later.

    Raises `InvalidChoice`, beginning with `asked`; if there is no such name, it lists those of `kind`.
    """
    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidChoice(f"{asked}: {file} cannot be read ({error.strerror})") from None
    digest = hashlib.sha256(content).hexdigest()
    module = _run(asked, path, content, f"aihf_own_{path.stem}_{digest[:12]}")
    if not hasattr(module, attribute):
        own = ", ".join(name for name, value in vars(module).items() if _is_own(value, kind, module))
        raise InvalidChoice(
            f"{asked}: there is no {attribute} in {path.name}; its {_plural(kind)}: {own or 'none'}"
        )
    return getattr(module, attribute), Source(attribute, path.name, digest)


def _run(asked: str, path: Path, content: bytes, name: str) -> ModuleType:
    """The module that `content` makes, once a process: what it registers elsewhere, it registers once."""
    place = str(path.resolve())
    known = sys.modules.get(name)
    if known is not None and known.__file__ == place:
        return known
    module = ModuleType(name)
    module.__file__ = place
    sys.modules[name] = module  # where dataclasses and Gymnasium look its names up
    try:
        exec(compile(content, place, "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise InvalidChoice(f"{asked}: {path.name} cannot be loaded: {one_line(error, place)}") from error
    return module


def _is_own(value: object, kind: type, module: ModuleType) -> bool:
    """Of classes, those that are written there: others are imported."""
    return isinstance(value, kind) and (kind is not type or value.__module__ == module.__name__)


def _plural(kind: type) -> str:
    return "classes" if kind is type else f"{kind.__name__.lower()}s"


def offered(group: str, known: Iterable[str] = ()) -> list[str]:
    """The names of a group of entry points, but for those that are `known` already."""
    return sorted({point.name for point in entry_points(group=group)}.difference(known))


def load_entry_point(asked: str, group: str, name: str) -> tuple[Any, Source]:
    """What the one installed package that offers `name` means by it. Raises `InvalidChoice`."""
    point = _entry_point(asked, group, name)
    try:
        made = point.load()
    except Exception as error:
        raise InvalidChoice(f"{asked}: {point.value} cannot be loaded: {one_line(error)}") from error
    path = Path(sys.modules[point.module].__file__ or "")
    assert point.dist is not None  # it came from a package's own list
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return made, Source(point.attr, path.name, digest, point.dist.name, point.dist.version)


def _entry_point(asked: str, group: str, name: str) -> EntryPoint:
    points = list(entry_points(group=group, name=name))
    if len(points) > 1:
        packages = " and ".join(point.dist.name for point in points if point.dist)
        raise InvalidChoice(f"{asked}: {packages} both offer it: uninstall one of them")
    if not points:
        raise InvalidChoice(f"{asked}: no installed package offers it any more")
    return points[0]


def one_line(error: Exception, file: str = "") -> str:
    """What went wrong, and in which line of the user's code, or of what that called."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename == file), frames[-1])
    place = "" if isinstance(error, SyntaxError) else f", {Path(last.filename).name} line {last.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"

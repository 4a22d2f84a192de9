"""Files that are whole or absent, whatever kills the process that writes them."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from aihf_control.errors import InvalidData
from aihf_control.runs.processes import Process

T = TypeVar("T")
TEMPORARY_PREFIX = ".tmp-"
LEFTOVER_SECONDS = 3600.0
"""Age at which a temporary file is given up even if its writer may live, on another host."""

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may write",
    errno.ENOLCK: "set HDF5_USE_FILE_LOCKING=FALSE, as for a file system without locks",
    errno.ENOSYS: "set HDF5_USE_FILE_LOCKING=FALSE, as for a file system without locks",
}


class CannotWrite(OSError):
    """A file could not be written and is as it was before; the one line names it and the remedy."""


def checkout() -> Path | None:
    """The folder of the checkout that the package runs from; None where it was installed by itself."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an `OSError` within into a `CannotWrite` that names `path`."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "mend that")
        reason = f"{error.strerror or error}: {remedy} and run the same command again"
        raise CannotWrite(f"{path} cannot be written: {reason}") from error


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of `path`, from which `remove_leftovers` can tell who made it."""
    return path.with_name(f"{TEMPORARY_PREFIX}{Process.current()}-{secrets.token_hex(4)}")


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, unless they are there. Raises `CannotWrite`."""
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)


def require_room(folder: Path, size: int) -> None:
    """Before long work: raise `CannotWrite` unless `size` more bytes can be written into `folder`.

    Nothing is made; what counts of a folder that is not there yet is the one that it would be made in.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    with naming(folder):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is no folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{there} may not be written")
        if (free := shutil.disk_usage(there).free) < size:
            raise OSError(
                errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed there and {free / 1e6:,.0f} are free"
            )


def write_atomically(path: Path, content: bytes) -> None:
    """Make `content` all of the file `path`: a reader, or a crash, sees the old file or the new one.

    Raises `CannotWrite`, with no temporary file left, if the disk is full or may not be written.
    """
    temporary = temporary_beside(path)
    with naming(path):
        try:
            _write_synced(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`, however little of it the system takes at a time. Raises `OSError`."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what dead processes left half-written in `folder`; a live one's files stay."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            writer = Process.parse(path.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0])
            age = time.time() - path.lstat().st_mtime
            if age < LEFTOVER_SECONDS and not (writer and writer.is_dead()):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove `folder` if it is there: at once for a reader, and what a crash leaves is a leftover."""
    doomed = temporary_beside(folder)
    with naming(folder), suppress(FileNotFoundError):
        os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of the file `path`. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: object) -> Any:
    """For `json.dumps(default=…)`: a NumPy number as Python's, exactly."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json_if_there(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file `path`, None if there is none. Raises `InvalidData`, naming `path`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidData(f"{path}: cannot be read as JSON ({error}): restore it or move it away") from error
    if not isinstance(record, dict):
        raise InvalidData(f"{path}: is not a JSON object: restore it or move it away")
    return record


def read_json(path: Path, remedy: str = "restore it") -> dict[str, Any]:
    """The same of a file that has to be there."""
    record = read_json_if_there(path)
    if record is None:
        raise InvalidData(f"{path}: is missing: {remedy}")
    return record


def _convert(path: Path | str, name: str, value: Any, kind: Any) -> Any:
    """`value` as the annotation `kind` asks, or an error naming `path` and the dotted `name`."""
    options = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    kind = options[0]
    if is_dataclass(kind) and isinstance(value, dict):
        return build(path, cast(type, kind), value, f"{name}.")
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(path, f"{name}[{i}]", item, get_args(kind)[0]) for i, item in enumerate(value))
    if get_origin(kind) is Literal:
        expected, fits = " or ".join(get_args(kind)), value in get_args(kind)
    else:
        accepted = (int, float) if kind is float else get_origin(kind) or kind
        expected, fits = getattr(kind, "__name__", str(kind)), isinstance(value, accepted)
    if (
        not fits
        or (isinstance(value, bool) and kind is not bool)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise InvalidData(f"{path}: {name} is {value!r}, expected {expected}")
    return value


def build(path: Path | str, kind: type[T], record: Mapping[str, Any], prefix: str = "") -> T:
    """The dataclass `kind` out of a JSON object from `path`; keys it does not know are left alone.

    Raises `InvalidData`, naming file and field.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _convert(path, prefix + name, record.get(name), hints[name]) for name in hints})


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write `record` atomically, with sorted keys. Raises `ValueError`, naming `path`, for NaN."""
    try:
        text = json.dumps(
            record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=plain
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not written: {error}") from error
    write_atomically(path, f"{text}\n".encode())

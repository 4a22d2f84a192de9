"""Archives as they are written, the same bytes for the same files, and as strangers' are read, with care."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from aihf_control.errors import InvalidData
from aihf_control.runs.files import naming, temporary_beside

T = TypeVar("T")
SUFFIXES = (".tar.gz", ".tgz", ".zip")
PIECE = 2**20
LARGEST_HEADER = 2**20
HEADERS = 2**29
"""Bytes that an archive's headers and padding may take beside its files."""
DAMAGE = (EOFError, OSError, RuntimeError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
"""What the readers raise for bytes that are not what they should be."""


def is_archive(path: Path) -> bool:
    """Whether the name is an archive's."""
    return path.name.endswith(SUFFIXES)


def write_archive(target: Path, first: tuple[str, bytes], files: Mapping[str, Path]) -> None:
    """Write a new archive, whole or not at all: `first`, then each of `files`, name → place.

    No times and no owners are in it. Raises `CannotWrite`, if it is there too.
    """
    temporary = temporary_beside(target)
    with naming(target):
        try:
            with temporary.open("xb") as raw:
                (_write_zip if target.name.endswith(".zip") else _write_tar)(raw, first, files)
                raw.flush()
                os.fsync(raw.fileno())
            os.link(temporary, target)  # which replaces nothing
        finally:
            temporary.unlink(missing_ok=True)


def _write_zip(raw: IO[bytes], first: tuple[str, bytes], files: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(zipfile.ZipInfo(first[0]), first[1], zipfile.ZIP_DEFLATED)
        for name, path in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, path.stat().st_size
            with path.open("rb") as file, archive.open(info, "w") as member:
                shutil.copyfileobj(file, member, PIECE)


def _write_tar(raw: IO[bytes], first: tuple[str, bytes], files: Mapping[str, Path]) -> None:
    with (
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        header = tarfile.TarInfo(first[0])
        header.size = len(first[1])
        archive.addfile(header, io.BytesIO(first[1]))
        for name, path in files.items():
            header = tarfile.TarInfo(name)
            header.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(header, file)


def read_archive(source: Path, most_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Each file with its name, which is not checked. At most `most_bytes` are unpacked.

    Raises `InvalidData` for what is damaged, and for whatever is neither a file nor a folder.
    """
    try:
        yield from (_in_zip if source.name.endswith(".zip") else _in_tar)(source, most_bytes)
    except InvalidData:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive
        raise InvalidData(f"{source}: is no archive that can be read ({error})") from None


def _in_zip(source: Path, most_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            _require_file(source, info.filename, kind in (0, stat.S_IFREG))
            with archive.open(info) as file:
                yield info.filename, file


def _in_tar(source: Path, most_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    with gzip.open(source) as packed:
        bounded = _Bounded(packed, most_bytes + HEADERS)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            for header in archive:
                if header.isdir():
                    continue
                _require_file(source, header.name, header.isreg())
                file = archive.extractfile(header)
                assert file is not None  # a regular one
                with file:
                    yield header.name, file


def _require_file(source: Path, name: str, regular: bool) -> None:
    if not regular:
        raise InvalidData(f"{source}: {name!r} is a link or a device: only files are taken")


class _Bounded(io.RawIOBase):
    """A file of which at most `limit` bytes are read, and few at once: a tar's header may ask for any."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file, self._limit = file, limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > LARGEST_HEADER:
            raise tarfile.ReadError("a header asks for too much")
        return self._within(self._file.read(size))

    def seek(self, place: int, whence: int = 0) -> int:
        return self._within(self._file.seek(min(place, self._limit + 1), whence))

    def tell(self) -> int:
        return self._file.tell()

    def _within(self, result: T) -> T:
        if self._file.tell() > self._limit:
            raise tarfile.ReadError("it unpacks to more than its manifest says")
        return result


@contextmanager
def reading(source: Path, name: str) -> Iterator[None]:
    """Turn what is damaged within into an `InvalidData` that names `source` and `name`."""
    try:
        yield
    except InvalidData:
        raise
    except (*DAMAGE, RecursionError) as error:
        raise InvalidData(f"{source}: {name} cannot be read ({error})") from None

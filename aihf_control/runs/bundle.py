"""Files with their SHA-256 in a manifest, in a folder or an archive, as `aihf data push` writes them.

Of a bundle from elsewhere nothing is believed: names are checked letter by letter, links and whatever the
manifest does not list are refused, no more is read of a file than the manifest says, its hash is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.runs.archives import PIECE, is_archive, read_archive, reading, write_archive
from aihf_control.runs.files import make_folder, naming, sha256, temporary_beside, write_atomically

MANIFEST = "bundle.json"
FORMAT = 1
LARGEST_MANIFEST = 32 * 2**20
MOST_FILES = 200_000
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A file as the manifest lists it."""

    sha256: str
    bytes: int

    @staticmethod
    def of(path: Path) -> Entry:
        """Of a file that is there."""
        return Entry(sha256(path), path.stat().st_size)


Entries = Mapping[str, Entry]
"""By name, with slashes: `results/runs/figure5/hopper/aihf/seed_0/config.json`."""


def write_bundle(target: Path, files: Mapping[str, Path], about: Mapping[str, Any]) -> tuple[Entries, int]:
    """Write `files`, name → place, as a new archive or into a folder, where others may be already.

    Returns the bundle's entries and how many files are new in it. Raises `InvalidData`, with nothing written,
    if the archive is there or the folder has another content under one of the names.
    """
    files = dict(sorted(files.items()))
    entries = {name: Entry.of(path) for name, path in files.items()}
    if not is_archive(target):
        return _write_folder(target, files, entries, about)
    if target.exists():
        raise InvalidData(f"{target} is there already: name another file, or move it away")
    make_folder(target.parent)
    write_archive(target, (MANIFEST, _manifest(entries, about)), files)
    return entries, len(entries)


def _write_folder(
    target: Path, files: Mapping[str, Path], entries: Entries, about: Mapping[str, Any]
) -> tuple[Entries, int]:
    there = read_entries(target) if (target / MANIFEST).is_file() else {}
    if target.exists() and not (target.is_dir() and (there or not any(target.iterdir()))):
        raise InvalidData(f"{target} is no bundle: name a new folder, or a file that ends in .tar.gz or .zip")
    new = [name for name, entry in entries.items() if not _has(target / name, entry)]
    for name in new:
        make_folder((target / name).parent)
        temporary = temporary_beside(target / name)
        with naming(target / name):
            shutil.copyfile(files[name], temporary)
            os.replace(temporary, target / name)
    write_atomically(target / MANIFEST, _manifest({**there, **entries}, about))
    return entries, len(new)


def _has(path: Path, entry: Entry) -> bool:
    if path.is_file() and Entry.of(path) != entry:
        raise InvalidData(f"{path}: another content is there already, and nothing is overwritten")
    return path.is_file()


def missing(entries: Entries, places: Mapping[str, Path]) -> dict[str, Path]:
    """Those of `places`, name → file, that are not there yet.

    Raises `InvalidData`, naming the first, if one is there with another content: nothing is overwritten.
    """
    return {name: path for name, path in places.items() if not _has(path, entries[name])}


def _manifest(entries: Entries, about: Mapping[str, Any]) -> bytes:
    files = {name: vars(entry) for name, entry in sorted(entries.items())}
    record = {"format": FORMAT, **about, "files": files}
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_entries(source: Path, most_bytes: int = 2**62) -> dict[str, Entry]:
    """What `source` says it holds. Raises `InvalidData` for names that lead elsewhere, and for too much."""
    if not source.exists():
        raise InvalidChoice(f"{source}: there is no such file or folder")
    if source.is_dir() and not (source / MANIFEST).is_file():
        raise InvalidData(f"{source}: holds no {MANIFEST}: it was not written by `aihf data push`")
    for name, file in _members(source, most_bytes, {MANIFEST: Entry("", 0)}):
        if name == MANIFEST:
            with reading(source, MANIFEST):
                content = file.read(LARGEST_MANIFEST + 1)
                if len(content) > LARGEST_MANIFEST:
                    raise InvalidData(f"{source}: {MANIFEST} is over {LARGEST_MANIFEST >> 20} MB")
                record = json.loads(content)
            return _check(source, record, most_bytes)
    raise InvalidData(f"{source}: holds no {MANIFEST}: it was not written by `aihf data push`")


def _check(source: Path, record: Any, most_bytes: int) -> dict[str, Entry]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InvalidData(f"{source}: {MANIFEST} is not of format {FORMAT}: it is of another version")
    files = record.get("files")
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise InvalidData(f"{source}: {MANIFEST}: files are missing, or more than {MOST_FILES:,}")
    entries = {}
    for name, facts in files.items():
        digest, size = (facts.get("sha256"), facts.get("bytes")) if isinstance(facts, dict) else (None, None)
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise InvalidData(f"{source}: {MANIFEST} names {name!r}, which could lead out of the folder")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
            raise InvalidData(f"{source}: {MANIFEST}: {name} has no sha256 and bytes")
        entries[name] = Entry(digest, size)
    total = sum(entry.bytes for entry in entries.values())
    if total > most_bytes:
        raise InvalidData(
            f"{source}: holds {total / 1e9:.1f} GB, over the limit of {most_bytes / 1e9:g}: raise --most-gb"
        )
    return entries


def unpack(source: Path, entries: Entries, wanted: Mapping[str, Path]) -> None:
    """Write the files that are `wanted`, name → place, each compared with its hash.

    Raises `InvalidData` for a link, for a file that is missing, doubled, longer, shorter or other than its
    entry says, and in an archive for one that has none.
    """
    seen = set()
    for name, file in _members(source, sum(entry.bytes for entry in entries.values()), entries):
        if name in seen:
            raise InvalidData(f"{source}: holds {name} twice")
        if name != MANIFEST and name not in entries:
            raise InvalidData(f"{source}: {name!r} is not listed in {MANIFEST}")
        seen.add(name)
        if name in wanted:
            _unpack_one(source, name, file, entries[name], wanted[name])
    if absent := sorted(set(wanted) - seen):
        raise InvalidData(f"{source}: {absent[0]} is listed in {MANIFEST} and not there")


def _unpack_one(source: Path, name: str, file: IO[bytes], entry: Entry, place: Path) -> None:
    digest, left = hashlib.sha256(), entry.bytes + 1
    make_folder(place.parent)
    with naming(place), place.open("xb") as out:
        while left:
            with reading(source, name):
                piece = file.read(min(PIECE, left))
            if not piece:
                break
            digest.update(piece)
            out.write(piece)
            left -= len(piece)
        out.flush()
        os.fsync(out.fileno())
    if left != 1 or digest.hexdigest() != entry.sha256:
        raise InvalidData(f"{source}: {name} is not what {MANIFEST} says (SHA-256 {entry.sha256[:12]}…)")


def _members(source: Path, most_bytes: int, listed: Entries) -> Iterator[tuple[str, IO[bytes]]]:
    """Of an archive each file; of a folder those that are `listed`, since others may use it too."""
    if not source.is_dir():
        yield from read_archive(source, most_bytes)
        return
    for name in listed:
        path = source / name
        if any(part.is_symlink() for part in [path, *path.parents][: name.count("/") + 1]):
            raise InvalidData(f"{path}: is a link, and may lead anywhere: only files are taken")
        if path.is_file():
            with path.open("rb") as file:
                yield name, file

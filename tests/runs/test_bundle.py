"""What a bundle keeps, and what is refused of one from a stranger."""

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aihf_control.errors import InvalidData
from aihf_control.runs import archives
from aihf_control.runs.bundle import MANIFEST, Entry, missing, read_entries, unpack, write_bundle

NAME = "results/runs/study/hopper/aihf/seed_0/progress.csv"
CONTENT = b"step,return_mean\n0,1.5\n" * 1000
MOST = 10**6


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    own = tmp_path / "own"
    own.mkdir()
    (own / "progress.csv").write_bytes(CONTENT)
    (own / "empty.json").write_bytes(b"")
    return {NAME: own / "progress.csv", "data/feedback/hopper/x/manifest.json": own / "empty.json"}


def take(source: Path, folder: Path) -> dict[str, bytes]:
    """All files of a bundle, unpacked."""
    entries = read_entries(source, MOST)
    unpack(source, entries, {name: folder / name for name in entries})
    return {name: (folder / name).read_bytes() for name in entries}


@pytest.mark.parametrize("target", ["bundle", "bundle.tar.gz", "bundle.tgz", "bundle.zip"])
def test_what_was_pushed_comes_back_and_the_same_files_make_the_same_bundle(
    target: str, tmp_path: Path, files: dict[str, Path]
) -> None:
    for place in (tmp_path / "a" / target, tmp_path / "b" / target):
        assert write_bundle(place, files, {"study": "study"})[1] == 2
        os.utime(files[NAME], (0, 0))
    assert take(tmp_path / "a" / target, tmp_path / "taken") == {n: p.read_bytes() for n, p in files.items()}
    if archives.is_archive(Path(target)):
        assert (tmp_path / "a" / target).read_bytes() == (tmp_path / "b" / target).read_bytes()
        with pytest.raises(InvalidData, match="is there already"):
            write_bundle(tmp_path / "a" / target, files, {})


def test_a_folder_takes_more_and_never_another_content(tmp_path: Path, files: dict[str, Path]) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, {NAME: files[NAME]}, {})
    assert write_bundle(target, files, {})[1] == 1
    assert set(read_entries(target)) == set(files)
    files[NAME].write_bytes(b"other")
    with pytest.raises(InvalidData, match=r"seed_0/progress\.csv: another content is there"):
        write_bundle(target, files, {})
    assert (target / NAME).read_bytes() == CONTENT
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").touch()
    with pytest.raises(InvalidData, match="is no bundle"):
        write_bundle(tmp_path / "home", files, {})


def manifest(**names: Any) -> bytes:
    """A stranger's, of CONTENT under NAME and of what else is given."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    listed: dict[str, Any] = {NAME: {"sha256": digest, "bytes": len(CONTENT)}}
    return json.dumps({"format": 1, "files": listed | names}).encode()


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for header, content in members:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def link(kind: bytes, to: str) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(NAME)
    header.type, header.linkname = kind, to
    return header, b""


def zip_of(path: Path, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, manifest())
        info = zipfile.ZipInfo(NAME)
        info.external_attr = mode << 16
        archive.writestr(info, CONTENT)
    return path


FIRST = (tarfile.TarInfo(MANIFEST), manifest())
GOOD = (tarfile.TarInfo(NAME), CONTENT)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda p: tar(p, FIRST, link(tarfile.SYMTYPE, "/etc/passwd")), "is a link or a device"),
        (lambda p: tar(p, FIRST, link(tarfile.LNKTYPE, MANIFEST)), "is a link or a device"),
        (lambda p: tar(p, FIRST, link(tarfile.FIFOTYPE, "")), "is a link or a device"),
        (lambda p: tar(p, FIRST, GOOD, (tarfile.TarInfo("../x"), b"")), r"'\.\./x' is not listed"),
        (lambda p: tar(p, FIRST, GOOD, (tarfile.TarInfo("/x"), b"")), "'/x' is not listed"),
        (lambda p: tar(p, FIRST, GOOD, GOOD), "progress.csv twice"),
        (lambda p: tar(p, FIRST), "is listed in bundle.json and not there"),
        (lambda p: tar(p, FIRST, (GOOD[0], CONTENT[:-1] + b"!")), "is not what bundle.json says"),
        (lambda p: tar(p, FIRST, (GOOD[0], CONTENT[:-1])), "is not what bundle.json says"),
        (lambda p: tar(p, FIRST, (GOOD[0], CONTENT + b"!")), "is not what bundle.json says"),
        (lambda p: tar(p, GOOD), "holds no bundle.json"),
        (lambda p: tar(p, (FIRST[0], b"[]")), "not of format 1"),
        (lambda p: tar(p, (FIRST[0], b'{"format": 1')), "bundle.json cannot be read"),
        (lambda p: tar(p, (FIRST[0], manifest(**{"../../x": {}}))), "could lead out"),
        (lambda p: tar(p, (FIRST[0], manifest(**{"/etc/x": {}}))), "could lead out"),
        (lambda p: tar(p, (FIRST[0], manifest(**{"a/.tmp-x": {}}))), "could lead out"),
        (lambda p: tar(p, (FIRST[0], manifest(**{"a//x": {}}))), "could lead out"),
        (lambda p: tar(p, (FIRST[0], manifest(x={"sha256": "0" * 64}))), "x has no sha256 and bytes"),
        (lambda p: tar(p, (FIRST[0], manifest(x={"sha256": "0" * 64, "bytes": MOST}))), "over the limit"),
        (lambda p: p.write_bytes(b"no archive"), "is no archive that can be read"),
    ],
)
def test_a_strangers_archive_is_refused_in_one_line_and_nothing_is_outside(
    made: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    source, folder = tmp_path / "bundle.tar.gz", tmp_path / "deep" / "taken"
    made(source)
    with pytest.raises(InvalidData, match=message) as refused:
        take(source, folder)
    assert "\n" not in str(refused.value) and str(source) in str(refused.value)
    there = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert there <= {"bundle.tar.gz", "progress.csv"}


def test_a_zip_with_a_link_or_a_cut_end_is_refused(tmp_path: Path) -> None:
    good = zip_of(tmp_path / "good.zip")
    assert take(good, tmp_path / "taken") == {NAME: CONTENT}
    with pytest.raises(InvalidData, match="is a link or a device"):
        take(zip_of(tmp_path / "link.zip", 0o120777), tmp_path / "of a link")
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-30])
    with pytest.raises(InvalidData, match="is no archive that can be read"):
        take(tmp_path / "cut.zip", tmp_path / "of a cut one")


def test_an_archive_that_unpacks_to_more_than_it_says_is_read_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "HEADERS", 2**16)
    monkeypatch.setattr(archives, "LARGEST_HEADER", 2**16)
    bomb = tar(tmp_path / "a.tar.gz", FIRST, (tarfile.TarInfo(NAME), b"\0" * 10_000_000))
    with pytest.raises(InvalidData, match=r"is not what bundle\.json says|more than its manifest says"):
        take(bomb, tmp_path / "taken")
    assert sum(path.stat().st_size for path in (tmp_path / "taken").rglob("*.csv")) <= len(CONTENT) + 1
    header = tarfile.TarInfo("x")
    header.pax_headers = {"comment": "x" * 2**20}
    asks = tar(tmp_path / "b.tar.gz", (header, b""))
    with pytest.raises(InvalidData, match="asks for too much"):
        take(asks, tmp_path / "taken")


def test_a_folder_with_links_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    source = tmp_path / "bundle"
    write_bundle(source, files, {})
    (source / "results").rename(tmp_path / "elsewhere")
    (source / "results").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidData, match="is a link"):
        take(source, tmp_path / "taken")


def test_what_is_there_is_left_or_named(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"a")
    (tmp_path / "other").write_bytes(b"b")
    entry = Entry.of(tmp_path / "same")
    places = {"same": tmp_path / "same", "new": tmp_path / "new"}
    assert missing({"same": entry, "new": entry}, places) == {"new": tmp_path / "new"}
    with pytest.raises(InvalidData, match=r"other: another content is there already"):
        missing({"same": entry}, {"same": tmp_path / "other"})

"""What `aihf label` refuses, in one line and before anything is made."""

import socket
from pathlib import Path

import pytest

from aihf_control.cli.main import main
from aihf_control.runs.locks import SeedLock


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["label", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("aihf: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "hoper"], "did you mean hopper"),
        (["--env", "hopper", "--pairs", "0"], "--pairs=0 is not a whole number from 1 up"),
        (["--env", "hopper", "--session", "../mine"], "--session '../mine'"),
        (["--env", "hopper", "--port", "99999"], "--port 99999 cannot be used"),
        (["--env", "hopper", "--disagreement", "nowhere"], "0 of its seeds learned a reward"),
        (["--env", "hopper", "--port", "0"], "no reference policies of hopper"),
    ],
)
def test_one_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, *arguments, "--root", str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_port_or_a_session_in_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, "--env", "hopper", "--port", port, "--root", str(tmp_path))
        assert f"--port {port} cannot be used" in said
    with SeedLock([tmp_path / "data" / "labelling" / "hopper" / "labels"]):
        said = refused(capsys, "--env", "hopper", "--port", "0", "--root", str(tmp_path))
        assert "labels is in use: process" in said

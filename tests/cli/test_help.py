"""What the command line says of itself: short first, all of it when asked, within 100 columns."""

import pytest

from aihf_control.cli.main import COMMANDS, parse
from aihf_control.words import TERMINAL, text_table


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 0
    said = capsys.readouterr().out
    usage, *rest = said.splitlines()  # the usage is tyro's own line
    assert usage.startswith("usage: aihf ") and max(map(len, rest)) <= 100
    return said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown([*name.split(), "--help"], capsys, monkeypatch)
    assert f"aihf {name}" in said and len(said.splitlines()) <= 90  # two screens


def test_the_help_of_a_study_names_choices_and_leaves_its_settings_to_help_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = shown(["bench", "--help"], capsys, monkeypatch)
    for line in (
        "--preset smoke|quick|reference|authors|paper",
        "--device auto|cpu|cuda",
        "--label-error 0.1",
        "--preferences mine/a-v0,mine/b-v0",
        "--help-all",
    ):
        assert line in short
    assert "--settings.sac.hidden" not in short and "None" not in short
    every = shown(["bench", "--preset", "smoke", "--help-all"], capsys, monkeypatch)
    for line in (
        "--settings.sac.hidden",
        "--settings.sac.critic batch-norm|plain",
        "--settings.start own|clone",
    ):
        assert line in every
    assert "--settings.sac.random-steps INT" in every and "(default: 500)" in every  # the preset's


def test_a_table_that_is_too_wide_goes_on_below() -> None:
    header, row = ["Method", *"abcdefghij"], ["aihf", *(letter * 20 for letter in "abcdefghij")]
    table = text_table(header, [row])
    assert max(map(len, table.splitlines())) <= TERMINAL
    parts = table.split("\n\n")
    assert [part.splitlines()[0].split() for part in parts] == [
        ["Method", "a", "b", "c", "d"],
        ["Method", "e", "f", "g", "h"],
        ["Method", "i", "j"],
    ]
    assert text_table(["a", "b"], [["1", "22"]]) == "a  b\n-  --\n1  22"

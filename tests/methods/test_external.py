"""A user's own method: named, loaded, trained through the public path, recorded, and told what is wrong."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import toy
from toy_study import study

from aihf_control.cli import values
from aihf_control.cli.values import parse_methods, parse_tasks
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.methods import external as plugins
from aihf_control.methods.external import register
from aihf_control.methods.table import METHODS, ChosenMethod
from aihf_control.report.results import read_results
from aihf_control.study.prepare import Folders
from aihf_control.study.study import run_study

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "my_method.py"


@pytest.fixture(autouse=True)
def only_built_in_methods_afterwards() -> Iterator[None]:
    yield
    for name in set(METHODS) - set(values.METHODS):
        del METHODS[name], plugins.SOURCES[name]


def written(folder: Path, code: str) -> str:
    path = folder / "my_method.py"
    path.write_text(code)
    return str(path)


def test_names(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    assert parse_methods(f"aihf,{file}:GAILPlus") == (
        ChosenMethod("aihf"),
        ChosenMethod("gail_plus", file, "GAILPlus"),
    )
    assert parse_methods(f"gentle={file}:MyMethod") == (ChosenMethod("gentle", file, "MyMethod"),)
    assert [method.name for method in parse_methods("oracle,all")] == [
        "oracle",
        *(name for name in METHODS if name != "oracle"),
    ]
    assert parse_tasks("all") == ("hopper", "halfcheetah", "walker2d")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere.py:MyMethod", "there is no file nowhere.py"),
        ("{file}", "write path/to/my_method.py:MyMethod"),
        ("AIHF={file}:A", "AIHF is built in: name yours, as my_AIHF="),
        ("../x={file}:A", "cannot name a folder"),
        ("{file}:A,a={file}:B", "two methods are named a"),
        ("aifh", "did you mean aihf"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(InvalidChoice, match=re.escape(message)) as caught:
        parse_methods(value.format(file=written(tmp_path, "")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Other: ...", "there is no MyMethod in my_method.py; its classes: Other"),
        ("x = 1\nx / 0", "cannot be loaded: ZeroDivisionError: division by zero, my_method.py line 2"),
        ("class MyMethod:\n    def", "cannot be loaded: SyntaxError"),
        ("class MyMethod: ...", "MyMethod cannot be called with a Context"),
        (
            "class MyMethod:\n    def __init__(self, context): ...\n    def start(self): ...",
            "has no run_round, rewards, faults",
        ),
    ],
)
def test_code_that_is_no_method_is_one_line(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(InvalidChoice, match=re.escape(message)) as caught:
        register(parse_methods(f"{written(tmp_path, code)}:MyMethod"))
    assert "\n" not in str(caught.value)
    assert "my_method" not in METHODS


def test_the_example_trains_beside_the_others_and_changed_code_is_refused(tmp_path: Path) -> None:
    file = written(
        tmp_path, EXAMPLE.read_text().replace("UPDATES, BATCH = 200, 256", "UPDATES, BATCH = 5, 16")
    )
    folders = Folders(tmp_path)
    names = register(parse_methods(f"bc,mine={file}:LeastSquares"))
    run_study(study(names), toy.feedback(), folders, print)
    runs = tmp_path / "results" / "runs" / "test" / "toy"
    assert read_results(runs.parent).recorded == ("bc", "mine")
    rows = pd.read_csv(runs / "mine" / "seed_0" / "progress.csv")
    assert rows["step"].iloc[-1] == toy.SETTINGS.steps
    assert {"return_mean", "reward_accuracy", "reward_loss"} <= set(rows)
    config = json.loads((runs / "mine" / "seed_0" / "config.json").read_text())
    assert config["code"] == {
        "object": "LeastSquares",
        "file": "my_method.py",
        "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest(),
        "package": "",
        "version": "",
    }
    assert "ipl" in config["settings"]  # a method of one's own may use any of them

    Path(file).write_text(Path(file).read_text() + "# another learning rate, say\n")
    register(parse_methods(f"mine={file}:LeastSquares"))
    with pytest.raises(InvalidData, match=r"code.sha256"):
        run_study(study(("mine",)), toy.feedback(), folders, print)


def test_the_page_shows_the_example_as_it_is() -> None:
    code = EXAMPLE.read_text()
    assert f"```python\n{code}```" in (ROOT / "docs" / "your_method.md").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) < 40

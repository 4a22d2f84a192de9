"""A task of one's own, from a file to a curve: recorded, read back without the file, refused once changed."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
import toy_bench

from aihf_control import load_policy
from aihf_control.envs.external import OWN, open_task
from aihf_control.errors import InvalidData
from aihf_control.report.results import read_results
from aihf_control.study.prepare import Folders
from aihf_control.study.study import Study, run_study

ROOT = Path(__file__).parents[2]

TASK = """
import toy
from aihf_control import Task
TASK = Task("mine", "aihf_toy/TwoStep-v0", 2, 1, can_fall=False, horizon=2)
"""


def study(entry: str, method: str) -> Study:
    task, settings = open_task(entry), replace(toy_bench.settings(2), environments="serial")
    return Study("own", "quick", task, (method,), (0,), settings, torch.device("cpu"), "test")


def test_a_run_says_what_its_task_was_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    file, folders = tmp_path / "my_task.py", Folders(tmp_path)
    file.write_text(TASK)
    run_study(study(f"{file}:TASK", "bc"), toy.feedback(), folders, print)
    run = folders.runs / "own" / "mine" / "bc" / "seed_0"
    code = json.loads((run / "config.json").read_text())["task_code"]
    assert (code["object"], code["file"], code["task"]["horizon"]) == ("TASK", "my_task.py", 2)
    OWN.clear()  # as in another process, without the file
    assert load_policy(run)(np.zeros((3, 2))).shape == (3, 1)
    assert [task.task for task in read_results(folders.runs / "own").tasks] == ["mine"]

    file.write_text(TASK.replace("horizon=2", "horizon=1"))
    before = sorted(str(path) for path in folders.runs.rglob("*"))
    for method in ("bc", "aihf"):  # the same runs, and others beside them
        with pytest.raises(InvalidData, match=r"task_code\.sha256: .* there, .* now") as caught:
            run_study(study(f"{file}:TASK", method), toy.feedback(), folders, print)
        assert "\n" not in str(caught.value) and "STUDY=name" in str(caught.value)
    assert sorted(str(path) for path in folders.runs.rglob("*")) == before


def test_the_page_quotes_the_example() -> None:
    last = (ROOT / "examples" / "my_task.py").read_text().splitlines()[-2:]
    assert "\n".join(["```python", *last, "```"]) in (ROOT / "docs" / "your_data.md").read_text()


MAKE = """#!/bin/bash
target=$1
shift
options=$({python} -m aihf_control.cli.variables options "$target" "$@") || exit 2
[ "$target" != data ] || target="data build"
eval ".venv/bin/aihf $target $options"
"""


@pytest.mark.slow
def test_the_commands_of_the_page_give_curves(tmp_path: Path) -> None:
    """As they stand, in a folder with the examples; `make` and `aihf` are this checkout's."""
    python, bin = shlex.quote(sys.executable), tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (bin / "aihf").write_text(f'#!/bin/sh\nexec {python} -m aihf_control "$@" --root .\n')
    (bin / "make").write_text(MAKE.format(python=python))
    for file in bin.iterdir():
        file.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    page = (ROOT / "docs" / "your_data.md").read_text()
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    environment = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}"}
    environment.pop("AIHF_MINARI_ROOT", None)
    done = subprocess.run(
        ["bash", "-exc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "results" / "runs"
    for name, methods in (("bench-smoke", {"aihf", "bc"}), ("labelled", {"bc", "cpl"})):
        assert (runs / name / "report.html").is_file() and (runs / name / "figure5.png").is_file()
        assert set(read_results(runs / name).recorded) == methods
    manifest = json.loads((tmp_path / "data" / "policies" / "push" / "manifest.json").read_text())
    assert manifest["environment"] == "mine/Push-v0"
    assert (tmp_path / "data" / "minari" / "aihf" / "push" / "expert-v0").is_dir()

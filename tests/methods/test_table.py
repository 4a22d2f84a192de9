"""A built-in method is one file and one row: whatever asks for methods finds a new one by these alone."""

from pathlib import Path

import pytest
import toy
from toy_study import study

from aihf_control import methods
from aihf_control.cli.main import parse
from aihf_control.cli.values import parse_methods
from aihf_control.methods.table import METHODS, ChosenMethod, MethodRow
from aihf_control.report.write import write_report
from aihf_control.study.prepare import Folders
from aihf_control.study.study import run_study

FILE = '''
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams
from aihf_control.methods.method import Context, Method


class Untrained(Method):
    """The policy as it is initialised."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        sizes = context.task.observation_size, context.task.action_size, context.settings.sac.hidden
        self.actor = SquashedGaussianActor(len(context.seeds), *sizes)
        self.actor.body.initialise(SeedStreams(context.seeds, "actor"))

    def tensors(self):
        return {"actor": self.actor.body.flat.detach(), "environment_steps": self.environment_steps}
'''
ROW = MethodRow("untrained:Untrained", "Untrained", "Untrained: nothing", "#123456", axis="none")


def test_a_new_built_in_is_a_file_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "untrained.py").write_text(FILE)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    monkeypatch.setitem(METHODS, "untrained", ROW)

    assert parse_methods("bc,untrained") == (ChosenMethod("bc"), ChosenMethod("untrained"))
    assert parse(["bench", "--methods", "untrained"])
    run_study(study(("bc", "untrained"), (0, 1)), toy.feedback(), Folders(tmp_path), print)
    report = write_report(tmp_path / "results" / "runs" / "test")
    rows = [line for line in report.text.splitlines() if "Untrained" in line]
    assert rows and "2" in rows[0]
    assert {path.parent.name for path in tmp_path.rglob("policy.zip")} == {"seed_0", "seed_1"}

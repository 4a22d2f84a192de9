"""Runs from elsewhere beside a study's: read as they are written, or refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from test_page import Parsed
from test_report import two_tasks, write_run

from aihf_control.cli.main import main
from aihf_control.envs.tasks import TASKS, make_env
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.report.others import WINDOWS, read_others
from aihf_control.report.page import panel
from aihf_control.report.results import read_results


def hopper(folder: Path, steps: int = 3) -> Path:
    write_run(folder / "mine", "hopper", "aihf", 0, [10.0 * step for step in range(steps)])
    return folder / "mine"


def test_a_csv(tmp_path: Path) -> None:
    study = read_results(hopper(tmp_path))
    table = tmp_path / "theirs.csv"
    table.write_text("seed,step,return,note\n4,10,3.5,a\n4,0,1,b\n5,0,2,c\n5,10,-4,d\n")  # in any order
    (other,) = read_others(f"Theirs={table}", study)
    assert (other.name, other.task, other.seeds) == ("Theirs", "hopper", ("4", "5"))
    assert other.steps.tolist() == [0, 10] and other.returns.tolist() == [[1, 3.5], [2, -4]]
    assert read_others(str(table), study)[0].name == "theirs"
    drawn = panel(study.tasks[0], [other])
    dashed = [curve for curve in drawn.curves if curve.dashes]
    assert [(curve.label, curve.seed) for curve in dashed] == [("Theirs", seed) for seed in ("4", "5", "IQM")]
    assert dashed[0].points[0][0] == drawn.curves[0].points[0][0]  # both begin at step 0
    assert dashed[0].points[1][0] == drawn.curves[0].points[1][0]
    assert drawn.seeds == ["IQM", "0", "4", "5"]


def test_stable_baselines3_writes_what_is_read(tmp_path: Path) -> None:
    """Its own `Monitor` and the file of its `EvalCallback`."""
    from stable_baselines3.common.monitor import Monitor

    study = read_results(hopper(tmp_path, 200))
    episodes: dict[str, list[tuple[int, float]]] = {}
    for seed in ("run_1", "run_2"):
        env = Monitor(make_env(TASKS["hopper"]), str(tmp_path / "sb3" / seed / "0"))
        env.reset(seed=int(seed[-1]))
        env.action_space.seed(int(seed[-1]))
        episodes[seed] = []
        for step in range(1, 1501):
            *_, fell, late, info = env.step(env.action_space.sample())
            if fell or late:
                episodes[seed].append((step, info["episode"]["r"]))
                env.reset()
        env.close()
    (other,) = read_others(f"sb3={tmp_path / 'sb3'}", study)
    assert other.task == "hopper" and other.seeds == ("run_1", "run_2") and "training episodes" in other.what
    assert other.returns.shape == (2, WINDOWS)
    last = min(log[-1][0] for log in episodes.values())
    assert other.steps[-1] == last
    for log, found in zip(episodes.values(), other.returns, strict=True):
        held = log[0][1]
        for low, high, value in zip([0, *other.steps[:-1]], other.steps, found, strict=True):
            inside = [r for step, r in log if low < step <= high]
            held = float(np.mean(inside)) if inside else held
            assert value == pytest.approx(held, abs=1e-5)

    results = np.arange(12.0).reshape(3, 4)
    np.savez(tmp_path / "evaluations.npz", timesteps=np.array([0, 500, 1000]), results=results)
    (other,) = read_others(f"eval={tmp_path / 'evaluations.npz'}", study)
    assert other.steps.tolist() == [0, 500, 1000] and other.returns.tolist() == [[1.5, 5.5, 9.5]]


def test_another_study_says_how_its_feedback_differs(tmp_path: Path) -> None:
    study = read_results(hopper(tmp_path))
    for name, feedback in (("same", "h"), ("other", "z")):
        write_run(tmp_path / name, "hopper", "rlhf", 3, [5.0, 6.0], sha256=feedback)
        record = tmp_path / name / "hopper" / "rlhf" / "seed_3" / "config.json"
        text = record.read_text()
        if name == "other":
            record.write_text(text.replace(f"{'hopper':f<64}", f"{'z' * 64}"))
        (found,) = read_others(str(tmp_path / name), study)
        assert found.name == f"RLHF ({name})" and found.seeds == ("3",) and found.returns.tolist() == [[5, 6]]
        assert ("not bit for bit" in found.what) == (name == "other")


def test_the_page_shows_them_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = two_tasks(tmp_path)
    assert main(["report", str(study)]) == 0
    alone = {path.name: path.read_bytes() for path in study.iterdir() if path.is_file()}
    (tmp_path / "t.csv").write_text("step,seed,return\n0,0,1\n40,0,123.4\n")
    assert main(["report", str(study), "--with", f"T@walker2d={tmp_path / 't.csv'}"]) == 0
    text = (study / "report.html").read_text()
    parsed = Parsed(text)
    assert "Runs from elsewhere" in text and "T" in parsed.cells and "62.2 (one seed)" in parsed.cells
    assert text.count("stroke-dasharray") == 2
    for name, content in alone.items():  # the other files are those of the study alone
        assert ((study / name).read_bytes() == content) == (name != "report.html")
    assert b"Runs from elsewhere" not in alone["report.html"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("step,seed\n0,0\n", "has no column return; it has step, seed"),
        ("step,seed,return\n0,0,1\n5,0,x\n", "return in row 1 is x, not a number"),
        ("step,seed,return\n0,0,1\n5,0,\n", "return in row 1 is nan, not a number"),
        ("step,seed,return\n0,0,1\n0,0,2\n", "row 1 repeats seed 0 at step 0"),
        ("step,seed,return\n0,0,1\n5,0,1\n0,1,1\n", "seed 1 has no return at step 5"),
        ("step,seed,return\n0,0,1\n5000,0,1\n", "is it in another unit"),
        ("step,seed,return\n", "has no rows"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_csv_that_cannot_be_used_is_named(tmp_path: Path, content: str, message: str) -> None:
    study = read_results(hopper(tmp_path))
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InvalidData, match=message) as raised:
        read_others(str(tmp_path / "bad.csv"), study)
    assert str(raised.value).startswith(str(tmp_path / "bad.csv")) and "\n" not in str(raised.value)


def test_what_is_not_there_or_has_no_task(tmp_path: Path) -> None:
    study = read_results(two_tasks(tmp_path))
    (tmp_path / "t.csv").write_text("step,seed,return\n0,0,1\n10,0,2\n")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(3), results=np.zeros((2, 4)))
    for given, message in (
        ("none.csv", "there is no none.csv"),
        (str(tmp_path / "t.csv"), "does not say of which task it is: write NAME@hopper=PATH"),
        (f"T@hoper={tmp_path / 't.csv'}", "did you mean hopper"),
        (str(tmp_path / "empty"), "is no study's folder"),
        (f"e@hopper={tmp_path / 'evaluations.npz'}", "results has shape"),
    ):
        with pytest.raises((InvalidChoice, InvalidData), match=message):
            read_others(given, study)

"""A study pushed from one checkout, pulled into another and extended there: nothing is trained again."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from toy_bench import at_file_operation, ended, leftovers, numbers, small_study, start, train

from aihf_control.cli import main as cli
from aihf_control.data.feedback import FeedbackConfig, Sources, save_feedback
from aihf_control.runs.folder import Status, write_status
from aihf_control.study.training import BatchRun

STUDY = small_study(("bc", "aihf"), rounds=1)


def files(root: Path) -> dict[str, bytes]:
    """All that is not hidden."""
    names = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {str(n): p.read_bytes() for n, p in names.items() if not any(x.startswith(".") for x in n.parts)}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A root with a trained study, and its archive."""
    root = tmp_path_factory.mktemp("theirs")
    train(root, STUDY)
    sources = Sources("hopper", "toy-v0", (), None, None, {})
    save_feedback(
        toy.feedback(), root / "data/feedback/hopper/0123", config=FeedbackConfig(), sources=sources
    )
    archive = root.parent / "study.tar.gz"
    assert cli.main(["data", "push", str(archive), "--study", "bench", "--root", str(root)]) == 0
    return root, archive


def pull(source: Path, root: Path, *options: str) -> int:
    return cli.main(["data", "pull", str(source), "--root", str(root), *options])


def test_a_pulled_study_is_extended_and_nothing_is_trained_again(
    tmp_path: Path, pushed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, archive = pushed
    assert pull(archive, tmp_path) == 0
    assert numbers(tmp_path) == numbers(theirs) and files(tmp_path) == files(theirs)
    assert "data/feedback/hopper/0123/preferences.npz" in files(tmp_path)
    assert "4 runs, 22 files from" in capsys.readouterr().out
    trained = []

    def note(run: BatchRun, step: int) -> None:
        trained.append((run.paths.method, run.context.seeds))

    train(tmp_path, replace(STUDY, methods=("bc", "aihf", "oracle")), note)
    assert set(trained) == {("oracle", (0, 1))}
    before = files(tmp_path)
    assert pull(archive, tmp_path) == 0 and files(tmp_path) == before
    assert "all 22 files" in capsys.readouterr().out


def test_another_content_is_named_and_nothing_is_taken(
    tmp_path: Path, pushed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "results/runs/bench/hopper/bc/seed_1/status.json"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert pull(pushed[1], tmp_path) == 2
    told = capsys.readouterr().err
    assert told == f"aihf: {own}: another content is there already, and nothing is overwritten\n"
    assert set(files(tmp_path)) == {str(own.relative_to(tmp_path))} and not leftovers(tmp_path)


def test_a_killed_pull_leaves_no_half_and_the_same_command_ends_it(
    tmp_path: Path, pushed: tuple[Path, Path]
) -> None:
    theirs, archive = pushed
    for number in (1, 9, 20):  # of the writes to the disk
        root = tmp_path / str(number)
        root.mkdir()

        def work(root: Path = root, number: int = number) -> int:
            at_file_operation(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
            return pull(archive, root)

        assert ended(start(work, tmp_path / "log")) == -signal.SIGKILL
        assert files(root) == {}
        assert pull(archive, root) == 0
        assert files(root) == files(theirs) and not leftovers(root)


def test_only_ended_runs_are_pushed_and_folders_take_several_studies(
    tmp_path: Path, pushed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, target = tmp_path / "theirs", tmp_path / "shared"
    assert pull(pushed[1], theirs) == 0
    write_status(theirs / "results/runs/bench/hopper/bc/seed_0", Status("running", 0, 0.0, 2))
    push = ["data", "push", str(target), "--root", str(theirs), "--study"]
    assert cli.main([*push, "bench"]) == 0
    assert "bc/seed_0 has not ended: it stays here" in capsys.readouterr().out
    assert len(list(target.rglob("policy.zip"))) == 3
    (theirs / "results/runs/bench").rename(theirs / "results/runs/other")
    assert cli.main([*push, "other"]) == 0
    assert pull(target, tmp_path / "mine") == 0
    assert {path.name for path in (tmp_path / "mine/results/runs").iterdir()} == {"bench", "other"}
    assert cli.main([*push, "none"]) == 2
    assert "no run of it has ended" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results/runs/a/run.sh", "aihf_control/cli/main/x.json", "data/x.json"])
def test_a_name_that_is_no_file_of_a_study_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from aihf_control.runs.bundle import write_bundle

    (tmp_path / "x").write_text("x")
    write_bundle(tmp_path / "b.zip", {name: tmp_path / "x"}, {})
    assert pull(tmp_path / "b.zip", tmp_path / "mine") == 2
    assert f"holds {name}: it is no file of a study" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
    assert pull(tmp_path / "b.zip", tmp_path / "mine", "--most-gb", "0") == 2
    assert pull(tmp_path / "none.zip", tmp_path / "mine") == 2

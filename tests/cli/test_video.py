"""`aihf video` on a committed policy, and on a run's folder with a reward of its own."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from safetensors.numpy import save_file
from screen import need_gl

from aihf_control.cli.main import main

EXPERT = Path(__file__).parents[2] / "data" / "policies" / "hopper" / "expert.zip"


def a_run(folder: Path, task: str = "hopper") -> Path:
    """The expert as if it had been a run, with a learned reward that is a constant ½."""
    folder.mkdir()
    shutil.copy(EXPERT, folder / "policy.zip")
    config = {"task": task, "settings": {"reward": {"bound": 10.0}}}
    (folder / "config.json").write_text(json.dumps(config))
    half = np.array([10 * np.arctanh(0.05)], np.float32)
    save_file(
        {
            "observation_mean": np.zeros(11, np.float32),
            "observation_std": np.ones(11, np.float32),
            "weight_0": np.zeros((14, 1), np.float32),
            "bias_0": half,
        },
        folder / "reward.safetensors",
    )
    return folder


def test_a_run_is_filmed_twice_to_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_gl()
    run = a_run(tmp_path / "seed_0")
    films = []
    for name in ("a.gif", "b.gif"):
        assert (
            main(["video", str(run), "--steps", "20", "--width", "128", "--out", str(tmp_path / name)]) == 0
        )
        films.append((tmp_path / name).read_bytes())
    assert films[0] == films[1]
    film = Image.open(io.BytesIO(films[0]))
    assert sum(1 for _ in ImageSequence.Iterator(film)) == 4 and film.size == (
        128,
        96 + 2 * 44,
    )  # both rewards have a strip
    assert "a.gif: 20 steps, return 2" in capsys.readouterr().out
    assert main(["video", str(run), "--steps", "20", "--width", "128", "--seed", "1",
                 "--out", str(tmp_path / "c.gif")]) == 0  # fmt: skip
    assert (tmp_path / "c.gif").read_bytes() != films[0]


def test_a_zip_alone_has_the_true_reward(tmp_path: Path) -> None:
    need_gl()
    out = tmp_path / "a.webp"
    assert (
        main(["video", str(EXPERT), "--env", "hopper", "--steps", "6", "--width", "128", "--out", str(out)])
        == 0
    )
    assert Image.open(out).size == (128, 96 + 44)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{zip}"], "give --env"),
        (["{zip}", "--env", "hoper"], "did you mean hopper"),
        (["{tmp}"], "holds no policy.zip"),
        (["{run}", "--env", "walker2d"], "is a run on hopper"),
        (["{run}", "--width", "100"], "not a multiple of 8"),
        (["{run}", "--steps", "0"], "at least 1"),
        (["{run}", "--out", "{tmp}/a.avi"], "Valid: mp4, webp, gif"),
        (["{run}", "--out", "{tmp}/none/a.gif"], "there is no folder"),
    ],
)
def test_one_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run = a_run(tmp_path / "seed_0")
    before = sorted(tmp_path.rglob("*"))
    places = {"zip": EXPERT, "tmp": tmp_path, "run": run}
    assert main(["video", *(argument.format(**places) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("aihf: ") and said.count("\n") == 1 and message in said
    assert sorted(tmp_path.rglob("*")) == before

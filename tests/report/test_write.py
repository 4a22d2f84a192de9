"""The report against synthetic run directories whose numbers can be checked by hand."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from aihf_control.report.curves import learning_curves
from aihf_control.report.results import read_study
from aihf_control.report.style import compact, spread
from aihf_control.report.tables import markdown, summarise
from aihf_control.report.write import summary_json, write_report
from aihf_control.runs.records import InvalidResults
from aihf_control.words import seed_list

FILES = {"curves.png", "curves.pdf", "table.md", "table.csv", "summary.json"}
FEEDBACK = {
    "sha256": "0123456789abcdef" * 4,
    "demonstrations_return": 3261.0,
    "demonstrations": 10000,
    "pairs": 20000,
    "segment_length": 50,
}


def write_run(
    root: Path,
    method: str,
    seed: int,
    returns: Sequence[float],
    *,
    batch: Sequence[int] = (0, 1, 2),
    failed_at: int | None = None,
    state: str | None = None,
    accuracy: float | None = None,
    study: str = "bench",
    preset: str = "quick",
    **config: Any,
) -> Path:
    """One seed's folder: an evaluation every 10 steps, 12 environment steps a 10."""
    folder = root / study / "hopper" / method / f"seed_{seed}"
    folder.mkdir(parents=True)
    lines = ["step,return_mean,return_std,length_mean,environment_steps,reward_accuracy"]
    shown = "" if accuracy is None else accuracy
    lines += [f"{10 * i},{value},1.0,100.0,{12 * i},{shown}" for i, value in enumerate(returns)]
    (folder / "progress.csv").write_text("\n".join(lines) + "\n")
    record = {"study": study, "task": "hopper", "method": method, "seed": seed, "batch": list(batch)}
    record |= {"command": "make bench ENV=hopper", "preset": preset, "round_steps": 10, "steps": 20}
    record |= {
        "settings": {"evaluation_episodes": 10},
        "feedback": FEEDBACK,
        "references": {"random": 20.0, "expert": 3020.0},
    } | config
    (folder / "config.json").write_text(json.dumps(record))
    status = {"state": state or ("finished" if failed_at is None else "failed"), "step": 20}
    status |= {"wall_seconds": 412.0, "batch_size": len(batch), "failed_at_step": failed_at, "reason": None}
    (folder / "status.json").write_text(json.dumps(status))
    return folder


def three_methods(root: Path) -> None:
    for seed in range(3):
        write_run(root, "aihf", seed, [0, 100 * seed, 1520 + 300 * seed], accuracy=0.8 + 0.05 * seed)
        write_run(root, "ipl", seed, [500, 600 + seed])
        write_run(root, "bc", seed, [900 + 30 * seed])


def summary(output: Path) -> dict[str, Any]:
    record = json.loads((output / "summary.json").read_text())
    return record | {"methods": {row["method"]: row for row in record["methods"]}}


def summary_of(root: Path, methods: Sequence[str]) -> dict[str, Any]:
    """The methods of `summary.json`, by name, without drawing or writing anything."""
    study = read_study(root / "bench" / "hopper", "bench", "hopper", methods)
    record = json.loads(summary_json(study, summarise(study)))
    return {row["method"]: row for row in record["methods"]}


def words(figure: Figure) -> str:
    texts = [*figure.texts, *figure.axes[0].texts]
    return "\n".join(text.get_text() for text in texts)


def test_numbers_by_hand(tmp_path: Path) -> None:
    three_methods(tmp_path / "runs")
    output = tmp_path / "bench" / "hopper"
    report = write_report(
        tmp_path / "runs" / "bench" / "hopper", "bench", "hopper", ["aihf", "ipl", "bc"], output
    )
    assert {path.name for path in report.paths} == FILES
    assert {path.name for path in output.iterdir()} == FILES | {"runs"}
    record = summary(output)
    aihf, ipl, bc = (record["methods"][name] for name in ("aihf", "ipl", "bc"))
    assert aihf["seeds"] == {"finished": [0, 1, 2], "failed": [], "missing": []}
    final = aihf["final_return"]
    assert (final["estimate"], final["low"], final["high"]) == (1820.0, 1520.0, 2120.0)
    assert final["interval"] == "range" and final["per_seed"] == [1520.0, 1820.0, 2120.0]
    # seed 1: trapezoid (0 + 100) / 2 * 10 + (100 + 1820) / 2 * 10 over a span of 20
    assert aihf["area_under_curve"]["per_seed"][1] == 505.0
    assert aihf["normalised_score"] == pytest.approx(0.6)  # (1820 - 20) / (3020 - 20)
    assert aihf["reward_accuracy"] == pytest.approx(0.85)
    assert (aihf["steps"], aihf["environment_steps"]) == (20, 24.0)
    assert aihf["batches"] == [{"seeds": [0, 1, 2], "seconds": 412.0}]
    assert (ipl["steps"], ipl["reward_accuracy"]) == (10, None)
    assert bc["area_under_curve"] is None and bc["final_return"]["estimate"] == 930.0
    for row in (aihf, ipl, bc):
        assert all((output / source).is_file() for source in row["sources"]) and len(row["sources"]) == 3


def test_tables_agree_with_each_other(tmp_path: Path) -> None:
    three_methods(tmp_path / "runs")
    output = tmp_path / "report"
    printed = write_report(
        tmp_path / "runs" / "bench" / "hopper", "bench", "hopper", ["aihf", "ipl", "bc"], output
    ).text
    markdown = (output / "table.md").read_text()
    for shown in ("1,820 [range 1,520 to 2,120]", "0.600", "6 min 52 s (seeds 0–2)"):
        assert shown in markdown and shown in printed
    for stated in (
        "one feedback data set (sha256 `0123456789ab`",
        "mean return 3,261",
        "`make bench ENV=hopper`",
    ):
        assert stated in markdown
    assert "random policy 20.0, expert tier 3,020" in markdown
    rows = list(csv.DictReader((output / "table.csv").open()))
    assert [row["method"] for row in rows] == ["aihf", "ipl", "bc"]
    assert (rows[0]["final_return_iqm"], rows[0]["interval"]) == ("1820.0", "range")
    assert rows[2]["area_under_curve_iqm"] == ""
    lines = printed.splitlines()  # aligned: the second column starts at one place
    assert len({line.index("3 / 0") for line in lines[2:5]} | {lines[0].index("Seeds")}) == 1


def test_failed_seed_scores_as_random_and_stays(tmp_path: Path) -> None:
    write_run(tmp_path, "aihf", 0, [0, 100, 1000], accuracy=0.9)
    write_run(tmp_path, "aihf", 1, [0, 4000], failed_at=10, accuracy=0.1)
    write_run(tmp_path, "aihf", 2, [0, 100, 1300], accuracy=0.7)
    report = write_report(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"], tmp_path / "report")
    row = summary(tmp_path / "report")["methods"]["aihf"]
    assert row["seeds"] == {"finished": [0, 2], "failed": [1], "missing": []}
    assert row["final_return"]["per_seed"] == [1000.0, 20.0, 1300.0]  # 20 is the random reference
    assert row["area_under_curve"]["per_seed"][1] == 15.0  # 0 to 20, then 20: the 4000 is not counted
    assert row["reward_accuracy"] == pytest.approx(0.8)
    assert "2 / 1" in report.text and "AIHF seed 1 failed at step 10" in report.text


def test_failed_seeds_without_references_score_zero(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "aihf", seed, [], failed_at=0, batch=(0, 1), references=None)
    row = summary_of(tmp_path, ["aihf"])["aihf"]
    assert (row["final_return"]["estimate"], row["steps"], row["normalised_score"]) == (0.0, 20, None)
    study = read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"])
    assert "no normalised score" in markdown(study, summarise(study))


def test_running_and_absent_seeds_are_missing(tmp_path: Path) -> None:
    write_run(tmp_path, "aihf", 0, [0, 1, 2])
    write_run(tmp_path, "aihf", 1, [0, 1], state="running")
    write_run(tmp_path, "rlhf", 0, [0, 1], state="running")
    text = write_report(
        tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf", "rlhf", "ipl"], tmp_path / "report"
    ).text
    methods = summary(tmp_path / "report")["methods"]
    assert methods["aihf"]["seeds"] == {"finished": [0], "failed": [], "missing": [1, 2]}
    assert methods["aihf"]["final_return"]["interval"] == "one seed"
    assert methods["rlhf"]["final_return"] is None
    assert "AIHF: seeds 1–2 are running or missing" in text
    assert "RLHF: seeds 0–2 are running or missing" in text and "IPL: no run found" in text


def test_five_seeds_get_a_bootstrap_interval(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, "aihf", seed, [0, 0, 100.0 * seed], batch=range(5))
    final = summary_of(tmp_path, ["aihf"])["aihf"]["final_return"]
    assert final["interval"] == "bootstrap" and final["estimate"] == 200.0
    assert 0.0 <= final["low"] < 200.0 < final["high"] <= 400.0
    study = read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"])
    assert "range" not in markdown(study, summarise(study)).split("| --- |")[1]


def test_adding_a_method_moves_no_other_number(tmp_path: Path) -> None:
    for seed in range(6):
        write_run(tmp_path, "aihf", seed, [0, 5, 100.0 * seed], batch=range(6))
        write_run(tmp_path, "rlhf", seed, [0, 9, 50.0 * seed], batch=range(6))
    assert summary_of(tmp_path, ["aihf"])["aihf"] == summary_of(tmp_path, ["rlhf", "aihf"])["aihf"]


def test_the_kept_records_give_the_same_report(tmp_path: Path) -> None:
    """What a clone of the repository has is enough to draw the figure and the table again."""
    three_methods(tmp_path / "runs")
    methods, output, again = ["aihf", "ipl", "bc"], tmp_path / "report", tmp_path / "again"
    write_report(tmp_path / "runs" / "bench" / "hopper", "bench", "hopper", methods, output)
    write_report(output / "runs", "bench", "hopper", methods, again)
    for name in FILES:
        assert (again / name).read_bytes() == (output / name).read_bytes()


def test_same_runs_same_bytes(tmp_path: Path) -> None:
    three_methods(tmp_path / "runs")
    output = tmp_path / "report"
    contents = []
    for _ in range(2):
        write_report(tmp_path / "runs" / "bench" / "hopper", "bench", "hopper", ["aihf", "ipl", "bc"], output)
        contents.append({p.name: p.read_bytes() for p in output.iterdir() if p.is_file()})
    assert contents[0] == contents[1] and set(contents[0]) == FILES
    assert b"CreationDate" not in contents[0]["curves.pdf"]


def test_figure_draws_every_seed_and_marks_an_early_end(tmp_path: Path) -> None:
    three_methods(tmp_path)
    figure = learning_curves(
        read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf", "ipl", "bc"])
    )
    said = words(figure)
    for stated in (
        "too short to compare methods",
        "Thin lines: every seed",
        "range",
        "ended at 10 updates",
        "3 seeds",
        "mean 3,261",
        "930, 3 seeds",
        "make bench ENV=hopper",
        "0123456789ab",
        "seeds 0–2",
    ):
        assert stated in said
    assert "bootstrap" not in said
    lines = figure.axes[0].get_lines()
    curves = [np.asarray(line.get_ydata(), float).tolist() for line in lines]
    for seed in range(3):
        assert [0.0, 100.0 * seed, 1520.0 + 300 * seed] in curves
    dotted = [line for line in lines if line.get_linestyle() == ":"]
    assert [list(np.asarray(line.get_xdata())) for line in dotted] == [[10, 20]]
    assert figure.axes[0].get_xlabel() == "SAC steps (gradient updates for IPL)"


def test_figure_of_many_seeds(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(
            tmp_path, "aihf", seed, [0, 1, 7.0 * seed], batch=range(5), preset="paper", study="bench-paper"
        )
    figure = learning_curves(
        read_study(tmp_path / "bench-paper" / "hopper", "bench-paper", "hopper", ["aihf"])
    )
    said = words(figure)
    assert "95% stratified-bootstrap interval" in said and "5 seeds" in said
    assert "Thin lines" not in said and "too short" not in said
    assert figure.axes[0].get_xlabel() == "SAC steps" and "study bench-paper" in said


def test_figure_labels_stay_inside_and_apart(tmp_path: Path) -> None:
    for method in ("aihf", "rlhf", "ipl", "irl", "oracle"):
        for seed in range(3):  # the finished seeds agree, one of each fails, IPL ends early
            returns = [-12900.0] * (2 if method == "ipl" else 3)
            write_run(tmp_path, method, seed, returns, failed_at=10 if seed == 2 else None)
    for seed in range(5):  # and BC has enough seeds for an interval, so the subtitle says both
        write_run(tmp_path, "bc", seed, [-12900.0])
    methods = ["aihf", "rlhf", "ipl", "irl", "oracle", "bc"]
    figure = learning_curves(read_study(tmp_path / "bench" / "hopper", "bench", "hopper", methods))
    figure.canvas.draw()
    axes = figure.axes[0]
    texts = [*axes.texts, *figure.texts, axes.xaxis.label, axes.yaxis.label]
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_picture_is_a_picture(tmp_path: Path) -> None:
    write_run(tmp_path, "aihf", 0, [0, 1, 2], batch=[0], command="make bench ENV=hopper OUT=$HOME/a_b$")
    write_report(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"], tmp_path / "report")
    image = matplotlib.image.imread(tmp_path / "report" / "curves.png")
    assert image.shape[:2] == (840, 1530) and image[..., :3].std() > 0.05


def test_spread_keeps_order_and_distance() -> None:
    np.testing.assert_allclose(spread([0.5, 0.5, 0.9], 0.1), [0.45, 0.55, 0.9])
    np.testing.assert_allclose(spread([1.0, 0.99, 0.0], 0.2), [1.0, 0.8, 0.0])
    np.testing.assert_allclose(spread([1.0], 0.2, top=0.9), [0.9])
    assert spread([0.3, 0.6], 0.1) == pytest.approx([0.3, 0.6])


def test_words_for_numbers() -> None:
    assert [compact(steps) for steps in (500, 1_500, 10_000, 2_000_000)] == ["500", "1.5k", "10k", "2M"]
    assert seed_list([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"


def test_errors_name_file_and_field(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "aihf", 0, [0, 1, 2])

    def refused(match: str) -> None:
        with pytest.raises(InvalidResults, match=match):
            write_report(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"], tmp_path / "report")
        assert not (tmp_path / "report").exists()

    progress = folder / "progress.csv"
    good = progress.read_text()
    progress.write_text(good.replace("return_mean", "return"))
    refused(r"seed_0/progress\.csv: column return_mean")
    progress.write_text(good.replace("10,1,", "10,nan,"))
    refused(r"seed_0/progress\.csv: return_mean in row 1 is nan")
    progress.write_text(good.replace("\n10,", "\n30,"))
    refused(r"seed_0/progress\.csv: step must be whole numbers that rise")
    progress.write_text(good)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": 4}))
    refused(r"seed_0/config\.json: seed is 4, the folder's 0")
    (folder / "config.json").write_text(json.dumps(config | {"feedback": FEEDBACK | {"pairs": "many"}}))
    refused(r"seed_0/config\.json: feedback\.pairs is 'many', expected int")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text('{"state": "done", "wall_seconds": 1.0}')
    refused(r"seed_0/status\.json: state is 'done'")
    (folder / "status.json").write_text('{"state": "failed", "wall_seconds": 1.0}')
    refused(r"seed_0/status\.json: failed_at_step is None")


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    write_run(tmp_path, "aihf", 0, [0, 1, 2])
    write_run(tmp_path, "rlhf", 0, [0, 1, 2], feedback=FEEDBACK | {"sha256": "f" * 64})
    with pytest.raises(InvalidResults, match=r"rlhf/seed_0/config\.json: feedback differs from .*aihf"):
        read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf", "rlhf"])
    write_run(tmp_path, "aihf", 1, [0, 1])
    with pytest.raises(InvalidResults, match=r"aihf/seed_1/progress\.csv: step has 2 rows up to 10"):
        read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["aihf"])
    with pytest.raises(InvalidResults, match="no run of oracle has ended"):
        read_study(tmp_path / "bench" / "hopper", "bench", "hopper", ["oracle"])


def test_reports_need_no_torch_gymnasium_or_minari(tmp_path: Path) -> None:
    write_run(tmp_path, "aihf", 0, [0, 1, 2])
    code = (
        "import sys, pathlib; from aihf_control.report.write import write_report\n"
        "root = pathlib.Path(sys.argv[1]); "
        "write_report(root / 'bench' / 'hopper', 'bench', 'hopper', ['aihf'], root / 'report')\n"
        "print(sorted({'torch', 'gymnasium', 'minari', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and (tmp_path / "report" / "curves.pdf").exists()

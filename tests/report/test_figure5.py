"""Figure 5's axes and rows, and the verdict on the paper's claim."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from test_report import assert_readable, words, write_run

from aihf_control.errors import InvalidData
from aihf_control.methods.table import METHODS
from aihf_control.report.environment_steps import environment_steps
from aihf_control.report.figure5 import environment_figure, figure5
from aihf_control.report.page import page
from aihf_control.report.results import read_results
from aihf_control.report.tables import markdown, tabulate, text
from aihf_control.report.variants import matched
from aihf_control.report.write import write_report

CLONE = {"evaluation_episodes": 10, "fixed_horizon": False, "start": "clone"}


def finals(study: Path, task: str, method: str, level: float, seeds: int = 5, **options: object) -> None:
    for seed in range(seeds):
        write_run(study, task, method, seed, [0, 50, *[level + seed] * 5], **options)  # type: ignore[arg-type]


def two_rows(root: Path) -> Path:
    """AIHF above RLHF, which is above IPL and IRL; from one clone below RLHF on the only task of its own."""
    study, beside = root / "mine", root / "mine-matched"
    for task in ("hopper", "walker2d"):
        finals(study, task, "aihf", 800, rollouts=5)
        finals(study, task, "rlhf", 300)
        finals(study, task, "ipl", 100)
    finals(beside, "hopper", "aihf", 400, rollouts=5, settings=CLONE)
    finals(beside, "hopper", "rlhf", 900, settings=CLONE)
    finals(beside, "hopper", "irl", 100, rollouts=5, settings=CLONE)
    return study


def drawn(axes: Axes, method: str, style: str = "-") -> list[list[float]]:
    """Where the corners of a method's lines stand along a panel, without the tick at its right."""
    return [
        np.asarray(line.get_xdata()).tolist()
        for line in axes.get_lines()
        if (line.get_color(), line.get_linestyle()) == (METHODS[method].colour, style) and line.get_clip_on()
    ]


def test_the_same_rows_over_environment_steps(tmp_path: Path) -> None:
    study = tmp_path / "s"
    for seed in range(5):
        rollouts = 5 + 2 * seed  # 9 in the mean
        write_run(study, "hopper", "aihf", seed, [0, 100, 800], rollouts=rollouts)
        write_run(study, "hopper", "rlhf", seed, [700, 400, 100])
        write_run(study, "hopper", "ipl", seed, [600, 500], rollouts=-10)
    tables = tabulate(read_results(study))
    own, environment = figure5(tables).axes[0], environment_figure(tables)
    assert environment is not None
    other = environment.axes[0]
    assert drawn(own, "aihf") == [[0, 10, 20]] and drawn(other, "aihf") == [[0, 19, 38]]
    assert drawn(own, "rlhf") == drawn(other, "rlhf") == [[0, 10, 20]]
    assert drawn(own, "rlhf", ":") == [] and drawn(other, "rlhf", ":") == [[20, 38]]
    assert drawn(own, "ipl") == [[0, 10]] and drawn(other, "ipl") == []
    assert drawn(other, "ipl", ":") == [[0, 38]]  # it takes none: its final score, all along
    assert other.get_xlabel() == "Environment steps" and own.get_xlabel().startswith("SAC steps")
    colour = METHODS["aihf"].colour
    heights = [
        np.asarray(next(line for line in axes.get_lines() if line.get_color() == colour).get_ydata()).tolist()
        for axes in (own, other)
    ]
    assert heights == [[0, 100, 800]] * 2  # the same rows
    assert_readable(environment)


def test_environment_steps_of_failed_seeds(tmp_path: Path) -> None:
    """As in the tables: finished seeds count, and where there are none the last counts of the others."""
    study = tmp_path / "s"
    write_run(study, "hopper", "aihf", 0, [0, 1, 2], rollouts=10)
    write_run(study, "hopper", "aihf", 1, [0], rollouts=90, failed_at=10)
    for seed, returns in enumerate(([0, 1], [0])):
        write_run(study, "hopper", "irl", seed, returns, rollouts=10, failed_at=10 * len(returns))
    (task,) = read_results(study).tasks
    found = {results.method: environment_steps(results).tolist() for results in task.methods if results.runs}
    assert found == {"aihf": [0, 20, 40], "irl": [0, 10, 10]}


def test_no_picture_of_environment_steps_that_are_sacs(tmp_path: Path) -> None:
    for method in ("rlhf", "oracle"):
        write_run(tmp_path / "s", "hopper", method, 0, [0, 1, 2])
    write_run(tmp_path / "s", "hopper", "ipl", 0, [0, 1, 2], rollouts=-10)
    assert environment_figure(tabulate(read_results(tmp_path / "s"))) is None


def test_the_matched_study_is_a_second_row(tmp_path: Path) -> None:
    study = read_results(two_rows(tmp_path))
    tables = tabulate(study, matched=matched(tmp_path / "mine"))
    table, shown = markdown(tables), page(tables, {}, "").replace("&#39;", "'")
    own = "that AIHF ends above RLHF and IPL, is confirmed on Hopper-v5 and Walker2d-v5 and over all tasks."
    one_clone = "that AIHF from the same clone ends above RLHF and IRL, is refuted on Hopper-v5 (below RLHF)."
    for said in (table, text(tables), shown):
        assert own in said and one_clone in said and "Matched alignment" in said
    assert "# Matched alignment: mine-matched" in table and "no run of IPL" not in table
    assert "| AIHF | 5 | 402 [" in table.split("# Matched")[1] and "Matched alignment, Hopper-v5" in shown
    figure = figure5(tables)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Hopper-v5", "Walker2d-v5"] * 2
    hopper, _, below, absent = figure.axes
    assert drawn(below, "irl") and not drawn(hopper, "irl") and not drawn(absent, "aihf")
    assert hopper.get_ylim() == below.get_ylim() and "No results yet" in words(figure)
    said = " ".join(words(figure)).replace("\n", " ")
    for part in (
        "mine: does AIHF end above RLHF, IPL and IRL?",
        "Each method from its own start: above RLHF and IPL?",
        "The paper says yes; here that is confirmed on Hopper-v5 and Walker2d-v5 and over all tasks.",
        "All from the same clone: above RLHF and IRL?",
        "study mine-matched",
    ):
        assert part in said
    assert_readable(figure)
    assert len(figure5(tabulate(study)).axes) == 2


def test_a_matched_study_from_other_starts_is_refused(tmp_path: Path) -> None:
    study = two_rows(tmp_path)
    finals(tmp_path / "mine-matched", "walker2d", "aihf", 1, settings=CLONE | {"start": "own"})
    with pytest.raises(
        InvalidData, match=r"aihf/seed_0/config\.json: settings\.start is 'own', and mine-matched"
    ):
        write_report(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_feedback_of_the_matched_study_is_said(tmp_path: Path) -> None:
    finals(tmp_path / "mine", "hopper", "aihf", 1)
    other = {"sha256": "0" * 64, "demonstrations_return": 900.0, "demonstrations": 1, "pairs": 1}
    finals(
        tmp_path / "mine-matched",
        "hopper",
        "aihf",
        1,
        settings=CLONE,
        feedback=other | {"segment_length": 50},
    )
    study, beside = (read_results(tmp_path / name) for name in ("mine", "mine-matched"))
    assert "Hopper-v5: its feedback is not that of mine." in markdown(tabulate(study, matched=beside))


@pytest.mark.parametrize(
    ("rivals", "seeds", "preset", "said"),
    [
        ({"rlhf": 300, "ipl": 100}, 5, "paper", "confirmed on Hopper-v5."),
        ({"rlhf": 900, "ipl": 100}, 5, "paper", "refuted on Hopper-v5 (below RLHF)."),
        ({"rlhf": 900, "ipl": 950}, 5, "paper", "refuted on Hopper-v5 (below RLHF and IPL)."),
        (
            {"rlhf": 800, "ipl": 100},
            5,
            "paper",
            "left open on Hopper-v5 (above IPL, not told apart from RLHF).",
        ),
        ({"rlhf": 300}, 5, "paper", "left open on Hopper-v5 (above RLHF, no runs of IPL)."),
        (
            {"rlhf": 300, "ipl": 100},
            4,
            "paper",
            "left open on Hopper-v5 (under 5 seeds against RLHF and IPL).",
        ),
        ({"irl": 100}, 5, "paper", None),
        ({"rlhf": 300, "ipl": 100}, 5, "quick", None),
    ],
)
def test_the_claim_by_rule(
    tmp_path: Path, rivals: dict[str, float], seeds: int, preset: str, said: str | None
) -> None:
    for method, level in {"aihf": 800.0, **rivals}.items():
        finals(tmp_path / "s", "hopper", method, level, seeds, preset=preset)
    tables = tabulate(read_results(tmp_path / "s"))
    if said is None:
        assert tables.claim is None and "claim" not in "".join(tables.findings)
    else:
        assert tables.findings[0] == f"The paper's claim, that AIHF ends above RLHF and IPL, is {said}"

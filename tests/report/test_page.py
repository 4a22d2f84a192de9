"""A study's page: whole, alone, and the numbers in it those of the tables."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from screen import chromium, need_gl, watch
from test_report import two_tasks, write_run

from aihf_control.cli.main import main
from aihf_control.envs.film import encode
from aihf_control.report.markup import to_html
from aihf_control.report.page import Film, page, panel
from aihf_control.report.provenance import provenance
from aihf_control.report.results import read_results
from aihf_control.report.tables import tabulate, task_cells
from aihf_control.report.write import write_report

VOID = {"meta", "img", "input", "line"}


class Parsed(HTMLParser):
    """Every element with its attributes and text; raises where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def made(study: Path, **options: Any) -> str:
    results = read_results(study)
    return page(tabulate(results), {"Learning curves": b"png"}, provenance(results, study.parent), **options)


def test_the_page_is_whole_and_alone(tmp_path: Path) -> None:
    write_report(two_tasks(tmp_path))
    text = (tmp_path / "mine" / "report.html").read_text()
    parsed = Parsed(text)
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text)
    for tag, attributes in parsed.found:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    policy = next(a["content"] for a in parsed.all("meta") if "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none';")
    assert len(parsed.all("img")) == 2 and all(
        (a["src"] or "").startswith("data:image/png") for a in parsed.all("img")
    )


def test_it_says_what_the_tables_say(tmp_path: Path) -> None:
    study = two_tasks(tmp_path)
    tables, parsed = tabulate(read_results(study)), Parsed(made(study))
    for lines in tables.tasks:
        for line in lines:
            assert all(cell in parsed.cells for cell in task_cells(line))
    ours = tables.tasks[0][0]
    assert ours.final is not None and ours.cost is not None
    keys = {attributes.get("data-value") for attributes in parsed.all("td")}
    assert {repr(float(ours.final.estimate)), repr(float(ours.cost.wall_seconds))} <= keys
    text = made(study)
    for sentence in tables.findings:
        assert sentence.replace("&", "&amp;").replace("'", "&#39;").replace(">", "&gt;") in text
    assert "make bench ENV=all STUDY=mine" in text


def test_every_seed_is_a_line_where_it_should_be(tmp_path: Path) -> None:
    study = tmp_path / "s"
    for seed, returns in enumerate(([0.0, 50.0, 100.0], [0.0, 0.0, 40.0])):
        write_run(study, "hopper", "aihf", seed, returns)
    write_run(study, "hopper", "bc", 0, [25.0])
    (task,) = read_results(study).tasks
    drawn = panel(task)
    assert drawn.seeds == ["IQM", "0", "1"] and list(drawn.methods) == ["aihf", "bc"]
    lines = {(curve.method, curve.seed): np.array(curve.points) for curve in drawn.curves}
    first, second, middle = (lines["aihf", seed] for seed in ("0", "1", "IQM"))
    assert np.diff(first[:, 0]) == pytest.approx(np.diff(first[:, 0])[0])  # evaluations are 10 steps apart
    assert np.diff(first[:, 1])[0] == pytest.approx(np.diff(first[:, 1])[1], abs=0.11)  # as are its returns
    assert first[-1, 1] < second[-1, 1] < first[0, 1]  # higher returns are further up
    assert middle[:, 1] == pytest.approx((first[:, 1] + second[:, 1]) / 2, abs=0.11)
    level = lines["bc", "0"]
    assert level[:, 0].tolist() == [first[0, 0], first[-1, 0]] and level[0, 1] == level[1, 1]
    assert level[0, 1] == pytest.approx(first[0, 1] + (first[-1, 1] - first[0, 1]) / 4, abs=0.11)


def test_names_are_text(tmp_path: Path) -> None:
    study = tmp_path / "s"
    write_run(study, "hopper", "aihf", 0, [0, 1], command="make bench METHODS='<script>alert(1)</script>'")
    film = Film("hopper", "<b>caption", "webp", b"film")
    text = made(study, films=[film], remark="2 < 3")
    assert text.count("<script>") == 1 and "<code>make bench METHODS=&#39;&lt;script&gt;alert" in text
    assert "&lt;b&gt;caption" in text and "2 &lt; 3" in text and "data:image/webp;base64,ZmlsbQ==" in text
    Parsed(text)


def test_markdown_becomes_html() -> None:
    table = "| a | b |\n| --- | --- |\n| 1 \\| 2 | `c` |"
    said = f"## A *b*\n\n- `<x>` and *y*\n- 2 \\* 3\n\n1. one\n\n{table}\n\ntext"
    assert to_html(said).split("\n") == [
        "<h3>A <em>b</em></h3>",
        "<ul><li><code>&lt;x&gt;</code> and <em>y</em></li><li>2 * 3</li></ul>",
        "<ol><li>one</li></ol>",
        '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead>'
        "<tbody><tr><td>1 | 2</td><td><code>c</code></td></tr></tbody></table></div>",
        "<p>text</p>",
    ]


def test_films_of_the_median_and_the_worst_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aihf_control.cli import video

    need_gl()
    monkeypatch.setattr(video, "EPISODE", 6)
    monkeypatch.setattr(video, "FILM_WIDTH", 128)
    policy = Path(__file__).parents[2] / "data" / "policies" / "hopper" / "expert.zip"
    for seed, last in enumerate((30.0, 10.0, 20.0)):
        folder = write_run(tmp_path / "s", "hopper", "aihf", seed, [0.0, last])
        if seed != 2:
            shutil.copy(policy, folder / "policy.zip")
    assert main(["report", str(tmp_path / "s"), "--films"]) == 0
    text = (tmp_path / "s" / "report.html").read_text()
    Parsed(text)
    assert "AIHF, the worst of 3 seeds (seed 1): a return of" in text and "the median of 3" not in text
    assert "1 runs have no policy.zip beside them" in text  # the median's, seed 2
    monkeypatch.setattr(video, "LARGEST_FILMS", 100)
    assert main(["report", str(tmp_path / "s"), "--films"]) == 0
    assert "1 films were left out" in (tmp_path / "s" / "report.html").read_text()


@pytest.mark.slow
def test_films_play_in_a_browser(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")
    frames = [np.full((48, 64, 3), 20 * shade, np.uint8) for shade in range(10)]
    film = Film("hopper", "one", "mp4", encode(iter(frames), 5.0, "mp4"))
    text = made(two_tasks(tmp_path), films=[film, film])
    (tmp_path / "report.html").write_text(text)
    with chromium() as browser:
        shown = browser.new_page()
        problems = watch(shown, "file://")
        shown.goto((tmp_path / "report.html").as_uri())
        paused = "[...document.querySelectorAll('video')].map(film => film.paused)"
        shown.locator(".play").click()
        shown.wait_for_function(
            "[...document.querySelectorAll('video')].every(film => film.currentTime > 0.3)"
        )
        assert shown.evaluate(paused) == [False, False]
        shown.locator("video").first.click()
        assert shown.evaluate(paused) == [True, False]
        shown.locator(".play").click()
        assert shown.evaluate(paused) == [True, True]
        assert problems == []


@pytest.mark.slow
def test_tables_sort_and_curves_switch_in_a_browser(tmp_path: Path) -> None:
    write_report(two_tasks(tmp_path))
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 390, "height": 844})
        problems = watch(shown, "file://")
        shown.goto((tmp_path / "mine" / "report.html").as_uri())
        column = "rows => rows.map(row => row.cells[2].dataset.value)"
        head = shown.locator("table.data").first.locator("th button").nth(2)
        orders = []
        for _ in range(2):
            head.click()
            orders.append([float(value) for value in shown.eval_on_selector_all(
                "table.data:first-of-type >> nth=0 >> tbody tr", column) if value])  # fmt: skip
        assert orders[0] == sorted(orders[0], reverse=True) and orders[1] == sorted(orders[0])
        assert len(set(orders[0])) > 2
        visible = (
            "lines => lines.filter(line => line.style.display !== 'none').map(line => line.dataset.method)"
        )
        first = shown.locator(".curves").first
        before = first.locator("polyline").evaluate_all(visible)
        first.locator("input[data-method=aihf]").click()
        after = first.locator("polyline").evaluate_all(visible)
        assert "aihf" in before and after == [method for method in before if method != "aihf"]
        first.locator("input[data-seed='IQM']").click()
        assert len(first.locator("polyline").evaluate_all(visible)) < len(after)
        assert (
            shown.evaluate("document.documentElement.scrollWidth") <= 390
        )  # wide things scroll by themselves
        assert problems == []

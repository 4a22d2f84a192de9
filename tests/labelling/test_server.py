"""The page's server: who may talk to it, and 20 labels in a real browser, killed and resumed in between."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import uvicorn
from counted import episodes
from screen import chromium, need_gl, watch

from aihf_control.cli.main import main
from aihf_control.data.dataset_writer import Provenance, Reference, build_dataset
from aihf_control.data.human_labels import read_labelled
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidChoice
from aihf_control.labelling.draw import draw_pairs
from aihf_control.labelling.server import HOST, listen, make_app
from aihf_control.labelling.session import Places, Session

TOKEN = "correct-horse"


class NoFilms:
    """In place of `Clips`: says which clip it is."""

    def film(self, pair: int, side: int) -> Future[bytes]:
        done: Future[bytes] = Future()
        done.set_result(f"{pair} {side}".encode())
        return done


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Session]]:
    places = Places.of(tmp_path, toy.TASK, "mine")
    session = Session.open(places, toy.TASK, {}, lambda: draw_pairs(episodes(), 5, 4, 0))
    listener = listen(0)
    app: Any = make_app(session, NoFilms(), TOKEN, "Toy")  # type: ignore[arg-type]
    config = uvicorn.Config(app, log_level="error", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1], session
    running.should_exit = True
    thread.join()
    listener.close()


def ask(port: int, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    sent = {"Host": f"{HOST}:{port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body or None, sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def call(port: int, what: str, **body: Any) -> tuple[int, dict[str, Any]]:
    status, text, _ = ask(port, "POST", f"/call/{what}", json.dumps(body), X_Token=TOKEN)
    return status, json.loads(text)


def test_nothing_is_said_without_the_token(server: tuple[int, Session]) -> None:
    port, session = server
    for path in ("/", "/?token=", "/?token=wrong", f"/?token={TOKEN}x"):
        status, text, _ = ask(port, "GET", path)
        assert status == 403 and "script" not in text
    body = json.dumps({"name": "ann", "page": "p"})
    for headers in ({}, {"X_Token": "wrong"}, {"Cookie": f"token={TOKEN}"}):
        assert ask(port, "POST", "/call/join", body, **headers)[0] == 403
        assert ask(port, "GET", "/clip/0/0", **headers)[0] == 403
    assert ask(port, "GET", "/clip/0/0", X_Token=TOKEN)[:2] == (200, "0 0")
    assert not session.labels


def test_another_host_s_name_is_refused(server: tuple[int, Session]) -> None:
    port, _ = server
    for host, status in (("127.0.0.1", 200), ("localhost", 200), ("evil.example", 400), ("192.168.0.2", 400)):
        assert ask(port, "GET", f"/?token={TOKEN}", Host=f"{host}:{port}")[0] == status
    with pytest.raises(OSError, match="refused"):  # it listens on one address, not on all of them
        http.client.HTTPConnection("127.0.0.2", port, timeout=5).request("GET", "/")


def test_the_page_is_alone(server: tuple[int, Session]) -> None:
    status, text, headers = ask(server[0], "GET", f"/?token={TOKEN}")
    assert status == 200 and TOKEN not in text and not re.search(r"https?://|\bsrc=", text)
    policy = headers["content-security-policy"]
    nonce = re.findall(r'<(?:script|style) nonce="([^"]+)"', text)
    assert len(nonce) == 2 and nonce[0] == nonce[1] and policy.count(f"'nonce-{nonce[0]}'") == 2
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert nonce[0] not in ask(server[0], "GET", f"/?token={TOKEN}")[1]


@pytest.mark.parametrize(
    "path",
    ["/clip/../../etc/passwd", "/clip/%2e%2e/0", "/clip/5/0", "/clip/0/2", "/clip/-1/0", "/answers/ann.json",
     "/../session.json"],
)  # fmt: skip
def test_there_is_nothing_else(server: tuple[int, Session], path: str) -> None:
    assert ask(server[0], "GET", path, X_Token=TOKEN)[0] == 404


def test_calls_answer_in_words(server: tuple[int, Session]) -> None:
    port, session = server
    assert call(port, "join", name="ann", page="p") == (
        200, {"pair": 0, "mine": 0, "answered": 0, "total": 5},
    )  # fmt: skip
    assert call(port, "answer", name="ann", page="p", pair=0, label=0.5)[1]["pair"] == 1
    assert session.labels == {0: 0.5}
    assert call(port, "undo", name="ann", page="p")[1]["pair"] == 0
    for what, body, status in (
        ("answer", {"name": "ann", "page": "old", "pair": 0, "label": 1}, 409),
        ("answer", {"name": "ann", "page": "p", "pair": 0, "label": 0.3}, 409),
        ("answer", {"name": "ann", "page": "p", "pair": 0}, 400),
        ("join", {"name": "../ann", "page": "p"}, 409),
        ("join", {"name": "x" * 20_000, "page": "p"}, 413),
        ("drop", {"name": "ann", "page": "p"}, 404),
    ):
        found, answer = call(port, what, **body)
        assert found == status and answer["error"] and "\n" not in answer["error"]
    assert ask(port, "POST", "/call/join", "no json", X_Token=TOKEN)[0] == 400
    assert not session.labels


def test_a_port_in_use_is_one_line() -> None:
    with listen(0) as taken, pytest.raises(InvalidChoice, match="name another, or 0"):
        listen(taken.getsockname()[1])


def random_actions(observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (len(observations), 3))


def small_hopper(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both lower tiers of Hopper, of a random policy, and GL, or the test is skipped."""
    need_gl()
    monkeypatch.setenv("AIHF_MINARI_ROOT", str(folder / "minari"))
    for tier, seed in (("simple", 0), ("medium", 1)):
        build_dataset(
            TASKS["hopper"], tier, random_actions, transitions=300, deterministic_share=0.5, seed=seed,
            reference=Reference(0, 1, 1), provenance=Provenance("random", "random"), root=folder / "minari",
        )  # fmt: skip
    shutil.copytree(Path(__file__).parents[2] / "data" / "policies", folder / "data" / "policies")


class Labelling:
    """`aihf label` in a process of its own, which does not outlive the test."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-m", "aihf_control", "label", "--env", "hopper", "--root", str(root),
                   "--port", "0", "--pairs", "24", "--length", "10"]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
        assert self.process.stdout is not None
        self.address = next(line.split()[1] for line in self.process.stdout if line.startswith("open http"))

    def __enter__(self) -> "Labelling":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self, signum: int) -> str:
        self.process.send_signal(signum)
        return self.process.communicate(timeout=60)[0]


def answered(page: Any, count: int) -> None:
    page.wait_for_function("n => document.querySelector('#bar').value === n && !busy", arg=count)


@pytest.mark.slow
def test_twenty_labels_in_a_browser_with_a_kill_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"ArrowLeft": 0.0, "ArrowRight": 1.0, "ArrowDown": 0.5}
    pressed: list[float] = []
    problems: list[list[str]] = []

    def label(browser: Any, address: str, name: str, count: int) -> Any:
        page = browser.new_page()
        problems.append(watch(page, address.partition("?")[0]))
        page.goto(address)
        page.fill("#name", name)
        page.keyboard.press("Enter")
        for _ in range(count):
            answered(page, len(pressed))
            assert page.evaluate("document.querySelector('#clip0').naturalWidth") == 320
            key = list(keys)[len(pressed) * 2 % 3]
            page.keyboard.press(key)
            pressed.append(keys[key])
        answered(page, len(pressed))
        return page

    with chromium() as browser:
        small_hopper(tmp_path, monkeypatch)
        with Labelling(tmp_path) as first:
            label(browser, first.address, "ann", 9)
            first.end(signal.SIGKILL)
        with Labelling(tmp_path) as second:
            label(browser, second.address, "ann", 6).close()  # in the middle of a pair
            page = label(browser, second.address, "bob", 5)
            page.keyboard.press("u")
            answered(page, 19)
            page.click("#second")
            answered(page, 20)
            pressed[-1] = 1.0
            said = second.end(signal.SIGINT)
    assert second.process.returncode == 0 and "20 of 24 pairs are answered: PREFERENCE_FILE=" in said
    assert problems == [[], [], []]
    people = read_labelled(tmp_path / "data" / "preferences" / "hopper" / "labels.npz", TASKS["hopper"])
    given = dict(zip((*range(15), *range(16, 21)), pressed, strict=True))  # pair 15 was before ann
    assert people.labels.tolist() == [given[pair] for pair in sorted(given)]
    assert np.flatnonzero(people.held_out).tolist() == [0, 10, 19]
    assert people.observations.shape == (2, 20, 11, 11)


def test_labels_are_shown_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_gl()
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"obs_{side}": rng.normal(0, 0.1, (3, 4, 11)) for side in (1, 2)}
    arrays |= {f"action_{side}": rng.uniform(-1, 1, (3, 4, 3)) for side in (1, 2)}
    np.savez(tmp_path / "people.npz", **arrays, label=np.array([0, 1, 0.5]))
    assert (
        main(["preferences", "render", str(tmp_path / "people.npz"), "--env", "hopper", "--pairs", "2"]) == 0
    )
    page = (tmp_path / "people.html").read_text()
    assert re.findall(r"Pair \d+: [\w ]+", page) == [
        "Pair 0: the left one is preferred", "Pair 1: the right one is preferred",
    ]  # fmt: skip
    framed = re.findall(r'<img( class="preferred")? alt="(\w+) clip"', page)
    assert [name for preferred, name in framed if preferred] == ["left", "right"]
    assert "http" not in page and page.count("data:image/webp;base64,") == 4
    assert "3 pairs of 4 steps: 1 prefer the first, 1 the second, 1 ties" in capsys.readouterr().out

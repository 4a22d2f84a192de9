"""What not every machine has: a GL context, and a browser. Without it a test is skipped, with the reason."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aihf_control.envs.render import Camera, NoPictures
from aihf_control.envs.tasks import TASKS, Task


def camera(task: Task, width: int = 64, height: int = 48) -> Camera:
    try:
        return Camera(task, width, height)
    except NoPictures as error:
        pytest.skip(str(error))


def need_gl() -> None:
    camera(TASKS["hopper"]).close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser object, driving a Chromium that the machine has."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright, the extra `browser`, is not installed"
    )
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    quiet = [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=quiet)
        try:
            yield browser
        finally:
            browser.close()


def watch(page: Any, allowed: str) -> list[str]:
    """The page's errors, and its requests to anywhere that does not begin with `allowed`, as they come."""
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    inside = (allowed, "data:", "blob:")
    page.on("request", lambda sent: None if sent.url.startswith(inside) else problems.append(sent.url))
    return problems

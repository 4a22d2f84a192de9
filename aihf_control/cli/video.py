"""`aihf video`: a film of a run's saved policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from aihf_control.arrays import Floats
from aihf_control.cli.study_command import find_task, say
from aihf_control.envs.film import Take, best_format, check_format, encode, pictures, play
from aihf_control.envs.render import Camera, NoPictures
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice
from aihf_control.learn.saved import load_reward, read_policy
from aihf_control.methods.table import method_label
from aihf_control.report.page import Film
from aihf_control.report.results import MethodResults, StudyResults
from aihf_control.runs.files import read_json, write_atomically
from aihf_control.runs.records import Run
from aihf_control.words import number

WIDTHS = (128, 1920)
EPISODE, FILM_WIDTH = 1000, 320
"""Of a report's films: steps at most, and pixels."""
LARGEST_FILMS = 15_000_000
"""Bytes on one page, which base64 makes 20 MB."""


@dataclass(frozen=True)
class Video:
    """Film a run's saved policy, with the true and the learned reward of each step below it."""

    run_or_policy: tyro.conf.Positional[Path]
    """A run's folder, as results/runs/bench/hopper/aihf/seed_0, or a policy's .zip with --env."""
    env: str | None = None
    """Task of a .zip; a run's folder knows its own."""
    out: Path | None = None
    """File to write, .mp4 (the extra `video`), .webp or .gif; if not given, video.mp4 in the run's folder, or
    video.webp without that extra."""
    steps: int = 1000
    """Length at most: the film ends when the episode does."""
    width: int = 480
    """Pixels; the height is three quarters of it, and the strip."""
    seed: int = 0
    """Of the episode's start."""

    def run(self) -> int:
        """Writes the file whole, or nothing."""
        if self.steps < 1:
            raise InvalidChoice(f"--steps is {self.steps}, at least 1 is needed")
        if not WIDTHS[0] <= self.width <= WIDTHS[1] or self.width % 8:
            raise InvalidChoice(
                f"--width is {self.width}, not a multiple of 8 from {WIDTHS[0]} to {WIDTHS[1]}"
            )
        actor = open_actor(self.run_or_policy, self.env)
        out = self.out or actor.folder / f"video.{best_format()}"
        kind = check_format(out.suffix.removeprefix("."))
        if not out.parent.is_dir():
            raise InvalidChoice(f"--out {out}: there is no folder {out.parent}")
        content, take = film(actor, kind, self.seed, self.steps, self.width)
        write_atomically(out, content)
        size, total = len(content) / 1e6, take.rewards.sum()
        say(f"wrote {out}: {len(take.rewards)} steps, return {total:,.0f}, {size:.1f} MB")
        return 0


@dataclass(frozen=True)
class Actor:
    """Who is filmed: a policy, and its learned reward if it has one."""

    task: Task
    folder: Path
    act: Callable[[Floats], Floats]
    reward: Callable[[Floats, Floats], Floats] | None


def open_actor(path: Path, env: str | None = None) -> Actor:
    """From a run's folder, or from a .zip of the task `env`; raises `InvalidChoice` and `InvalidData`."""
    if path.is_file():
        if env is None:
            raise InvalidChoice(f"{path} does not say of which task it is: give --env")
        return Actor(task := find_task(env), path.parent, read_policy(path, task), None)
    if not (path / "policy.zip").is_file():
        raise InvalidChoice(
            f"{path} holds no policy.zip: is it the folder of a run, as …/aihf/seed_0, that ended?"
        )
    task = find_task(read_json(path / "config.json").get("task", ""))
    if env not in (None, task.name):
        raise InvalidChoice(f"--env {env}: {path} is a run on {task.name}")
    learned = load_reward(path) if (path / "reward.safetensors").is_file() else None
    return Actor(task, path, read_policy(path / "policy.zip", task), learned)


def film(actor: Actor, kind: str, seed: int, steps: int, width: int) -> tuple[bytes, Take]:
    """An episode as a file of `kind`, and what was played; raises `NoPictures` where there is no GL."""
    camera = Camera(actor.task, width, width * 3 // 4)
    try:
        take = play(actor.task, actor.act, seed, steps)
        curves = {"true reward": take.rewards}
        if actor.reward is not None:
            curves["learned reward"] = actor.reward(take.observations, take.actions)
        frames = pictures(camera, take.positions, curves)
        return encode(frames, camera.frames_a_second, kind), take
    finally:
        camera.close()


def study_films(study: StudyResults) -> tuple[list[Film], str]:
    """The median and the worst seed of each method on each task, and why there are no more films."""
    chosen = [
        (task, results, place, run)
        for task in study.tasks
        for results in task.methods
        for place, run in _median_and_worst(results)
    ]
    films, size, lacking, too_large = [], 0, 0, 0
    for task, results, place, run in chosen:
        folder = run.stored.folder
        if folder is None or not (folder / "policy.zip").is_file():
            lacking += 1
            continue
        try:
            content, take = film(open_actor(folder), kind := best_format(), 0, EPISODE, FILM_WIDTH)
        except NoPictures as error:
            return [], str(error)
        if size + len(content) > LARGEST_FILMS:
            too_large += 1
            continue
        size += len(content)
        label, seeds = method_label(results.method), len(results.runs)
        caption = (
            f"{label}, {place} of {seeds} seeds (seed {run.config.seed}): a return of "
            f"{number(take.rewards.sum())} in {len(take.rewards)} steps, from the reset of seed 0"
        )
        films.append(Film(task.task, caption, kind, content))
    words = [f"{lacking} runs have no policy.zip beside them, and are not shown."] if lacking else []
    words += [f"{too_large} films were left out: the page would be too large."] if too_large else []
    return films, " ".join(words)


def _median_and_worst(results: MethodResults) -> list[tuple[str, Run]]:
    """By final return; one of a single seed."""
    order = np.argsort(results.final, kind="stable")
    if len(order) < 2:
        return [("the one", results.runs[i]) for i in order]
    return [("the median", results.runs[order[len(order) // 2]]), ("the worst", results.runs[order[0]])]

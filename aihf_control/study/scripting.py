"""A study from Python: what `aihf bench` does, in two functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from aihf_control.data.feedback import FeedbackConfig
from aihf_control.data.teacher import Teacher
from aihf_control.data.types import Feedback
from aihf_control.envs.external import open_task
from aihf_control.errors import choose
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS
from aihf_control.study import machine, prepare
from aihf_control.study.prepare import FeedbackSource, Folders
from aihf_control.study.study import FeedbackOf, Study, on_device, run_study


def _quiet(line: str) -> None:
    """Says nothing."""


def make_feedback(
    task: str,
    *,
    demonstration_transitions: int = 10_000,
    pairs: int = 20_000,
    label_error: float = 0.0,
    demo_mix: float = 0.0,
    demo_noise: float = 0.0,
    seed: int = 0,
    folder: Path | str | None = None,
) -> Feedback:
    """Demonstrations and preferences of a task's own tiers; built once, read from then on.

    `label_error` is the share of labels that are wrong, `demo_mix` of demonstrations from a lower tier,
    `demo_noise` the deviation of noise on the demonstrator's actions. `folder` holds `data/`, this checkout
    if not given. Raises `InvalidChoice` and `InvalidData` for values and folders that are wrong.
    """
    config = FeedbackConfig(
        demonstration_transitions=demonstration_transitions,
        pairs=pairs,
        demo_mix=demo_mix,
        demo_noise=demo_noise,
        teacher=Teacher(mistake=label_error),
        seed=seed,
    )
    folders = Folders(Path(folder)) if folder else Folders(Folders.default_root())
    source = FeedbackSource(config=config)
    return prepare.make_feedback(open_task(task), source, folders, _quiet)[0]


def train(
    method: str,
    task: str,
    feedback: FeedbackOf,
    *,
    folder: Path | str,
    seeds: Iterable[int] = range(3),
    steps: int | None = None,
    settings: Settings | None = None,
    study: str = "script",
    device: str = "auto",
    precision: str | None = None,
) -> Path:
    """Train a method's `seeds` as one batch, from their last checkpoint if there is one.

    `task` is a name, or your own as `path/to/my_task.py:TASK`.
    Returns `folder`/results/runs/<study>/<task>/<method>, with a `seed_<k>/` of each: `progress.csv`,
    `policy.zip`, `reward.safetensors`. `feedback` is one for all seeds, or a function from a seed to its own,
    as `lambda seed: make_feedback(task, seed=seed)`. `steps` are SAC steps a seed, and `precision` that of
    the updates; the settings' if not given, and without settings what suits the device. Raises
    `InvalidData` if runs are there that were made in another way.
    """
    chosen, place = machine.choose_device(device), Folders(Path(folder))
    made = settings or Settings()
    made = replace(made, steps=made.steps if steps is None else steps)
    given = (made.sac.precision, made.environments) if settings else ("auto", "auto")
    played = open_task(task)
    made = on_device(made, chosen, precision or given[0], given[1], played.name)
    name = choose("method", method, METHODS)
    planned = Study(study, "script", played, (name,), tuple(seeds), made, chosen, "train(…)")
    run_study(planned, feedback, place, _quiet)
    return place.runs / study / played.name / name

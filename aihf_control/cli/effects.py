"""A setting that is given must have its effect: where it can have none, it is refused with what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from aihf_control.errors import InvalidChoice
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS, require_start

OFFLINE_TOO = ("hidden", "precision")
"""Of the block `sac`, what every policy has."""


def refuse_unused(methods: Sequence[str], settings: Settings, preset: Settings) -> None:
    """Raise `InvalidChoice` for the first setting that differs from the preset's and changes nothing."""
    require_start(methods, settings.start)
    if any(method not in METHODS for method in methods):
        return  # one from elsewhere may read them all
    for name, reason in (*_of_others(methods), *_idle(methods, settings)):
        if _get(settings, name) != _get(preset, name):
            option = f"--settings.{name}".replace("_", "-")
            raise InvalidChoice(f"{option} changes nothing here: {reason}")


def _get(settings: Settings, name: str) -> Any:
    return reduce(getattr, name.split("."), settings)


def _of_others(methods: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The blocks of methods that are not trained."""
    used = {block for method in methods for block in METHODS[method].settings}
    for block in sorted({block for row in METHODS.values() for block in row.settings} - used):
        yield block, f"none of {', '.join(methods)} has these settings"


def _idle(methods: Sequence[str], settings: Settings) -> Iterator[tuple[str, str]]:
    """Settings that these methods do not read under these other settings."""
    rows, named = [METHODS[method] for method in methods], ", ".join(methods)
    cloned = [row for row in rows if "clone" in (row.starts[0], settings.start)]
    aligned = any(row.axis == "steps" for row in rows)
    if not cloned:
        yield "cloning", f"none of {named} starts from a clone"
    if not any("from_clone" in row.settings for row in cloned):
        yield "from_clone", f"none of {named} is aligned from a clone; with --settings.start clone some are"
    if not any(row.learns_reward for row in rows):
        yield "reward", f"none of {named} learns a reward"
    if settings.aihf.replay_steps is not None:
        yield "aihf.rollout_episodes", "--settings.aihf.replay-steps takes the place of fresh trajectories"
    if set(methods) & {"aihf", "irl", "hybrid"} <= {"irl"}:
        yield "aihf.preference_weight", "irl learns from demonstrations alone"
    if not aligned:
        yield "fixed_horizon", f"none of {named} trains in the environment"
        for name in sorted(vars(settings.sac).keys() - {*OFFLINE_TOO, "discount", "polyak"}):
            yield f"sac.{name}", f"none of {named} is aligned by SAC"
    if not aligned and "ipl" not in methods:
        yield "sac.discount", f"none of {named} discounts"
    if not (aligned and settings.sac.critic == "plain") and "ipl" not in methods:
        yield "sac.polyak", "no critic has a target; with --settings.sac.critic plain they have"
    if not settings.sac.tuned_temperature:
        yield "sac.target_entropy", "--settings.sac.no-tuned-temperature keeps the temperature as it is"

"""How Minari's datasets are named (standard library only)."""

from __future__ import annotations

import re

from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidData

TIERS = ("simple", "medium", "expert")

_DATASET_ID = re.compile(r"(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+-v[0-9]+")


def dataset_id(task: Task, tier: str) -> str:
    """`aihf/hopper/expert-v0`; raises `InvalidData` for an unknown tier."""
    if tier not in TIERS:
        raise InvalidData(f"tier {tier!r} is not known. Valid: {', '.join(TIERS)}")
    return f"aihf/{task.name}/{tier}-v0"


def require_id(dataset_id: str) -> None:
    """Raise `InvalidData` unless it is formed as Minari's ids are."""
    if not _DATASET_ID.fullmatch(dataset_id):
        raise InvalidData(f"dataset id {dataset_id!r} is malformed: write it like mujoco/hopper/expert-v0")

"""A Minari dataset as from another lab: random episodes of Hopper, without our manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.data import dataset_writer
from aihf_control.envs.tasks import TASKS

HOPPER = TASKS["hopper"]


def build_foreign(root: Path, name: str, seed: int) -> None:
    def act(observations: Floats, deterministic: bool, rng: np.random.Generator) -> Floats:
        return rng.uniform(-1.0, 1.0, (len(observations), HOPPER.action_size))

    dataset_writer.build_dataset(
        HOPPER, "expert", act, transitions=100, deterministic_share=0.0, seed=seed,
        reference=dataset_writer.Reference(0.0, 1.0, 1),
        provenance=dataset_writer.Provenance("random", "A test's."), root=root,
    )  # fmt: skip
    made, place = root / "aihf" / "hopper" / "expert-v0", root / name
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    (made / "manifest.json").unlink()
    shutil.move(made, place)

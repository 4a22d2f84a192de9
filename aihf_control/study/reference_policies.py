"""The committed reference policies of a task, and how they are made and chosen.

They are checkpoints of the suite's own `oracle`, trained on the true reward with seeds ≥ 1000, so
that no reported run is the agent that made the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aihf_control.arrays import Floats
from aihf_control.data.collect import Policy
from aihf_control.data.datasets import TIERS
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidData
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sb3 import load_actor, save_policy
from aihf_control.runs.files import build, read_json, sha256, write_json

FIRST_TRAINING_SEED = 1000
EPISODES = 20
SHORTLIST = 5
SHARES = {"simple": (0.10, 0.25), "medium": (0.35, 0.60)}
"""The lower tiers' returns as shares of the expert's."""


@dataclass(frozen=True)
class Candidate:
    """A policy snapshot of a training run: its file, seed, step and mean return when it was taken."""

    path: Path
    seed: int
    step: int
    return_mean: float


@dataclass(frozen=True)
class References:
    """Mean returns over `EPISODES` episodes, between which scores are normalised."""

    random: float
    expert: float


@dataclass(frozen=True)
class PolicyEntry:
    """One tier's policy: the file's hash, the seed and step it was taken at, its return over `episodes`."""

    sha256: str
    seed: int
    steps: int
    return_mean: float
    episodes: int


@dataclass(frozen=True)
class Policies:
    """A policy for each of `TIERS`."""

    simple: PolicyEntry
    medium: PolicyEntry
    expert: PolicyEntry


@dataclass(frozen=True)
class Manifest:
    """What the manifest of a task's policies says, as far as it is used."""

    environment: str
    references: References
    policies: Policies

    def policy(self, tier: str) -> PolicyEntry:
        """Of one of `TIERS`."""
        entry: PolicyEntry = getattr(self.policies, tier)
        return entry


def actor_policy(actor: SquashedGaussianActor) -> Policy:
    """A one-seed actor as a NumPy policy."""

    @torch.no_grad()
    def act(observations: Floats, deterministic: bool, rng: np.random.Generator) -> Floats:
        batch = torch.as_tensor(observations, dtype=torch.float32).unsqueeze(0)
        if deterministic:
            return actor.mode(batch)[0].numpy()
        noise = rng.standard_normal((1, len(observations), actor.actions), dtype=np.float32)
        return actor.act(batch, torch.from_numpy(noise))[0].numpy()

    return act


def measure(task: Task, actor: SquashedGaussianActor | None, purpose: str) -> Floats:
    """Returns (EPISODES,) of the deterministic policy in the standard environment; None plays at random."""
    roller = Roller(task, [FIRST_TRAINING_SEED], EPISODES, fixed_horizon=False)
    rng = np.random.default_rng(FIRST_TRAINING_SEED)

    def act(observations: Tensor) -> Tensor:
        if actor is not None:
            return actor.mode(observations)
        return torch.from_numpy(rng.uniform(-1, 1, (1, EPISODES, task.action_size)).astype(np.float32))

    with torch.no_grad():
        returns = roller.play(act, purpose, round=0).returns[0]
    roller.close()
    return returns


def choose(task: Task, candidates: Sequence[Candidate], goal: float | None) -> Candidate:
    """The candidate nearest to the return `goal`, or the best one without.

    Of the `SHORTLIST` likeliest by their record, measured anew, the likeliest.
    """

    def badness(value: float) -> float:
        return -value if goal is None else abs(value - goal)

    likely = sorted(candidates, key=lambda candidate: badness(candidate.return_mean))[:SHORTLIST]
    returns = [measure(task, load_actor(c.path, task), "choice of policies").mean() for c in likely]
    return likely[int(np.argmin([badness(float(value)) for value in returns]))]


def choose_tiers(task: Task, candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """The best snapshot as *expert*, and the ones nearest the middle of the other tiers' ranges."""
    chosen = {"expert": choose(task, candidates, None)}
    for tier, (low, high) in SHARES.items():
        chosen[tier] = choose(task, candidates, (low + high) / 2 * chosen["expert"].return_mean)
    return chosen


def write_policies(
    task: Task, candidates: Sequence[Candidate], folder: Path, *, command: str, versions: dict[str, str]
) -> Path:
    """Measure the chosen snapshots anew, and write them and `manifest.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    for tier, candidate in choose_tiers(task, candidates).items():
        actor = load_actor(candidate.path, task)
        returns = measure(task, actor, f"{tier} policy")
        path = folder / f"{tier}.zip"
        save_policy(path, task, actor, member=0)
        entries[tier] = {
            "file": path.name,
            "sha256": sha256(path),
            "seed": candidate.seed,
            "steps": candidate.step,
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "episodes": EPISODES,
        }
    random = measure(task, None, "random policy")
    manifest = {
        "format": 1,
        "task": task.name,
        "environment": task.env_id,
        "command": command,
        "versions": versions,
        "references": asdict(
            References(random=float(random.mean()), expert=entries["expert"]["return_mean"])
        ),
        "policies": {tier: entries[tier] for tier in TIERS},
    }
    write_json(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def read_manifest(task: Task, folder: Path) -> Manifest:
    """The manifest of a task's policies; raises `InvalidData` naming the command that makes it, or
    file and field where it is damaged."""
    path = folder / "manifest.json"
    manifest = build(
        path, Manifest, read_json(path, f"train the policies with `aihf data train --env {task.name}`")
    )
    if manifest.environment != task.env_id:
        raise InvalidData(f"{path}: environment is {manifest.environment!r}, {task.name} is {task.env_id}")
    return manifest


def references(task: Task, folder: Path) -> References | None:
    """The task's reference returns, or None while it has no policies."""
    if not (folder / "manifest.json").is_file():
        return None
    return read_manifest(task, folder).references


def load_policy(task: Task, tier: str, folder: Path) -> Policy:
    """A committed policy, after its SHA-256 was checked."""
    entry = read_manifest(task, folder).policy(tier)
    path = folder / f"{tier}.zip"
    if not path.is_file() or sha256(path) != entry.sha256:
        raise InvalidData(f"{path} is missing or not the file that manifest.json describes")
    return actor_policy(load_actor(path, task))

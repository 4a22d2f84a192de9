"""From committed policies to datasets, and from datasets to the feedback that a study learns from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from aihf_control.data import dataset_writer, datasets
from aihf_control.data import feedback as feedback_module
from aihf_control.data.collect import Policy, roll_out
from aihf_control.data.dataset_ids import TIERS, dataset_id, require_id
from aihf_control.data.feedback import HELD_OUT_SHARE, FeedbackConfig, Sources
from aihf_control.data.human_labels import LabelledSegments, encode_labelled, hold_out, join, read_labelled
from aihf_control.data.types import Episode, Feedback, PreferencePairs
from aihf_control.envs.external import OWN
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidData
from aihf_control.runs.files import checkout, make_folder, require_room, sha256, write_atomically
from aihf_control.study import reference_policies
from aihf_control.study.machine import use_one_thread

Say = Callable[[str], None]
"""Prints one line to the user."""

TRANSITIONS = {"simple": 50_000, "medium": 50_000, "expert": 20_000}
DETERMINISTIC_SHARE = 0.5
ROLLOUT_SEED = 2000


@dataclass(frozen=True)
class Folders:
    """Where data and results are kept."""

    root: Path

    @staticmethod
    def default_root() -> Path:
        """The checkout that the package runs from, else the working directory."""
        return checkout() or Path.cwd()

    @property
    def runs(self) -> Path:
        """Run directories of all studies."""
        return self.root / "results" / "runs"

    def own_policies(self, task: Task) -> Path:
        """Where a task's reference policies are written."""
        return self.root / "data" / "policies" / task.name

    def policies(self, task: Task) -> Path:
        """A task's reference policies: those here, else those that the package brought along."""
        own, brought = self.own_policies(task), Path(__file__).parents[1] / "policies" / task.name
        return brought if brought.is_dir() and not (own / "manifest.json").is_file() else own

    def feedback(self, task: Task, name: str) -> Path:
        """One built set of demonstrations and pairs."""
        return self.root / "data" / "feedback" / task.name / name


@dataclass(frozen=True)
class FeedbackSource:
    """Which datasets the feedback is taken from; None means the suite's own tiers."""

    demonstrations: str | None = None
    """Minari id of the demonstrations' dataset."""
    preferences: tuple[str, ...] | None = None
    """Minari ids of the datasets that preference pairs are cut from."""
    config: FeedbackConfig = field(default_factory=FeedbackConfig)
    preference_file: Path | None = None
    """People's labels, imported (`aihf preferences import`), instead of `preferences` and a teacher."""


def build_data(task: Task, folders: Folders, say: Say, *, tiers: Sequence[str] = TIERS) -> None:
    """Roll the committed policies out into Minari datasets, the same on any number of cores."""
    folder = folders.policies(task)
    manifest, root = reference_policies.read_manifest(task, folder), datasets.minari_root(folders.root)
    use_one_thread()
    known = manifest.references
    reference = dataset_writer.Reference(known.random, known.expert, reference_policies.EPISODES)
    for tier in tiers:
        entry = manifest.policy(tier)
        provenance = dataset_writer.Provenance(
            algorithm="SAC (aihf_control oracle)",
            description=f"Seed {entry.seed} after {entry.steps} steps of SAC on the true reward, "
            f"mean return {entry.return_mean:.0f} over {entry.episodes} episodes.",
        )
        name = dataset_writer.build_dataset(
            task,
            tier,
            reference_policies.load_policy(task, tier, folder),
            transitions=TRANSITIONS[tier],
            deterministic_share=DETERMINISTIC_SHARE,
            seed=ROLLOUT_SEED,
            reference=reference,
            provenance=provenance,
            root=root,
        )
        say(f"built {name} in {root}")


def build_missing(task: Task, names: Sequence[str], folders: Folders, say: Say) -> None:
    """Build those of the task's own tiers that are among the datasets `names` and not there yet."""
    own = [tier for tier in TIERS if dataset_id(task, tier) in names]
    there = datasets.minari_root(folders.root)
    missing = [tier for tier in own if not (there / dataset_id(task, tier)).is_dir()]
    if missing:
        say(f"building the datasets {', '.join(missing)} of {task.name} (about a minute)")
        build_data(task, folders, say, tiers=missing)


def make_feedback(
    task: Task, source: FeedbackSource, folders: Folders, say: Say, seed: int = 0
) -> tuple[Feedback, Path]:
    """The feedback that `source` describes for a learner `seed`: read if it was built of the same contents
    before, else built and written. Datasets of the suite's own that are missing are built first.

    It is the same, bit for bit, on any number of cores.
    """
    use_one_thread()
    if source.config.seed is None:
        source = replace(source, config=replace(source.config, seed=seed))
    file = source.preference_file
    labelled = _labelled(file, task) if file else None
    sources = _sources(task, source)
    _check_noise(task, source.config, sources)
    build_missing(task, sources.datasets, folders, say)
    root = datasets.minari_root(folders.root)
    contents = {name: datasets.content_of(name, root, download=True) for name in sources.datasets}
    sources = replace(sources, contents=contents)
    folder = folders.feedback(task, _feedback_name(task, source.config, sources, folders))
    if not (folder / "manifest.json").is_file():
        require_room(folder, 0)
        say(f"building demonstrations and preferences in {folder}")
        _build_feedback(task, source.config, sources, folders, folder, say, labelled)
    return feedback_module.load_feedback(folder), folder


def _feedback_name(task: Task, config: FeedbackConfig, sources: Sources, folders: Folders) -> str:
    """A folder's name that changes with whatever the feedback is made of: contents, not names alone."""
    manifest = folders.policies(task) / "manifest.json"
    policies_hash = sha256(manifest) if manifest.is_file() else ""
    own = [OWN[task.name].record()] if task.name in OWN else []  # whose bounds, for one, are its code's
    made_of = json.dumps([asdict(config), asdict(sources), policies_hash, *own], sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]


def _sources(task: Task, source: FeedbackSource) -> Sources:
    for named in (source.demonstrations, *(source.preferences or ())):
        if named is not None:
            require_id(named)
    lower, medium, high = (dataset_id(task, tier) for tier in TIERS)
    tiers = (lower, medium, high) if source.config.tier_steps else (lower, medium)
    return Sources(
        task=task.name,
        demonstrations=high if source.demonstrations is None else source.demonstrations,
        preferences=() if source.preference_file else source.preferences or tiers,
        lower_tier=medium if source.config.demo_mix else None,
        preference_file=sha256(source.preference_file) if source.preference_file else None,
    )


def _check_noise(task: Task, config: FeedbackConfig, sources: Sources) -> None:
    if config.demo_noise and sources.demonstrations != dataset_id(task, "expert"):
        raise InvalidData(
            f"DEMO_NOISE={config.demo_noise} needs the policy behind {sources.demonstrations}; "
            "only the suite's own expert tier has one"
        )


def _labelled(file: Path, task: Task) -> tuple[PreferencePairs, PreferencePairs]:
    people = read_labelled(file, task)
    if not people.held_out.any() or people.held_out.all():
        raise InvalidData(
            f"{file}: no pair is marked as held out: import it first, with `aihf preferences import {file} "
            f"--env {task.name}`, and use the file that it writes"
        )
    return people.select(~people.held_out), people.select(people.held_out)


def import_preferences(
    task: Task, file: Path, evaluation: Path | None, share: float | None, seed: int, folders: Folders
) -> tuple[Path, LabelledSegments]:
    """Check people's labels and write them to `data/preferences/<task>/<stem>.npz` with held-out pairs
    marked: those that the file marks itself, or those of `evaluation`, or else a random `share`, a tenth.

    Raises `InvalidData` for two of these at once, and where labels of another file have that name.
    """
    people = read_labelled(file, task)
    given = {
        f"{file} marks them itself": bool(people.held_out.any()),
        "--evaluation": evaluation is not None,
        "--held-out-share": share is not None,
    }
    if sum(given.values()) > 1:
        ways = " and ".join(way for way, asked in given.items() if asked)
        raise InvalidData(f"held-out pairs are chosen in two ways, {ways}: leave one of them out")
    if evaluation:
        marked = join(people, read_labelled(evaluation, task))
    elif people.held_out.any():
        marked = people
    else:
        marked = hold_out(people, HELD_OUT_SHARE if share is None else share, seed)
    path = folders.root / "data" / "preferences" / task.name / f"{file.stem}.npz"
    if path.exists() and path.resolve() == file.resolve():
        raise InvalidData(f"{file}: is an imported file itself; import the one it was made from")
    if path.exists() and not _same_pairs(read_labelled(path, task), marked):
        raise InvalidData(
            f"{path} holds the labels of another file: rename {file.name}, or move that one away"
        )
    make_folder(path.parent)
    write_atomically(path, encode_labelled(marked, task))
    return path, marked


def _same_pairs(one: LabelledSegments, other: LabelledSegments) -> bool:
    """Up to what actions lose on their way to other bounds and back."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("observations", "actions")]
    return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs)


def _build_feedback(
    task: Task, config: FeedbackConfig, sources: Sources, folders: Folders, folder: Path, say: Say,
    labelled: tuple[PreferencePairs, PreferencePairs] | None,
) -> None:  # fmt: skip
    def load(name: str) -> Sequence[Episode]:
        return datasets.load_episodes(
            name,
            task,
            datasets.minari_root(folders.root),
            other_environment=config.other_environment,
            say=say,
        )

    noisy = None
    if config.demo_noise:
        expert = reference_policies.load_policy(task, "expert", folders.policies(task))
        noisy = _noisy_rollouts(task, expert)
    built = feedback_module.build_feedback(
        config,
        load(sources.demonstrations),
        load(sources.lower_tier) if sources.lower_tier else (),
        [load(name) for name in sources.preferences],
        noisy,
        labelled,
    )
    feedback_module.save_feedback(built, folder, config=config, sources=sources)


def _noisy_rollouts(task: Task, expert: Policy) -> feedback_module.NoisyRollouts:
    def roll(noise: float, transitions: int, seed: int) -> Sequence[Episode]:
        return roll_out(task, expert, transitions=transitions, seed=seed, action_noise=noise)

    return roll

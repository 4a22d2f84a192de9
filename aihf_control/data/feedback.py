"""Feedback: demonstrations, labelled pairs and held-out pairs, as plain `.npz` files with a manifest.

The same configuration and episodes give the same bytes, so that a hash names the feedback of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import arg

from aihf_control.bounds import Amount, Count, NotNegative, Share, require_within
from aihf_control.data.feedback_files import (
    FILES,
    FORMAT,
    decode,
    digest,
    encode,
    read_manifest,
    read_verified,
    to_episodes,
    to_pairs,
)
from aihf_control.data.teacher import Teacher, make_pairs
from aihf_control.data.types import Episode, Feedback, PreferencePairs, Segments, Transitions
from aihf_control.errors import InvalidData
from aihf_control.runs.files import write_atomically

HELD_OUT_SHARE = 0.1
"""Share of each preference tier's episodes kept for the held-out pairs alone."""

OF_THE_TEACHER = ("pairs", "held_out_pairs", "segment_length", "teacher", "tier_steps")
"""What of a `FeedbackConfig` people's labels decide, where they take the simulated teacher's place."""

NoisyRollouts = Callable[[float, int, int], Sequence[Episode]]
"""(standard deviation of the action noise, transitions, seed) → episodes of the demonstrating policy."""


@dataclass(frozen=True)
class FeedbackConfig:
    """What is asked of the feedback; the defaults are the paper's numbers (Figure 5)."""

    demonstration_transitions: Count = 10_000
    """Whole episodes are taken until they hold at least this many transitions."""
    pairs: Count = 20_000
    held_out_pairs: Count = 1_000
    segment_length: Count = 50
    demo_mix: Annotated[Share, arg(prefix_name=False)] = 0.0
    """Share of the demonstrations (episodes) that come from a lower tier."""
    demo_noise: Annotated[NotNegative, arg(prefix_name=False)] = 0.0
    """Standard deviation of Gaussian noise on the demonstrator's actions, rolled out anew."""
    teacher: Teacher = field(default_factory=Teacher)
    """Labels `pairs`. The held-out pairs are labelled without any error: they measure the reward."""
    other_environment: bool = False
    """Accept datasets whose environment has other arguments, time limit or action bounds than the task's."""
    tier_steps: bool = False
    """Pairs are single steps: step t of an episode of one tier against step t of one of the next lower tier,
    preferred for its tier alone; the demonstrations' tier is on top (the authors' own control code)."""
    seed: Amount | None = None
    """Of the choice of demonstrations and pairs and of the labels' errors; None: each learner seed has
    feedback of its own, of the same number. The held-out pairs are the same for all."""

    def __post_init__(self) -> None:
        require_within(self, "feedback")
        if self.tier_steps and self.segment_length != 1:
            raise InvalidData(
                f"--feedback.segment-length is {self.segment_length}; --feedback.tier-steps compares steps: "
                "give 1"
            )
        if self.tier_steps and self.teacher != Teacher(mistake=self.teacher.mistake):
            raise InvalidData(
                "--feedback.tier-steps prefers by tier: of --feedback.teacher it takes --label-error alone"
            )


@dataclass(frozen=True)
class Sources:
    """The datasets that the episodes came from, for the manifest."""

    task: str
    demonstrations: str
    preferences: tuple[str, ...]
    lower_tier: str | None = None
    preference_file: str | None = None
    """SHA-256 of a file with people's labels, which took the place of `preferences`."""
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each dataset's episodes, by its id."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The ids, each once."""
        named = (self.demonstrations, *self.preferences, *([self.lower_tier] if self.lower_tier else []))
        return tuple(dict.fromkeys(named))


def build_feedback(
    config: FeedbackConfig,
    demonstrations: Sequence[Episode],
    lower_tier: Sequence[Episode],
    preference_tiers: Sequence[Sequence[Episode]],
    noisy_rollouts: NoisyRollouts | None = None,
    labelled: tuple[PreferencePairs, PreferencePairs] | None = None,
) -> Feedback:
    """Compose the feedback out of whole tiers; (pairs, held-out pairs) may be `labelled` already.

    With `config.demo_noise` the high tier's demonstrations are `noisy_rollouts` instead of
    `demonstrations`; those of `lower_tier` stay as they are. Held-out episodes are drawn first and
    are used nowhere else. Raises `InvalidData` when a pool is too small or missing.
    """
    seed = config.seed or 0
    # what measures the reward is the same for all, so that numbers of two seeds can be compared
    split, choice, pairs, held_pairs = (
        np.random.default_rng([of, purpose]) for purpose, of in enumerate((0, seed, seed, 0))
    )
    held_out, training = ([], []) if labelled else _split(preference_tiers, split)
    kept_back = {_fingerprint(episode) for episode in _joined(held_out)}
    if config.demo_noise:
        if noisy_rollouts is None:
            raise InvalidData(f"demo_noise={config.demo_noise} needs the policy behind the demonstrations")
        demonstrations = noisy_rollouts(config.demo_noise, config.demonstration_transitions, seed)
    high, low = (
        [episode for episode in pool if _fingerprint(episode) not in kept_back]
        for pool in (demonstrations, lower_tier)
    )
    labelled = labelled or (
        _tier_steps(training, config, pairs)
        if config.tier_steps
        else _label(_joined(training), config.pairs, config.segment_length, config.teacher, pairs),
        _label(_joined(held_out), config.held_out_pairs, config.segment_length, Teacher(), held_pairs),
    )
    feedback = Feedback(_demonstrations(config, high, low, choice), *labelled, sha256="")
    return replace(feedback, sha256=digest(encode(feedback)))


def lower_tier_count(config: FeedbackConfig, episodes: int) -> int:
    """How many of the first `episodes` demonstrations come from the lower tier."""
    return int(config.demo_mix * episodes + 0.5)


def save_feedback(feedback: Feedback, folder: Path, *, config: FeedbackConfig, sources: Sources) -> None:
    """Write three `.npz` files and then `manifest.json`, each atomically, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = encode(feedback)
    people = sources.preference_file is not None
    asked = {n: value for n, value in asdict(config).items() if not (people and n in OF_THE_TEACHER)}
    manifest = {
        "format": FORMAT,
        "sha256": feedback.sha256,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "config": asked,
        "sources": asdict(sources),
        "demonstrations": _describe_demonstrations(feedback.demonstrations, config),
        "pairs": _describe_pairs(feedback.pairs, people=people),
        "held_out": _describe_pairs(feedback.held_out, people=people),
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())


def load_feedback(folder: Path) -> Feedback:
    """Read what `save_feedback` wrote; raises `InvalidData` naming file, field and first bad index."""
    manifest = read_manifest(folder / "manifest.json")
    contents = {name: read_verified(folder / name, manifest["files"].get(name)) for name in FILES}
    if digest(contents) != manifest["sha256"]:
        raise InvalidData(f"{folder / 'manifest.json'}: sha256 is not that of its files: build it again")
    parts: dict[str, Any] = {}
    widths: tuple[int, ...] = ()
    for name, content in contents.items():
        try:
            arrays = decode(content, FILES[name])
            parts[name] = to_episodes(arrays) if name == "demonstrations.npz" else to_pairs(arrays)
            found = tuple(arrays[column].shape[1] for column in ("observations", "actions"))
            if found != (widths := widths or found):
                raise InvalidData(f"observations and actions are {found} wide, the demonstrations' {widths}")
        except InvalidData as error:
            raise InvalidData(f"{folder / name}: {error}") from None
    return Feedback(
        demonstrations=parts["demonstrations.npz"],
        pairs=parts["preferences.npz"],
        held_out=parts["held_out.npz"],
        sha256=manifest["sha256"],
    )


Tiers = list[list[Episode]]
"""Episodes by tier, from the lowest up."""


def _split(tiers: Sequence[Sequence[Episode]], rng: np.random.Generator) -> tuple[Tiers, Tiers]:
    """(held out, for training); every tier gives its share of both."""
    held_out: Tiers = []
    training: Tiers = []
    for index, tier in enumerate(tiers):
        if len(tier) < 2:
            raise InvalidData(f"preference tier {index} has {len(tier)} episodes, needs 2: one is held out")
        order = rng.permutation(len(tier))
        count = max(1, round(HELD_OUT_SHARE * len(tier)))
        held_out.append([tier[i] for i in np.sort(order[:count])])
        training.append([tier[i] for i in np.sort(order[count:])])
    return held_out, training


def _joined(tiers: Tiers) -> list[Episode]:
    return [episode for tier in tiers for episode in tier]


def _tier_steps(tiers: Tiers, config: FeedbackConfig, rng: np.random.Generator) -> PreferencePairs:
    """As many pairs of each tier with the next lower one: of random pairs of episodes step t with step t."""
    if len(tiers) < 2:
        raise InvalidData(f"--feedback.tier-steps compares tiers, and there is {len(tiers)}")
    lengths = [np.array([len(episode) for episode in tier]) for tier in tiers]
    ends = np.cumsum(np.concatenate(lengths))
    starts = np.split(ends - np.concatenate(lengths), np.cumsum([len(tier) for tier in tiers])[:-1])
    sides: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for lower in range(len(tiers) - 1):
        wanted = config.pairs // (len(tiers) - 1) + (lower < config.pairs % (len(tiers) - 1))
        rows: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        while sum(map(len, rows[0])) < wanted:
            better, worse = rng.integers(len(tiers[lower + 1])), rng.integers(len(tiers[lower]))
            times = np.arange(min(lengths[lower + 1][better], lengths[lower][worse]))
            rows[0].append(starts[lower + 1][better] + times)
            rows[1].append(starts[lower][worse] + times)
        for side, found in zip(sides, rows, strict=True):
            side.append(np.concatenate(found)[:wanted])
    table, one = Transitions.from_episodes(_joined(tiers)), np.ones(config.pairs, np.int64)
    preferred, rejected = (np.concatenate(side) for side in sides)
    wrong = rng.random(config.pairs) < config.teacher.mistake
    return PreferencePairs(
        Segments(table, np.where(wrong, rejected, preferred), one, 1),
        Segments(table, np.where(wrong, preferred, rejected), one, 1),
        np.ones(config.pairs),
    )


def _demonstrations(
    config: FeedbackConfig, high: Sequence[Episode], low: Sequence[Episode], rng: np.random.Generator
) -> tuple[Episode, ...]:
    """Random whole episodes, the lower tier's spread evenly among them."""
    pools = {"high": [high[i] for i in rng.permutation(len(high))]}
    pools["lower"] = [low[i] for i in rng.permutation(len(low))]
    chosen: list[Episode] = []
    steps = 0
    while steps < config.demonstration_transitions:
        is_low = lower_tier_count(config, len(chosen) + 1) > lower_tier_count(config, len(chosen))
        tier = "lower" if is_low else "high"
        if not pools[tier]:
            progress = f"{steps} of {config.demonstration_transitions}"
            raise InvalidData(
                f"the {tier} tier ran out of episodes at {progress} demonstration transitions: lower "
                "--feedback.demonstration-transitions, or give a larger dataset"
            )
        chosen.append(pools[tier].pop())
        steps += len(chosen[-1])
    return tuple(chosen)


def _label(
    episodes: Sequence[Episode], count: int, length: int, teacher: Teacher, rng: np.random.Generator
) -> PreferencePairs:
    steps = Transitions.from_episodes(episodes)
    return make_pairs(episodes, steps, count=count, length=length, teacher=teacher, rng=rng)


def _fingerprint(episode: Episode) -> bytes:
    """Tells episodes apart by content, so that a tier loaded twice is still recognised."""
    columns = (episode.observations, episode.actions, episode.rewards)
    return hashlib.sha256(b"".join(np.asarray(c, dtype="<f8").tobytes() for c in columns)).digest()


def _describe_demonstrations(episodes: Sequence[Episode], config: FeedbackConfig) -> dict[str, Any]:
    returns = [episode.episode_return for episode in episodes]
    return {
        "episodes": len(episodes),
        "from_lower_tier": lower_tier_count(config, len(episodes)),
        "transitions": sum(len(episode) for episode in episodes),
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "return_min": min(returns),
        "return_max": max(returns),
    }


def _describe_pairs(pairs: PreferencePairs, *, people: bool) -> dict[str, Any]:
    counts = {"pairs": len(pairs), "transitions": len(pairs.preferred.steps)}
    if people:  # nobody knows the true returns of what they saw
        return counts | {"equal_share": float(np.mean(pairs.confidence == 0.5))}
    better, worse = pairs.preferred.returns(), pairs.rejected.returns()
    return counts | {
        "preferred_return_mean": float(better.mean()),
        "rejected_return_mean": float(worse.mean()),
        "equal_share": float(np.mean(pairs.confidence == 0.5)),
        "against_true_return_share": float(np.mean((better < worse) & (pairs.confidence > 0.5))),
    }

"""Composition of the feedback, and its files: the same in, the same out, and nothing else accepted."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aihf_control.data.feedback import FeedbackConfig, Sources, build_feedback, load_feedback, save_feedback
from aihf_control.data.teacher import Teacher
from aihf_control.data.types import Episode, Feedback, PreferencePairs
from aihf_control.errors import InvalidData

CONFIG = FeedbackConfig(demonstration_transitions=60, pairs=80, held_out_pairs=40, segment_length=5)
SOURCES = Sources("hopper", "aihf/hopper/expert-v0", ("aihf/hopper/simple-v0", "aihf/hopper/medium-v0"))
FILES = ("demonstrations.npz", "preferences.npz", "held_out.npz")


def tier(seed: int, count: int = 20, mean_reward: float = 0.0) -> tuple[Episode, ...]:
    """Random episodes of 3 to 12 steps; a tenth of them shorter than a segment."""
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(count):
        steps = 3 if number % 10 == 0 else int(rng.integers(6, 13))
        rewards = mean_reward + rng.normal(size=steps)
        actions = rng.uniform(-1.0, 1.0, (steps, 2))
        episodes.append(Episode(rng.normal(size=(steps + 1, 3)), actions, rewards, bool(number % 2)))
    return tuple(episodes)


EXPERT, SIMPLE, MEDIUM = tier(1, mean_reward=4.0), tier(2), tier(3, mean_reward=1.0)


def build(config: FeedbackConfig = CONFIG) -> Feedback:
    return build_feedback(config, EXPERT, MEDIUM, (SIMPLE, MEDIUM))


def observations_used(pairs: PreferencePairs) -> set[bytes]:
    return {row.tobytes() for row in pairs.preferred.steps.observations}


def found_in(episode: Episode, episodes: Sequence[Episode]) -> bool:
    return any(np.array_equal(episode.observations, other.observations) for other in episodes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_feedback(build(), tmp_path, config=CONFIG, sources=SOURCES)
    return tmp_path


def test_demonstrations_are_whole_episodes_up_to_the_count() -> None:
    feedback = build()
    steps = [len(episode) for episode in feedback.demonstrations]
    assert sum(steps[:-1]) < 60 <= sum(steps)
    assert all(found_in(episode, EXPERT) for episode in feedback.demonstrations)
    assert len({episode.actions.tobytes() for episode in feedback.demonstrations}) == len(steps)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_demo_mix_is_a_share_of_episodes(share: float) -> None:
    feedback = build(replace(CONFIG, demo_mix=share))
    lower = sum(found_in(episode, MEDIUM) for episode in feedback.demonstrations)
    assert abs(lower - share * len(feedback.demonstrations)) <= 0.5
    assert lower + sum(found_in(episode, EXPERT) for episode in feedback.demonstrations) == len(
        feedback.demonstrations
    )


def test_demo_noise_takes_rollouts_instead() -> None:
    asked = []
    noisy = tier(9)

    def roll(noise: float, transitions: int, seed: int) -> Sequence[Episode]:
        asked.append((noise, transitions, seed))
        return noisy

    config = replace(CONFIG, demo_noise=0.3, seed=4)
    feedback = build_feedback(config, EXPERT, (), (SIMPLE, MEDIUM), roll)
    assert asked == [(0.3, 60, 4)]
    assert all(found_in(episode, noisy) for episode in feedback.demonstrations)
    with pytest.raises(InvalidData, match=r"demo_noise=0\.3 needs the policy"):
        build_feedback(config, EXPERT, (), (SIMPLE, MEDIUM))


def test_held_out_episodes_are_used_nowhere_else() -> None:
    config = replace(CONFIG, demo_mix=1.0, demonstration_transitions=130)  # nearly all of the medium tier
    feedback = build(config)
    held_out = observations_used(feedback.held_out)
    everything = {row.astype(np.float32).tobytes() for e in SIMPLE + MEDIUM for row in e.observations[:-1]}
    demonstrated = {
        row.astype(np.float32).tobytes() for e in feedback.demonstrations for row in e.observations
    }
    assert held_out.isdisjoint(observations_used(feedback.pairs))
    assert held_out | observations_used(feedback.pairs) == everything
    assert held_out.isdisjoint(demonstrated)
    for pool in (SIMPLE, MEDIUM):
        whole = [e for e in pool if e.observations[0].astype(np.float32).tobytes() in held_out]
        assert len(whole) == 2, "a tenth of each tier of 20"


def test_held_out_stays_apart_when_a_tier_is_loaded_twice() -> None:
    copies = tuple(replace(episode, rewards=episode.rewards.copy()) for episode in MEDIUM)
    config = replace(CONFIG, demo_mix=1.0, demonstration_transitions=130)
    assert build_feedback(config, EXPERT, copies, (SIMPLE, MEDIUM)).sha256 == build(config).sha256


def test_only_training_pairs_carry_the_teachers_errors() -> None:
    feedback = build(replace(CONFIG, teacher=Teacher(mistake=1.0)))
    assert (feedback.pairs.preferred.returns() <= feedback.pairs.rejected.returns()).all()
    assert (feedback.held_out.preferred.returns() >= feedback.held_out.rejected.returns()).all()


def test_too_little_data_is_named() -> None:
    with pytest.raises(InvalidData, match=r"high tier ran out of episodes at \d+ of 10000 demonstration"):
        build(replace(CONFIG, demonstration_transitions=10_000))
    with pytest.raises(InvalidData, match="preference tier 1 has 1 episodes, needs 2"):
        build_feedback(CONFIG, EXPERT, (), (SIMPLE, MEDIUM[:1]))


def test_the_same_call_gives_the_same_bytes_and_another_seed_does_not(folder: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    save_feedback(build(), again, config=CONFIG, sources=SOURCES)
    changed = replace(CONFIG, seed=1)
    save_feedback(build(changed), other, config=changed, sources=SOURCES)
    for name in (*FILES, "manifest.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        same = (other / name).read_bytes() == (folder / name).read_bytes()
        assert same == (name == "held_out.npz")  # which measures the reward of every seed


def test_loading_gives_back_what_was_built(folder: Path) -> None:
    built, loaded = build(), load_feedback(folder)
    assert loaded.sha256 == built.sha256
    assert loaded.demonstrations_return == built.demonstrations_return
    for one, other in zip(loaded.demonstrations, built.demonstrations, strict=True):
        assert np.array_equal(one.observations, other.observations)
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.rewards, other.rewards)
        assert one.terminated == other.terminated
    for mine, theirs in ((loaded.pairs, built.pairs), (loaded.held_out, built.held_out)):
        assert np.array_equal(mine.confidence, theirs.confidence)
        for left, right in ((mine.preferred, theirs.preferred), (mine.rejected, theirs.rejected)):
            assert np.array_equal(left.starts, right.starts)
            assert np.array_equal(left.lengths, right.lengths)
            assert left.horizon == right.horizon
        for name in ("observations", "actions", "rewards", "next_observations", "masks"):
            kept, made = getattr(mine.preferred.steps, name), getattr(theirs.preferred.steps, name)
            assert kept.dtype == made.dtype == np.float32
            assert np.array_equal(kept, made)


def test_plain_numpy_reads_the_files_and_the_manifest_describes_them(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "demonstrations.npz", allow_pickle=False) as file:
        assert manifest["demonstrations"]["transitions"] == len(file["rewards"]) == file["lengths"].sum()
        returns = np.add.reduceat(file["rewards"], np.cumsum(file["lengths"]) - file["lengths"])
    assert manifest["demonstrations"]["return_mean"] == pytest.approx(returns.mean())
    assert manifest["config"]["teacher"]["mistake"] == 0.0
    assert manifest["sources"]["preferences"] == ["aihf/hopper/simple-v0", "aihf/hopper/medium-v0"]
    assert manifest["pairs"]["pairs"] == 80
    assert manifest["pairs"]["against_true_return_share"] == 0.0
    for name in FILES:
        assert manifest["files"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, "manifest.json"))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidData, match=rf"{name}: SHA-256 is .* but manifest.json says"):
        load_feedback(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidData, match=name):
        load_feedback(folder)


def forge(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    """Write a file and make the manifest agree with it, so that only the content can be at fault."""
    np.savez(folder / name, **arrays)
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = {file: hashlib.sha256((folder / file).read_bytes()) for file in FILES}
    manifest["files"] = {file: digest.hexdigest() for file, digest in digests.items()}
    manifest["sha256"] = hashlib.sha256(b"".join(d.digest() for d in digests.values())).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def set_at(index: int, value: float) -> Callable[[Any], Any]:
    return lambda array: np.where(np.arange(len(array)) == index, value, array).astype(array.dtype)


@pytest.mark.parametrize(
    ("name", "field", "change", "message"),
    [
        ("preferences.npz", "rewards", lambda v: v.astype(object), "rewards cannot be read .*allow_pickle"),
        ("preferences.npz", "rewards", set_at(7, np.nan), r"rewards\[7\] is nan"),
        ("preferences.npz", "masks", set_at(3, 0.5), r"masks\[3\] is 0.5, neither 0 nor 1"),
        (
            "preferences.npz",
            "actions",
            lambda v: v.astype(np.float64),
            "actions is float64 .*expected float32",
        ),
        (
            "preferences.npz",
            "actions",
            lambda v: v[:, :1],
            r"observations and actions are \(3, 1\) wide, the demonstrations' \(3, 2\)",
        ),
        ("preferences.npz", "rejected_starts", set_at(5, -1), "segment 5 covers rows -1"),
        ("preferences.npz", "preferred_starts", lambda v: v[:-1], "lengths has shape"),
        ("held_out.npz", "confidence", set_at(2, 0.2), r"confidence\[2\] is 0.2, outside"),
        ("demonstrations.npz", "lengths", lambda v: v - 1, "observations has .* rows, but lengths ask for"),
        ("demonstrations.npz", "observations", lambda v: v[:, 0], "observations is float64 with shape"),
    ],
)
def test_bad_content_is_named(
    folder: Path, name: str, field: str, change: Callable[[Any], Any], message: str
) -> None:
    with np.load(folder / name, allow_pickle=False) as file:
        arrays = dict(file)
    forge(folder, name, arrays)
    load_feedback(folder)  # an honest copy passes
    forge(folder, name, arrays | {field: change(arrays[field])})
    with pytest.raises(InvalidData, match=rf"{name}: {message}"):
        load_feedback(folder)


def test_a_segment_across_an_episodes_end_is_refused(folder: Path) -> None:
    with np.load(folder / "preferences.npz", allow_pickle=False) as file:
        arrays = dict(file)
    first_end = int(np.argmax((arrays["next_observations"][:-1] != arrays["observations"][1:]).any(axis=1)))
    arrays["preferred_starts"][4], arrays["preferred_lengths"][4] = first_end, 2
    forge(folder, "preferences.npz", arrays)
    with pytest.raises(InvalidData, match=r"preferred_starts\[4\]: the segment crosses an episode's end"):
        load_feedback(folder)


def test_tier_steps_are_a_chain_of_index_aligned_steps_with_the_demonstrations_tier_on_top() -> None:
    """Every observation of a tier names tier, episode and time, so a pair can be read off its rows."""

    def named(tier: int, count: int, length: int) -> list[Episode]:
        made = []
        for episode in range(count):
            observations = np.stack([np.full(length + 1, tier), np.full(length + 1, episode),
                                     np.arange(length + 1)], axis=1).astype(np.float64)  # fmt: skip
            made.append(Episode(observations, np.zeros((length, 1)), np.zeros(length), terminated=True))
        return made

    tiers = [named(0, 5, 30), named(1, 5, 20), named(2, 5, 25)]
    config = FeedbackConfig(25, pairs=201, held_out_pairs=10, segment_length=1, tier_steps=True, seed=3)
    feedback = build_feedback(config, tiers[2], (), tiers)
    seen = feedback.pairs.preferred.steps.observations
    better, worse = seen[feedback.pairs.preferred.starts], seen[feedback.pairs.rejected.starts]
    np.testing.assert_array_equal(better[:, 0], worse[:, 0] + 1)
    np.testing.assert_array_equal(better[:, 2], worse[:, 2])
    assert np.bincount(worse[:, 0].astype(int)).tolist() == [101, 100]
    assert better[:, 2].max() < 20 and len(np.unique(better[:, 1])) > 1
    wrong = replace(config, teacher=Teacher(mistake=1.0))
    flipped = build_feedback(wrong, tiers[2], (), tiers).pairs
    assert (seen[flipped.preferred.starts, 0] < seen[flipped.rejected.starts, 0]).all()
    with pytest.raises(InvalidData, match="compares steps: give 1"):
        FeedbackConfig(tier_steps=True)
    with pytest.raises(InvalidData, match="takes --label-error alone"):
        replace(config, teacher=Teacher(temperature=1.0))

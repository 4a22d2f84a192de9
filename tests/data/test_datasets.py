"""Minari in and out, on the real Hopper with a small NumPy policy."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from minari.dataset.minari_storage import MinariStorage

from aihf_control.arrays import Floats
from aihf_control.data import dataset_writer
from aihf_control.data.collect import Policy, roll_out
from aihf_control.data.dataset_ids import dataset_id
from aihf_control.data.dataset_writer import Provenance, Reference, build_dataset
from aihf_control.data.datasets import load_episodes, minari_root
from aihf_control.data.types import Episode, Transitions
from aihf_control.envs.tasks import TASKS, make_env
from aihf_control.errors import InvalidData
from aihf_control.runs.files import CannotWrite

HOPPER = TASKS["hopper"]
SHORT = replace(HOPPER, horizon=8)
"""Hopper with a time limit that some episodes reach and some do not."""
EXPERT = "aihf/hopper/expert-v0"


class LinearPolicy:
    """tanh(W o + b), with Gaussian noise of standard deviation ½ when it is not deterministic."""

    def __init__(self, seed: int, bias: float = 0.0) -> None:
        self.weights = np.random.default_rng(seed).normal(size=(HOPPER.observation_size, HOPPER.action_size))
        self.bias = bias

    def __call__(self, observations: Floats, deterministic: bool, rng: np.random.Generator) -> Floats:
        mean = observations @ self.weights + self.bias
        noise = 0.0 if deterministic else 0.5 * rng.standard_normal(mean.shape)
        return np.tanh(mean + noise)


POLICY = LinearPolicy(0)


def build(root: Path, tier: str = "expert", seed: int = 5) -> str:
    return build_dataset(
        SHORT,
        tier,
        POLICY,
        transitions=100,
        deterministic_share=0.4,
        seed=seed,
        reference=Reference(random=18.0, expert=3_200.0, episodes=20),
        provenance=Provenance(algorithm="tanh of a linear map", description="Made by a test."),
        root=root,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("minari")
    build(root)
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A copy to break, without the manifest that would notice: like one from elsewhere."""
    shutil.copytree(built, tmp_path / "minari")
    (tmp_path / "minari" / EXPERT / "manifest.json").unlink()
    return tmp_path / "minari"


def metadata_path(root: Path) -> Path:
    return root / EXPERT / "data" / "metadata.json"


def edit_metadata(root: Path, **changes: object) -> None:
    metadata = json.loads(metadata_path(root).read_text())
    kept = {name: value for name, value in (metadata | changes).items() if value is not None}
    metadata_path(root).write_text(json.dumps(kept))


def same(one: Episode, other: Episode) -> bool:
    return one.terminated == other.terminated and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("observations", "actions", "rewards")
    )


def test_a_round_trip_through_minari_equals_the_rollouts(built: Path) -> None:
    rolled = roll_out(SHORT, POLICY, transitions=40, seed=5, deterministic=True)
    rolled += roll_out(SHORT, POLICY, transitions=60, seed=5)
    read = load_episodes(EXPERT, SHORT, built)
    assert len(read) == len(rolled)
    assert all(same(one, other) for one, other in zip(read, rolled, strict=True))


def test_rollouts_are_what_the_environment_gives_for_the_recorded_actions() -> None:
    rolled = roll_out(SHORT, POLICY, transitions=40, seed=9)
    env = make_env(SHORT)
    for index, episode in enumerate(rolled):
        seed = int(np.random.SeedSequence([9, 0, index]).generate_state(1)[0])
        observation, _ = env.reset(seed=seed)
        for step, action in enumerate(episode.actions):
            assert np.array_equal(observation, episode.observations[step])
            observation, reward, terminated, truncated, _ = env.step(action.astype(np.float32))
            assert reward == episode.rewards[step]
            assert (terminated or truncated) == (step == len(episode) - 1)
        assert np.array_equal(observation, episode.observations[-1])
        assert terminated == episode.terminated


def test_rollouts_are_whole_episodes_just_past_the_count() -> None:
    rolled = roll_out(SHORT, POLICY, transitions=100, seed=1)
    steps = [len(episode) for episode in rolled]
    assert sum(steps[:-1]) < 100 <= sum(steps)
    assert roll_out(SHORT, POLICY, transitions=0, seed=1) == ()


def test_masks_are_0_at_terminations_and_1_at_truncations(built: Path) -> None:
    episodes = load_episodes(EXPERT, SHORT, built)
    ends = np.cumsum([len(episode) for episode in episodes]) - 1
    terminated = np.array([episode.terminated for episode in episodes])
    assert 0 < terminated.sum() < len(episodes), "the data must have both kinds of end"
    assert all(len(episode) == SHORT.horizon for episode in episodes if not episode.terminated)
    table = Transitions.from_episodes(episodes)
    assert np.flatnonzero(table.masks == 0.0).tolist() == ends[terminated].tolist()
    assert (table.masks[ends[~terminated]] == 1.0).all()


def test_action_noise_is_clipped_and_repeatable() -> None:
    quiet = LinearPolicy(0, bias=20.0)  # saturates at +1
    noisy, again = (
        roll_out(SHORT, quiet, transitions=60, seed=2, deterministic=True, action_noise=0.5) for _ in range(2)
    )
    actions = np.concatenate([episode.actions for episode in noisy])
    assert all(same(one, other) for one, other in zip(noisy, again, strict=True))
    assert actions.max() == 1.0
    assert 0.3 < np.mean(actions < 1.0) < 0.7, "half of the noise on a saturated action is clipped away"


@pytest.mark.filterwarnings("ignore:.*NaN value")
def test_a_broken_simulation_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings to the working directory

    def broken(observations: Floats, deterministic: bool, rng: np.random.Generator) -> Floats:
        return np.full((len(observations), HOPPER.action_size), np.nan)

    with pytest.raises(InvalidData, match=r"step 0: .*not finite"):
        roll_out(SHORT, broken, transitions=10, seed=0)


def test_minari_itself_reads_the_dataset(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(built))
    dataset = minari.load_dataset(EXPERT)
    metadata = dataset.storage.metadata
    assert list(minari.list_local_datasets()) == [EXPERT]
    assert dataset.env_spec.id == "Hopper-v5"
    for episode in dataset.iterate_episodes():
        assert (
            episode.terminations.tolist()[:-1]
            == episode.truncations.tolist()[:-1]
            == [False] * (len(episode) - 1)
        )
        assert episode.terminations[-1] != episode.truncations[-1]
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (18.0, 3_200.0)
    assert metadata["num_episodes_average_score"] == 20
    assert metadata["algorithm_name"] == "tanh of a linear map"
    steps = [
        sum(map(len, roll_out(SHORT, POLICY, transitions=count, seed=5, deterministic=mode)))
        for count, mode in ((40, True), (60, False))
    ]
    assert f"{steps[0]} by the deterministic policy, {steps[1]} by the stochastic" in metadata["description"]


def test_a_rebuild_replaces_and_leaves_nothing_behind(root: Path) -> None:
    before = load_episodes(EXPERT, SHORT, root)
    build(root, seed=6)
    build(root, tier="simple")
    after = load_episodes(EXPERT, SHORT, root)
    assert not same(before[0], after[0])
    assert [path.name for path in root.iterdir()] == ["aihf"]
    children = {path.name for path in (root / "aihf" / "hopper").iterdir()}
    assert children == {"expert-v0", "simple-v0", "namespace_metadata.json"}


def test_a_failed_build_keeps_the_old_dataset(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(minari, "create_dataset_from_buffers", fail)
    with pytest.raises(OSError, match="disk full"):
        build(root, seed=6)
    assert [path.name for path in root.iterdir()] == ["aihf"]
    assert len(load_episodes(EXPERT, SHORT, root)) > 0


def test_a_dataset_of_another_environment_is_refused_naming_both(root: Path) -> None:
    with pytest.raises(InvalidData, match=r"expert-v0 is of Hopper-v5, but task walker2d needs Walker2d-v5"):
        load_episodes(EXPERT, TASKS["walker2d"], root)


def test_another_version_of_the_environment_is_refused(root: Path) -> None:
    spec = json.loads(json.loads(metadata_path(root).read_text())["env_spec"])
    edit_metadata(root, env_spec=json.dumps(spec | {"id": "Hopper-v4"}))
    with pytest.raises(InvalidData, match=r"expert-v0 is of Hopper-v4, but task hopper needs Hopper-v5"):
        load_episodes(EXPERT, SHORT, root)


@pytest.mark.parametrize(
    "bad", ["../x-v0", "/etc/x-v0", "aihf/../../x-v0", "aihf/hopper/x\0-v0", "aihf/./x-v0", "x", "", "x-v0\n"]
)
def test_ids_that_could_leave_the_root_are_refused(root: Path, bad: str) -> None:
    with pytest.raises(InvalidData, match="malformed"):
        load_episodes(bad, HOPPER, root / "aihf")


@pytest.mark.parametrize("linked", [EXPERT, f"{EXPERT}/data", f"{EXPERT}/data/main_data.hdf5", "aihf"])
def test_links_out_of_the_root_are_refused(root: Path, tmp_path: Path, linked: str) -> None:
    outside = tmp_path / "outside"
    shutil.move(root / linked, outside)
    (root / linked).symlink_to(outside)
    with pytest.raises(InvalidData, match=r"is a link to .*outside"):
        load_episodes(EXPERT, SHORT, root)


@pytest.mark.parametrize("linked", [EXPERT, "aihf"])
def test_nothing_is_written_or_replaced_through_a_link_out_of_the_root(
    root: Path, tmp_path: Path, linked: str
) -> None:
    outside = tmp_path / "outside"
    shutil.move(root / linked, outside)
    (root / linked).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(InvalidData, match=r"is a link to .*outside"):
        build(root, seed=6)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert [path.name for path in root.iterdir()] == ["aihf"]


def plant_environment(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreign module, named as the dataset's entry point, that leaves a marker when imported."""
    marker = tmp_path / "imported"
    module = tmp_path / "modules" / "planted_env.py"
    module.parent.mkdir()
    module.write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('planted')\n")
    monkeypatch.syspath_prepend(str(module.parent))
    spec = json.loads(json.loads(metadata_path(root).read_text())["env_spec"])
    edit_metadata(root, env_spec=json.dumps(spec | {"entry_point": "planted_env:Env"}))
    return marker


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
def test_no_environment_is_made_when_spaces_are_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    marker = plant_environment(root, tmp_path, monkeypatch)
    edit_metadata(root, **{missing: None})
    with pytest.raises(InvalidData, match=f"has no usable {missing}"):
        load_episodes(EXPERT, SHORT, root)
    assert not marker.exists()
    with pytest.raises(Exception, match="planted"):
        MinariStorage.read(metadata_path(root).parent)
    assert marker.exists(), "the plant must work, or this test proves nothing"


def test_a_foreign_entry_point_is_never_imported(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = plant_environment(root, tmp_path, monkeypatch)
    assert load_episodes(EXPERT, SHORT, root)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_spec": None}, "no usable env_spec"),
        ({"observation_space": "[]"}, "no usable observation_space"),
        ({"action_space": json.dumps({"type": "Box", "shape": [6]})}, r"action_space is Box \[6\], expected"),
        ({"observation_space": json.dumps({"type": "Dict"})}, "observation_space is Dict None"),
        ({"data_format": "pickle"}, "in format pickle, not hdf5"),
        ({"total_episodes": 1_000}, r"episode \d+: Minari cannot read it"),
        ({"total_episodes": 3}, r"metadata\.json counts 3 episodes, data/main_data\.hdf5 holds \d+"),
        ({"total_episodes": 0}, r"metadata\.json counts 0 episodes, data/main_data\.hdf5 holds \d+"),
    ],
)
def test_bad_metadata_is_named(root: Path, changes: dict[str, object], message: str) -> None:
    edit_metadata(root, **changes)
    with pytest.raises(InvalidData, match=message):
        load_episodes(EXPERT, SHORT, root)


def wrapper(name: str) -> dict[str, object]:
    return {"name": name, "entry_point": f"gymnasium.wrappers:{name}", "kwargs": {}}


def of_another_environment(root: Path, spec: dict[str, object], action_space: dict[str, object]) -> None:
    metadata = json.loads(metadata_path(root).read_text())
    for name, changes in (("env_spec", spec), ("action_space", action_space)):
        metadata[name] = json.dumps(json.loads(metadata[name]) | changes)
    metadata_path(root).write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("spec", "action_space", "named"),
    [
        ({"kwargs": {"frame_skip": 2}}, {}, "frame_skip is 2, there 4"),
        ({"kwargs": {"healthy_reward": 0.5}}, {}, r"healthy_reward is 0\.5, there 1\.0"),
        (
            {"kwargs": {"healthy_z_range": [0.5, 9]}},
            {},
            r"healthy_z_range is \[0\.5, 9\], there \(0\.7, inf\)",
        ),
        (
            {"kwargs": {"terminate_when_unhealthy": False}},
            {},
            "terminate_when_unhealthy is False, there True",
        ),
        ({"kwargs": {"wind": 3}}, {}, "wind is 3, there unknown"),
        ({"max_episode_steps": 200}, {}, "max_episode_steps is 200, there 8"),
        ({"max_episode_steps": 3_000}, {}, "max_episode_steps is 3000, there 8"),
        ({"max_episode_steps": None}, {}, "max_episode_steps is None, there 8"),
        ({"additional_wrappers": [wrapper("TransformReward")]}, {}, "it is wrapped in TransformReward"),
        (
            {},
            {"low": [-2, -2, -2], "high": [2, 2, 2]},
            r"actions' low is \[-2, -2, -2\], there -1; the actions'",
        ),
    ],
)
def test_what_differs_from_the_tasks_environment_is_named_and_passes_only_where_it_is_meant(
    root: Path, spec: dict[str, object], action_space: dict[str, object], named: str
) -> None:
    before = load_episodes(EXPERT, SHORT, root)
    of_another_environment(root, spec, action_space)
    with pytest.raises(InvalidData, match=rf"{EXPERT} is of another environment.*{named}.*other-environment"):
        load_episodes(EXPERT, SHORT, root)
    assert all(map(same, before, load_episodes(EXPERT, SHORT, root, other_environment=True)))


def test_arguments_that_are_the_usual_ones_are_no_difference(root: Path) -> None:
    usual = {"frame_skip": 4, "healthy_angle_range": [-0.2, 0.2], "render_mode": "rgb_array"}
    wrappers = [wrapper("OrderEnforcing"), wrapper("TimeLimit")]
    of_another_environment(root, {"kwargs": usual, "additional_wrappers": wrappers}, {})
    assert load_episodes(EXPERT, SHORT, root)


def test_without_room_or_permission_nothing_is_rolled_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_writer, "roll_out", lambda *_, **__: pytest.fail("rolled out"))
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(
            CannotWrite, match=r"minari cannot be written: .* MB are needed there and 1 are free"
        ):
            build(tmp_path / "minari")
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="file is no folder"):
        build(tmp_path / "file" / "minari")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL = """
import os, resource, sys
from pathlib import Path
from foreign import build_foreign
from aihf_control.runs.files import CannotWrite
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    build_foreign(Path(sys.argv[1]), "lab/hopper/random-v0", seed=0)
except CannotWrite as told:
    print(told)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="HDF5 is held apart by fork")
@pytest.mark.parametrize("size", [4_000, 12_000])
def test_a_disk_that_fills_while_hdf5_writes_is_one_line_and_nothing_is_left(
    tmp_path: Path, size: int
) -> None:
    """As full from some byte of the file on: a limit on its size gives HDF5 the same errors."""
    root, support = tmp_path / "minari", Path(__file__).parents[1] / "support"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root), str(size)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(support), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    target = root / "aihf/hopper/expert-v0"
    told = f"{target} cannot be written: File too large: raise the limit on a file's size (ulimit -f) and run"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(told) and done.stdout.count("\n") == 1
    assert list(root.iterdir()) == []


NO_LOCKS = "unable to lock file, errno = 37, error message = 'No locks available'"
"""As HDF5 puts it."""


def test_a_file_system_without_locks_is_told_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(NO_LOCKS)

    monkeypatch.setattr(minari, "create_dataset_from_buffers", refuse)
    with pytest.raises(CannotWrite, match="No locks available: set HDF5_USE_FILE_LOCKING=FALSE"):
        build(root, seed=6)
    monkeypatch.setattr(minari.MinariDataset, "iterate_episodes", refuse)
    with pytest.raises(InvalidData, match=r"No locks available.*; set HDF5_USE_FILE_LOCKING=FALSE"):
        load_episodes(EXPERT, SHORT, root)


def test_minari_makes_its_environment_without_a_word_and_leaves_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cheetah = replace(TASKS["halfcheetah"], horizon=5)
    still: Policy = lambda observations, *_: np.zeros((len(observations), cheetah.action_size))  # noqa: E731
    reference, provenance = Reference(0.0, 1.0, 1), Provenance("none", "Made by a test.")
    build_dataset(
        cheetah, "simple", still, transitions=5, deterministic_share=0.0, seed=0, reference=reference,
        provenance=provenance, root=tmp_path / "minari",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["minari"]


def test_what_a_killed_build_left_is_cleared_by_the_next(root: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from aihf_control.runs.processes import Process; print(Process.current())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (root / f".tmp-{child.stdout.strip()}-00").mkdir()
    build(root, seed=6)
    assert [path.name for path in root.iterdir()] == ["aihf"]


def break_episode(root: Path, name: str, values: Floats) -> None:
    with h5py.File(metadata_path(root).parent / "main_data.hdf5", "a") as file:
        del file["episode_1"][name]
        file["episode_1"][name] = values


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("observations", lambda v: v[:-1], r"observations has shape \(\d+, 11\), expected \(\d+, 11\)"),
        (
            "actions",
            lambda v: v + 2.0 * (np.arange(len(v)) == 1)[:, None],
            r"actions\[1, 0\] is .*outside of the actions' range, \[-1",
        ),
        ("actions", lambda v: np.where(v == v[2, 1], np.nan, v), r"actions\[2, 1\] is nan"),
        ("rewards", lambda v: np.where(v == v[3], np.inf, v), r"rewards\[3\] is inf"),
        ("terminations", lambda v: v | (np.arange(len(v)) == 0), r"terminations\[0\] is set before the last"),
        ("truncations", lambda v: v | (np.arange(len(v)) == 2), r"truncations\[2\] is set before the last"),
        (
            "truncations",
            lambda v: v | (np.arange(len(v)) >= len(v) - 2),
            "truncations.* is set before the last",
        ),
        ("truncations", lambda v: v[:-1], "truncations has shape"),
        ("observations", lambda v: v + 1j, "observations holds complex128, not numbers"),
        ("rewards", lambda v: v.astype("S8"), "rewards holds .*, not numbers"),
    ],
)
def test_bad_episodes_are_named(root: Path, name: str, change: object, message: str) -> None:
    episode = load_episodes(EXPERT, SHORT, root)[1]
    assert callable(change)
    marks = name in ("terminations", "truncations")
    values = np.zeros(len(episode), dtype=bool) if marks else getattr(episode, name)
    break_episode(root, name, change(values))
    with pytest.raises(InvalidData, match=rf"dataset {EXPERT}, episode 1: {message}"):
        load_episodes(EXPERT, SHORT, root)


def test_a_little_beyond_the_actions_range_is_clipped_counted_and_said(root: Path) -> None:
    whole = load_episodes(EXPERT, SHORT, root)[1].actions
    edge = np.float32(1.00001)  # as other labs' float32 has it, a little more than 1 + 1e-5
    break_episode(root, "actions", np.where(np.arange(len(whole))[:, None] == 1, edge, whole))
    told: list[str] = []
    read = load_episodes(EXPERT, SHORT, root, say=told.append)
    assert (read[1].actions[1] == 1.0).all()
    numbers = sum(episode.actions.size for episode in read)
    beyond = "beyond [-1, 1] by at most 1.1e-05, are clipped"
    assert told == [f"dataset {EXPERT}: 3 of {numbers} action numbers, {beyond}"]


def test_a_flipped_bit_in_the_episodes_is_noticed(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "minari")
    path = tmp_path / "minari" / EXPERT / "data" / "main_data.hdf5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=rf"dataset {EXPERT}: data/main_data\.hdf5 has SHA-256 .*damaged"):
        load_episodes(EXPERT, SHORT, tmp_path / "minari")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert load_episodes(EXPERT, SHORT, tmp_path / "minari")


def test_an_episode_of_one_step_is_fine(root: Path) -> None:
    episode = load_episodes(EXPERT, SHORT, root)[1]
    for name in ("observations", "actions", "rewards"):
        break_episode(root, name, getattr(episode, name)[: 2 if name == "observations" else 1])
    for name in ("terminations", "truncations"):
        break_episode(root, name, np.array([name == "truncations"]))
    assert len(load_episodes(EXPERT, SHORT, root)[1]) == 1


def test_a_missing_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="run `aihf data build --env hopper`"):
        load_episodes(EXPERT, HOPPER, tmp_path)
    with pytest.raises(InvalidData, match=r"none of the suite's own, did you mean aihf/hopper/expert-v0\?"):
        load_episodes("aihf/hoper/expert-v0", HOPPER, tmp_path, download=True)
    with pytest.raises(InvalidData, match=r"minari\[hf\].*minari download mujoco/hopper/expert-v0"):
        load_episodes("mujoco/hopper/expert-v0", HOPPER, tmp_path)


def test_a_downloaded_dataset_is_checked_like_any_other(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str) -> None:
        """Stands in for the network: Minari puts the folder where its environment variable says."""
        shutil.copytree(root / EXPERT, Path(os.environ["MINARI_DATASETS_PATH"]) / name)

    monkeypatch.setattr(minari, "download_dataset", download)
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    fetched = load_episodes("mujoco/hopper/expert-v0", SHORT, tmp_path / "new", download=True)
    assert same(fetched[0], load_episodes(EXPERT, SHORT, root)[0])
    assert "MINARI_DATASETS_PATH" not in os.environ
    with pytest.raises(InvalidData, match="needs Walker2d-v5"):
        load_episodes("mujoco/hopper/medium-v0", TASKS["walker2d"], tmp_path / "new", download=True)


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIHF_MINARI_ROOT", raising=False)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert minari_root(Path()) == tmp_path / "minari"
    monkeypatch.setenv("AIHF_MINARI_ROOT", str(tmp_path / "ours"))
    assert minari_root(Path()) == tmp_path / "ours"
    monkeypatch.setenv("AIHF_MINARI_ROOT", "~/minari")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert minari_root(Path()) == tmp_path / "minari"
    monkeypatch.setenv("AIHF_MINARI_ROOT", "here/minari")
    monkeypatch.chdir(tmp_path)
    assert minari_root(Path()) == tmp_path / "here" / "minari"
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for wrong in ("file", "dangling"):
        monkeypatch.setenv("AIHF_MINARI_ROOT", str(tmp_path / wrong))
        with pytest.raises(InvalidData, match=f"AIHF_MINARI_ROOT=.*{wrong} is no folder"):
            minari_root(Path())
    monkeypatch.delenv("AIHF_MINARI_ROOT")
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert minari_root(Path()) == tmp_path / "data" / "minari"  # absolute, as Minari needs it
    assert minari_root(tmp_path) == tmp_path / "data" / "minari"


def test_unknown_tiers_are_named() -> None:
    with pytest.raises(InvalidData, match=r"'exprt' is not known\. Valid: simple, medium, expert"):
        dataset_id(HOPPER, "exprt")

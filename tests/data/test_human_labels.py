"""Preferences that people labelled: read, checked, imported, and learned from by every method."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy_bench import SEEDS, small_study

from aihf_control.cli import main as cli
from aihf_control.data import human_labels as human_preferences
from aihf_control.data.feedback import FeedbackConfig, build_feedback
from aihf_control.data.human_labels import FIELDS, hold_out, join, read_labelled
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidData
from aihf_control.runs.folder import read_status
from aihf_control.study.prepare import FeedbackSource, Folders, import_preferences, make_feedback
from aihf_control.study.study import run_study

LABELS = np.array([0.0, 1.0, 0.5, 1.0, 0.0, 0.5])
Arrays = dict[str, Any]


def field_arrays(task: Any = toy.TASK, labels: NDArray[Any] = LABELS, length: int = 4) -> Arrays:
    """Each number says where it is: pair · 100 + step · 10 + column, the second segments' negative."""
    place = np.arange(len(labels))[:, None, None] * 100 + np.arange(length)[:, None] * 10
    first = (place + np.arange(task.observation_size)).astype(float)
    actions = np.random.default_rng(0).uniform(-1, 1, (2, len(labels), length, task.action_size))
    return {"obs_1": first, "obs_2": -first, "action_1": actions[0], "action_2": actions[1], "label": labels}


def write(path: Path, arrays: Arrays, **options: Any) -> Path:
    np.savez(path, **arrays, **options)
    return path


def test_the_preferred_segment_is_the_one_the_label_names(tmp_path: Path) -> None:
    arrays = field_arrays()
    people = read_labelled(write(tmp_path / "people.npz", arrays), toy.TASK)
    assert people.counts() == "6 pairs of 4 steps: 2 prefer the first, 2 the second, 2 ties"
    pairs = people.select(np.ones(6, bool))
    assert pairs.confidence.tolist() == [1, 1, 0.5, 1, 1, 0.5]
    assert pairs.preferred.horizon == 3 and set(pairs.preferred.lengths) == {3}  # of 4: the last is cut
    for side, other, wanted in (("1", "2", pairs.preferred), ("2", "1", pairs.rejected)):
        rows, valid = wanted.rows()
        assert valid.all()
        for index, label in enumerate(LABELS):
            name = other if label == 1 else side
            observations = arrays[f"obs_{name}"][index]
            steps = wanted.steps
            assert np.array_equal(steps.observations[rows[index]], observations[:3])
            assert np.array_equal(steps.next_observations[rows[index]], observations[1:])
            assert np.allclose(steps.actions[rows[index]], arrays[f"action_{name}"][index, :3], atol=1e-6)
            assert (steps.masks[rows[index]] == 1).all() and (steps.rewards[rows[index]] == 0).all()


def at(name: str, index: tuple[int, ...], value: float) -> Callable[[Arrays], Arrays]:
    def change(arrays: Arrays) -> Arrays:
        changed = arrays[name].copy()
        changed[index] = value
        return arrays | {name: changed}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("label", (3,), -1.0), r"label\[3\] is -1\.0, not from 0 \(the first\) to 1 \(the second\)"),
        (at("label", (3,), 1.2), r"label\[3\] is 1\.2, not from 0"),
        (lambda a: a | {"label": np.array(1.0)}, r"label has shape \(\), expected \(pairs,\)"),
        (
            lambda a: a | {"label": np.full((6, 2), 0.6)},
            r"label\[0, 0\] is 0\.6, of two that are not 1 together",
        ),
        (at("label", (1,), np.nan), r"label\[1\] is nan, not a finite number"),
        (at("obs_2", (4, 2, 1), np.inf), r"obs_2\[4, 2, 1\] is inf, not a finite number"),
        (at("action_1", (2, 0, 0), -1.5), r"action_1\[2, 0, 0\] is -1\.5, outside of the actions' range"),
        (lambda a: a | {"obs_1": a["obs_1"][:5]}, "obs_1 has 5 pairs, label has 6"),
        (lambda a: a | {"obs_2": a["obs_2"][:, :3]}, "obs_2 has segments of 3 steps, obs_1 of 4"),
        (lambda a: a | {"obs_1": a["obs_1"][0]}, r"obs_1 has shape \(4, 2\), expected \(pairs, steps"),
        (
            lambda a: a | {"label": np.zeros((6, 3))},
            r"label has shape \(6, 3\), expected \(pairs,\), \(pairs, 1",
        ),
        (lambda a: {name: array[:0] for name, array in a.items()}, "label is empty: there is no pair"),
        (
            lambda a: {n: v[:, :1] if v.ndim == 3 else v for n, v in a.items()},
            "obs_1 has segments of 1 step: 2 are",
        ),
        (
            lambda a: field_arrays(TASKS["hopper"]),
            r"obs_1 is 11 wide, aihf_toy/TwoStep-v0's is 2: is the file",
        ),
        (lambda a: {n: v for n, v in a.items() if n != "obs_2"}, "obs_2 is missing; the file holds obs_1, "),
        (lambda a: a | {"label": a["label"].astype(str)}, "label holds <U32, not numbers"),
        (lambda a: a | {"held_out": np.zeros(2, bool)}, r"held_out is bool with shape \(2,\), expected bool"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Callable[[Arrays], Arrays], message: str) -> None:
    path = write(tmp_path / "people.npz", change(field_arrays()))
    with pytest.raises(InvalidData, match=rf"people\.npz: {message}") as raised:
        read_labelled(path, toy.TASK)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "shaped", [LABELS[:, None], np.stack([1 - LABELS, LABELS], axis=1), LABELS.astype(np.float32)]
)
def test_labels_of_the_fields_other_shapes_are_the_same_labels(tmp_path: Path, shaped: NDArray[Any]) -> None:
    path = write(tmp_path / "people.npz", field_arrays() | {"label": shaped})
    assert np.array_equal(read_labelled(path, toy.TASK).labels, LABELS)


def test_a_little_beyond_the_actions_range_is_clipped_counted_and_said(tmp_path: Path) -> None:
    arrays = field_arrays()
    arrays["action_2"][3, 1] = np.float32(-1.00001)
    people = read_labelled(write(tmp_path / "people.npz", arrays), toy.TASK)
    assert people.actions[1, 3, 1] == -1.0
    assert people.counts().endswith(
        "; 1 of 48 action numbers, beyond [-1, 1] by at most 1.1e-05, are clipped"
    )
    assert "clipped" in hold_out(people, 0.2, 0).counts()


def test_a_probability_is_a_preference_for_the_likelier(tmp_path: Path) -> None:
    path = write(tmp_path / "people.npz", field_arrays(labels=np.array([0.2, 0.9, 0.5])))
    people = read_labelled(path, toy.TASK)
    assert people.counts() == "3 pairs of 4 steps: 1 prefer the first, 1 the second, 1 ties"
    pairs = people.select(np.ones(3, bool))
    assert pairs.confidence.tolist() == [0.8, 0.9, 0.5]
    assert pairs.preferred.starts.tolist() == [0, 12, 6]  # the second pair's second: after 3 · 3 first ones


def test_what_a_header_promises_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "people.npz", field_arrays())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {"label.npy": header.getvalue()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidData, match=r"label promises 8,000,000,000,000 bytes, .* and holds 0"):
        read_labelled(path, toy.TASK)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(InvalidData, match="is no file"):
            read_labelled(path, toy.TASK)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_a_pickle_in_the_file_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    labels = np.array([Payload(marker)] * 6, dtype=object)
    path = write(tmp_path / "people.npz", field_arrays() | {"label": labels}, allow_pickle=True)
    with pytest.raises(InvalidData, match=r"people\.npz: label cannot be read .*allow_pickle"):
        read_labelled(path, toy.TASK)
    assert not marker.exists()
    with np.load(path, allow_pickle=True) as file:
        assert file["label"] is not None
    assert marker.exists(), "the plant must work, or this test proves nothing"


def test_a_truncated_file_and_one_that_is_no_archive(tmp_path: Path) -> None:
    whole = write(tmp_path / "people.npz", field_arrays()).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1], b"", b"obs_1"):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(InvalidData, match=r"broken\.npz: is no readable \.npz file"):
            read_labelled(tmp_path / "broken.npz", toy.TASK)
    with pytest.raises(InvalidData, match="there is no such file"):
        read_labelled(tmp_path / "missing.npz", toy.TASK)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "people.npz"
    arrays = field_arrays() | {"label": np.zeros(2**17)}  # a megabyte that packs into a few hundred bytes
    np.savez_compressed(path, **arrays)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(human_preferences, "LARGEST_ARRAY", 2**20)
    with pytest.raises(InvalidData, match="label says to be 1,048,704 bytes, more than 1,048,576"):
        read_labelled(path, toy.TASK)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FIELDS)),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 7.0]),
    place=st.floats(0, 1, exclude_max=True),
)
def test_one_bad_number_anywhere_is_found_where_it_is(name: str, value: float, place: float) -> None:
    arrays = field_arrays()
    flat = int(place * arrays[name].size)
    index = tuple(int(i) for i in np.unravel_index(flat, arrays[name].shape))
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **at(name, index, value)(arrays))
    content.seek(0)
    if name.startswith("obs") and value == 7.0:
        read_labelled(content, toy.TASK)  # type: ignore[arg-type]
        return
    with pytest.raises(InvalidData) as raised:
        read_labelled(content, toy.TASK)  # type: ignore[arg-type]
    assert f"{name}{list(index)} is {value}" in str(raised.value)


@settings(max_examples=200, deadline=None)
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), max_size=3))
def test_no_damage_to_the_bytes_is_anything_but_refused_or_harmless(
    cut: float, flips: list[tuple[float, int]]
) -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **field_arrays())
    broken = bytearray(content.getvalue()[: int(len(content.getvalue()) * max(cut, 0.2))])
    for where, bit in flips:
        broken[min(int(where * len(broken)), len(broken) - 1)] ^= 1 << bit
    try:
        read = read_labelled(io.BytesIO(bytes(broken)), toy.TASK)  # type: ignore[arg-type]
    except InvalidData:
        return
    assert np.array_equal(read.labels, LABELS)  # its checksum held: only names or times were touched


def test_held_out_pairs_are_a_share_or_another_file(tmp_path: Path) -> None:
    people = read_labelled(write(tmp_path / "people.npz", field_arrays()), toy.TASK)
    marked = hold_out(people, 0.3, seed=0)
    assert marked.held_out.sum() == 2
    assert np.array_equal(marked.held_out, hold_out(people, 0.3, seed=0).held_out)
    assert any(not np.array_equal(marked.held_out, hold_out(people, 0.3, seed=s).held_out) for s in range(9))
    with pytest.raises(InvalidData, match="6 of 6 pairs would be held out"):
        hold_out(people, 0.99, seed=0)
    other = read_labelled(write(tmp_path / "o.npz", field_arrays(labels=np.array([1.0, 0.0]))), toy.TASK)
    joined = join(people, other)
    assert joined.held_out.tolist() == [False] * 6 + [True] * 2
    assert joined.labels.tolist() == [*LABELS, 1, 0]
    longer = read_labelled(write(tmp_path / "l.npz", field_arrays(length=5)), toy.TASK)
    with pytest.raises(InvalidData, match="segments have 5 steps, the others 4"):
        join(people, longer)


def test_an_imported_file_comes_back_and_others_are_sent_to_the_importer(tmp_path: Path) -> None:
    folders, file = Folders(tmp_path), write(tmp_path / "people.npz", field_arrays())
    path, marked = import_preferences(toy.TASK, file, None, 0.3, 0, folders)
    assert path == tmp_path / "data/preferences/toy/people.npz"
    back = read_labelled(path, toy.TASK)
    for name in ("observations", "actions", "labels", "held_out"):
        assert np.array_equal(getattr(back, name), getattr(marked, name))
    again, kept = import_preferences(toy.TASK, path.rename(tmp_path / "p.npz"), None, None, 1, folders)
    assert np.array_equal(kept.held_out, marked.held_out) and again.name == "p.npz"  # the file's own marks
    for evaluation, share in ((file, None), (None, 0.5)):
        with pytest.raises(InvalidData, match=r"chosen in two ways, .*p\.npz marks them itself and --"):
            import_preferences(toy.TASK, tmp_path / "p.npz", evaluation, share, 0, folders)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other" / "p.npz", field_arrays(length=5))
    before = again.read_bytes()
    with pytest.raises(InvalidData, match=r"p\.npz holds the labels of another file: rename p\.npz"):
        import_preferences(toy.TASK, other, None, None, 0, folders)
    assert again.read_bytes() == before
    with pytest.raises(InvalidData, match="no pair is marked as held out: import it first"):
        make_feedback(toy.TASK, FeedbackSource(preference_file=file), folders, print)


def test_a_wrong_file_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "people.npz", field_arrays(TASKS["walker2d"]))
    command = ["preferences", "import", str(file), "--env", "hopper", "--root", str(tmp_path / "root")]
    assert cli.main(command) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert "obs_1 is 17 wide, Hopper-v5's is 11" in told.err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("method", ["aihf", "rlhf", "ipl", "irl"])
def test_every_method_learns_from_them(tmp_path: Path, method: str) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (2, 40, 3, 1))
    arrays = field_arrays(labels=np.tile([0.0, 1.0, 0.5, 1.0], 10), length=3)
    arrays |= {"action_1": actions[0], "action_2": actions[1]}
    arrays |= {name: np.clip(arrays[name], -1, 1) for name in ("obs_1", "obs_2")}
    people = hold_out(read_labelled(write(tmp_path / "people.npz", arrays), toy.TASK), 0.2, seed=0)
    labelled = people.select(~people.held_out), people.select(people.held_out)
    shown = toy.feedback().demonstrations
    config = FeedbackConfig(demonstration_transitions=20)
    feedback = build_feedback(config, shown, (), (), labelled=labelled)
    assert feedback.pairs is labelled[0] and len(feedback.held_out) == 8
    study = small_study((method,), rounds=1)
    torch.manual_seed(0)
    run_study(study, feedback, Folders(tmp_path), print)
    for seed in SEEDS:
        folder = tmp_path / f"results/runs/bench/hopper/{method}/seed_{seed}"
        status = read_status(folder)
        assert status is not None and status.state == "finished"
        header = (folder / "progress.csv").read_text().splitlines()[0]
        assert "reward_accuracy" in header
        assert "pearson_preferences" not in header  # whose true rewards nobody knows

"""Generated damage to what comes from outside: one line, a status that is not 0, and nothing written."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from foreign import HOPPER, build_foreign
from hypothesis import given, settings
from hypothesis import strategies as st

from aihf_control.cli import main as cli
from aihf_control.cli.data import FeedbackBuild, PreferencesImport
from aihf_control.data.feedback import FeedbackConfig

DATASET = "lab/hopper/random-v0"
WIDTHS = {"obs_1": HOPPER.observation_size, "obs_2": HOPPER.observation_size, "action_1": 3, "action_2": 3}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run(command: cli.Command) -> tuple[int, str]:
    """Of `aihf`, once it has read its options, the status and what it says on standard error."""
    told = io.StringIO()
    with (
        mock.patch.object(cli, "parse", lambda arguments: command),
        contextlib.redirect_stderr(told),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        return cli.main([]), told.getvalue()


def require_refused_or_harmless(command: cli.Command, root: Path, made: Path) -> None:
    before = tree(root)
    status, told = run(command)
    if status == 0:
        assert told == "" and made.exists()
        shutil.rmtree(made)
    else:
        assert (status, told.count("\n")) == (2, 1) and told.startswith("aihf: "), told
    assert tree(root) == before


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("fuzz")
    build_foreign(root / "minari", DATASET, seed=0)
    with mock.patch.dict(os.environ, {"AIHF_MINARI_ROOT": str(root / "minari")}):
        yield root


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
METADATA = (
    "total_episodes", "total_steps", "data_format", "observation_space", "action_space", "env_spec",
    "dataset_id", "minari_version", "algorithm_name", "requirements", "eval_env_spec", "jpeg_encoding",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(METADATA),
    inner=st.sampled_from(
        ["", "id", "kwargs", "max_episode_steps", "additional_wrappers", "low", "shape", "dtype"]
    ),
    value=JSON,
    drop=st.booleans(),
    cut=st.none() | st.floats(0, 1),
)  # fmt: skip
def test_damaged_metadata(
    root: Path, name: str, inner: str, value: Any, drop: bool, cut: float | None
) -> None:
    path = root / "minari" / DATASET / "data" / "metadata.json"
    whole = path.read_text()
    metadata = json.loads(whole)
    if inner and isinstance(metadata.get(name), str) and metadata[name].startswith("{"):
        metadata[name] = json.dumps(json.loads(metadata[name]) | {inner: value})
    elif drop:
        metadata.pop(name, None)
    else:
        metadata[name] = value
    text = json.dumps(metadata)
    config = FeedbackConfig(demonstration_transitions=20, pairs=5, held_out_pairs=2, segment_length=5)
    command = FeedbackBuild("hopper", DATASET, DATASET, root=root, feedback=config)
    try:
        path.write_text(text if cut is None else text[: int(cut * len(text))])
        require_refused_or_harmless(command, root, root / "data")
    finally:
        path.write_text(whole)


DAMAGES = st.sampled_from(
    ["dropped", "scalar", "flat", "shorter", "wider", "text", "object", "complex", "value"]
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*WIDTHS, "label", "held_out"]),
    damage=DAMAGES,
    value=st.sampled_from([np.nan, np.inf, -1.0, 0.3, 1.0 + 1e-5, 1e300]),
    place=st.floats(0, 1, exclude_max=True),
)
def test_damaged_labels(root: Path, name: str, damage: str, value: float, place: float) -> None:
    arrays: dict[str, Any] = {field: np.full((6, 4, width), 0.5) for field, width in WIDTHS.items()}
    arrays |= {"label": np.tile([0.0, 1.0, 0.5], 2), "held_out": np.arange(6) == 2}
    array = arrays[name]
    changed = array.astype(float).copy()
    changed.flat[int(place * changed.size)] = value
    arrays[name] = {
        "dropped": None, "scalar": np.array(0.5), "flat": array.ravel(), "shorter": array[1:],
        "wider": np.stack([array, array], axis=-1), "text": array.astype(str), "object": array.astype(object),
        "complex": array + 1j, "value": changed,
    }[damage]  # fmt: skip
    file = root / "people.npz"
    np.savez(file, **{field: values for field, values in arrays.items() if values is not None})
    require_refused_or_harmless(PreferencesImport(file, "hopper", root=root), root, root / "data")


@settings(max_examples=40, deadline=None)
@given(
    option=st.sampled_from(
        ["--steps", "--settings.round-steps", "--settings.sac.batch-size", "--settings.sac.discount",
         "--settings.reward.bound", "--settings.ipl.updates", "--feedback.pairs", "--feedback.seed",
         "--demo-mix", "--label-error"]
    ),
    value=st.integers(-(10**6), 0),
)  # fmt: skip
def test_wrong_settings(tmp_path_factory: pytest.TempPathFactory, option: str, value: int) -> None:
    root = tmp_path_factory.getbasetemp() / "empty"  # without policies, so that a right value ends there too
    root.mkdir(exist_ok=True)
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main(["job", option, str(value), "--root", str(root)])
    assert (status, told.getvalue().count("\n")) == (2, 1), told.getvalue()
    assert tree(root) == {}

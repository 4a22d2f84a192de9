"""The ring against a plain list, and what a batch holds."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aihf_control.learn.replay import ReplayBuffer

SEEDS, OBSERVATIONS, ACTIONS = 3, 2, 1
WIDTH = 2 * OBSERVATIONS + ACTIONS + 2


def add(replay: ReplayBuffer, *step: np.ndarray) -> None:
    """One step of every seed."""
    rows = np.concatenate(replay.columns(*step), axis=1, dtype=np.float32)
    replay.extend(torch.from_numpy(rows).unsqueeze(1))


def numbered(first: int, count: int) -> torch.Tensor:
    """Rows of `count` steps, (S, count, width), whose every entry is 1000·seed + number of the step."""
    steps = torch.arange(first, first + count, dtype=torch.float32)
    rows = 1000.0 * torch.arange(SEEDS).unsqueeze(1) + steps
    return rows.unsqueeze(-1).expand(SEEDS, count, WIDTH)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(capacity=st.integers(1, 7), blocks=st.lists(st.integers(0, 20), max_size=6))
def test_ring_holds_the_last_steps_as_a_list_would(capacity: int, blocks: list[int]) -> None:
    replay = ReplayBuffer(SEEDS, capacity, OBSERVATIONS, ACTIONS)
    plain: list[float] = []
    for block in blocks:
        replay.extend(numbered(len(plain) + 1, block))
        plain += range(len(plain) + 1, len(plain) + 1 + block)
        kept = plain[-capacity:]
        assert replay.size == len(kept)
        expected = torch.tensor([[1000.0 * k + n for n in kept] for k in range(SEEDS)])
        for count in range(len(kept) + 1):
            assert torch.equal(replay.latest(count)[..., 0], expected[:, len(kept) - count :])
        if kept:
            drawn = replay.batch(torch.arange(len(kept)).expand(SEEDS, -1)).rewards
            assert torch.equal(drawn.sort(dim=1).values, expected)


def test_steps_added_one_by_one_are_those_added_in_a_block() -> None:
    one_by_one, at_once = (ReplayBuffer(SEEDS, 5, OBSERVATIONS, ACTIONS) for _ in range(2))
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=(8, SEEDS, width)) for width in (OBSERVATIONS, OBSERVATIONS, ACTIONS, 1, 1)]
    for observations, following, actions, rewards, masks in zip(*columns, strict=True):
        add(one_by_one, observations, actions, rewards[:, 0], following, masks[:, 0])
    packed = np.concatenate(columns, axis=-1).swapaxes(0, 1).astype(np.float32)
    at_once.extend(torch.from_numpy(packed))
    assert torch.equal(one_by_one.rows, at_once.rows)
    assert torch.equal(one_by_one.latest(5), at_once.latest(5))


def test_a_batch_names_its_columns_and_keeps_masks_apart() -> None:
    replay = ReplayBuffer(2, 4, OBSERVATIONS, ACTIONS)
    observations = np.array([[1.0, 2.0], [3.0, 4.0]])
    following = np.array([[5.0, 6.0], [7.0, 8.0]])
    actions, rewards, masks = np.array([[0.1], [0.2]]), np.array([-1.0, -2.0]), np.array([0.0, 1.0])
    add(replay, observations, actions, rewards, following, masks)
    batch = replay.batch(torch.zeros(2, 2, dtype=torch.int64))
    for index in range(2):  # only one step is stored
        np.testing.assert_array_equal(batch.observations[:, index], observations)
        np.testing.assert_array_equal(batch.next_observations[:, index], following)
        np.testing.assert_array_equal(batch.actions[:, index], actions.astype(np.float32))
        np.testing.assert_array_equal(batch.rewards[:, index], rewards)
        np.testing.assert_array_equal(batch.masks[:, index], masks)


def test_each_seed_is_read_at_its_own_rows() -> None:
    replay = ReplayBuffer(SEEDS, 10, OBSERVATIONS, ACTIONS)
    replay.extend(numbered(0, 10))
    rows = torch.tensor([[0, 1], [9, 5], [3, 3]])
    assert replay.batch(rows).rewards.tolist() == [[0, 1], [1009, 1005], [2003, 2003]]


def test_sixty_four_seeds_of_a_million_halfcheetah_steps_fit_a_gpu() -> None:
    replay = ReplayBuffer(64, 1_000_000, 17, 6, device="meta")
    # two observations of 17, an action of 6, reward and mask, in float32: 10 GiB of a GPU's 80 or 140
    assert replay.rows.nbytes == 64 * 1_000_000 * (2 * 17 + 6 + 2) * 4
    held = [value for value in vars(replay).values() if isinstance(value, torch.Tensor)]
    assert sum(tensor.nbytes for tensor in held) - replay.rows.nbytes < 1_000


def test_the_ring_is_written_in_place() -> None:
    replay = ReplayBuffer(SEEDS, 5, OBSERVATIONS, ACTIONS)
    place = replay.rows.data_ptr()
    for block in (3, 4, 12):
        replay.extend(numbered(0, block))
    assert replay.rows.data_ptr() == place

"""A stream is its seed's, purpose's and round's, whatever is drawn beside it."""

import pytest
import torch

from aihf_control.learn.randomness import UPDATES_PER_DRAW, Draws, SeedStreams, derive


def test_derived_seeds_never_change() -> None:
    # these numbers are behind every published run: if one changes, no run can be made again
    assert derive(0, "round") == 7024319822897534393
    assert derive(1, "round") == 9115590369300326491
    assert derive(0, "round", 1) == 4322648029233792659
    assert derive(0, "replay") == 1885362395277294117


def test_seed_purpose_and_round_all_count() -> None:
    keys = [(s, p, r) for s in range(20) for p in ("actor", "critic", "replay") for r in range(20)]
    derived = {derive(*key) for key in keys}
    assert len(derived) == len(keys)
    assert all(0 <= value < 2**63 for value in derived)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_draws_are_those_of_one_generator_a_seed(kind: str) -> None:
    draws = getattr(SeedStreams((3, 5), "noise", 2), kind)(4, 6, 2)
    assert draws.shape == (4, 2, 6, 2)
    function = {"normal": torch.randn, "uniform": torch.rand}[kind]
    for index, seed in enumerate((3, 5)):
        generator = torch.Generator().manual_seed(derive(seed, "noise", 2))
        assert torch.equal(draws[:, index], function(4, 6, 2, generator=generator))


def test_other_seeds_in_the_batch_change_nothing() -> None:
    together, alone = SeedStreams((0, 1, 2), "noise"), SeedStreams((2,), "noise")
    for _ in range(2):
        assert torch.equal(together.normal(3, 5)[:, 2], alone.normal(3, 5)[:, 0])
    assert not torch.equal(together.normal(3, 5)[:, 0], together.normal(3, 5)[:, 1])


def test_global_generators_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    SeedStreams((0, 1), "noise").uniform(3, 5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_indices_are_whole_numbers_below_size_drawn_evenly() -> None:
    indices = SeedStreams((0, 1), "indices").indices(50, 100, 7)
    assert indices.shape == (50, 2, 100)
    assert indices.dtype == torch.int64
    counts = torch.bincount(indices.flatten(), minlength=7)
    assert len(counts) == 7
    # 10,000 draws in 7 bins: chi² of 6 degrees of freedom exceeds 22.5 once in a thousand
    expected = 10_000 / 7
    assert ((counts - expected) ** 2 / expected).sum() < 22.5


def test_draws_are_read_at_their_position_and_stay_where_they_are() -> None:
    draws, first = Draws(torch.device("cpu")), torch.arange(2 * UPDATES_PER_DRAW).view(-1, 2)
    draws.fill(rows=first, noise=-first)
    place = draws._places["rows"].data_ptr()
    for position in (3, 0, UPDATES_PER_DRAW - 1):
        draws.go_to(position)
        assert draws["rows"].tolist() == [2 * position, 2 * position + 1]
        assert torch.equal(draws["noise"], -draws["rows"])
    draws.fill(rows=first + 1_000, noise=first)
    assert draws["rows"].tolist() == [1_000 + 2 * (UPDATES_PER_DRAW - 1), 1_001 + 2 * (UPDATES_PER_DRAW - 1)]
    assert draws._places["rows"].data_ptr() == place  # which a CUDA graph was captured with

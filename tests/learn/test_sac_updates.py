"""A round's updates: what they draw, and that a CUDA graph could replay them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recorded_graphs import META, kernels, pretended_device, recorded_on_the_cpu
from torch import Tensor

from aihf_control.data.types import Transitions
from aihf_control.learn.feedback_tables import StepTable
from aihf_control.learn.randomness import UPDATES_PER_DRAW, SeedStreams
from aihf_control.learn.replay import Batch, ReplayBuffer
from aihf_control.learn.sac import CRITICS, SAC, SACConfig
from aihf_control.learn.sac_updates import RewardFunction, Updates

SEEDS, OBSERVATIONS, ACTIONS = (4, 9), 3, 2
CPU = torch.device("cpu")


def demonstration(steps: int = 40) -> Transitions:
    rng = np.random.default_rng(1)
    observations = rng.standard_normal((steps + 1, OBSERVATIONS)).astype(np.float32)
    actions = rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32)
    return Transitions(observations[:-1], actions, np.zeros(steps), observations[1:], np.ones(steps))


def updates(
    stored: int = 50,
    capacity: int = 500,
    precision: str = "float32",
    device: torch.device = CPU,
    *,
    graphs: bool = True,
    share: float = 0.0,
    critic: str = "batch-norm",
) -> Updates:
    config = SACConfig(critic, hidden=(16, 16), batch_size=8, learning_rate=1e-2, precision=precision)
    sac = SAC(config, SEEDS, OBSERVATIONS, ACTIONS, device)
    replay = ReplayBuffer(len(SEEDS), capacity, OBSERVATIONS, ACTIONS, device)
    rows = torch.randn(len(SEEDS), stored, replay.rows.shape[-1], generator=torch.Generator().manual_seed(0))
    replay.extend(rows.to(device))
    shown = StepTable([demonstration()], device) if share else None
    made = Updates(sac, replay, shown, share, graphs=graphs)
    made.begin_round(0)
    made.draw()
    return made


def drawn(made: Updates, name: str, position: int) -> Tensor:
    made.draws.go_to(position)
    return made.draws[name]


def rows_of(made: Updates) -> Tensor:
    """(UPDATES_PER_DRAW, S, B)."""
    return torch.stack([drawn(made, "rows", position) for position in range(UPDATES_PER_DRAW)])


def weights(made: Updates) -> list[Tensor]:
    return [tensor.clone().cpu() for tensor in made.sac.tensors().values()]


@pytest.mark.parametrize(("stored", "capacity"), [(50, 500), (450, 500), (500, 500)])
def test_every_update_draws_from_all_that_is_stored_by_then(stored: int, capacity: int) -> None:
    made = updates(stored, capacity)
    for position, rows in enumerate(rows_of(made)):
        assert rows.min() >= 0 and rows.max() < min(stored + position, capacity)
    assert rows_of(made)[-50:].max() >= 0.98 * min(stored + UPDATES_PER_DRAW, capacity) - 1


def test_the_largest_uniform_draws_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = torch.nextafter(torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64))
    made = updates(stored=1_000, capacity=1_000)
    monkeypatch.setattr(SeedStreams, "uniform", lambda self, n, b, dtype: largest.expand(n, len(self), b))
    made.draw()
    assert rows_of(made).unique().tolist() == [999]


def test_an_update_takes_the_rows_and_the_noise_of_its_position() -> None:
    ours, by_hand = updates(), updates()
    for position in (3, 0, 99):
        ours.update(position, None)
        batch = by_hand.replay.batch(drawn(by_hand, "rows", position))
        by_hand.sac.update(batch, drawn(by_hand, "noise", position))
    for a, b in zip(weights(ours), weights(by_hand), strict=True):
        assert torch.equal(a, b)


def test_a_shared_batch_begins_with_demonstrations_drawn_from_all_of_them() -> None:
    made = updates(stored=500, share=0.25)  # 2 of 8 rows
    shown, own = rows_of(made).split([2, 6], dim=-1)
    assert sorted(shown.unique().tolist()) == list(range(40)) and own.max() > 450
    assert not torch.equal(shown[:, 0], shown[:, 1])  # each seed has its own
    seen: list[Tensor] = []

    def reward(*asked: Tensor) -> Tensor:
        seen.extend(asked)
        return asked[1].sum(-1)

    made.update(3, reward)
    (observations, actions), steps = seen, demonstration()
    for seed in range(len(SEEDS)):
        rows = drawn(made, "rows", 3)[seed]
        np.testing.assert_array_equal(observations[seed, :2], steps.observations[rows[:2]])
        np.testing.assert_array_equal(actions[seed, :2], steps.actions[rows[:2]])
        torch.testing.assert_close(actions[seed, 2:], made.replay.rows[seed, rows[2:], 6:8], rtol=0, atol=0)


def test_updates_learn_from_the_demonstrations_at_the_reward_of_the_moment() -> None:
    ours, by_hand = (updates(share=0.5) for _ in range(2))
    for position in (3, 0, 99):
        ours.update(position, lambda observations, actions: actions.sum(-1))
        rows = drawn(by_hand, "rows", position)
        shown = StepTable([demonstration()], CPU).rows(rows[:, :4])
        batch = Batch.joined(shown, by_hand.replay.batch(rows[:, 4:]))
        batch = replace(batch, rewards=batch.actions.sum(-1))
        by_hand.sac.update(batch, drawn(by_hand, "noise", position))
    for a, b in zip(weights(ours), weights(by_hand), strict=True):
        assert torch.equal(a, b)


def test_the_reward_is_asked_anew_at_every_update() -> None:
    made, asked = updates(), []

    def reward(observations: Tensor, actions: Tensor) -> Tensor:
        asked.append(observations)
        return observations.sum(-1)

    for position in range(3):
        made.update(position, reward)
    assert len(asked) == 3 and not torch.equal(asked[0], asked[1])


def reward_of(observations: Tensor, actions: Tensor) -> Tensor:
    return actions.sum(-1) - observations.square().sum(-1)


EVERY_FORM = [
    pytest.mark.parametrize("critic", list(CRITICS)),
    pytest.mark.parametrize("precision", ["float32", "bfloat16"]),
    pytest.mark.parametrize("share", [0.0, 0.5]),
    pytest.mark.parametrize("reward", [None, reward_of]),
]


def every_form(test: Any) -> Any:
    """Critics, precisions, batches and rewards, in all combinations."""
    for form in EVERY_FORM:
        test = form(test)
    return test


@every_form
@pytest.mark.parametrize("critic_only", [False, True])
def test_an_update_could_be_captured(
    reward: RewardFunction | None, share: float, precision: str, critic: str, critic_only: bool
) -> None:
    with pretended_device() as device:
        made = updates(share=share, precision=precision, critic=critic, device=META)
        device.waits.clear()
        for position in range(2):
            made.update(position, reward, critic_only=critic_only)
        assert len(device.captured) == 1 and not device.waits
        assert {tensor.device for tensor in made.sac.tensors().values()} == {META}


@every_form
def test_replayed_updates_have_the_bits_of_plain_ones(
    reward: RewardFunction | None, share: float, precision: str, critic: str
) -> None:
    def train() -> list[Tensor]:
        made, metrics = updates(share=share, precision=precision, critic=critic), {}
        for index in range(20):
            if index == 10:
                made.replay.extend(torch.ones(len(SEEDS), 30, made.replay.rows.shape[-1]))
                made.draw()
            metrics = made.update(index % 10, reward, critic_only=index % 3 > 0)
        return [*weights(made), *metrics.values()]

    plain = train()
    with recorded_on_the_cpu() as made:
        replayed = train()
    assert made == {"graphs": 2, "replays": 20}
    for a, b in zip(replayed, plain, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("critic", "precision", "alone", "full"),
    [
        ("batch-norm", "float32", 220, 331),
        ("batch-norm", "bfloat16", 241, 365),
        ("plain", "float32", 77, 170),
        ("plain", "bfloat16", 91, 197),
    ],
)
def test_how_many_kernels_an_update_starts(critic: str, precision: str, alone: int, full: int) -> None:
    """Of which a small one on a GPU consists: the critics alone, and with actor and temperature."""
    with pretended_device() as device:
        made = updates(precision=precision, critic=critic, device=META)
        for critic_only in (True, False):
            made.update(0, None, critic_only=critic_only)
    assert [len(kernels(operations)) for operations in device.captured] == [alone, full]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graph_and_eager_agree_over_200_updates(precision: str) -> None:
    cuda = torch.device("cuda")

    def train(graphs: bool) -> tuple[list[Tensor], Tensor]:
        made = updates(precision=precision, device=cuda, graphs=graphs)
        metrics = {}
        for index in range(200):
            if index % UPDATES_PER_DRAW == 0:
                made.draw()
            metrics = made.update(index % UPDATES_PER_DRAW, reward_of, critic_only=index < 50)
        return weights(made), metrics["critic_loss"].cpu()

    (captured, loss), (eager, eager_loss) = train(graphs=True), train(graphs=False)
    torch.testing.assert_close(loss, eager_loss, rtol=1e-4, atol=1e-4)
    for a, b in zip(captured, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

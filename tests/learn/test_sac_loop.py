"""What a round stores, learns from and notices, on the real Hopper."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from aihf_control.envs.tasks import TASKS, Task, make_env
from aihf_control.learn.randomness import derive
from aihf_control.learn.replay import Batch
from aihf_control.learn.sac import Metrics, SACConfig
from aihf_control.learn.sac_loop import Exploration, SACLoop

HOPPER = TASKS["hopper"]
SEEDS = (3, 8)
RANDOM = Exploration(random_until=10**9)
NEVER = 10**9
# Gymnasium's own checker sees the first step alone, and would only have warned
nan_reward_warning = pytest.mark.filterwarnings("ignore:.*The reward is a NaN value")
CONFIG = SACConfig(hidden=(8,), batch_size=4, learning_starts=NEVER)


@contextmanager
def sac_loop(
    task: Task = HOPPER,
    config: SACConfig = CONFIG,
    seeds: tuple[int, ...] = SEEDS,
    *,
    fixed_horizon: bool = False,
) -> Iterator[SACLoop]:
    made = SACLoop(task, config, seeds, 1_000, torch.device("cpu"), fixed_horizon=fixed_horizon)
    yield made
    made.envs.close()


def stored(made: SACLoop, count: int) -> Batch:
    return made.replay.unpack(made.replay.latest(count))


def plain_loop(seed: int, round: int, actions: Tensor, horizon: int) -> dict[str, np.ndarray]:
    """What a plain Gymnasium loop sees when it plays `actions` (steps, A)."""
    env = gym.make("Hopper-v5", max_episode_steps=horizon)
    columns: dict[str, list] = {name: [] for name in Batch.__dataclass_fields__}
    observation, _ = env.reset(seed=derive(seed, "round", round) % 2**31)
    for action in actions.numpy():
        following, reward, terminated, truncated, _ = env.step(action)
        row = (observation, action, reward, following, 0.0 if terminated else 1.0)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
        observation = env.reset()[0] if terminated or truncated else following
    env.close()
    return {name: np.array(column, np.float32) for name, column in columns.items()}


@pytest.mark.parametrize(("horizon", "ended_by"), [(1000, "falls"), (7, "time limits")])
def test_transitions_are_those_of_a_plain_gymnasium_loop(horizon: int, ended_by: str) -> None:
    with sac_loop(replace(HOPPER, horizon=horizon)) as made:
        made.run(0, 60, 0, RANDOM, None)
        batch = stored(made, 60)
    for index, seed in enumerate(SEEDS):
        expected = plain_loop(seed, 0, batch.actions[index], horizon)
        for name, column in expected.items():
            np.testing.assert_array_equal(getattr(batch, name)[index].numpy(), column, err_msg=name)
        resets = (batch.next_observations[index, :-1] != batch.observations[index, 1:]).any(1)
        terminated = batch.masks[index, :-1] == 0
        if ended_by == "falls":
            assert terminated.any() and torch.equal(resets, terminated)
        else:
            assert resets.nonzero().flatten().tolist() == [6, 13, 20, 27, 34, 41, 48, 55]
            assert not terminated.any()


def test_the_cut_at_a_rounds_end_keeps_its_mask_and_the_next_round_starts_afresh() -> None:
    with sac_loop() as made:
        made.run(0, 5, 0, RANDOM, None)
        made.run(1, 5, 5, RANDOM, None)
        batch = stored(made, 10)
    assert batch.masks.tolist() == [[1.0] * 10] * 2  # nothing falls in five steps
    for index, seed in enumerate(SEEDS):
        expected = plain_loop(seed, 1, batch.actions[index, 5:], 1000)
        np.testing.assert_array_equal(batch.observations[index, 5:].numpy(), expected["observations"])
        assert not torch.equal(batch.next_observations[index, 4], batch.observations[index, 5])


def test_a_fixed_horizon_never_terminates() -> None:
    with sac_loop(fixed_horizon=True) as made:
        made.run(0, 60, 0, RANDOM, None)
        batch = stored(made, 60)
    assert batch.masks.all()
    assert torch.equal(batch.next_observations[:, :-1], batch.observations[:, 1:])
    assert batch.next_observations[..., 0].min() < 0.7  # metres: it did fall


def test_a_round_is_its_seeds_and_numbers_whatever_was_played_before() -> None:
    acting = Exploration()  # the policy's own noise too
    with sac_loop() as made:
        for round in range(3):
            made.run(round, 10, 10 * round, acting, None)
        expected = made.replay.latest(10)
        third = made.replay.latest(20)[:, :10]
    with sac_loop() as made:
        made.run(2, 10, 20, acting, None)
        assert torch.equal(made.replay.latest(10), expected)
    assert not torch.equal(third, expected)


def test_a_seeds_random_steps_do_not_depend_on_the_batch() -> None:
    with sac_loop() as together, sac_loop(seeds=SEEDS[1:]) as alone:
        together.run(0, 10, 0, RANDOM, None)
        alone.run(0, 10, 0, RANDOM, None)
        assert torch.equal(together.replay.latest(10)[1], alone.replay.latest(10)[0])


class Recorder:
    """Stands before `SAC.update` and keeps what it was given."""

    def __init__(self, made: SACLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[Batch] = []
        self.noises: list[Tensor] = []
        self.critic_only: list[bool] = []
        self._update = made.sac.update
        monkeypatch.setattr(made.sac, "update", self)

    def __call__(self, batch: Batch, noise: Tensor, *, critic_only: bool) -> Metrics:
        self.batches.append(batch)
        self.noises.append(noise)
        self.critic_only.append(critic_only)
        return self._update(batch, noise, critic_only=critic_only)


def test_rewards_are_computed_anew_for_every_batch_and_never_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Tensor, Tensor]] = []

    def reward(observations: Tensor, actions: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        calls.append((observations, actions))
        return torch.full(observations.shape[:2], 100.0 + len(calls))

    with sac_loop(config=replace(CONFIG, learning_starts=1)) as made:
        recorder = Recorder(made, monkeypatch)
        made.run(0, 6, 0, RANDOM, reward)
        kept = stored(made, 6)
    assert [batch.rewards.unique().tolist() for batch in recorder.batches] == [[101.0 + i] for i in range(5)]
    for (observations, actions), batch in zip(calls, recorder.batches, strict=True):
        assert torch.equal(observations, batch.observations) and torch.equal(actions, batch.actions)
    assert kept.rewards.max() < 10.0


def test_batches_are_rows_of_replay_with_the_environments_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    with sac_loop(config=replace(CONFIG, learning_starts=1)) as made:
        recorder = Recorder(made, monkeypatch)
        made.run(0, 20, 0, RANDOM, None)
        kept = stored(made, 20)
    for number, batch in enumerate(recorder.batches):
        for name in Batch.__dataclass_fields__:
            rows = getattr(kept, name)[:, : number + 1]  # of the steps played until then
            drawn = getattr(batch, name).unsqueeze(2) == rows.unsqueeze(1)
            same = drawn if drawn.ndim == 3 else drawn.all(-1)
            assert same.any(-1).all(), name


@pytest.mark.parametrize(("critic", "thawed"), [("plain", [False] * 2), ("batch-norm", [False, True])])
def test_learning_starts_and_thaws_at_the_steps_it_is_told(
    critic: str, thawed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sac_loop(config=replace(CONFIG, critic=critic, learning_starts=4)) as made:
        recorder = Recorder(made, monkeypatch)
        explore = Exploration(critic_only_until=8)
        assert made.run(0, 3, 0, explore, None) == {}
        made.run(1, 7, 3, explore, None)
    # four transitions are there from step 4 on; the updates before step 8 are the critics' alone, and
    # after it all but every third one where the policy is delayed
    assert recorder.critic_only == [True] * 4 + thawed
    noises = torch.stack(recorder.noises)
    assert noises.shape == (6, 2, 2, 4, 3)
    assert len(noises.unique()) == noises.numel()  # no number is used twice


def test_actions_are_uniform_at_first_and_the_policys_afterwards() -> None:
    with sac_loop() as made:
        with torch.no_grad():  # a policy that hardly leaves zero
            made.sac.actor.body.flat.zero_()
            made.sac.actor.body.layers()[-1][1][..., 3:] = -10.0
        made.run(0, 40, 0, Exploration(random_until=20), None)
        actions = stored(made, 40).actions
    assert actions[:, :20].abs().max() > 0.9 and actions[:, :20].min() < -0.9
    assert actions[:, 20:].abs().max() < 1e-3


def test_progress_is_told_of_every_step_once() -> None:
    ticks: list[int] = []
    config = replace(CONFIG, batch_size=1)
    made = SACLoop(HOPPER, config, (0,), 500, torch.device("cpu"), fixed_horizon=False, tick=ticks.append)
    for round, steps in enumerate((250, 100, 1)):
        made.run(round, steps, 0, RANDOM, None)
    made.envs.close()
    assert ticks == [100, 100, 50, 100, 1]


# --- the simulator's faults -------------------------------------------------------------------------


@nan_reward_warning
def test_a_broken_seed_is_named_and_the_others_play_on() -> None:
    with sac_loop() as healthy, sac_loop() as broken:
        healthy.run(0, 10, 0, Exploration(), None)
        with torch.no_grad():
            broken.sac.actor.body.layers()[0][0][1] = torch.nan
        broken.run(0, 10, 0, Exploration(), None)
        assert healthy.faults() == [None, None]
        assert broken.faults() == [None, "the action is not finite"]
        assert torch.equal(healthy.replay.latest(10)[0], broken.replay.latest(10)[0])


def test_weights_that_are_not_finite_are_a_fault() -> None:
    with sac_loop() as made:
        with torch.no_grad():
            made.sac.critic.body.layers()[0][0][1, 0, 0] = torch.inf  # seed 3's second twin
        assert made.faults() == ["a weight of actor or critic is not finite", None]


def test_guard_stays_silent_on_an_ordinary_episode() -> None:
    env = make_env(HOPPER)
    env.reset(seed=0)
    done = False
    while not done:
        *_, terminated, truncated, _ = env.step(np.zeros(3, np.float32))
        done = terminated or truncated
    env.reset()  # time goes back to zero, as it should
    env.step(np.zeros(3, np.float32))
    assert env.get_wrapper_attr("fault") is None
    env.close()


@pytest.mark.parametrize(
    ("steps_before", "velocity", "message"),
    [
        (5, 1e12, "simulated time went from 0.040 s to"),  # MuJoCo resets itself without a word
        (0, 1e12, "MuJoCo raised warning"),  # at the start, time has nothing to go back to
    ],
)
def test_guard_notices_that_the_simulator_reset_itself(
    steps_before: int, velocity: float, message: str
) -> None:
    env = make_env(HOPPER)
    env.reset(seed=0)
    for _ in range(steps_before):
        env.step(np.zeros(3, np.float32))
    env.unwrapped.data.qvel[:] = velocity  # type: ignore[attr-defined]
    env.step(np.zeros(3, np.float32))
    first = env.get_wrapper_attr("fault")
    assert first.startswith(message)
    env.step(np.full(3, np.nan, np.float32))
    assert env.get_wrapper_attr("fault") == first  # the first fault is the one to report
    env.close()


@nan_reward_warning
def test_guard_names_an_action_that_is_not_finite() -> None:
    env = make_env(HOPPER)
    env.reset(seed=0)
    env.step(np.array([0.0, np.nan, 0.0], np.float32))
    assert env.get_wrapper_attr("fault") == "the action is not finite"
    env.close()


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.slow
def test_memory_stays_level_over_rounds() -> None:
    config = SACConfig(hidden=(32, 32), batch_size=32, learning_starts=100)
    with sac_loop(config=config) as made:
        made.replay.rows.fill_(0.0)  # its pages are there from the start
        for round in range(4):
            made.run(round, 500, 500 * round, Exploration(), None)
        settled = resident_kib()
        for round in range(4, 16):
            made.run(round, 500, 500 * round, Exploration(), None)
        assert resident_kib() - settled < 4_096  # 9 MiB more if the rounds kept their noise

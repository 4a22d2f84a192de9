"""The true reward of actions that no data holds, against steps that were taken."""

from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor

import aihf_control.learn.epic_probe as probes
from aihf_control.data.teacher import Teacher, make_pairs
from aihf_control.data.types import Episode, Feedback, Transitions
from aihf_control.envs.tasks import TASKS, Task, make_env
from aihf_control.learn.epic_probe import Probe, make_probe, put, simulate
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.reward_diagnostics import epic_distance

SHOWN = [task for task in TASKS.values() if task.hidden_positions is not None]
"""Whose observations hold the simulator's state."""

TOLERANCE = {"ant": 0.1, "humanoid": 1e-3}
"""Ant's reward is of a body's position, which MuJoCo updates one of the five substeps late: right after a
state is set, as after a reset, it is on time. The others are equal but for the observation's float32."""


def play(task: Task, seed: int, steps: int = 60) -> tuple[Episode, np.ndarray]:
    """Random actions, gentle enough for Walker2d, and (T,) whether the observation clipped a velocity."""
    env = make_env(task)
    simulator: Any = env.unwrapped
    rng = np.random.default_rng(seed)
    observations: list[np.ndarray] = [env.reset(seed=seed)[0]]
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    clipped: list[bool] = []
    terminated = False
    while len(actions) < steps and not terminated:
        actions.append(rng.uniform(-0.3, 0.3, task.action_size).astype(np.float32))
        clipped.append(simulator.data.qvel[:].tolist() != velocities(simulator, task, observations[-1]))
        observation, reward, terminated, _, _ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
    env.close()
    episode = Episode(np.array(observations), np.array(actions), np.array(rewards), terminated)
    return episode, np.array(clipped)


def velocities(simulator: Any, task: Task, observation: np.ndarray) -> list[float]:
    assert task.hidden_positions is not None
    positions = simulator.model.nq - task.hidden_positions
    return observation[positions : positions + simulator.model.nv].tolist()


@pytest.mark.parametrize("task", SHOWN, ids=lambda task: task.name)
def test_a_simulated_step_has_the_reward_of_the_step_that_was_taken(task: Task) -> None:
    compared = 0
    for seed in range(3):
        episode, clipped = play(task, seed)
        simulated = simulate(task, episode.observations[:-1].astype(np.float32), episode.actions)
        assert simulated is not None
        np.testing.assert_allclose(
            simulated[~clipped], episode.rewards[~clipped], atol=TOLERANCE.get(task.name, 1e-5), rtol=0
        )
        compared += int((~clipped).sum())
    assert compared > 80


@pytest.mark.parametrize("task", SHOWN, ids=lambda task: task.name)
def test_the_state_behind_an_observation_has_that_observation(task: Task) -> None:
    episode, _ = play(task, 0, steps=30)
    assert task.hidden_positions is not None
    env = make_env(task)
    env.reset(seed=1)
    simulator: Any = env.unwrapped
    for observation in episode.observations:
        put(simulator, task, observation)
        shown = simulator.model.nq + simulator.model.nv - task.hidden_positions
        np.testing.assert_array_equal(simulator._get_obs()[:shown], observation[:shown])
        assert not simulator.data.qpos[: task.hidden_positions].any()
    env.close()


def test_a_simulated_reward_does_not_depend_on_the_steps_before() -> None:
    task = TASKS["hopper"]
    episode, _ = play(task, 0)
    rows = episode.observations[:-1], episode.actions
    forward, backward = simulate(task, *rows), simulate(task, *(column[::-1] for column in rows))
    assert forward is not None and backward is not None
    np.testing.assert_array_equal(forward, backward[::-1])


@pytest.fixture(scope="module")
def feedback() -> Feedback:
    episodes = [play(TASKS["hopper"], seed)[0] for seed in range(12)]
    pairs = []
    for part in (episodes[4:8], episodes[8:]):
        steps = Transitions.from_episodes(part)
        rng = np.random.default_rng(0)
        pairs.append(make_pairs(part, steps, count=5, length=5, teacher=Teacher(), rng=rng))
    return Feedback(tuple(episodes[:4]), pairs[0], pairs[1], sha256="")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TRANSITIONS", 40)


def test_a_probe_is_half_demonstrated_half_held_out_and_always_the_same(feedback: Feedback) -> None:
    task, tables = TASKS["hopper"], FeedbackTables(feedback, 1.0, "cpu")
    probe = make_probe(task, tables)
    assert probe is not None and make_probe(task, tables) is probe
    again = make_probe(task, FeedbackTables(feedback, 1.0, "cpu"))
    assert again is not None and again is not probe
    for name in ("observations", "actions", "rewards"):
        assert torch.equal(getattr(probe, name), getattr(again, name))

    shown = Transitions.from_episodes(feedback.demonstrations)
    held_out = feedback.held_out.preferred.steps
    assert probe.transitions == 40
    rows = [
        {tuple(row) for row in np.hstack([table.observations, table.actions]).tolist()}
        for table in (shown, held_out)
    ]
    observations, actions, rewards = probe.observations[0], probe.actions[0], probe.rewards[0]
    taken = torch.cat([observations, actions], dim=1)[: probe.transitions].tolist()
    assert all(tuple(row) in rows[n >= 20] for n, row in enumerate(taken))
    recorded = {
        tuple(row): reward
        for table in (shown, held_out)
        for row, reward in zip(table.observations.tolist(), table.rewards.tolist(), strict=True)
    }
    expected = [recorded[tuple(row)] for row in observations[: probe.transitions].tolist()]
    clipped = observations[: probe.transitions, 5:].abs().amax(1) >= 10
    np.testing.assert_allclose(
        rewards[: probe.transitions][~clipped], np.array(expected)[~clipped.numpy()], atol=1e-5
    )


def test_a_learned_reward_that_is_the_true_one_has_distance_0_and_its_negative_1(feedback: Feedback) -> None:
    task = TASKS["hopper"]
    probe = make_probe(task, FeedbackTables(feedback, 1.0, "cpu"))
    assert probe is not None

    def learned(observations: Tensor, actions: Tensor) -> Tensor:
        true = simulate(task, observations[0].numpy(), actions[0].numpy())
        assert true is not None
        effort = actions[0].square().sum(-1).numpy()  # all that the reward takes away, so far from all of it
        return torch.from_numpy(np.stack([true, -true, effort]))

    distance = epic_distance(probe, probe.ask(learned, seeds=3), probe.rewards, 0.99)
    assert distance[:2].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert 0.3 < distance[2] < 0.9


def test_the_rows_of_a_probe_are_taken_here_and_following() -> None:
    """Two transitions, s = 1, 2 to s' = 3, 4, and three actions; a reward that names its row."""
    states = torch.tensor([1, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).float().unsqueeze(1)
    actions = torch.tensor([8, 9, *[5, 6, 7] * 4]).float().unsqueeze(1)
    probe = Probe(2, states, actions, torch.zeros(14))
    asked = probe.ask(lambda o, a: (10 * o + a).squeeze(-1), seeds=2)
    taken, here, following = probe.parts(asked)
    assert taken.tolist() == [[18, 29]] * 2
    assert here.tolist() == [[[15, 16, 17], [25, 26, 27]]] * 2
    assert following.tolist() == [[[35, 36, 37], [45, 46, 47]]] * 2


def test_a_task_without_a_simulator_has_no_probe() -> None:
    assert make_probe(toy.TASK, FeedbackTables(toy.feedback(), 1.0, "cpu")) is None

"""Episodes of one policy in the standard environment, many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import gymnasium as gym
import numpy as np

from aihf_control.arrays import Floats, require_shape
from aihf_control.data.types import Episode
from aihf_control.envs.tasks import Task, make_env
from aihf_control.errors import InvalidData

PARALLEL = 10
"""Environments stepped side by side, so that the policy is called on a batch."""


class Policy(Protocol):
    """Maps observations (B, O) to actions (B, A) in [-1, 1]; all randomness comes from `rng`."""

    def __call__(self, observations: Floats, deterministic: bool, rng: np.random.Generator) -> Floats:
        """Act on a batch, with the mean action if `deterministic`."""
        ...


def roll_out(
    task: Task,
    policy: Policy,
    *,
    transitions: int,
    seed: int,
    deterministic: bool = False,
    action_noise: float = 0.0,
) -> tuple[Episode, ...]:
    """Whole episodes of `policy` in the standard environment, until they hold `transitions` steps.

    Gaussian noise of standard deviation `action_noise` is added to the actions, which are then
    clipped to [-1, 1] and recorded as executed. Episodes are kept in the order in which they
    started, so short ones are not favoured. Raises `InvalidData` if the simulation breaks.
    """
    rng = np.random.default_rng([seed, int(deterministic)])
    idle = [make_env(task) for _ in range(PARALLEL)]
    started: list[_Recording] = []
    running: list[_Recording] = []
    steps = 0
    while running or steps < transitions:
        while idle and steps < transitions:
            entropy = np.random.SeedSequence([seed, int(deterministic), len(started)])
            running.append(_Recording(idle.pop(0), int(entropy.generate_state(1)[0])))
            started.append(running[-1])
        observations = np.stack([recording.observations[-1] for recording in running])
        actions = policy(observations, deterministic, rng)
        require_shape("the policy's actions", actions, (len(running), task.action_size))
        noisy = actions + action_noise * rng.standard_normal(actions.shape) if action_noise else actions
        for recording, action in zip(running, np.clip(noisy, -1.0, 1.0).astype(np.float32), strict=True):
            recording.step(action)
        steps += len(running)
        idle += [recording.env for recording in running if recording.over]
        running = [recording for recording in running if not recording.over]
    for env in idle:
        env.close()
    return tuple(recording.episode() for recording in _first(started, transitions))


@dataclass
class _Recording:
    """An episode while it is played."""

    env: gym.Env
    seed: int
    observations: list[Floats] = field(default_factory=list)
    actions: list[Floats] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.observations.append(self.env.reset(seed=self.seed)[0])

    def step(self, action: Floats) -> None:
        observation, reward, self.terminated, truncated, _ = self.env.step(action)
        self.observations.append(observation)
        self.actions.append(action)
        self.rewards.append(float(reward))
        self.over = self.terminated or truncated
        if fault := self.env.get_wrapper_attr("fault"):
            raise InvalidData(f"rollout from reset({self.seed}), step {len(self.actions) - 1}: {fault}")

    def episode(self) -> Episode:
        return Episode(
            observations=np.asarray(self.observations, dtype=np.float64),
            actions=np.asarray(self.actions, dtype=np.float64),
            rewards=np.asarray(self.rewards, dtype=np.float64),
            terminated=bool(self.terminated),
        )


def _first(recordings: Sequence[_Recording], transitions: int) -> Iterator[_Recording]:
    steps = 0
    for recording in recordings:
        if steps >= transitions:
            return
        steps += len(recording.actions)
        yield recording

"""What `make speed` times: seeds of this suite, or one of another library, behind the same two verbs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from aihf_control.envs.tasks import TASKS, Task, without_deprecations
from aihf_control.learn.randomness import UPDATES_PER_DRAW
from aihf_control.learn.sac import ARITHMETIC, SACConfig
from aihf_control.learn.sac_loop import Exploration, SACLoop

REPLAY_STEPS = 20_000  # room in every replay memory: an update's cost does not depend on it
ALGORITHMS = {"stable_baselines3": "SAC", "sb3_contrib": "CrossQ", "sbx": "SAC"}


@dataclass(frozen=True)
class Spec:
    """A contestant: `seeds` learners, numbered from `first_seed`, of `library`: aihf_control, or one of
    `ALGORITHMS`."""

    library: str
    task: str
    device: str
    threads: int
    seeds: int = 1
    first_seed: int = 0
    precision: str = "float32"
    critic: str = "plain"
    """Of aihf_control; plain is Stable-Baselines3's, so that both do the same work."""
    batch: int = 256
    hidden: tuple[int, ...] = (256, 256)
    stored: int = 2_000
    """Transitions in replay before the first measured step."""
    environments: str = "serial"


def environment(task: Task) -> gym.Env:
    """As Gymnasium makes it, without a guard of ours."""
    with without_deprecations():
        return gym.make(task.env_id, max_episode_steps=task.horizon)


def play(task: Task, steps: int) -> np.ndarray:
    """Random play: packed rows (steps, width) of `observation, next_observation, action, reward, mask`."""
    env, rng = environment(task), np.random.default_rng(0)
    rows, observation = [], env.reset(seed=0)[0]
    for _ in range(steps):
        action = rng.uniform(-1, 1, task.action_size)
        following, reward, terminated, truncated, _ = env.step(action)
        rows.append(np.concatenate([observation, following, action, [float(reward)], [1.0 - terminated]]))
        observation = env.reset()[0] if terminated or truncated else following
    env.close()
    return np.array(rows, np.float32)


class Ours:
    """S seeds of this suite in one batch: the run as a method makes it, and its parts alone."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.task, self.device = spec, TASKS[spec.task], torch.device(spec.device)
        config = SACConfig(
            critic=spec.critic,
            hidden=spec.hidden,
            batch_size=spec.batch,
            learning_starts=min(1_000, spec.stored),
            precision=spec.precision,
        )
        self.seeds = range(spec.first_seed, spec.first_seed + spec.seeds)
        self.loop = SACLoop(
            self.task,
            config,
            self.seeds,
            REPLAY_STEPS,
            self.device,
            fixed_horizon=False,
            environments=spec.environments,
        )
        rows = torch.from_numpy(play(self.task, spec.stored)).to(self.device)
        self.loop.replay.extend(rows.expand(spec.seeds, -1, -1))
        self._round, self._step = 0, 0

    def prepare(self, what: str) -> Callable[[int], None]:
        """What is to be timed, ready to go: it does as many steps as it is told."""
        ways = {"run": self._run, "update": self._update}
        if what == "environments":
            return self._environments()
        return self._matmul() if what == "matmul" else ways[what]

    def close(self) -> None:
        """End what it started, such as environments in processes of their own."""
        self.loop.envs.close()

    def _run(self, steps: int) -> None:
        self.loop.run(self._round, steps, self._step, Exploration(random_until=0), None)
        self._round, self._step = self._round + 1, self._step + steps

    def _update(self, steps: int) -> None:
        for step in range(steps):
            self.loop.updates.update(step % UPDATES_PER_DRAW, None, critic_only=False)

    def _environments(self) -> Callable[[int], None]:
        envs = self.loop.envs
        envs.reset(list(self.seeds))
        actions = np.random.default_rng(0).uniform(-1, 1, (self.spec.seeds, self.task.action_size))

        def steps(count: int) -> None:
            for _ in range(count):
                envs.begin(actions.astype(np.float32))
                envs.finish()

        return steps

    def _matmul(self) -> Callable[[int], None]:
        """The multiplication that an update consists of, and nothing else: 2·S members, hidden layer."""
        members, width = 2 * self.spec.seeds, max(self.spec.hidden)
        dtype = ARITHMETIC[self.spec.precision] or torch.float32
        x = torch.randn(members, self.spec.batch, width, device=self.device).to(dtype)
        weight = torch.randn(members, width, width, device=self.device).to(dtype)
        out = torch.bmm(x, weight)

        def steps(count: int) -> None:
            for _ in range(count):
                torch.bmm(x, weight, out=out)

        steps(2)
        return steps


class Baseline:
    """Stable-Baselines3's SAC, or what has the same interface: one seed, default settings."""

    def __init__(self, spec: Spec) -> None:
        task = TASKS[spec.task]
        algorithm = getattr(importlib.import_module(spec.library), ALGORITHMS[spec.library])
        self.model: Any = algorithm(
            "MlpPolicy",
            environment(task),
            batch_size=spec.batch,
            buffer_size=REPLAY_STEPS,
            learning_starts=0,  # replay is filled below
            policy_kwargs={"net_arch": list(spec.hidden)},
            seed=spec.first_seed,
            device=spec.device,
        )
        cuts = np.cumsum([task.observation_size, task.observation_size, task.action_size, 1])
        for row in play(task, spec.stored)[:, None]:
            observation, following, action, reward, mask = np.split(row, cuts, axis=1)
            self.model.replay_buffer.add(observation, following, action, reward[0], 1 - mask[0], [{}])

    def prepare(self, what: str) -> Callable[[int], None]:
        """As `Ours.prepare`; there is only `run`: an environment step, then an update, in turn."""
        assert what == "run"
        return self._run

    def close(self) -> None:
        """As `Ours.close`."""
        self.model.env.close()

    def _run(self, steps: int) -> None:
        self.model.learn(steps, log_interval=None)

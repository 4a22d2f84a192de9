"""Policy alignment: a round of SAC on the reward of the moment (the inner loop of Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aihf_control.randomness import SeedStreams, derive
from aihf_control.replay import ReplayBuffer
from aihf_control.sac import SAC, Metrics, SACConfig
from aihf_control.tasks import Task, make_vec_env

RewardFunction = Callable[[Tensor, Tensor], Tensor]
"""Observations (S, B, O) and actions (S, B, A) → rewards (S, B)."""

UPDATES_PER_DRAW = 100  # random numbers for so many updates are drawn in one go, to bound their memory


@dataclass(frozen=True)
class Exploration:
    """How a run acts and what it updates before it learns in full; in SAC steps since the run's start."""

    random_until: int = 0
    """Actions are uniform before this step."""
    critic_only_until: int = 0
    """Actor and temperature are frozen before this step."""


class Aligner:
    """S learners with what a round of SAC needs beside them: environments and replay memory."""

    def __init__(
        self,
        task: Task,
        config: SACConfig,
        seeds: Sequence[int],
        total_steps: int,
        device: torch.device,
        *,
        fixed_horizon: bool,
        tick: Callable[[int], None] = lambda steps: None,
    ) -> None:
        observations, actions = task.observation_size, task.action_size
        self.seeds, self._tick = tuple(seeds), tick
        self.sac = SAC(config, seeds, observations, actions, device)
        capacity = min(config.replay_capacity, total_steps)
        self.replay = ReplayBuffer(len(seeds), capacity, observations, actions, device)
        self.envs = make_vec_env(task, seeds, fixed_horizon=fixed_horizon)

    def run(
        self, round: int, steps: int, first_step: int, explore: Exploration, reward: RewardFunction | None
    ) -> Metrics:
        """`steps` environment steps, one update each, from freshly reset environments.

        `reward` is evaluated anew for every sampled batch; None means the environment's own. The
        episode cut at the round's end is a truncation: its last mask stays 1. Returns the metrics of
        the last update.
        """
        resets = [derive(seed, "round", round) % 2**31 for seed in self.seeds]
        observations, _ = self.envs.reset(seed=resets)  # type: ignore[arg-type]  # one each, as it accepts
        observations = observations.astype(np.float32)
        draws = _Draws(self.sac, round)
        metrics: Metrics = {}
        for step in range(first_step, first_step + steps):
            if (step - first_step) % UPDATES_PER_DRAW == 0 and step > first_step:
                self._tick(UPDATES_PER_DRAW)
            uniforms, noise, acting = draws.next()
            if step < explore.random_until:
                actions = 2 * acting[1] - 1
            else:
                current = torch.from_numpy(observations).to(self.sac.device).unsqueeze(1)
                actions = self.sac.act(current, acting[0].unsqueeze(1)).squeeze(1)
            observations = self._step(observations, actions.cpu().numpy())
            if self.replay.size >= self.sac.config.learning_starts:
                batch = self.replay.sample(uniforms)
                if reward is not None:
                    with torch.no_grad():
                        batch = replace(batch, rewards=reward(batch.observations, batch.actions))
                metrics = self.sac.update(batch, noise, critic_only=step < explore.critic_only_until)
        self._tick((steps - 1) % UPDATES_PER_DRAW + 1)
        return metrics

    def _step(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        following, rewards, terminated, truncated, infos = self.envs.step(actions)
        final = following.astype(np.float32)
        following = final
        ended = terminated | truncated
        if ended.any():
            following = final.copy()
            final[ended] = np.stack(list(infos["final_obs"][ended]))
        self.replay.add(observations, actions, rewards, final, 1.0 - terminated)
        return following

    def faults(self) -> list[str | None]:
        """What broke each seed, if anything: its simulator, or weights that are no longer finite."""
        simulated = [env.get_wrapper_attr("fault") for env in self.envs.envs]  # type: ignore[attr-defined]
        return [
            fault or (None if finite else "a weight of actor or critic is not finite")
            for fault, finite in zip(simulated, self.sac.finite().tolist(), strict=True)
        ]


class _Draws:
    """The random numbers of a round, `UPDATES_PER_DRAW` updates at a time."""

    def __init__(self, sac: SAC, round: int) -> None:
        self._sac, self._left = sac, 0
        purposes = ("replay", "update", "acting", "random actions")
        self._streams = [SeedStreams(sac.seeds, purpose, round, sac.device) for purpose in purposes]

    def next(self) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Replay uniforms (S, B), update noise (2, S, B, A), acting noise and uniforms (S, A)."""
        if self._left == 0:
            self._draw()
        index = UPDATES_PER_DRAW - self._left
        self._left -= 1
        return self._uniforms[index], self._noise[:, index], (self._acting[index], self._random[index])

    def _draw(self) -> None:
        count, batch, actions = UPDATES_PER_DRAW, self._sac.config.batch_size, self._sac.actor.actions
        replay, update, acting, random = self._streams
        self._uniforms = replay.uniform(count, batch, dtype=torch.float64)
        noise = update.normal(2 * count, batch, actions)
        self._noise = noise.view(2, count, *noise.shape[1:])
        self._acting, self._random = acting.normal(count, actions), random.uniform(count, actions)
        self._left = count

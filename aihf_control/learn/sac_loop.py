"""A round of SAC on a reward: on the one of the moment it is policy alignment, Algorithm 1's inner loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aihf_control.envs.backends import Steps, make_environments
from aihf_control.envs.tasks import Task
from aihf_control.learn.cuda_graphs import Graphed
from aihf_control.learn.feedback_tables import SMALLEST_STD, StepTable
from aihf_control.learn.randomness import UPDATES_PER_DRAW, Draws, SeedStreams, derive
from aihf_control.learn.replay import ReplayBuffer
from aihf_control.learn.sac import SAC, Metrics, SACConfig
from aihf_control.learn.sac_updates import RewardFunction, Updates
from aihf_control.learn.transfer import Download, Upload

LARGEST_VALUE = 1e6
"""|Q| beyond which a seed has diverged: rewards are within ±10 where they are learned, and a hundred steps'
true rewards within some thousands."""

VALUES_LOOKED_AT = 256


@dataclass(frozen=True)
class Exploration:
    """How a run acts and what it updates before it learns in full; in SAC steps since the run's start."""

    random_until: int = 0
    """Actions are uniform before this step."""
    critic_only_until: int = 0
    """Actor and temperature are frozen before this step."""


class SACLoop:
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
        environments: str = "serial",
        cuda_graphs: bool = True,
        shown: StepTable | None = None,
        share: float = 0.0,
        standardise_from_replay: bool = False,
        actor_learning_rate: float | None = None,
        tick: Callable[[int], None] = lambda steps: None,
    ) -> None:
        observations, actions = task.observation_size, task.action_size
        self.seeds, self._tick = tuple(seeds), tick
        self._standardise_from_replay = standardise_from_replay
        self.sac = SAC(config, seeds, observations, actions, device, actor_learning_rate)
        capacity = min(config.replay_capacity, total_steps)
        self.replay = ReplayBuffer(len(seeds), capacity, observations, actions, device)
        self.updates = Updates(self.sac, self.replay, shown, share, graphs=cuda_graphs)
        self._acting = _Acting(self.sac, observations, graphs=cuda_graphs)
        self._upload = Upload(len(seeds), self.replay.rows.shape[-1] + observations, device)
        self.envs = make_environments(
            task, len(seeds), environments, fixed_horizon=fixed_horizon, autoreset=True
        )

    def run(
        self, round: int, steps: int, first_step: int, explore: Exploration, reward: RewardFunction | None
    ) -> Metrics:
        """`steps` environment steps, one update each, from freshly reset environments.

        An update runs while the environments take their step, and so learns from what was stored
        before it. The episode cut at the round's end is a truncation: its last mask stays 1. Returns
        the metrics of the last update, and those of the last one of the policy.
        """
        observations = self.envs.reset([derive(seed, "round", round) % 2**31 for seed in self.seeds])
        self.updates.begin_round(round)
        self._acting.begin_round(round, observations)
        metrics: Metrics = {}
        for index in range(steps):
            step, position = first_step + index, index % UPDATES_PER_DRAW
            if position == 0:
                if index > 0:
                    self._tick(UPDATES_PER_DRAW)
                self.updates.draw()
                self._acting.draw()
            random = step < explore.random_until
            actions = self._acting.random(position) if random else self._acting.act(position)
            self.envs.begin(actions)
            if self.replay.size >= self.sac.config.learning_starts:
                if step == self.sac.config.learning_starts and self._standardise_from_replay:
                    self._standardise()
                delayed = (step + 1) % self.sac.policy_delay != 0
                critic_only = delayed or step < explore.critic_only_until
                metrics |= self.updates.update(position, reward, critic_only=critic_only)
            taken = self.envs.finish()
            self._store(observations, actions, taken)
            observations = taken.following
        self._tick((steps - 1) % UPDATES_PER_DRAW + 1)
        return {name: values.clone() for name, values in metrics.items()}

    def _store(self, observations: np.ndarray, actions: np.ndarray, taken: Steps) -> None:
        """The step that was taken, and what the next one is to see, in one copy."""
        step = self.replay.columns(observations, actions, taken.rewards, taken.final, 1.0 - taken.terminated)
        arrived = self._upload(*step, taken.following).unsqueeze(1)
        width = self.replay.rows.shape[-1]
        self.replay.extend(arrived[..., :width])
        self._acting.see(arrived[..., width:])

    def _standardise(self) -> None:
        """By what each seed has seen so far, where there is no feedback whose statistics are used."""
        seen = self.replay.unpack(self.replay.latest(self.replay.size)).observations
        self.sac.standardise(seen.mean(1, keepdim=True), seen.std(1, keepdim=True) + SMALLEST_STD)

    def faults(self) -> list[str | None]:
        """What broke each seed, if anything: its simulator, weights that are not finite, or divergence."""
        finite, largest = self.sac.finite().tolist(), self._largest_values().tolist()
        return [
            fault or _weights_fault(finite[seed], largest[seed])
            for seed, fault in enumerate(self.envs.faults())
        ]

    @torch.no_grad()
    def _largest_values(self) -> Tensor:
        """(S,) the largest |Q| of either twin at the round's last steps."""
        rows = self.replay.unpack(self.replay.latest(min(self.replay.size, VALUES_LOOKED_AT)))
        if not rows.actions.shape[1]:
            return torch.zeros(len(self.sac.seeds))
        return self.sac.critic(rows.observations, rows.actions).abs().amax((1, 2))


def _weights_fault(finite: bool, largest: float) -> str | None:
    if not finite:
        return "a weight of actor or critic is not finite"
    return f"|Q| = {largest:.3g} passed {LARGEST_VALUE:.0e}" if largest > LARGEST_VALUE else None


class _Acting:
    """The policies' actions in a round: one copy back to the host a step."""

    def __init__(self, sac: SAC, observations: int, *, graphs: bool) -> None:
        self._sac = sac
        self._observations = torch.zeros(len(sac.seeds), 1, observations, device=sac.device)
        self._download = Download(len(sac.seeds), sac.actor.actions, sac.device)
        self._draws = Draws(sac.device)
        self._forward = Graphed(self._sample, lambda: (), sac.device, enabled=graphs, name="acting")

    def begin_round(self, round: int, observations: np.ndarray) -> None:
        """Fresh streams for the round, which begins at `observations` (S, O)."""
        self._streams = [
            SeedStreams(self._sac.seeds, purpose, round, self._sac.device)
            for purpose in ("acting", "random actions")
        ]
        self.see(torch.from_numpy(observations).unsqueeze(1))

    def see(self, observations: Tensor) -> None:
        """What the next actions are for, (S, 1, O)."""
        self._observations.copy_(observations)

    def draw(self) -> None:
        """What the next `UPDATES_PER_DRAW` steps need."""
        (acting, random), actions = self._streams, self._sac.actor.actions
        self._draws.fill(noise=acting.normal(UPDATES_PER_DRAW, 1, actions))
        self._random = 2 * random.uniform(UPDATES_PER_DRAW, actions).cpu().numpy() - 1

    def random(self, position: int) -> np.ndarray:
        """Uniform actions (S, A)."""
        return self._random[position]

    def act(self, position: int) -> np.ndarray:
        """Actions (S, A) of the stochastic policies at what they see."""
        self._draws.go_to(position)
        return self._download(self._forward()["actions"])

    def _sample(self) -> dict[str, Tensor]:
        return {"actions": self._sac.act(self._observations, self._draws["noise"]).squeeze(1)}

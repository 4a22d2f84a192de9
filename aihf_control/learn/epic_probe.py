"""Rewards that no data holds: what the true reward is of other actions in states that were visited.

For EPIC (`diagnostics.epic_distance`) two rewards are compared on the same transitions and actions.
The true reward of an action that was never taken is found by simulation: the state of the simulator is
read off the observation, and one step is played from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import Task, action_range, make_env
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.replay import Batch

TRANSITIONS = 256
ACTIONS = 16
SEED = 0


@dataclass(frozen=True)
class Probe:
    """T transitions (s, a, s') and K actions that are tried in every s and every s', as one table.

    Its T + 2·T·K rows are first the (s, a), then each s with the K actions, then each s' with them:
    `observations` (M, rows, O), `actions` (M, rows, A) and true `rewards` (M, rows), of each member of the
    feedback.
    """

    transitions: int
    observations: Tensor
    actions: Tensor
    rewards: Tensor

    @torch.no_grad()
    def ask(self, reward: Callable[[Tensor, Tensor], Tensor], seeds: int) -> Tensor:
        """(S, rows) rewards of S seeds, from observations (S, rows, O) and actions (S, rows, A)."""
        return reward(self.observations.expand(seeds, -1, -1), self.actions.expand(seeds, -1, -1))

    def parts(self, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(…, rows) → rewards of (s, a) (…, T), of the actions in s and of those in s', both (…, T, K)."""
        tried = rewards[..., self.transitions :].unflatten(-1, (2, self.transitions, -1))
        return rewards[..., : self.transitions], tried[..., 0, :, :], tried[..., 1, :, :]


@lru_cache(maxsize=1)  # the methods of a study share their feedback, and so this
def make_probe(task: Task, feedback: FeedbackTables) -> Probe | None:
    """The same probe whenever it is made of the same feedback; a second or two of simulation.

    Half of the transitions and of the actions are demonstrated, half come from the held-out episodes of the
    preference tiers. None where a task is not simulated by MuJoCo.
    """
    rngs = [np.random.default_rng(SEED) for _ in feedback.demonstrated.steps.counts]

    def draw(count: int) -> Batch:
        parts = []
        for table in (feedback.demonstrated.steps, feedback.held_out.steps):
            counts = table.counts * (len(rngs) // len(table.counts))
            chosen = [rng.permutation(n)[: count // 2] for rng, n in zip(rngs, counts, strict=True)]
            parts.append(table.rows(torch.as_tensor(np.stack(chosen), device=table.sizes.device)))
        return Batch.joined(*parts)

    drawn, tried = draw(TRANSITIONS), draw(ACTIONS).actions
    everywhere = torch.cat([drawn.observations, drawn.next_observations], dim=1)
    observations = torch.cat([drawn.observations, everywhere.repeat_interleave(ACTIONS, dim=1)], dim=1)
    actions = torch.cat([drawn.actions, tried.repeat(1, everywhere.shape[1], 1)], dim=1)
    asked = observations.flatten(0, 1).cpu().numpy(), actions.flatten(0, 1).cpu().numpy()
    if (rewards := simulate(task, *asked)) is None:
        return None
    found = torch.as_tensor(rewards, device=actions.device).view(len(rngs), -1)
    return Probe(drawn.actions.shape[1], observations, actions, found)


def simulate(task: Task, observations: Floats, actions: Floats) -> Floats | None:
    """(N,) true rewards of one step with each of `actions` (N, A) from each of `observations` (N, O).

    None where the task is not simulated by MuJoCo, or its observations do not hold the simulator's state.
    """
    if task.hidden_positions is None:
        return None
    env = make_env(task)
    env.reset(seed=SEED)
    simulator: Any = env.unwrapped  # without a time limit
    rewards = None
    if hasattr(simulator, "set_state"):
        rewards, own = np.zeros(len(actions)), action_range(task).own(actions)
        for i, (observation, action) in enumerate(zip(observations, own, strict=True)):
            put(simulator, task, observation)
            rewards[i] = simulator.step(action)[1]
    env.close()
    return rewards


def put(simulator: Any, task: Task, observation: Floats) -> None:
    """Put a Gymnasium MuJoCo environment into the state behind `observation` (O,), at the track's start.

    What an observation does not hold is lost: velocities beyond its clipping (10 in Hopper and
    Walker2d), and the solver's warm start, which is made to depend on nothing that came before.
    """
    model, left_out = simulator.model, task.hidden_positions
    assert left_out is not None  # else the observation does not tell
    positions = model.nq - left_out
    state = np.asarray(observation, np.float64)
    simulator.data.ctrl[:] = 0
    simulator.data.qacc_warmstart[:] = 0
    hidden = np.zeros(left_out)
    simulator.set_state(np.concatenate([hidden, state[:positions]]), state[positions : positions + model.nv])

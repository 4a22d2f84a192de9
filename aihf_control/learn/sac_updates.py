"""A round's gradient updates: sample, reward, critic, actor, temperature, Adam and Polyak, in one piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from aihf_control.learn.cuda_graphs import Graphed
from aihf_control.learn.feedback_tables import StepTable
from aihf_control.learn.randomness import UPDATES_PER_DRAW, Draws, SeedStreams
from aihf_control.learn.replay import Batch, ReplayBuffer
from aihf_control.learn.sac import SAC, Metrics

RewardFunction = Callable[[Tensor, Tensor], Tensor]
"""Observations (S, B, O) and actions (S, B, A) → rewards (S, B)."""


class Updates:
    """SAC updates on batches from replay.

    Of every batch the first `share` are rows of `shown`, transitions that all seeds may see, in place of
    the seed's own. SAC is off-policy, so it may learn from them too, at the reward of the moment, and what
    it solves stays the same (Hybrid IRL, 2402.08848; RLPD, 2302.02948).
    """

    def __init__(
        self,
        sac: SAC,
        replay: ReplayBuffer,
        shown: StepTable | None = None,
        share: float = 0.0,
        *,
        graphs: bool = True,
    ) -> None:
        self.sac, self.replay, self._use_graphs = sac, replay, graphs
        self._shown, self._shown_rows = shown, round(share * sac.config.batch_size) if shown else 0
        self.draws = Draws(sac.device)
        self._graphs: dict[tuple[RewardFunction | None, bool], Graphed] = {}

    def begin_round(self, round: int) -> None:
        """Fresh streams for the round."""
        self._streams = [
            SeedStreams(self.sac.seeds, purpose, round, self.sac.device) for purpose in ("replay", "update")
        ]

    def draw(self) -> None:
        """Rows and noise of the next `UPDATES_PER_DRAW` steps, in each of which one transition is stored."""
        count, batch = UPDATES_PER_DRAW, self.sac.config.batch_size
        replay, update = self._streams
        sizes = torch.arange(self.replay.size, self.replay.size + count).clamp(1, self.replay.capacity)
        uniforms = replay.uniform(count, batch, dtype=torch.float64)
        rows = (uniforms * sizes.to(uniforms).view(-1, 1, 1)).long()
        if self._shown is not None:
            head = slice(self._shown_rows)
            rows[..., head] = (uniforms[..., head] * self._shown.sizes).long()
        noise = update.normal(2 * count, batch, self.sac.actor.actions)
        self.draws.fill(rows=rows, noise=noise.unflatten(0, (count, 2)))

    def update(self, position: int, reward: RewardFunction | None, *, critic_only: bool = False) -> Metrics:
        """The update at `position` of the last draw; its metrics hold until the next.

        `reward` is evaluated anew for the sampled batch; None means the rewards that were stored.
        """
        self.draws.go_to(position)
        key = (reward, critic_only)
        if key not in self._graphs:
            self._graphs[key] = Graphed(
                lambda: self._update(reward, critic_only=critic_only),
                lambda: self.sac.tensors().values(),
                self.sac.device,
                enabled=self._use_graphs,
                name="SAC's critics alone" if critic_only else "an update of SAC",
            )
        return self._graphs[key]()

    def _update(self, reward: RewardFunction | None, *, critic_only: bool) -> Metrics:
        rows = self.draws["rows"]
        batch = self.replay.batch(rows[:, self._shown_rows :])
        if self._shown is not None:
            batch = Batch.joined(self._shown.rows(rows[:, : self._shown_rows]), batch)
        if reward is not None:
            with torch.no_grad():
                batch = replace(batch, rewards=reward(batch.observations, batch.actions))
        return self.sac.update(batch, self.draws["noise"], critic_only=critic_only)

"""AIHF, Algorithm 1 (2406.06874), from a random policy. Every round:

1  align          π ← SAC on the current reward r, `round_steps` steps
2  roll out       fresh trajectories of π
3  learn reward   `reward_steps` times: r ← r + ∇ [ w1·L1(demonstrations, trajectories) + L2(pairs) ]
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aihf_control.learn.agent_steps import AgentSteps
from aihf_control.learn.feedback_tables import PairBatch
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.reward import demonstration_loss, penalties
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod

Weighted = tuple[Tensor, Tensor]
"""What the reward network sees of B steps (S, B, O + A), and their weights in L1 (S, B)."""


class AIHF(SACMethod):
    """Reward and policy learn from both sources; without `preferences` this is maximum-likelihood IRL, and
    `hybrid` shows SAC demonstrated transitions beside the policy's own."""

    def __init__(self, context: Context, *, preferences: bool = True, hybrid: bool = False) -> None:
        settings, self.config = context.settings, context.settings.aihf
        share = settings.hybrid.demonstration_share if hybrid else 0.0
        super().__init__(context, learns_reward=True, demonstration_share=share)
        self.preferences = preferences
        self.roller = Roller(
            context.task,
            context.seeds,
            self.config.rollout_episodes,
            fixed_horizon=settings.fixed_horizon,
            environments=settings.environments,
        )

    def run_round(self, round: int, steps: int) -> Metrics:
        """Algorithm 1, one turn."""
        metrics = self.align(round, steps, self.reward_learner.model)  # 1
        trajectories = self.roll_out(round)  # 2
        for shown, own, pairs in self.minibatches(round, trajectories):  # 3
            loss, told = self.loss(shown, own, pairs)
            self.reward_learner.optimiser.descend(loss)
        return metrics | told

    def loss(self, shown: Weighted, own: Weighted, pairs: PairBatch) -> tuple[Tensor, Metrics]:
        """−(w1·L1 + α·L2) on a minibatch, and the penalties, which are departures."""
        model, reward = self.reward_learner.model, self.context.settings.reward
        inputs = torch.cat([shown[0], own[0]], dim=1)
        theirs, ours = model.from_inputs(inputs).chunk(2, dim=1)
        loss, metrics = demonstration_loss(theirs, shown[1], ours, own[1])
        loss = self.config.demonstration_weight / self.context.task.horizon * loss
        if self.preferences:
            preference, more, judged = self.reward_learner.preference_term(pairs)
            loss, metrics = loss + self.config.preference_weight * preference, metrics | more
            inputs = torch.cat([inputs, judged], dim=1)
        penalty, more = penalties(model, inputs, reward)
        return loss + penalty, metrics | more

    def roll_out(self, round: int) -> AgentSteps:
        """Whole episodes of the stochastic policy in the training environment; or replay in their place."""
        task, sac, discount = self.context.task, self.loop.sac, self.config.trajectory_discount
        if self.config.replay_steps is not None:
            replay = self.loop.replay
            recent = replay.unpack(replay.latest(min(self.config.replay_steps, replay.size)))
            return AgentSteps.from_replay(recent, discount)
        streams = SeedStreams(self.context.seeds, "rollout actions", round, self.context.device)
        noise = iter(streams.normal(task.horizon, self.config.rollout_episodes, task.action_size))
        rollouts = self.roller.play(
            lambda observations: sac.act(observations, next(noise)), "rollout", round, self.context.device
        )
        self.environment_steps += torch.from_numpy(rollouts.lengths.sum(1))
        return AgentSteps.from_rollouts(rollouts, discount, self.context.device)

    def minibatches(self, round: int, own: AgentSteps) -> Iterator[tuple[Weighted, Weighted, PairBatch]]:
        """Of each gradient step: demonstrated steps, the policy's own, and pairs."""
        feedback, reward = self.context.feedback, self.context.settings.reward
        demonstrated, model = feedback.demonstrated, self.reward_learner.model
        count = self.config.reward_steps
        streams = SeedStreams(self.context.seeds, "reward update", round, self.context.device)
        rows = streams.uniform(count, 2, reward.rows_per_step, dtype=torch.float64)
        pairs = streams.indices(count, reward.pairs_per_step, len(feedback.pairs))
        for step in range(count):
            batch, weights = demonstrated.sample((rows[step][:, 0] * demonstrated.steps.sizes).long())
            observations, actions, own_weights = own.sample(rows[step][:, 1])
            yield (
                (model.inputs(batch.observations, batch.actions), weights),
                (model.inputs(observations, actions), own_weights),
                feedback.pairs.pairs(pairs[step]),
            )

    def faults(self) -> list[str | None]:
        """SAC's, then the rollouts'."""
        return [a or b for a, b in zip(super().faults(), self.roller.faults(), strict=True)]

    def close(self) -> None:
        """SAC's environments, then the rollouts'."""
        super().close()
        self.roller.close()

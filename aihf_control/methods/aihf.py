"""AIHF, Algorithm 1: policy alignment and reward update in turn, from a random policy (2406.06874)."""

from __future__ import annotations

import torch
from torch import Tensor

from aihf_control.learn.agent_steps import AgentSteps
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.reward import demonstration_loss, penalties
from aihf_control.learn.rollouts import Roller, Rollouts
from aihf_control.learn.sac import Metrics
from aihf_control.learn.sac_loop import Exploration
from aihf_control.methods.method import Context
from aihf_control.methods.sac_method import SACMethod


class AIHF(SACMethod):
    """Reward and policy learn from both sources; without `preferences` this is maximum-likelihood IRL."""

    def __init__(self, context: Context, *, preferences: bool = True) -> None:
        settings = context.settings
        explore = Exploration(random_until=settings.sac.random_steps)
        super().__init__(
            context,
            settings.sac,
            explore,
            learns_reward=True,
            demonstration_share=settings.aihf.demonstration_share,
        )
        self.config, self.preferences = settings.aihf, preferences
        self.roller = Roller(
            context.task,
            context.seeds,
            self.config.rollout_episodes,
            fixed_horizon=settings.fixed_horizon,
            environments=settings.environments,
        )

    def run_round(self, round: int, steps: int) -> Metrics:
        """Algorithm 1, one turn: SAC on the current reward, then the reward against the new policy."""
        metrics = self.align(round, steps, self.learner.model)
        return metrics | self.update_reward(round)

    def update_reward(self, round: int) -> Metrics:
        """Gradient steps on w1·L1 + L2 with demonstrations, pairs and fresh trajectories of the policy."""
        agent = self._agent_steps(round)
        feedback, config = self.context.feedback, self.context.settings.reward
        streams = SeedStreams(self.context.seeds, "reward update", round, self.context.device)
        rows = streams.uniform(self.config.reward_steps, 2, config.rows_per_step, dtype=torch.float64)
        pairs = streams.indices(self.config.reward_steps, config.pairs_per_step, len(feedback.pairs))
        metrics: Metrics = {}
        for step in range(self.config.reward_steps):
            loss, metrics = self._loss(rows[step], pairs[step], agent)
            self.learner.optimiser.descend(loss)
        return metrics

    def _agent_steps(self, round: int) -> AgentSteps:
        if self.config.replay_steps is not None:
            replay = self.aligner.replay
            recent = replay.unpack(replay.latest(min(self.config.replay_steps, replay.size)))
            return AgentSteps.from_replay(recent, self.config.trajectory_discount)
        rollouts = self._roll(round)
        self.environment_steps += torch.from_numpy(rollouts.lengths.sum(1))
        return AgentSteps.from_rollouts(rollouts, self.config.trajectory_discount, self.context.device)

    def _loss(self, rows: Tensor, pairs: Tensor, agent: AgentSteps) -> tuple[Tensor, Metrics]:
        """−(w1·L1 + L2) and penalties on a minibatch; `rows` (S, 2, B) in [0, 1), `pairs` (S, P)."""
        feedback, model = self.context.feedback, self.learner.model
        shown = feedback.demonstrated
        batch, shown_weights = shown.sample((rows[:, 0] * len(shown.steps)).long())
        shown_inputs = model.inputs(batch.observations, batch.actions)
        observations, actions, agent_weights = agent.sample(rows[:, 1])
        agent_inputs = model.inputs(observations, actions)
        rewards = model.from_inputs(torch.cat([shown_inputs, agent_inputs], dim=1))
        theirs, ours = rewards.split(rows.shape[-1], dim=1)
        loss, metrics = demonstration_loss(theirs, shown_weights, ours, agent_weights)
        loss = self.config.demonstration_weight / self.context.task.horizon * loss
        if self.preferences:
            preference, more, _ = self.learner.preference_term(feedback.pairs.pairs(pairs))
            loss, metrics = loss + preference, metrics | more
        penalty, more = penalties(
            model, torch.cat([shown_inputs, agent_inputs], dim=1), self.context.settings.reward
        )
        return loss + penalty, metrics | more

    def _roll(self, round: int) -> Rollouts:
        """Whole episodes of the stochastic policy in the training environment."""
        task, sac = self.context.task, self.aligner.sac
        streams = SeedStreams(self.context.seeds, "rollout actions", round, self.context.device)
        noise = iter(streams.normal(task.horizon, self.config.rollout_episodes, task.action_size))
        return self.roller.play(
            lambda observations: sac.act(observations, next(noise)), "rollout", round, self.context.device
        )

    def faults(self) -> list[str | None]:
        """The aligner's, then the rollouts'."""
        return [a or b for a, b in zip(super().faults(), self.roller.faults(), strict=True)]

    def close(self) -> None:
        """The aligner's environments, then the rollouts'."""
        super().close()
        self.roller.close()

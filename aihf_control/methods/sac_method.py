"""What the methods on the SAC axis share: S learners, their environments and memory, and a step count."""

from __future__ import annotations

import torch
from torch import Tensor

from aihf_control.learn.adam import prefixed
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward import RewardLearner, RewardModel
from aihf_control.learn.sac import Metrics, SACConfig
from aihf_control.learn.sac_loop import Aligner, Exploration
from aihf_control.learn.sac_updates import RewardFunction
from aihf_control.methods.method import Context


class SACMethod:
    """SAC on some reward; a subclass says which, and what happens around the rounds."""

    def __init__(
        self,
        context: Context,
        config: SACConfig,
        explore: Exploration,
        *,
        learns_reward: bool,
        demonstration_share: float = 0.0,
    ) -> None:
        settings = context.settings
        self.context, self.total_steps, self._explore = context, settings.steps, explore
        self.aligner = Aligner(
            context.task,
            config,
            context.seeds,
            settings.steps,
            context.device,
            fixed_horizon=settings.fixed_horizon,
            environments=settings.environments,
            cuda_graphs=settings.cuda_graphs,
            shown=context.feedback.demonstrated.steps if demonstration_share else None,
            share=demonstration_share,
            standardise_from_replay=context.tables is None,
            tick=context.tick,
        )
        if context.tables is not None:
            self.aligner.sac.standardise(context.tables.observation_mean, context.tables.observation_std)
        self.actor, self.critic = self.aligner.sac.actor, self.aligner.sac.critic
        self.steps = torch.zeros((), dtype=torch.int64)
        self.environment_steps = torch.zeros(len(context.seeds), dtype=torch.int64)
        self.learns_reward = learns_reward
        self._learner = self._reward_learner() if learns_reward else None

    def _reward_learner(self) -> RewardLearner:
        feedback, settings = self.context.feedback, self.context.settings
        return RewardLearner(
            settings.reward,
            self.context.seeds,
            feedback.observation_mean,
            feedback.observation_std,
            self.context.task.action_size,
        )

    @property
    def reward_model(self) -> RewardModel | None:
        """The learned reward, if this method learns one."""
        return self._learner.model if self._learner else None

    @property
    def learner(self) -> RewardLearner:
        """The learned reward with its optimiser, for methods that learn one."""
        assert self._learner is not None, "this method learns no reward"
        return self._learner

    def start(self) -> Metrics:
        """Nothing, unless a method overrides it."""
        return {}

    def align(self, round: int, steps: int, reward: RewardFunction | None) -> Metrics:
        """One round of policy alignment, counted."""
        metrics = self.aligner.run(round, steps, int(self.steps), self._explore, reward)
        self.steps += steps
        self.environment_steps += steps
        return metrics

    def rewards(self, steps: Batch) -> Tensor:
        """The learned reward (S, B) of given steps."""
        return self.learner.model(steps.observations, steps.actions)

    def faults(self) -> list[str | None]:
        """For each seed what broke it, if anything did."""
        return self.aligner.faults()

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name."""
        live = {"steps": self.steps, "environment_steps": self.environment_steps}
        live |= prefixed("sac", self.aligner.sac.tensors())
        return live | (self._learner.tensors() if self._learner else {})

    def new_rows(self, steps: int) -> Tensor | None:
        """The packed replay rows of the last `steps` steps."""
        return self.aligner.replay.latest(steps)

    def restore_rows(self, rows: Tensor) -> None:
        """Append checkpointed replay rows."""
        self.aligner.replay.extend(rows)

    def close(self) -> None:
        """End the environments."""
        self.aligner.envs.close()

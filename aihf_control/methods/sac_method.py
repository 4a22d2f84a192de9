"""What the methods on the SAC axis share: S learners, their environments and memory, and a step count."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from aihf_control.learn.adam import prefixed
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward import RewardLearner
from aihf_control.learn.sac import SAC, Metrics
from aihf_control.learn.sac_loop import Exploration, SACLoop
from aihf_control.learn.sac_updates import RewardFunction
from aihf_control.methods.method import Context, Method


class SACMethod(Method):
    """SAC on some reward; a subclass says which, and what happens around the rounds.

    It starts from a random policy, or from the `clone` of the demonstrations with c = β·KL(π‖clone) in L3.
    """

    sac: SAC

    def __init__(
        self,
        context: Context,
        *,
        learns_reward: bool,
        start: str = "random",
        demonstration_share: float = 0.0,
    ) -> None:
        super().__init__(context)
        settings = context.settings
        config, self._explore = settings.sac, Exploration(random_until=settings.sac.random_steps)
        from_clone = "clone" in (start, settings.start)
        if from_clone:
            begin = settings.from_clone
            config = replace(config, initial_temperature=begin.divergence_weight)
            self._explore = Exploration(critic_only_until=begin.warm_up_steps)
        self.total_steps = settings.steps
        self.loop = SACLoop(
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
            actor_learning_rate=settings.from_clone.learning_rate if from_clone else None,
            tick=context.tick,
        )
        if context.tables is not None:
            self.loop.sac.standardise(context.tables.observation_mean, context.tables.observation_std)
        self.sac = self.loop.sac
        if from_clone:
            self.sac.add_prior()
        self.actor, self.critic = self.sac.actor, self.sac.critic
        self.steps = torch.zeros((), dtype=torch.int64)
        self.learns_reward = learns_reward
        self._learned = self._make_reward_learner() if learns_reward else None
        self.reward_model = self._learned.model if self._learned else None

    def _make_reward_learner(self) -> RewardLearner:
        feedback, settings = self.context.feedback, self.context.settings
        return RewardLearner(
            settings.reward,
            self.context.seeds,
            feedback.observation_mean,
            feedback.observation_std,
            self.context.task.action_size,
        )

    @property
    def reward_learner(self) -> RewardLearner:
        """The learned reward with its optimiser, for methods that learn one."""
        assert self._learned is not None, "this method learns no reward"
        return self._learned

    def start(self) -> Metrics:
        """Where alignment starts from the clone: make it, and stay close to it from here on."""
        if self.sac.prior is None:
            return {}
        metrics = self.context.clone(self.actor)
        self.actor.spread_evenly(self.context.settings.from_clone.width)
        self.sac.prior.load_state_dict(self.actor.state_dict())
        return metrics

    def align(self, round: int, steps: int, reward: RewardFunction | None) -> Metrics:
        """One round of policy alignment, counted."""
        metrics = self.loop.run(round, steps, int(self.steps), self._explore, reward)
        self.steps += steps
        self.environment_steps += steps
        return metrics

    def rewards(self, steps: Batch) -> Tensor:
        """The learned reward (S, B) of given steps."""
        return self.reward_learner.model(steps.observations, steps.actions)

    def faults(self) -> list[str | None]:
        """For each seed what broke it, if anything did."""
        return self.loop.faults()

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name."""
        live = {"steps": self.steps, "environment_steps": self.environment_steps}
        live |= prefixed("sac", self.loop.sac.tensors())
        return live | (self._learned.tensors() if self._learned else {})

    def new_rows(self, steps: int) -> Tensor | None:
        """The packed replay rows of the last `steps` steps."""
        return self.loop.replay.latest(steps)

    def restore_rows(self, rows: Tensor) -> None:
        """Append checkpointed replay rows."""
        self.loop.replay.extend(rows)

    def close(self) -> None:
        """End the environments."""
        self.loop.envs.close()

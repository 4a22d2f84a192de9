"""Behaviour cloning alone: the start of RLHF and IPL, and the line they should rise above."""

from __future__ import annotations

from torch import Tensor

from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context, Method


class BC(Method):
    """Done once it has started: its curve is one point."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        task, hidden = context.task, context.settings.sac.hidden
        self.actor = SquashedGaussianActor(
            len(context.seeds), task.observation_size, task.action_size, hidden
        )
        self.actor.body.initialise(SeedStreams(context.seeds, "actor"))
        self.actor.to(context.device)
        self.actor.standardise.set(context.feedback.observation_mean, context.feedback.observation_std)

    def start(self) -> Metrics:
        """Clone the demonstrations."""
        return self.context.clone(self.actor)

    def tensors(self) -> dict[str, Tensor]:
        """The policy."""
        return {"actor": self.actor.body.flat.detach(), "environment_steps": self.environment_steps}

"""Behaviour cloning alone: the start of RLHF and IPL, and the line they should rise above."""

from __future__ import annotations

import torch
from torch import Tensor

from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.replay import Batch
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context


class BC:
    """Done once it has started: its curve is one point."""

    reward_model = None
    learns_reward = False
    total_steps = 0

    def __init__(self, context: Context) -> None:
        task, hidden = context.task, context.settings.sac.hidden
        self.context = context
        self.actor = SquashedGaussianActor(
            len(context.seeds), task.observation_size, task.action_size, hidden
        )
        self.actor.body.initialise(SeedStreams(context.seeds, "actor"))
        self.actor.to(context.device)
        self.actor.standardise.set(context.feedback.observation_mean, context.feedback.observation_std)
        self.environment_steps = torch.zeros(len(context.seeds), dtype=torch.int64)

    def start(self) -> Metrics:
        """Clone the demonstrations."""
        return self.context.clone(self.actor)

    def run_round(self, round: int, steps: int) -> Metrics:
        """There are no rounds."""
        raise AssertionError("behaviour cloning has no rounds")

    def rewards(self, steps: Batch) -> Tensor:
        """No reward is learned."""
        raise AssertionError("behaviour cloning learns no reward")

    def faults(self) -> list[str | None]:
        """Weights that are not finite."""
        return [None if ok else "a weight is not finite" for ok in self.actor.body.finite().tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """The policy."""
        return {"actor": self.actor.body.flat.detach(), "environment_steps": self.environment_steps}

    def new_rows(self, steps: int) -> Tensor | None:
        """No replay."""
        return None

    def restore_rows(self, rows: Tensor) -> None:
        """No replay."""

    def close(self) -> None:
        """No environments."""

"""Behaviour cloning alone: where other methods start, and the line they should rise above."""

from __future__ import annotations

from torch import Tensor

from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context, Method


class BC(Method):
    """Done once it has started: its curve is one point."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.actor = context.make_actor()

    def start(self) -> Metrics:
        """Clone the demonstrations."""
        return self.context.clone(self.actor)

    def tensors(self) -> dict[str, Tensor]:
        """The policy."""
        return {"actor": self.actor.body.flat.detach(), "environment_steps": self.environment_steps}

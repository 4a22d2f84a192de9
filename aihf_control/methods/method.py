"""What a method is given and what it owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aihf_control.envs.tasks import Task
from aihf_control.learn.cloning import clone
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward import RewardModel
from aihf_control.learn.sac import Metrics
from aihf_control.methods.settings import Settings


@dataclass(frozen=True)
class Context:
    """All that a method may know: it never sees a path, a logger or another method."""

    task: Task
    seeds: tuple[int, ...]
    settings: Settings
    tables: FeedbackTables | None
    device: torch.device
    tick: Callable[[int], None] = lambda steps: None
    """Called with the number of steps just done, about every hundred steps."""

    @property
    def feedback(self) -> FeedbackTables:
        """The feedback, for methods that learn from it."""
        assert self.tables is not None, "this method needs feedback, and the study has none"
        return self.tables

    def clone(self, actor: SquashedGaussianActor) -> Metrics:
        """Fit `actor` to the demonstrations, in place: the start of several methods."""
        settings, demonstrations = self.settings, self.feedback.demonstrated.steps
        return clone(actor, demonstrations, settings.cloning, self.seeds, cuda_graphs=settings.cuda_graphs)


class Method(Protocol):
    """S runs of one method, in lockstep. Rounds are numbered from 0."""

    @property
    def actor(self) -> SquashedGaussianActor:
        """The S policies."""
        ...

    @property
    def reward_model(self) -> RewardModel | None:
        """The reward as a network of its own, if there is one to keep."""
        ...

    @property
    def learns_reward(self) -> bool:
        """Whether `rewards` may be asked."""
        ...

    @property
    def total_steps(self) -> int:
        """Steps on the axis; 0 for a method that is done once it has started."""
        ...

    @property
    def environment_steps(self) -> Tensor:
        """(S,) steps taken in any environment so far, evaluation apart."""
        ...

    def start(self) -> Metrics:
        """Everything before the first step of the axis: cloning, fitting a reward."""
        ...

    def run_round(self, round: int, steps: int) -> Metrics:
        """`steps` steps of the axis; metrics (S,) of the round's end."""
        ...

    def rewards(self, steps: Batch) -> Tensor:
        """The learned reward (S, B) of given steps, where the method learns one."""
        ...

    def faults(self) -> list[str | None]:
        """For each seed what broke it, if anything did."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name; a checkpoint copies it out and, on resuming, back in."""
        ...

    def new_rows(self, steps: int) -> Tensor | None:
        """The packed replay rows (S, n, width) of the last `steps` steps, or None without a replay."""
        ...

    def restore_rows(self, rows: Tensor) -> None:
        """Append checkpointed replay rows."""
        ...

    def close(self) -> None:
        """End its environments."""
        ...

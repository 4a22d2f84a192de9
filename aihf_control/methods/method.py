"""What a method is given and what it owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aihf_control.envs.tasks import Task
from aihf_control.learn.cloning import clone
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.replay import Batch
from aihf_control.learn.reward import RewardModel
from aihf_control.learn.sac import SAC, Metrics
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

    def make_actor(self, arithmetic: torch.dtype | None = None) -> SquashedGaussianActor:
        """S random policies that see observations as the feedback standardises them."""
        task, hidden = self.task, self.settings.sac.hidden
        actor = SquashedGaussianActor(
            len(self.seeds), task.observation_size, task.action_size, hidden, arithmetic
        )
        actor.body.initialise(SeedStreams(self.seeds, "actor"))
        actor.to(self.device)
        actor.standardise.set(self.feedback.observation_mean, self.feedback.observation_std)
        return actor

    def clone(self, actor: SquashedGaussianActor) -> Metrics:
        """Fit `actor` to the demonstrations, in place: the start of several methods."""
        settings, demonstrations = self.settings, self.feedback.demonstrated.steps
        return clone(actor, demonstrations, settings.cloning, self.seeds, cuda_graphs=settings.cuda_graphs)


class Method:
    """S runs of one method, in lockstep; rounds are numbered from 0.

    A method sets `actor`, the S policies, and writes `tensors`, and `run_round` unless it is done once it
    has started. The rest is as here for one without environments, replay and reward.
    """

    actor: SquashedGaussianActor
    sac: SAC | None = None
    """The learner whose critics are kept beside the policy, if there is one."""
    reward_model: RewardModel | None = None
    """The reward as a network of its own, if there is one to keep."""
    learns_reward: bool = False
    """Whether `rewards` may be asked."""
    total_steps: int = 0
    """Steps on the axis; 0 for a method that is done once it has started."""
    round_steps: int
    """Of those, how many lie between two evaluations."""
    environment_steps: Tensor
    """(S,) steps taken in any environment so far, evaluation apart."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.round_steps = context.settings.round_steps
        self.environment_steps = torch.zeros(len(context.seeds), dtype=torch.int64)

    def start(self) -> Metrics:
        """Everything before the first step of the axis: cloning, fitting a reward. Here: nothing."""
        return {}

    def run_round(self, round: int, steps: int) -> Metrics:
        """`steps` steps of the axis; metrics (S,) of the round's end."""
        raise NotImplementedError(f"{type(self).__name__} has no rounds")

    def rewards(self, steps: Batch) -> Tensor:
        """The learned reward (S, B) of given steps, where the method learns one."""
        raise NotImplementedError(f"{type(self).__name__} learns no reward")

    def faults(self) -> list[str | None]:
        """For each seed what broke it, if anything did. Here: a policy that is not finite."""
        return [None if ok else "a weight is not finite" for ok in self.actor.body.finite().tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name; a checkpoint copies it out and, on resuming, back in."""
        raise NotImplementedError(f"{type(self).__name__} names no state to resume from")

    def new_rows(self, steps: int) -> Tensor | None:
        """The packed replay rows (S, n, width) of the last `steps` steps; here None, without a replay."""
        return None

    def restore_rows(self, rows: Tensor) -> None:
        """Append checkpointed replay rows."""

    def close(self) -> None:
        """End its environments."""

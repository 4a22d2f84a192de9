"""What the methods on the axis of updates share: the clone as a start, and updates on feedback alone."""

from __future__ import annotations

from torch import Tensor

from aihf_control.learn.adam import Adam, prefixed
from aihf_control.learn.cuda_graphs import Graphed
from aihf_control.learn.feedback_tables import PairBatch
from aihf_control.learn.randomness import UPDATES_PER_DRAW, Draws, SeedStreams
from aihf_control.learn.replay import Batch
from aihf_control.learn.sac import Metrics
from aihf_control.methods.method import Context, Method


class OfflineMethod(Method):
    """A policy that starts from the clone of the demonstrations and takes `updates`; a subclass says which.

    It draws what its updates need, of `UPDATES_PER_DRAW` at once, and reads it in `update`, which may be
    replayed as a CUDA graph.
    """

    def __init__(self, context: Context, *, updates: int | None, learning_rate: float) -> None:
        super().__init__(context)
        self.total_steps = updates or context.settings.steps
        self.round_steps = context.settings.between_evaluations(self.total_steps)
        self.actor = context.make_actor(context.settings.sac.arithmetic)
        self.actor_optimiser = Adam(self.actor.body.flat, learning_rate)
        self.draws = Draws(context.device)
        self._graphed = Graphed(
            self.update,
            lambda: self.tensors().values(),
            context.device,
            enabled=context.settings.cuda_graphs,
            name=f"an update of {type(self).__name__}",
        )

    def draw(self, streams: dict[str, SeedStreams]) -> dict[str, Tensor]:
        """What the next updates read, (UPDATES_PER_DRAW, S, …) each, from the streams of `PURPOSES`."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def update(self) -> Metrics:
        """One update on what was drawn."""
        raise NotImplementedError(f"{type(self).__name__} has no updates")

    def before(self, updates: int) -> None:
        """What happens outside any graph, before the update after `updates` others. Here: nothing."""

    def start(self) -> Metrics:
        """Clone the demonstrations."""
        return self.context.clone(self.actor)

    def run_round(self, round: int, steps: int) -> Metrics:
        """`steps` updates."""
        seeds, device = self.context.seeds, self.context.device
        streams = {purpose: SeedStreams(seeds, purpose, round, device) for purpose in PURPOSES}
        done = round * self.round_steps
        metrics: Metrics = {}
        for step in range(steps):
            if step % UPDATES_PER_DRAW == 0:
                self.draws.fill(**self.draw(streams))
                self.context.tick(min(UPDATES_PER_DRAW, steps - step))
            self.before(done + step)
            self.draws.go_to(step % UPDATES_PER_DRAW)
            metrics = self._graphed()
        return {name: values.clone() for name, values in metrics.items()}

    def draw_pairs(self, streams: dict[str, SeedStreams], count: int) -> Tensor:
        """Numbers of `count` pairs an update."""
        return streams["pairs"].indices(UPDATES_PER_DRAW, count, len(self.context.feedback.pairs))

    def draw_shown(self, streams: dict[str, SeedStreams], count: int) -> Tensor:
        """Rows of `count` demonstrated steps an update."""
        sizes = self.context.feedback.demonstrated.steps.sizes
        return streams["transitions"].indices(UPDATES_PER_DRAW, count, sizes)

    def pairs(self) -> PairBatch:
        """The update's pairs."""
        return self.context.feedback.pairs.pairs(self.draws["pairs"])

    def shown(self) -> Batch:
        """The update's demonstrated steps."""
        return self.context.feedback.demonstrated.steps.rows(self.draws["shown"])

    def tensors(self) -> dict[str, Tensor]:
        """The policy and its optimiser."""
        live = {"environment_steps": self.environment_steps, "actor": self.actor.body.flat.detach()}
        return live | prefixed("actor_optimiser", self.actor_optimiser.tensors())


PURPOSES = ("pairs", "transitions", "own actions")
"""Of the streams of random numbers that `draw` may use."""

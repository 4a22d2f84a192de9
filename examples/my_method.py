"""Least-squares adversarial imitation, as a user would add it: docs/your_method.md walks through it."""

from dataclasses import replace

import torch

from aihf_control import Context, Metrics, SACMethod, SeedStreams
from aihf_control.learn.reward import penalties

UPDATES, BATCH = 200, 256  # of the reward, after every round


class LeastSquares(SACMethod):
    """SAC on a reward that is fitted to 1 on the demonstrations and to 0 on the policy's own steps."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, learns_reward=True)
        self.config = replace(context.settings.reward, gradient_penalty=10.0, magnitude_penalty=0.0)

    def run_round(self, round: int, steps: int) -> Metrics:
        metrics = self.align(round, steps, self.reward_learner.model)
        return metrics | self.fit_reward(round)

    def fit_reward(self, round: int) -> Metrics:
        shown, own = self.context.feedback.demonstrated.steps, self.loop.replay
        model = self.reward_learner.model
        streams = SeedStreams(self.context.seeds, "least squares", round, self.context.device)
        rows = [streams.indices(UPDATES, BATCH, size) for size in (shown.sizes, own.size)]
        for theirs, ours in zip(*rows, strict=True):
            batches = shown.rows(theirs), own.batch(ours)
            inputs = torch.cat([model.inputs(b.observations, b.actions) for b in batches], dim=1)
            demonstrated, agent = model.from_inputs(inputs).split(BATCH, dim=1)
            losses = (demonstrated - 1).square().mean(1) + agent.square().mean(1)
            penalty, metrics = penalties(model, inputs, self.config)
            self.reward_learner.optimiser.descend(losses.sum() + penalty)
        return metrics | {"reward_loss": losses.detach()}

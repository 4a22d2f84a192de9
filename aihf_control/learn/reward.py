"""The learned reward r(s, a; θ) and the losses that teach it.

`L(θ) = w1 · L1(θ) + L2(θ)` (AIHF): L1 from demonstrations by Lemma 4.1, L2 from preferences by
Bradley–Terry. Beside them stand two regularisers, which are departures from the paper: without
them the reward becomes a perfect discriminator and teaches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from aihf_control.bounds import Count, NotNegative, Positive, require_within
from aihf_control.learn.adam import Adam
from aihf_control.learn.cuda_graphs import repeat
from aihf_control.learn.feedback_tables import PairBatch, PairTable
from aihf_control.learn.networks import Standardisation
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import Metrics
from aihf_control.learn.seed_mlp import SeedMLP


@dataclass(frozen=True)
class RewardConfig:
    """The reward network and its training, shared by every method that learns a reward."""

    hidden: tuple[Count, ...] = (64, 64)
    bound: Positive = 10.0
    """Rewards are bound · tanh(output / bound)."""
    learning_rate: Positive = 3e-4
    weight_decay: NotNegative = 1e-3
    pairs_per_step: Count = 64
    rows_per_step: Count = 1_000
    """Demonstrated, the policy's and penalised preference steps of one gradient step, so many of each."""
    lipschitz: NotNegative = 1.0
    """Norm of ∂r/∂(s, a), inputs standardised, above which the gradient penalty acts."""
    gradient_penalty: NotNegative = 200.0
    magnitude_penalty: NotNegative = 2.0
    """Weight of E[r²]."""

    def __post_init__(self) -> None:
        require_within(self, "settings.reward")


class RewardModel(nn.Module):
    """S state-action networks on standardised inputs, with rewards in ±`bound`."""

    def __init__(self, seeds: int, observation_mean: Tensor, observation_std: Tensor, actions: int,
                 config: RewardConfig) -> None:  # fmt: skip
        super().__init__()
        self.bound = config.bound
        observations = observation_mean.shape[-1]
        self.body = SeedMLP(seeds, (observations + actions, *config.hidden, 1))
        self.standardise = Standardisation(seeds, observations)
        self.standardise.set(observation_mean, observation_std)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(S, B, O), (S, B, A) → rewards (S, B)."""
        return self._bounded(self.body(self.inputs(observations, actions)))

    def inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What the network sees, (S, B, O + A)."""
        return torch.cat([self.standardise(observations), actions], dim=-1)

    def from_inputs(self, inputs: Tensor) -> Tensor:
        """Rewards (S, B) of `inputs`, differentiable twice."""
        return self._bounded(self.body.composite(inputs))

    def member(self, index: int) -> dict[str, Tensor]:
        """One seed's reward as named tensors, for a file: weights (in, out), and the standardisation."""
        seen = self.standardise
        named = {"observation_mean": seen.mean[index, 0], "observation_std": seen.std[index, 0]}
        for number, (weight, bias) in enumerate(self.body.layers()):
            named |= {f"weight_{number}": weight[index], f"bias_{number}": bias[index, 0]}
        return {name: tensor.detach().cpu().clone() for name, tensor in named.items()}

    def _bounded(self, output: Tensor) -> Tensor:
        return self.bound * torch.tanh(output.squeeze(-1) / self.bound)


def demonstration_loss(
    demonstrated: Tensor, demonstrated_weights: Tensor, agent: Tensor, agent_weights: Tensor
) -> tuple[Tensor, Metrics]:
    """−L1 of Lemma 4.1: `E_agent[Σ γ^t r] − E_demonstrations[Σ γ^t r]`, 1/β absorbed in w1.

    Rewards and their weights are (S, B). A step's weight is γ^t over the number of its side's
    trajectories; steps after an episode's end do not occur, so terminal states are worth 0.
    """
    theirs = (demonstrated_weights * demonstrated).sum(-1)
    ours = (agent_weights * agent).sum(-1)
    losses = ours - theirs
    return losses.sum(), {"demonstration_gap": -losses.detach()}


def preference_loss(preferred: Tensor, rejected: Tensor, confidence: Tensor) -> tuple[Tensor, Metrics]:
    """−L2: Bradley–Terry cross-entropy of returns with `confidence`, all (S, P); mean over pairs."""
    difference = preferred - rejected
    losses = functional.binary_cross_entropy_with_logits(difference, confidence, reduction="none").mean(-1)
    accuracy = (difference.detach() > 0).float().mean(-1)
    return losses.sum(), {"preference_loss": losses.detach(), "batch_accuracy": accuracy}


def penalties(reward: RewardModel, inputs: Tensor, config: RewardConfig) -> tuple[Tensor, Metrics]:
    """One-sided gradient penalty `relu(‖∂r/∂x‖ − Lipschitz)²` and `E[r²]` at `inputs` (S, B, O + A)."""
    inputs = inputs.detach().requires_grad_()
    rewards = reward.from_inputs(inputs)
    (slope,) = torch.autograd.grad(rewards.sum(), inputs, create_graph=True)
    excess = torch.relu((slope.square().sum(-1) + 1e-12).sqrt() - config.lipschitz)
    steep, large = excess.square().mean(-1), rewards.square().mean(-1)
    loss = (config.gradient_penalty * steep + config.magnitude_penalty * large).sum()
    return loss, {"steepness": steep.detach(), "reward_square": large.detach()}


class RewardLearner:
    """A reward model of S seeds with its optimiser."""

    def __init__(
        self,
        config: RewardConfig,
        seeds: Sequence[int],
        observation_mean: Tensor,
        observation_std: Tensor,
        actions: int,
    ) -> None:
        self.config, self.seeds = config, tuple(seeds)
        self.model = RewardModel(len(seeds), observation_mean.cpu(), observation_std.cpu(), actions, config)
        self.model.body.initialise(SeedStreams(seeds, "reward"))
        self.model.to(observation_mean.device)
        self.optimiser = Adam(self.model.body.flat, config.learning_rate, weight_decay=config.weight_decay)

    def preference_term(self, batch: PairBatch) -> tuple[Tensor, Metrics, Tensor]:
        """−L2 on a minibatch, and inputs of it for the penalties: of both sides, at even distances."""
        sides = (batch.preferred, batch.rejected)
        sums = [side.sums(self.model(side.steps.observations, side.steps.actions)) for side in sides]
        loss, metrics = preference_loss(sums[0], sums[1], batch.confidence)
        observations, actions = batch.steps()
        stride = math.ceil(observations.shape[1] / self.config.rows_per_step)
        return loss, metrics, self.model.inputs(observations[:, ::stride], actions[:, ::stride])

    def fit_preferences(
        self, pairs: PairTable, steps: int, round: int = 0, *, cuda_graphs: bool = True
    ) -> Metrics:
        """`steps` Adam steps on L2 and the penalties alone: RLHF's reward."""
        device = self.model.body.flat.device
        streams = SeedStreams(self.seeds, "reward fit", round, device)
        indices = streams.indices(steps, self.config.pairs_per_step, len(pairs))

        def step(position: Tensor) -> Metrics:
            batch = pairs.pairs(indices.index_select(0, position)[0])
            loss, metrics, inputs = self.preference_term(batch)
            penalty, more = penalties(self.model, inputs, self.config)
            self.optimiser.descend(loss + penalty)
            return metrics | more

        return repeat(
            step, steps, lambda: self.tensors().values(), device, enabled=cuda_graphs, name="the reward's fit"
        )

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name."""
        return {"reward": self.model.body.flat.detach()} | {
            f"reward_optimiser.{name}": tensor for name, tensor in self.optimiser.tensors().items()
        }

"""Networks with a leading axis of members (seeds, or seeds × twins): S independent networks, one program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aihf_control.randomness import SeedStreams

Layers = list[tuple[Tensor, Tensor]]

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
REFERENCE_LOG_STD = -3.0  # a narrower clone of deterministic demonstrations would forbid everything else
TANH_EPSILON = 1e-6  # keeps log(1 - tanh²) finite; Stable-Baselines3's value
ACTION_EDGE = 1e-3  # recorded actions are read this far inside ±1, where their density is finite


def layer_views(flat: Tensor, members: int, sizes: Sequence[int]) -> Layers:
    """Cut a flat buffer into `(weight (members, in, out), bias (members, 1, out))` a layer, as views."""
    layers, offset = [], 0
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        weight = flat[offset : offset + members * inputs * outputs].view(members, inputs, outputs)
        offset += weight.numel()
        bias = flat[offset : offset + members * outputs].view(members, 1, outputs)
        offset += bias.numel()
        layers.append((weight, bias))
    return layers


class _Workspace:
    """A network's weights as its arithmetic sees them, with every view of them made once."""

    def __init__(self, flat: Tensor, members: int, sizes: Sequence[int], arithmetic: torch.dtype) -> None:
        self.flat = flat
        self.rounded = flat if arithmetic == flat.dtype else torch.empty_like(flat, dtype=arithmetic)
        self.gradient = torch.empty_like(self.rounded)
        buffers = (self.flat, self.rounded, self.gradient)
        self.layers, self.rounded_layers, self.slots = (layer_views(b, members, sizes) for b in buffers)

    def round(self) -> None:
        """Bring the rounded weights up to date."""
        if self.rounded is not self.flat:
            self.rounded.copy_(self.flat)


class _FlatMLP(torch.autograd.Function):
    """A ReLU network whose gradient lands in one flat buffer, shaped like its parameters.

    Autograd would scatter it through as many views as there are layers; written by hand, Adam and
    Polyak averaging are one kernel each. `SeedMLP.composite` is the same function without the hand.

    Hidden activations, the products between hidden layers and the whole backward pass are rounded to
    the workspace's arithmetic. In the forward pass the first layer is float32 and the last sums in
    float32: they are a few percent of the work, and in bfloat16 a value of 300 would be known to ±1 only.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, flat: Tensor, work: _Workspace) -> Tensor:
        work.round()
        *_, (last_weight, last_bias) = work.layers
        hidden = [x]
        for index in range(len(work.layers) - 1):
            weight, bias = (work.rounded_layers if index else work.layers)[index]
            hidden.append(torch.baddbmm(bias, hidden[-1], weight).to(work.rounded.dtype).relu_())
        ctx.save_for_backward(work.rounded, *hidden)
        ctx.work = work
        if work.rounded is not work.flat and last_weight.shape[2] == 1:  # a sum is faster than this product
            products = hidden[-1] * work.rounded_layers[-1][0].transpose(1, 2)
            return products.sum(-1, keepdim=True, dtype=x.dtype) + last_bias
        return torch.baddbmm(last_bias, hidden[-1].to(x.dtype), last_weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rounded, x, *hidden = ctx.saved_tensors  # reading them fails if the weights changed in between
        needs_x, needs_flat = ctx.needs_input_grad[:2]
        work, inputs = ctx.work, [x.to(rounded.dtype), *hidden]
        gradient = gradient.to(rounded.dtype)
        for index in reversed(range(len(inputs))):
            if needs_flat:
                torch.bmm(inputs[index].transpose(1, 2), gradient, out=work.slots[index][0])
                torch.sum(gradient, dim=1, keepdim=True, out=work.slots[index][1])
            if index > 0 or needs_x:
                gradient = torch.bmm(gradient, work.rounded_layers[index][0].transpose(1, 2))
            if index > 0:
                gradient = torch.ops.aten.threshold_backward(gradient, inputs[index], 0)
        return (
            gradient.to(x.dtype) if needs_x else None,
            # a copy: one loss may hold several passes through the network
            work.gradient.to(x.dtype, copy=True) if needs_flat else None,
            None,
        )


class SeedMLP(nn.Module):
    """`members` ReLU networks of the same `sizes` (input, hidden…, output) in one flat parameter.

    Weights are `(members, in, out)` and start uniform in ±1/√in, as `torch.nn.Linear` does. They stay
    as they are; `arithmetic` is what the products between hidden layers are rounded to, None for not at all.
    """

    def __init__(self, members: int, sizes: Sequence[int], arithmetic: torch.dtype | None = None) -> None:
        super().__init__()
        self.members, self.sizes, self.arithmetic = members, tuple(sizes), arithmetic
        count = sum((i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))
        self.flat = nn.Parameter(torch.zeros(members * count))
        self._workspaces: dict[torch.dtype, _Workspace] = {}

    def initialise(self, streams: SeedStreams) -> None:
        """Draw fresh weights, each seed's members from that seed's own stream."""
        with torch.no_grad():
            for parts, inputs in zip(self.layers(), self.sizes, strict=False):
                for part in parts:
                    draws = streams.uniform(1, part.numel() // len(streams))[0].view_as(part)
                    part.copy_((2 * draws - 1) / math.sqrt(inputs))

    def layers(self, flat: Tensor | None = None) -> Layers:
        """`(weight, bias)` views a layer of this network's parameters, or of a buffer shaped like them."""
        return layer_views(self.flat if flat is None else flat, self.members, self.sizes)

    def finite(self) -> Tensor:
        """(members,) whether every weight of a member is finite."""
        parts = [part.detach().flatten(1).isfinite().all(1) for layer in self.layers() for part in layer]
        return torch.stack(parts).all(0)

    def forward(self, x: Tensor, *, frozen: bool = False, exact: bool = False) -> Tensor:
        """(members, B, in) → (members, B, out).

        `frozen` passes gradients to `x` but not to the weights; `exact` rounds nothing.
        """
        flat = self.flat.detach() if frozen else self.flat
        return _FlatMLP.apply(x, flat, self._workspace(None if exact else self.arithmetic))

    def _workspace(self, arithmetic: torch.dtype | None) -> _Workspace:
        """Made anew once the parameters have moved to another place."""
        arithmetic = arithmetic or self.flat.dtype
        work = self._workspaces.get(arithmetic)
        if work is None or work.flat.data_ptr() != self.flat.data_ptr():
            work = _Workspace(self.flat.detach(), self.members, self.sizes, arithmetic)
            self._workspaces[arithmetic] = work
        return work

    def composite(self, x: Tensor) -> Tensor:
        """The same function out of PyTorch's own operations, differentiable twice (gradient penalties)."""
        *hidden, (weight, bias) = self.layers()
        for hidden_weight, hidden_bias in hidden:
            x = torch.relu(torch.baddbmm(hidden_bias, x, hidden_weight))
        return torch.baddbmm(bias, x, weight)


class SquashedGaussianActor(nn.Module):
    """tanh(mean + σ·noise), state-dependent σ, for S seeds (Haarnoja et al. 2018, appendix C).

    It acts in float32, so that the policy that is evaluated is the one that is saved.
    """

    def __init__(
        self,
        seeds: int,
        observations: int,
        actions: int,
        hidden: Sequence[int],
        arithmetic: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.actions = actions
        self.body = SeedMLP(seeds, (observations, *hidden, 2 * actions), arithmetic)

    def distribution(self, observations: Tensor, *, exact: bool = False) -> tuple[Tensor, Tensor]:
        """(S, B, O) → mean and log σ before squashing, both (S, B, A)."""
        mean, log_std = self.body(observations, exact=exact).split(self.actions, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def act(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Actions (S, B, A) of the stochastic policy, by `noise` (S, B, A)."""
        mean, log_std = self.distribution(observations, exact=True)
        return torch.tanh(mean + log_std.exp() * noise)

    def mode(self, observations: Tensor) -> Tensor:
        """The deterministic action, (S, B, A)."""
        return torch.tanh(self.distribution(observations, exact=True)[0])

    def sample(
        self, observations: Tensor, noise: Tensor, reference: SquashedGaussianActor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Actions (S, B, A) in [-1, 1], reparameterised by `noise`, and their cost c(π(·|s)) (S, B): the
        log-density, or with a `reference` π⁰, which gets no gradient, the exact KL(π‖π⁰)."""
        mean, log_std = self.distribution(observations)
        actions = torch.tanh(mean + log_std.exp() * noise)
        if reference is not None:
            with torch.no_grad():
                goal, log_width = reference.distribution(observations)
            return actions, gaussian_divergence(mean, log_std, goal, log_width.clamp(min=REFERENCE_LOG_STD))
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return actions, (gaussian - torch.log(1 - actions.square() + TANH_EPSILON)).sum(-1)

    def log_density(self, observations: Tensor, actions: Tensor, *, exact: bool = False) -> Tensor:
        """(S, B) log-density of given `actions` in [-1, 1] (behaviour cloning, weighted regression)."""
        mean, log_std = self.distribution(observations, exact=exact)
        inside = actions.clamp(-1 + ACTION_EDGE, 1 - ACTION_EDGE)
        noise = (torch.atanh(inside) - mean) * torch.exp(-log_std)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - torch.log(1 - inside.square() + TANH_EPSILON)).sum(-1)


def gaussian_divergence(mean: Tensor, log_std: Tensor, goal: Tensor, log_width: Tensor) -> Tensor:
    """KL(N(mean, std) ‖ N(goal, width)), (S, B, A) → (S, B); squashing both by tanh leaves it as it is."""
    variance_ratio = (2 * (log_std - log_width)).exp()
    distance = ((mean - goal) * (-log_width).exp()).square()
    return (0.5 * (variance_ratio + distance - 1) - (log_std - log_width)).sum(-1)


class TwinCritic(nn.Module):
    """Two Q-functions a seed as one network of 2·S members, ordered seed by seed."""

    def __init__(
        self,
        seeds: int,
        observations: int,
        actions: int,
        hidden: Sequence[int],
        arithmetic: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.body = SeedMLP(2 * seeds, (observations + actions, *hidden, 1), arithmetic)

    def forward(self, observations: Tensor, actions: Tensor, *, frozen: bool = False) -> Tensor:
        """(S, B, O), (S, B, A) → (S, 2, B) values."""
        x = torch.cat([observations, actions], dim=-1)
        seeds, batch, width = x.shape
        x = x.unsqueeze(1).expand(seeds, 2, batch, width).reshape(2 * seeds, batch, width)
        return self.body(x, frozen=frozen).view(seeds, 2, batch)

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


class _FlatMLP(torch.autograd.Function):
    """A ReLU network whose gradient lands in one flat buffer, shaped like its parameters.

    Autograd would scatter it through as many views as there are layers; written by hand, Adam and
    Polyak averaging are one kernel each. `SeedMLP.composite` is the same function without the hand.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, flat: Tensor, members: int, sizes: tuple[int, ...]) -> Tensor:
        layers = layer_views(flat, members, sizes)
        inputs = [x]
        for weight, bias in layers[:-1]:
            inputs.append(torch.baddbmm(bias, inputs[-1], weight).relu_())
        weight, bias = layers[-1]
        ctx.save_for_backward(flat, *inputs)
        ctx.members, ctx.sizes = members, sizes
        return torch.baddbmm(bias, inputs[-1], weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        flat, *inputs = ctx.saved_tensors
        needs_x, needs_flat = ctx.needs_input_grad[:2]
        layers = layer_views(flat, ctx.members, ctx.sizes)
        flat_gradient = torch.empty_like(flat) if needs_flat else None
        slots = layer_views(flat_gradient, ctx.members, ctx.sizes) if flat_gradient is not None else None
        for index in reversed(range(len(layers))):
            x, (weight, _) = inputs[index], layers[index]
            if slots is not None:
                torch.bmm(x.transpose(1, 2), gradient, out=slots[index][0])
                torch.sum(gradient, dim=1, keepdim=True, out=slots[index][1])
            if index > 0:
                gradient = torch.bmm(gradient, weight.transpose(1, 2))
                gradient = torch.ops.aten.threshold_backward(gradient, x, 0)
            elif needs_x:
                gradient = torch.bmm(gradient, weight.transpose(1, 2))
        return (gradient if needs_x else None), flat_gradient, None, None


class SeedMLP(nn.Module):
    """`members` ReLU networks of the same `sizes` (input, hidden…, output) in one flat parameter.

    Weights are `(members, in, out)` and start uniform in ±1/√in, as `torch.nn.Linear` does.
    """

    def __init__(self, members: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.members, self.sizes = members, tuple(sizes)
        count = sum((i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))
        self.flat = nn.Parameter(torch.zeros(members * count))

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

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """(members, B, in) → (members, B, out); `frozen` passes gradients to `x` but not to the weights."""
        flat = self.flat.detach() if frozen else self.flat
        return _FlatMLP.apply(x, flat, self.members, self.sizes)

    def composite(self, x: Tensor) -> Tensor:
        """The same function out of PyTorch's own operations, differentiable twice (gradient penalties)."""
        *hidden, (weight, bias) = self.layers()
        for hidden_weight, hidden_bias in hidden:
            x = torch.relu(torch.baddbmm(hidden_bias, x, hidden_weight))
        return torch.baddbmm(bias, x, weight)


class SquashedGaussianActor(nn.Module):
    """tanh(mean + σ·noise), state-dependent σ, for S seeds (Haarnoja et al. 2018, appendix C)."""

    def __init__(self, seeds: int, observations: int, actions: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.actions = actions
        self.body = SeedMLP(seeds, (observations, *hidden, 2 * actions))

    def distribution(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """(S, B, O) → mean and log σ before squashing, both (S, B, A)."""
        mean, log_std = self.body(observations).split(self.actions, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def sample(self, observations: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (S, B, A) in [-1, 1] and their log-densities (S, B), reparameterised by `noise`."""
        mean, log_std = self.distribution(observations)
        actions = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return actions, (gaussian - torch.log(1 - actions.square() + TANH_EPSILON)).sum(-1)

    def log_density(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(S, B) log-density of given `actions` in [-1, 1] (behaviour cloning, weighted regression)."""
        mean, log_std = self.distribution(observations)
        inside = actions.clamp(-1 + ACTION_EDGE, 1 - ACTION_EDGE)
        noise = (torch.atanh(inside) - mean) * torch.exp(-log_std)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - torch.log(1 - inside.square() + TANH_EPSILON)).sum(-1)

    def mode(self, observations: Tensor) -> Tensor:
        """The deterministic action, (S, B, A)."""
        return torch.tanh(self.distribution(observations)[0])


class TwinCritic(nn.Module):
    """Two Q-functions a seed as one network of 2·S members, ordered seed by seed."""

    def __init__(self, seeds: int, observations: int, actions: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.body = SeedMLP(2 * seeds, (observations + actions, *hidden, 1))

    def forward(self, observations: Tensor, actions: Tensor, *, frozen: bool = False) -> Tensor:
        """(S, B, O), (S, B, A) → (S, 2, B) values."""
        x = torch.cat([observations, actions], dim=-1)
        seeds, batch, width = x.shape
        x = x.unsqueeze(1).expand(seeds, 2, batch, width).reshape(2 * seeds, batch, width)
        return self.body(x, frozen=frozen).view(seeds, 2, batch)

"""ReLU networks with a leading axis of members (seeds, or seeds × twins), their backward pass by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aihf_control.learn.randomness import SeedStreams

Layers = list[tuple[Tensor, Tensor]]


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


def hidden_layer(x: Tensor, weight: Tensor, bias: Tensor, arithmetic: torch.dtype) -> Tensor:
    """ReLU of a layer, rounded to `arithmetic`."""
    return torch.baddbmm(bias, x, weight).to(arithmetic).relu_()


def last_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A layer whose rounded inputs and `weight` are summed in the precision of `bias`."""
    if x.dtype != bias.dtype and weight.shape[2] == 1:  # a sum is faster than this product
        return (x * weight.transpose(1, 2)).sum(-1, keepdim=True, dtype=bias.dtype) + bias
    return torch.baddbmm(bias, x.to(bias.dtype), weight.to(bias.dtype))


class _FlatMLP(torch.autograd.Function):
    """A ReLU network whose gradient lands in one flat buffer, shaped like its parameters.

    Autograd would scatter it through as many views as there are layers; written by hand, Adam and
    Polyak averaging are one kernel each. `SeedMLP.composite` is the same function without the hand.

    Hidden activations, the products between hidden layers and the whole backward pass are rounded to
    `arithmetic`. In the forward pass the first layer is float32 and the last sums in float32: they are a
    few percent of the work, and in bfloat16 a value of 300 would be known to ±1 only.

    Each pass rounds the weights into a buffer of its own, so one loss may hold several passes. That the
    parameters themselves did not change before the backward pass is checked by saving them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, flat: Tensor, shape: tuple[int, Sequence[int], torch.dtype]) -> Tensor:
        members, sizes, arithmetic = shape
        rounded = flat.to(arithmetic)
        layers, rounded_layers = layer_views(flat, members, sizes), layer_views(rounded, members, sizes)
        hidden = [x]
        for index in range(len(layers) - 1):
            weight, bias = (rounded_layers if index else layers)[index]
            hidden.append(hidden_layer(hidden[-1], weight, bias, arithmetic))
        ctx.save_for_backward(flat, rounded, *hidden)
        ctx.shape = shape
        weight = (rounded_layers if layers[-1][0].shape[2] == 1 else layers)[-1][0]
        return last_layer(hidden[-1], weight, layers[-1][1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        _, rounded, x, *hidden = ctx.saved_tensors  # reading them fails if the weights changed in between
        needs_x, needs_flat = ctx.needs_input_grad[:2]
        members, sizes, _ = ctx.shape
        weights = layer_views(rounded, members, sizes)
        flat_gradient = torch.empty_like(rounded) if needs_flat else None
        slots = layer_views(flat_gradient, members, sizes) if flat_gradient is not None else None
        inputs, dtype = [x.to(rounded.dtype), *hidden], gradient.dtype
        gradient = gradient.to(rounded.dtype)
        for index in reversed(range(len(inputs))):
            if slots is not None:
                torch.bmm(inputs[index].transpose(1, 2), gradient, out=slots[index][0])
                torch.sum(gradient, dim=1, keepdim=True, out=slots[index][1])
            if index > 0 or needs_x:
                gradient = torch.bmm(gradient, weights[index][0].transpose(1, 2))
            if index > 0:
                gradient = torch.ops.aten.threshold_backward(gradient, inputs[index], 0)
        return (
            gradient.to(dtype) if needs_x else None,
            flat_gradient.to(dtype) if flat_gradient is not None else None,
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
        self.flat = nn.Parameter(torch.zeros(members * count(sizes)))

    @property
    def shape(self) -> tuple[int, tuple[int, ...]]:
        """Members and sizes, by which `layer_views` cuts a buffer."""
        return self.members, self.sizes

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
        flat = self.effective(self.flat.detach() if frozen else self.flat)
        arithmetic = self.flat.dtype if exact or self.arithmetic is None else self.arithmetic
        return _FlatMLP.apply(x, flat, (*self.shape, arithmetic))

    def effective(self, flat: Tensor) -> Tensor:
        """The weights and biases that the network amounts to, in one flat buffer: here, `flat` itself."""
        return flat

    def composite(self, x: Tensor) -> Tensor:
        """The same function out of PyTorch's own operations, differentiable twice (gradient penalties)."""
        *hidden, (weight, bias) = self.layers()
        for hidden_weight, hidden_bias in hidden:
            x = torch.relu(torch.baddbmm(hidden_bias, x, hidden_weight))
        return torch.baddbmm(bias, x, weight)


def count(sizes: Sequence[int]) -> int:
    """Weights and biases of one member."""
    return sum((i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))

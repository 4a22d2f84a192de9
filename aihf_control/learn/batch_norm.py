"""Batch (re)normalisation before every layer of a seed-batched ReLU network, folded into the layer's weights.

A normalised input times a weight is the plain input times another one: with one `a` and one `c` a feature,
`(x·a + c)·W + b = x·(a∘W) + (c·W + b)`. So a layer costs its product and two sums over the batch, forward and
backward, and a network that no longer learns is a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aihf_control.learn.seed_mlp import SeedMLP, count, hidden_layer, last_layer, layer_views


@dataclass(frozen=True)
class BatchNormConfig:
    """Batch renormalisation (Ioffe 2017, 1702.03275) with the constants of CrossQ (Bhatt et al. 2024,
    1902.05605)."""

    momentum: float = 0.01
    """Share of a batch in the running statistics."""
    epsilon: float = 1e-3
    """Added to the variance."""
    renormalise_after: int = 20_000
    """Passes after which a batch is brought to the running statistics; before, it is normalised by itself."""
    largest_ratio: float = 3.0
    """Limit r_max of the ratio of standard deviations, and of its inverse."""
    largest_shift: float = 5.0
    """Limit d_max of the difference of means, in running standard deviations."""


def norm_views(flat: Tensor, members: int, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Cut a flat buffer into two `(members, 1, in)` views a layer: scale and shift, or mean and variance."""
    views, offset = [], 0
    for inputs in sizes[:-1]:
        width = members * inputs
        pair = flat[offset : offset + 2 * width].view(2, members, 1, inputs)
        views.append((pair[0], pair[1]))
        offset += 2 * width
    return views


@dataclass(frozen=True)
class _Folded:
    """What one layer's normalisation did to a batch, all (members, 1, in)."""

    mean: Tensor
    deviation: Tensor
    ratio: Tensor
    """r / deviation."""
    shift: Tensor
    """d."""
    gain: Tensor
    """`a` of the input, the layer's scale in it."""
    offset: Tensor
    """`c`, its shift in it."""


@dataclass(frozen=True)
class _Running:
    """One layer's running statistics, (members, 1, in) each, and whether a batch is brought to them."""

    mean: Tensor
    variance: Tensor
    deviation: Tensor
    corrected: Tensor


class _LearningPass(torch.autograd.Function):
    """A pass in which every layer's input is normalised by the statistics of its own batch.

    Rounding is that of `_FlatMLP`. The gradient flows through means and deviations; Ioffe's corrections r
    and d are constants in it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, flat: Tensor, network: NormalisedMLP) -> Tensor:
        arithmetic = network.arithmetic or flat.dtype
        layers, norms = network.layers(flat), network.norms(flat)
        inputs, weights, folded = [x], [], []
        corrections = network.corrections()
        for index, ((weight, bias), norm, running) in enumerate(zip(layers, norms, corrections, strict=True)):
            normal = network.normalise(inputs[-1], norm, running)
            weight, bias = (
                normal.gain.transpose(1, 2) * weight,
                torch.baddbmm(bias, normal.offset, weight),
            )
            weights.append(weight.to(arithmetic))
            folded.append(normal)
            if index == len(layers) - 1:
                narrow = weight.shape[2] == 1
                output = last_layer(inputs[-1], weights[-1] if narrow else weight, bias)
            elif index == 0:
                inputs.append(hidden_layer(x, weight, bias, arithmetic))
            else:
                inputs.append(hidden_layer(inputs[-1], weights[-1], bias.to(arithmetic), arithmetic))
        network.passes.add_(1)
        ctx.save_for_backward(flat, *inputs, *weights, *(part for f in folded for part in vars(f).values()))
        ctx.shape = network.members, network.sizes
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        members, sizes = ctx.shape
        depth = len(sizes) - 1
        flat, *saved = ctx.saved_tensors  # reading them fails if the weights changed in between
        inputs, weights, rest = saved[:depth], saved[depth : 2 * depth], saved[2 * depth :]
        plain = members * count(sizes)
        result = torch.empty_like(flat)
        slots = layer_views(result[:plain], members, sizes)
        norm_slots = norm_views(result[plain:], members, sizes)
        layers, folds = layer_views(flat[:plain], members, sizes), len(fields(_Folded))
        arithmetic, dtype, batch = weights[0].dtype, gradient.dtype, gradient.shape[1]
        gradient = gradient.to(arithmetic)
        for index in reversed(range(depth)):
            x, (weight, _) = inputs[index].to(arithmetic), layers[index]
            normal = _Folded(*rest[folds * index : folds * (index + 1)])
            gain, offset = normal.gain, normal.offset
            product = torch.bmm(x.transpose(1, 2), gradient).to(dtype)
            total = torch.sum(gradient, dim=1, keepdim=True, dtype=dtype)
            torch.addcmul(offset.transpose(1, 2) * total, gain.transpose(1, 2), product, out=slots[index][0])
            slots[index][1].copy_(total)
            by_gain = (weight * product).sum(-1).unsqueeze(1)
            by_offset = torch.bmm(total, weight.transpose(1, 2))
            centred = by_gain - normal.mean * by_offset
            torch.addcmul(by_offset * normal.shift, centred, normal.ratio, out=norm_slots[index][0])
            norm_slots[index][1].copy_(by_offset)
            if index == 0 and not ctx.needs_input_grad[0]:
                break
            # through the deviation, then through the mean
            slope = -gain * centred / (normal.deviation.square() * (batch - 1))
            level = -gain * by_offset / batch - slope * normal.mean
            through = torch.addcmul(level.to(arithmetic), x, slope.to(arithmetic))
            gradient = torch.baddbmm(through, gradient, weights[index].transpose(1, 2))
            if index > 0:
                gradient = torch.ops.aten.threshold_backward(gradient, inputs[index], 0)
        return gradient.to(dtype) if ctx.needs_input_grad[0] else None, result, None


class NormalisedMLP(SeedMLP):
    """A `SeedMLP` whose every layer sees batch-normalised inputs, each member with statistics of its own.

    `forward` uses the running statistics and leaves them alone; `learn` uses those of its batch and moves
    the running ones. Scales and shifts lie behind weights and biases in the flat parameter.
    """

    running: Tensor
    passes: Tensor

    def __init__(
        self,
        members: int,
        sizes: Sequence[int],
        arithmetic: torch.dtype | None = None,
        config: BatchNormConfig | None = None,
    ) -> None:
        super().__init__(members, sizes, arithmetic)
        self.config = config or BatchNormConfig()
        self._plain = self.flat.numel()
        self.flat = nn.Parameter(torch.cat([self.flat.detach(), torch.zeros(2 * members * sum(sizes[:-1]))]))
        self.register_buffer("running", torch.zeros(2 * members * sum(sizes[:-1])))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        with torch.no_grad():
            for (scale, _), (_, variance) in zip(self.norms(), self.statistics(), strict=True):
                scale.fill_(1.0)
                variance.fill_(1.0)

    def layers(self, flat: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """`(weight, bias)` views a layer, behind its normalisation."""
        return layer_views((self.flat if flat is None else flat)[: self._plain], self.members, self.sizes)

    def norms(self, flat: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """`(scale, shift)` views a layer, each (members, 1, in)."""
        return norm_views((self.flat if flat is None else flat)[self._plain :], self.members, self.sizes)

    def statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Running `(mean, variance)` of each layer's inputs, each (members, 1, in)."""
        return norm_views(self.running, self.members, self.sizes)

    def finite(self) -> Tensor:
        """(members,) whether every weight, scale and shift of a member is finite."""
        parts = [part.detach().flatten(1).isfinite().all(1) for norm in self.norms() for part in norm]
        return super().finite() & torch.stack(parts).all(0)

    def learn(self, x: Tensor) -> Tensor:
        """(members, B, in) → (members, B, out), normalised by the batch; moves the running statistics."""
        return _LearningPass.apply(x, self.flat, self)

    @torch.no_grad()
    def corrections(self) -> list[_Running]:
        """The running statistics of each layer, as a pass needs them; for all layers at once."""
        deviations = (self.running + self.config.epsilon).sqrt()  # of the means too, which nobody reads
        corrected = self.passes > self.config.renormalise_after
        views = norm_views(deviations, self.members, self.sizes)
        return [
            _Running(mean, variance, deviation, corrected)
            for (mean, variance), (_, deviation) in zip(self.statistics(), views, strict=True)
        ]

    @torch.no_grad()
    def normalise(self, x: Tensor, norm: tuple[Tensor, Tensor], running: _Running) -> _Folded:
        """The statistics of a batch that comes to a layer, which move its `running` ones."""
        batch, dtype, config = x.shape[1], self.running.dtype, self.config
        mean = torch.sum(x, dim=1, keepdim=True, dtype=dtype) / batch
        squares = x.to(dtype).square().sum(1, keepdim=True)
        variance = ((squares - batch * mean.square()) / (batch - 1)).clamp(min=0)
        deviation = (variance + config.epsilon).sqrt()
        ratio = (deviation / running.deviation).clamp(1 / config.largest_ratio, config.largest_ratio)
        shift = ((mean - running.mean) / running.deviation).clamp(-config.largest_shift, config.largest_shift)
        running.mean.lerp_(mean, config.momentum)
        running.variance.lerp_(variance, config.momentum)
        ratio = torch.where(running.corrected, ratio, 1.0) / deviation
        shift = torch.where(running.corrected, shift, 0.0)
        scale, base = norm
        return _Folded(mean, deviation, ratio, shift, scale * ratio, scale * (shift - mean * ratio) + base)

    def effective(self, flat: Tensor) -> Tensor:
        """Weights and biases of the plain network that this one is under its running statistics."""
        rates = norm_views((self.running + self.config.epsilon).rsqrt(), self.members, self.sizes)
        parts = []
        for (weight, bias), (scale, shift), (mean, _), (_, rate) in zip(
            self.layers(flat), self.norms(flat), self.statistics(), rates, strict=True
        ):
            gain = scale * rate
            parts += [(gain.transpose(1, 2) * weight).flatten()]
            parts += [torch.baddbmm(bias, shift - gain * mean, weight).flatten()]
        return torch.cat(parts)

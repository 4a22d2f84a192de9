"""Batch-normalised critics against sb3-contrib's CrossQ, Ioffe's formulas and PyTorch's own derivatives."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import sb3_contrib
import torch
from stable_baselines3.common.logger import configure
from test_sac import (
    BATCH,
    CONFIG,
    FixedReplay,
    Spaces,
    assert_equal,
    of_seeds,
    our_actor,
    random_updates,
)
from torch import Tensor, nn

from aihf_control.learn.adam import Adam
from aihf_control.learn.batch_norm import BatchNormConfig, NormalisedMLP, _LearningPass
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.sac import SAC

MEMBERS, SIZES, ROWS = 4, (5, 7, 6, 2), 9
CROSSQ = replace(CONFIG, critic="batch-norm")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(after: int = 20_000, **limits: float) -> NormalisedMLP:
    """Weights, scales, shifts and running statistics that are all different, after one pass."""
    config = BatchNormConfig(renormalise_after=after, **limits)
    body = NormalisedMLP(MEMBERS, SIZES, None, config)
    body.initialise(SeedStreams((0, 1), "test"))
    with torch.no_grad():
        body.flat.add_(0.1 * draw(*body.flat.shape, seed=1))
        body.running.add_(0.1 * draw(*body.running.shape, seed=2).abs())
        body.passes.fill_(1)
    return body.double()


def by_formula(body: NormalisedMLP, x: Tensor, *, renormalise: bool) -> Tensor:
    """Ioffe 2017, Algorithm 1, layer by layer in PyTorch's own operations."""
    config = body.config
    rows = zip(body.layers(), body.norms(), copy.deepcopy(body).statistics(), strict=True)
    for index, ((weight, bias), (scale, shift), (running_mean, running_variance)) in enumerate(rows):
        mean, deviation = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + config.epsilon).sqrt()
        normal = (x - mean) / deviation
        if renormalise:
            running = (running_variance + config.epsilon).sqrt()
            r = (deviation / running).detach().clamp(1 / config.largest_ratio, config.largest_ratio)
            d = ((mean - running_mean) / running).detach().clamp(-config.largest_shift, config.largest_shift)
            normal = normal * r + d
        x = torch.baddbmm(bias, normal * scale + shift, weight)
        if index < len(SIZES) - 2:
            x = torch.relu(x)
    return x


@pytest.mark.parametrize(
    ("renormalise", "limits"),
    [(False, {}), (True, {}), (True, {"largest_ratio": 1.05, "largest_shift": 0.05})],
    ids=["normalised", "renormalised", "limited"],
)
def test_a_learning_pass_and_its_gradients_are_those_of_the_formula(
    renormalise: bool, limits: dict[str, float]
) -> None:
    body = network(after=0 if renormalise else 20_000, **limits)
    x, upstream = draw(MEMBERS, ROWS, SIZES[0]).requires_grad_(), draw(MEMBERS, ROWS, SIZES[-1], seed=3)
    expected = by_formula(body, x, renormalise=renormalise)
    ours = body.learn(x)
    torch.testing.assert_close(ours, expected)
    for mine, theirs in zip(
        torch.autograd.grad(ours, [x, body.flat], upstream),
        torch.autograd.grad(expected, [x, body.flat], upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_backward_by_hand_is_the_derivative_of_forward() -> None:
    body, x = network(), draw(MEMBERS, ROWS, SIZES[0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, flat: _LearningPass.apply(x, flat, body), (x, body.flat))


def test_running_statistics_move_by_the_momentum_and_forward_leaves_them_alone() -> None:
    body, x = network(), draw(MEMBERS, ROWS, SIZES[0])
    (mean, variance), *_ = ((m.clone(), v.clone()) for m, v in body.statistics())
    body(x)
    assert torch.equal(body.statistics()[0][0], mean) and body.passes == 1
    body.learn(x)
    torch.testing.assert_close(body.statistics()[0][0], 0.99 * mean + 0.01 * x.mean(1, keepdim=True))
    torch.testing.assert_close(body.statistics()[0][1], 0.99 * variance + 0.01 * x.var(1, keepdim=True))
    assert body.passes == 2


def test_forward_normalises_by_the_running_statistics() -> None:
    body, x = network(), draw(MEMBERS, ROWS, SIZES[0])
    expected = x
    rows = zip(body.layers(), body.norms(), body.statistics(), strict=True)
    for index, ((weight, bias), (scale, shift), (mean, variance)) in enumerate(rows):
        normal = (expected - mean) / (variance + body.config.epsilon).sqrt()
        expected = torch.baddbmm(bias, normal * scale + shift, weight)
        expected = torch.relu(expected) if index < len(SIZES) - 2 else expected
    torch.testing.assert_close(body(x), expected)


def test_a_member_keeps_every_bit_when_another_ones_rows_change() -> None:
    first, second = network(), network()
    x, other = draw(MEMBERS, ROWS, SIZES[0]), draw(MEMBERS, ROWS, SIZES[0])
    other[2] *= 3.0
    outputs, others = first.learn(x), second.learn(other)
    assert [torch.equal(outputs[k], others[k]) for k in range(MEMBERS)] == [True, True, False, True]
    for part, changed in zip(first.statistics(), second.statistics(), strict=True):
        assert [torch.equal(part[0][k], changed[0][k]) for k in (0, 1, 3)] == [True] * 3
    own = [torch.autograd.grad(out[[0, 1, 3]].sum(), net.flat)[0] for out, net in
           ((outputs, first), (others, second))]  # fmt: skip
    assert torch.equal(*own)


def test_a_feature_that_never_varies_has_finite_values_and_gradients() -> None:
    body, x = network(after=0), draw(MEMBERS, ROWS, SIZES[0])
    x[:, :, 1] = 4.0
    (gradient,) = torch.autograd.grad(body.learn(x).square().sum(), body.flat)
    assert gradient.isfinite().all() and body.running.isfinite().all()


def test_bfloat16_values_and_gradients_are_those_of_float32_to_its_precision() -> None:
    def outcome(arithmetic: torch.dtype | None) -> list[Tensor]:
        body = NormalisedMLP(MEMBERS, (5, 64, 64, 1), arithmetic)
        body.initialise(SeedStreams((0, 1), "test"))
        values = body.learn(draw(MEMBERS, 256, 5).float())
        (gradient,) = torch.autograd.grad(values.sin().sum(), body.flat)
        return [values.detach(), gradient, body.running]

    for rounded, exact in zip(outcome(torch.bfloat16), outcome(None), strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).norm() < 0.05 * exact.norm()


def test_weights_that_change_before_backward_are_an_error() -> None:
    body, x = network(), draw(MEMBERS, ROWS, SIZES[0])
    loss = body.learn(x).sum()
    Adam(body.flat, 1e-3).descend(body.learn(x).sum())  # the fused step, which does not say so itself
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# --- parity with sb3-contrib --------------------------------------------------------------------------


def learner(seeds: tuple[int, ...] = (0, 1, 2), passes: int = 0, epsilon: float = 1e-3) -> SAC:
    """A batch of seeds in float64 that differ in weights, running statistics and temperature."""
    sac = SAC(CROSSQ, seeds, 5, 3)
    for module in (sac.actor, sac.critic):
        module.double()
    body = sac.critic.body
    assert isinstance(body, NormalisedMLP)
    body.config = replace(body.config, epsilon=epsilon, renormalise_after=100)
    with torch.no_grad():
        for part in (part for norm in body.norms() for part in norm):
            part.add_(0.1 * draw(*part.shape, seed=5))
        for _, bias in body.layers()[:-1]:
            bias.add_(2.0)  # no unit is dead: of a constant one, sb3-contrib loses Ioffe's shift
        body.config = replace(body.config, momentum=0.9)
        for seed in range(5):  # running statistics near the batches', but not the same
            sac.critic.learn(draw(len(seeds), 50, 5, seed=seed), draw(len(seeds), 50, 3, seed=seed).tanh())
        body.running.mul_(1 + 0.2 * draw(*body.running.shape, seed=4).tanh())
        body.passes.fill_(passes)
        body.config = replace(body.config, momentum=0.01)
        sac.log_temperature.data = torch.tensor([0.1 * k - 0.3 for k in seeds], dtype=torch.float64)
    form = CROSSQ.form
    sac.actor_optimiser = Adam(sac.actor.body.flat, form.learning_rate, form.first_moment)
    sac.critic_optimiser = Adam(body.flat, form.learning_rate, form.first_moment)
    sac.temperature_optimiser = Adam(sac.log_temperature, form.learning_rate)
    return sac


def our_critic(sac: SAC, member: int) -> list[Tensor]:
    """A member's parts in the order in which sb3-contrib's critic states them."""
    body = sac.critic.body
    assert isinstance(body, NormalisedMLP)
    parts = []
    for (weight, bias), norm, statistics in zip(body.layers(), body.norms(), body.statistics(), strict=True):
        parts += [p[member, 0] for p in (*norm, *statistics)] + [weight[member].T, bias[member, 0]]
    return parts


def their_critic(network: nn.Module) -> list[Any]:
    parts: list[Any] = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            parts += [module.weight, module.bias]
        elif hasattr(module, "ra_mean"):
            parts += [module.scale, module.bias, module.ra_mean, module.ra_var]
    return parts


def their_actor(model: sb3_contrib.CrossQ) -> list[Tensor]:
    parts: tuple[Any, ...] = (model.actor.latent_pi, model.actor.mu, model.actor.log_std)
    linears = [m for part in parts for m in part.modules() if isinstance(m, nn.Linear)]
    return [parameter for linear in linears for parameter in (linear.weight, linear.bias)]


def as_crossq(sac: SAC, seed: int, passes: int, epsilon: float) -> sb3_contrib.CrossQ:
    """sb3-contrib's agent in float64, with the weights and statistics of one seed of ours."""
    model = sb3_contrib.CrossQ(
        "MlpPolicy", Spaces(), buffer_size=1, device="cpu",
        policy_kwargs={
            "net_arch": list(CROSSQ.hidden), "batch_norm_eps": epsilon, "renorm_warmup_steps": 100
        },
    )  # fmt: skip
    module: Any
    for module in model.actor.modules():  # whose actor is normalised too, and ours is not
        if hasattr(module, "ra_mean"):
            module.forward = lambda x: x
    model.set_logger(configure(None, []))
    model.policy.double()
    model._n_updates = 2  # the third brings the actor's step
    assert model.log_ent_coef is not None
    model.log_ent_coef.data = sac.log_temperature.detach()[seed : seed + 1].clone()
    with torch.no_grad():
        for theirs, ours in zip(their_actor(model), our_actor(sac, seed), strict=True):
            theirs.copy_(ours)
        for twin, critic in enumerate(model.critic.q_networks):
            for theirs, ours in zip(their_critic(critic), our_critic(sac, 2 * seed + twin), strict=True):
                theirs.copy_(ours)
            for module in critic.modules():
                if hasattr(module, "ra_mean"):
                    module.steps.fill_(passes)
    return model


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("passes", "epsilon"), [(0, 1e-3), (200, 1e-13)], ids=["before", "renormalised"])
def test_an_update_equals_crossq(
    seed: int, passes: int, epsilon: float, scripted_noise: list[Tensor]
) -> None:
    """Renormalised, sb3-contrib adds ε in other places than Ioffe does: there it is too small to tell."""
    sac = learner(passes=passes, epsilon=epsilon)
    [(batch, noise)] = random_updates(1, dtype=torch.float64)
    model = as_crossq(sac, seed, passes, epsilon)
    model.replay_buffer = FixedReplay([of_seeds(batch, slice(seed, seed + 1))])  # type: ignore[assignment]
    scripted_noise += [noise[0, seed], noise[1, seed]]

    metrics = sac.update(batch, noise)
    model.train(gradient_steps=1, batch_size=BATCH)

    assert scripted_noise == []
    assert_equal(model.logger.name_to_value["train/critic_loss"], metrics["critic_loss"][seed])
    assert_equal(model.logger.name_to_value["train/actor_loss"], metrics["actor_loss"][seed])
    for twin, critic in enumerate(model.critic.q_networks):
        for theirs, ours in zip(their_critic(critic), our_critic(sac, 2 * seed + twin), strict=True):
            assert_equal(theirs.detach(), ours.detach())
    for theirs, ours in zip(their_actor(model), our_actor(sac, seed), strict=True):
        assert_equal(theirs.detach(), ours.detach())
    assert model.log_ent_coef is not None
    assert_equal(model.log_ent_coef.detach(), sac.log_temperature.detach()[seed : seed + 1])

"""Batched networks against `torch.nn.Linear` and `torch.distributions`, one member at a time."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, TransformedDistribution, kl_divergence
from torch.distributions.transforms import TanhTransform

from aihf_control.learn.adam import Adam
from aihf_control.learn.networks import ACTION_EDGE, SquashedGaussianActor, TwinCritic
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.seed_mlp import SeedMLP, _FlatMLP

MEMBERS, SIZES, BATCH = 3, (4, 6, 5, 2), 7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(sizes: tuple[int, ...] = SIZES, seeds: tuple[int, ...] = (0, 1, 2)) -> SeedMLP:
    body = SeedMLP(len(seeds), sizes)
    body.initialise(SeedStreams(seeds, "test"))
    return body.double()


def sequential(body: SeedMLP, member: int) -> nn.Sequential:
    """One member as PyTorch builds it."""
    modules: list[nn.Module] = []
    for weight, bias in body.layers():
        linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=torch.float64)
        linear.weight.data = weight[member].detach().T.clone()
        linear.bias.data = bias[member, 0].detach().clone()
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


@pytest.mark.parametrize("sizes", [SIZES, (4, 2)])
def test_every_member_is_a_sequential_of_linears(sizes: tuple[int, ...]) -> None:
    body = network(sizes)
    x, upstream = draw(MEMBERS, BATCH, sizes[0]).requires_grad_(), draw(MEMBERS, BATCH, sizes[-1], seed=1)
    outputs = body(x)
    x_gradient, gradient = torch.autograd.grad(outputs, [x, body.flat], upstream)
    for member in range(MEMBERS):
        model, own_x = sequential(body, member), x[member].detach().requires_grad_()
        expected = model(own_x)
        expected.backward(upstream[member])
        assert own_x.grad is not None
        torch.testing.assert_close(outputs[member], expected)
        torch.testing.assert_close(x_gradient[member], own_x.grad)
        linears = [module for module in model if isinstance(module, nn.Linear)]
        for linear, (weight, bias) in zip(linears, body.layers(gradient), strict=True):
            torch.testing.assert_close(weight[member].T, linear.weight.grad)
            torch.testing.assert_close(bias[member, 0], linear.bias.grad)


def test_backward_by_hand_is_the_derivative_of_forward() -> None:
    body, x = network(), draw(MEMBERS, BATCH, SIZES[0]).requires_grad_()

    def apply(x: Tensor, flat: Tensor) -> Tensor:
        return _FlatMLP.apply(x, flat, (MEMBERS, SIZES, flat.dtype))

    assert torch.autograd.gradcheck(apply, (x, body.flat))


def bfloat16_network(sizes: tuple[int, ...]) -> SeedMLP:
    body = SeedMLP(MEMBERS, sizes, torch.bfloat16)
    body.initialise(SeedStreams(range(MEMBERS), "body"))
    return body


def rounded_by_hand(body: SeedMLP, x: Tensor) -> Tensor:
    """The first layer in float32; then weights, biases and activations in eight bits, sums in float32."""
    (weight, bias), *middle, (last_weight, last_bias) = body.layers()
    hidden = torch.relu((x @ weight + bias).bfloat16().float())
    for weight, bias in middle:
        product = hidden @ weight.bfloat16().float() + bias.bfloat16().float()
        hidden = torch.relu(product.bfloat16().float())
    return hidden @ last_weight + last_bias


@pytest.mark.parametrize("outputs", [1, 2])
def test_bfloat16_rounds_the_hidden_products_and_nothing_else(outputs: int) -> None:
    body, x = bfloat16_network((4, 32, 32, outputs)), draw(MEMBERS, BATCH, 4).float()
    assert body.flat.dtype == body(x).dtype == torch.float32
    error = (body(x) - rounded_by_hand(body, x)).abs().max()
    rounding = (body(x, exact=True) - body(x)).abs().max()
    assert error < 3e-3  # the order of sums alone
    assert 0 < rounding < 1e-2
    torch.testing.assert_close(body(x, exact=True), body.composite(x))


def test_bfloat16_gradients_are_those_of_float32_to_its_precision() -> None:
    body, x = bfloat16_network((4, 64, 64, 1)), draw(MEMBERS, 256, 4).float().requires_grad_()
    rounded = torch.autograd.grad(body(x).square().sum(), [x, body.flat])
    exact = torch.autograd.grad(body(x, exact=True).square().sum(), [x, body.flat])
    for ours, reference in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - reference).norm() < 0.05 * reference.norm()


def test_rounded_weights_follow_the_weights() -> None:
    body, x = bfloat16_network((4, 32, 32, 1)), draw(MEMBERS, BATCH, 4).float()
    body(x)
    with torch.no_grad():
        body.flat.mul_(2.0)
    fresh = bfloat16_network((4, 32, 32, 1))
    with torch.no_grad():
        fresh.flat.copy_(body.flat)
    assert torch.equal(body(x), fresh(x))


@pytest.mark.parametrize("arithmetic", [None, torch.bfloat16])
def test_two_passes_through_one_network_add_their_gradients(arithmetic: torch.dtype | None) -> None:
    body = SeedMLP(MEMBERS, SIZES, arithmetic)
    body.initialise(SeedStreams((0, 1, 2), "test"))
    x, y = draw(MEMBERS, BATCH, SIZES[0]).float(), draw(MEMBERS, BATCH, SIZES[0], seed=1).float()
    (both,) = torch.autograd.grad((body(x) + 2 * body(y)).sum(), body.flat)
    (first,), (second,) = (torch.autograd.grad(body(rows).sum(), body.flat) for rows in (x, y))
    torch.testing.assert_close(both, first + 2 * second, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("arithmetic", [None, torch.bfloat16])
@pytest.mark.parametrize("change", ["in place", "by Adam"])
def test_weights_that_change_before_backward_are_an_error(
    arithmetic: torch.dtype | None, change: str
) -> None:
    body = SeedMLP(MEMBERS, SIZES, arithmetic)
    body.initialise(SeedStreams((0, 1, 2), "test"))
    loss = body(draw(MEMBERS, BATCH, SIZES[0]).float()).sum()
    if change == "by Adam":  # whose fused step does not say so itself
        Adam(body.flat, 1e-3).descend(body(draw(MEMBERS, BATCH, SIZES[0]).float()).sum())
    else:
        body.flat.data.mul_(1.0)
        with torch.no_grad():
            body.flat.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_backward_by_hand_equals_autograds_on_the_composite() -> None:
    body, x = network(), draw(MEMBERS, BATCH, SIZES[0]).requires_grad_()
    by_hand = torch.autograd.grad(body(x).square().sum(), [x, body.flat])
    composed = torch.autograd.grad(body.composite(x).square().sum(), [x, body.flat])
    torch.testing.assert_close(by_hand, composed)


def test_only_the_composite_is_differentiable_twice() -> None:
    body, x = network(), draw(MEMBERS, BATCH, SIZES[0]).requires_grad_()

    def slope(output: Tensor) -> Tensor:
        return torch.autograd.grad(output.sum(), x, create_graph=True)[0].square().sum()

    assert torch.autograd.grad(slope(body.composite(x)), body.flat)[0].abs().sum() > 0
    assert not slope(body(x)).requires_grad
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope(body(x).square()).backward()


def test_frozen_passes_the_gradient_to_the_input_alone() -> None:
    body, x = network(), draw(MEMBERS, BATCH, SIZES[0]).requires_grad_()
    (free,) = torch.autograd.grad(body(x).sum(), x)
    body(x, frozen=True).sum().backward()
    torch.testing.assert_close(x.grad, free)
    assert body.flat.grad is None


def test_initial_range_is_one_over_the_root_of_the_input_side() -> None:
    body = network((16, 400, 4))
    for parts, inputs in zip(body.layers(), (16, 400), strict=True):
        limit = 1 / math.sqrt(inputs)
        for part in parts:
            assert part.abs().max() <= limit
        assert parts[0].abs().max() > 0.95 * limit  # 1,600 draws or more a layer
        assert abs(parts[0].mean()) < 0.05 * limit
        spread = parts[0].std().item()
        assert spread == pytest.approx(limit / math.sqrt(3), rel=0.05)  # a uniform distribution's


def test_initial_weights_are_the_seeds_own_whatever_the_batch() -> None:
    together, alone = network(seeds=(0, 1, 2)), network(seeds=(1,))
    for (weight, bias), (own_weight, own_bias) in zip(together.layers(), alone.layers(), strict=True):
        assert torch.equal(weight[1], own_weight[0])
        assert torch.equal(bias[1], own_bias[0])
        assert not torch.equal(weight[0], weight[1])


def test_both_twins_of_a_seed_are_its_own_and_differ() -> None:
    together, alone = TwinCritic(3, 3, 1, (8,)), TwinCritic(1, 3, 1, (8,))
    together.body.initialise(SeedStreams((0, 1, 2), "critic"))
    alone.body.initialise(SeedStreams((2,), "critic"))
    for (weight, _), (own_weight, _) in zip(together.body.layers(), alone.body.layers(), strict=True):
        assert torch.equal(weight[4:6], own_weight)
        assert not torch.equal(weight[4], weight[5])


def test_finite_names_the_members_that_are_not() -> None:
    body = network()
    assert body.finite().tolist() == [True, True, True]
    with torch.no_grad():
        body.layers()[1][1][2, 0, 3] = torch.inf
    assert body.finite().tolist() == [True, True, False]


def test_twin_critic_orders_its_members_seed_by_seed() -> None:
    critic = TwinCritic(2, 3, 1, (6,))
    critic.body.initialise(SeedStreams((0, 1), "critic"))
    critic.double()
    observations, actions = draw(2, BATCH, 3), draw(2, BATCH, 1, seed=1)
    values = critic(observations, actions)
    assert values.shape == (2, 2, BATCH)
    for seed in range(2):
        for twin in range(2):
            model = sequential(critic.body, 2 * seed + twin)
            expected = model(torch.cat([observations[seed], actions[seed]], dim=1)).squeeze(1)
            torch.testing.assert_close(values[seed, twin], expected)


def actor() -> SquashedGaussianActor:
    policy = SquashedGaussianActor(MEMBERS, 4, 2, (16,))
    policy.body.initialise(SeedStreams((0, 1, 2), "actor"))
    return policy.double()


def reference(policy: SquashedGaussianActor, observations: Tensor) -> TransformedDistribution:
    mean, log_std = policy.distribution(observations)
    return TransformedDistribution(Independent(Normal(mean, log_std.exp()), 1), [TanhTransform()])


def test_log_density_is_that_of_a_tanh_transformed_gaussian() -> None:
    policy, observations = actor(), draw(MEMBERS, BATCH, 4)
    actions = 0.9 * torch.tanh(draw(MEMBERS, BATCH, 2, seed=1))
    expected = reference(policy, observations).log_prob(actions)
    # the epsilon inside the logarithm costs at most 1e-6 / (1 - 0.9²) a dimension
    torch.testing.assert_close(policy.log_density(observations, actions), expected, rtol=0, atol=1.1e-5)


def test_sample_is_the_tanh_of_a_scaled_and_shifted_noise_with_its_own_log_density() -> None:
    policy, observations, noise = actor(), draw(MEMBERS, BATCH, 4), 0.5 * draw(MEMBERS, BATCH, 2, seed=1)
    actions, log_density = policy.sample(observations, noise)
    mean, log_std = policy.distribution(observations)
    torch.testing.assert_close(actions, torch.tanh(mean + log_std.exp() * noise))
    torch.testing.assert_close(log_density, policy.log_density(observations, actions))
    expected = reference(policy, observations).log_prob(actions)
    torch.testing.assert_close(log_density, expected, rtol=0, atol=1e-4)


def test_the_cost_against_a_prior_is_the_divergence_of_the_two_gaussians() -> None:
    policy, other, observations = actor(), actor(), draw(MEMBERS, BATCH, 4)
    with torch.no_grad():
        other.body.flat.add_(0.1 * draw(*other.body.flat.shape, seed=3))
    _, cost = policy.sample(observations, draw(MEMBERS, BATCH, 2, seed=1), other)
    normals = [Normal(mean, log_std.exp()) for mean, log_std in (
        policy.distribution(observations), other.distribution(observations)
    )]  # fmt: skip
    torch.testing.assert_close(cost, kl_divergence(*normals).sum(-1))
    cost.sum().backward()
    assert policy.body.flat.grad is not None and policy.body.flat.grad.abs().sum() > 0
    assert other.body.flat.grad is None


def test_spread_evenly_the_mode_stays_and_every_width_is_the_same() -> None:
    policy, observations = actor(), draw(MEMBERS, BATCH, 4)
    mode = policy.mode(observations)
    policy.spread_evenly(0.1)
    assert torch.equal(policy.mode(observations), mode)
    log_std = policy.distribution(observations)[1]
    torch.testing.assert_close(log_std.exp(), torch.full_like(log_std, 0.1))


def test_mode_is_the_sample_without_noise() -> None:
    policy, observations = actor(), draw(MEMBERS, BATCH, 4)
    without = policy.sample(observations, torch.zeros(MEMBERS, BATCH, 2, dtype=torch.float64))[0]
    assert torch.equal(policy.mode(observations), without)


def test_actions_at_the_bounds_have_the_density_of_the_edge_and_finite_gradients() -> None:
    policy, observations = actor(), draw(MEMBERS, BATCH, 4)
    bounds = torch.ones(MEMBERS, BATCH, 2, dtype=torch.float64)
    bounds[..., 0] = -1.0
    log_density = policy.log_density(observations, bounds)
    torch.testing.assert_close(log_density, policy.log_density(observations, (1 - ACTION_EDGE) * bounds))
    log_density.sum().backward()
    assert policy.body.flat.grad is not None and policy.body.flat.grad.isfinite().all()


def test_log_std_is_held_between_its_bounds() -> None:
    policy = actor()
    with torch.no_grad():
        policy.body.layers()[-1][1][:, :, 2:] = torch.tensor([-100.0, 100.0])
    log_std = policy.distribution(draw(MEMBERS, BATCH, 4))[1]
    assert torch.equal(log_std[..., 0], torch.full((MEMBERS, BATCH), -20.0, dtype=torch.float64))
    assert torch.equal(log_std[..., 1], torch.full((MEMBERS, BATCH), 2.0, dtype=torch.float64))

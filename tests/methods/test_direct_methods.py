"""IPL, CPL, Direct and Self-Play AIHF: losses by hand, and updates against independent implementations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
import toy
from torch import Tensor, nn

from aihf_control.learn.contrastive import contrastive_loss, self_play_loss
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.replay import Batch
from aihf_control.learn.seed_mlp import SeedMLP
from aihf_control.methods.ipl import IPL, OfflineBatch
from aihf_control.methods.method import Context
from aihf_control.methods.offline_method import PURPOSES, OfflineMethod
from aihf_control.methods.table import METHODS
from benchmarks.theory import world

SEEDS = (0, 1, 2)
TOLERANCE = 1e-9


def test_a_contrastive_loss_by_hand() -> None:
    """log(1 + e^(λ·l − w)): of w = 1, l = 2 and λ = ½ it is log 1 + e⁰; a tie is the mean of both orders."""
    preferred, rejected = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 2.0]])
    loss, metrics = contrastive_loss(preferred, rejected, torch.tensor([[1.0, 0.5]]), bias=0.5)
    tie = (math.log(2) + math.log(1 + math.exp(0.5 - 2))) / 2
    assert loss.item() == pytest.approx((math.log(2) + tie) / 2)
    assert metrics["batch_accuracy"].tolist() == [0.0]
    plain = contrastive_loss(preferred, rejected, torch.ones(1, 2), bias=1.0)[0]
    assert plain.item() == pytest.approx(-math.log(1 / (1 + math.exp(1))))


def test_self_play_by_hand() -> None:
    shown, own = torch.tensor([[0.3, 0.0]]), torch.tensor([[0.1, 0.4]])
    assert self_play_loss(shown, own, linear=True)[0].item() == pytest.approx((-0.2 + 0.4) / 2)
    expected = (math.log(1 + math.exp(-0.2)) + math.log(1 + math.exp(0.4))) / 2
    assert self_play_loss(shown, own, linear=False)[0].item() == pytest.approx(expected)


def made(name: str) -> OfflineMethod:
    """In float64, with something drawn."""
    settings = toy.SETTINGS
    tables = FeedbackTables(toy.feedback(), 1.0, "cpu")
    method = METHODS[name](Context(toy.TASK, SEEDS, settings, tables, torch.device("cpu")))
    assert isinstance(method, OfflineMethod)
    method.start()
    method.before(0)
    parts: Any = vars(method)
    with torch.no_grad():  # away from the start, where ratios are zero and targets equal
        noise = torch.Generator().manual_seed(0)
        for network in (part for part in parts.values() if isinstance(part, nn.Module)):
            flat: Any = network.double().body.flat  # type: ignore[union-attr]
            flat += 0.05 * torch.randn(flat.shape, generator=noise)
    for optimiser in (method.actor_optimiser, *parts.get("optimisers", {}).values()):
        (state,) = optimiser.state.values()
        state |= {name: state[name].double() for name in ("exp_avg", "exp_avg_sq")}
    for table in (tables.pairs.steps, tables.demonstrated.steps):
        table._columns = tuple(column.double() for column in table._columns)
    tables.pairs.confidence = tables.pairs.confidence.double()
    method.draws.fill(**method.draw({purpose: SeedStreams(SEEDS, purpose) for purpose in PURPOSES}))
    method.draws.go_to(7)
    return method


class Net(nn.Module):
    """One seed's network, out of PyTorch's own layers."""

    def __init__(self, network: Any, member: int) -> None:
        super().__init__()
        body: SeedMLP = network.body
        layers: list[nn.Module] = []
        for weight, bias in body.layers():
            layer = nn.Linear(weight.shape[1], weight.shape[2], dtype=torch.float64)
            layer.weight = nn.Parameter(weight[member].detach().T.clone())
            layer.bias = nn.Parameter(bias[member, 0].detach().clone())
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        seed = member // (body.members // len(SEEDS))
        self.mean, self.std = network.standardise.mean[seed, 0], network.standardise.std[seed, 0]

    def forward(self, observations: Tensor, *actions: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([(observations - self.mean) / self.std, *actions], dim=-1))
        return out

    def descend(self, loss: Tensor, rate: float) -> None:
        optimiser = torch.optim.Adam(self.parameters(), lr=rate)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def equal(network: Any, member: int, expected: Net) -> None:
    linears = [layer for layer in expected.layers if isinstance(layer, nn.Linear)]
    for (weight, bias), layer in zip(network.body.layers(), linears, strict=True):
        torch.testing.assert_close(weight[member].T, layer.weight, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(bias[member, 0], layer.bias, atol=TOLERANCE, rtol=0)


def closeness(policy: Net, observations: Tensor, actions: Tensor) -> Tensor:
    mode = torch.tanh(policy(observations)[..., :1])
    return -((mode - actions) ** 2).sum(-1)


def sides(method: OfflineMethod, seed: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Observations and actions (P, 2, ·) of both sides of a seed's pairs, cut from the table by hand."""
    feedback = toy.feedback().pairs
    chosen = method.draws["pairs"][seed].numpy()
    found = []
    for side in (feedback.preferred, feedback.rejected):
        rows = side.starts[chosen][:, None] + np.arange(2)
        found.append(
            (torch.from_numpy(side.steps.observations[rows]).double(),
             torch.from_numpy(side.steps.actions[rows]).double())
        )  # fmt: skip
    return found, torch.from_numpy(feedback.confidence[chosen]).double()


def shown(method: OfflineMethod, seed: int) -> tuple[Tensor, Tensor]:
    steps = method.shown()
    return steps.observations[seed], steps.actions[seed]


def test_an_update_of_cpl_is_that_of_the_published_code() -> None:
    """Its biased cross-entropy, written out with the log-sum-exp trick for a label y of the second."""
    method = made("cpl")
    expected = [Net(method.actor, seed) for seed in range(3)]
    config = toy.SETTINGS.cpl
    for seed, policy in enumerate(expected):
        ((wo, wa), (lo, la)), confidence = sides(method, seed)
        adv2 = config.temperature * closeness(policy, wo, wa).sum(-1)
        adv1 = config.temperature * closeness(policy, lo, la).sum(-1)
        logit21, logit12 = adv2 - config.bias * adv1, adv1 - config.bias * adv2
        loss = confidence * -functional.logsigmoid(logit21)
        loss = loss + (1 - confidence) * -functional.logsigmoid(logit12)
        policy.descend(loss.mean(), config.learning_rate)
    method.update()
    for seed, policy in enumerate(expected):
        equal(method.actor, seed, policy)


def test_an_update_of_direct_aihf_by_hand() -> None:
    method: Any = made("direct_aihf")
    config = toy.SETTINGS.direct_aihf
    expected = [Net(method.actor, seed) for seed in range(3)]
    for seed, policy in enumerate(expected):
        clone = Net(method.prior, seed)
        pairs, confidence = sides(method, seed)
        better, worse = (
            config.temperature * (closeness(policy, o, a) - closeness(clone, o, a).detach()).sum(-1)
            for o, a in pairs
        )
        preference = -(confidence * functional.logsigmoid(better - config.bias * worse)).mean()
        loss = preference - config.demonstration_weight * closeness(policy, *shown(method, seed)).mean()
        policy.descend(loss, config.learning_rate)
    assert (sides(method, 0)[1] == 1).all()  # no ties among them
    method.update()
    for seed, policy in enumerate(expected):
        equal(method.actor, seed, policy)


def test_an_update_of_self_play_aihf_by_hand() -> None:
    method: Any = made("selfplay_aihf")
    config = toy.SETTINGS.selfplay_aihf
    expected = [Net(method.actor, seed) for seed in range(3)]
    for seed, policy in enumerate(expected):
        earlier = Net(method.earlier, seed)
        observations, actions = shown(method, seed)
        own = torch.tanh(earlier(observations)[..., :1]).detach() + method.draws["noise"][seed] * 0.5**0.5

        def ratio(o: Tensor, a: Tensor, policy: Net = policy, earlier: Net = earlier) -> Tensor:
            return config.temperature * (closeness(policy, o, a) - closeness(earlier, o, a).detach())

        played = functional.logsigmoid(ratio(observations, actions) - ratio(observations, own)).mean()
        pairs, clone = sides(method, seed)[0], Net(method.clone, seed)
        better, worse = (ratio(o, a, policy, clone).sum(-1) for o, a in pairs)
        loss = -config.demonstration_weight * played - functional.logsigmoid(better - worse).mean()
        policy.descend(loss, config.learning_rate)
    method.update()
    for seed, policy in enumerate(expected):
        equal(method.actor, seed, policy)


def test_the_earlier_self_is_the_present_one_after_so_many_epochs() -> None:
    """200 demonstrated steps, two epochs, batches of 64: every 7 updates."""
    method: Any = made("selfplay_aihf")
    assert method.play_updates == 7
    method.before(6)
    assert not torch.equal(method.earlier.body.flat, method.actor.body.flat)
    method.before(7)
    assert torch.equal(method.earlier.body.flat, method.actor.body.flat)


def test_an_update_of_ipl_is_that_of_the_published_code() -> None:
    """V, then Q on the new V of the next steps, then the policy on the new V: expectile, cross-entropy plus
    λ·E[r²], weighted regression, each source weighing half and the twins' mean taken."""
    method: Any = made("ipl")
    assert isinstance(method, IPL)
    config, gamma = toy.SETTINGS.ipl, toy.SETTINGS.sac.discount
    others = method.context.feedback.pairs.steps.rows(method.draws["others"])
    batch = OfflineBatch.join(method.pairs(), Batch.joined(others, method.shown()))
    nets = []
    for seed in range(3):
        value, policy = Net(method.value, seed), Net(method.actor, seed)
        twins = [Net(method.critic, 2 * seed + twin) for twin in range(2)]
        targets = [Net(method.target, 2 * seed + twin) for twin in range(2)]
        o, a, _, following, masks = (
            getattr(batch.rows, name)[seed]
            for name in ("observations", "actions", "rewards", "next_observations", "masks")
        )
        pairs = config.pairs_per_update
        split = (2 * pairs, 2 * pairs, config.transitions_per_update)

        def balanced(losses: Tensor, split: tuple[int, ...] = split) -> Tensor:
            first, second, others = losses.split(split)
            return 0.5 * (first.mean() + second.mean()) / 2 + 0.5 * others.mean()

        with torch.no_grad():
            goal = torch.min(*(target(o, a).squeeze(-1) for target in targets))
        difference = goal - value(o).squeeze(-1)
        weight = torch.where(difference > 0, config.expectile, 1 - config.expectile)
        value.descend(balanced(weight * difference**2), config.learning_rate)
        with torch.no_grad():
            limit = 1 / (config.regularisation * (1 - gamma))
            later = gamma * masks * value(following).squeeze(-1).clamp(-limit, limit)
        losses = []
        for twin in twins:
            reward = twin(o, a).squeeze(-1) - later
            first, second, _ = reward.split(split)
            logits = first.view(pairs, 2).sum(1) - second.view(pairs, 2).sum(1)
            preferred = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
            losses.append(preferred + config.regularisation * balanced(reward**2))
        both = nn.ModuleList(twins)
        optimiser = torch.optim.Adam(both.parameters(), lr=config.learning_rate)
        torch.stack(losses).mean().backward()
        optimiser.step()
        with torch.no_grad():
            advantage = goal - value(o).squeeze(-1)
            shares = (advantage / config.temperature).exp().clamp(max=config.largest_weight)
        mean, log_std = policy(o).chunk(2, dim=-1)
        inside = a.clamp(-1 + 1e-3, 1 - 1e-3)
        density = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp()).log_prob(torch.atanh(inside))
        density = (density - torch.log(1 - inside**2 + 1e-6)).sum(-1)
        policy.descend(balanced(-shares * density), config.learning_rate)
        for target, twin in zip(targets, twins, strict=True):
            for old, new in zip(target.parameters(), twin.parameters(), strict=True):
                old.data.mul_(1 - toy.SETTINGS.sac.polyak).add_(new.data, alpha=toy.SETTINGS.sac.polyak)
        nets.append((value, policy, twins, targets))
    method.learn(batch)
    for seed, (value, policy, twins, targets) in enumerate(nets):
        equal(method.value, seed, value)
        equal(method.actor, seed, policy)
        for number, (twin, target) in enumerate(zip(twins, targets, strict=True), start=2 * seed):
            equal(method.critic, number, twin)
            equal(method.target, number, target)


def test_losses_and_gradients_are_those_of_the_tabular_world_where_each_method_is_solved() -> None:
    """`benchmarks/theory` shows where their minima lie; here both say the same of one policy's log π."""
    rng = np.random.default_rng(0)
    log_policy, earlier = (np.log(rng.dirichlet(np.ones(2), size=3)) for _ in range(2))
    visits = rng.integers(0, 4, size=(5, 3, 2)).astype(float)
    winners, losers, beta, bias = np.array([0, 1, 2, 3]), np.array([4, 0, 1, 2]), 0.3, 0.5
    weights = np.zeros((5, 5))
    weights[winners, losers] = 0.25

    free = torch.tensor(log_policy, requires_grad=True)
    sums = beta * torch.einsum("nsa,sa->n", torch.tensor(visits), free - torch.tensor(earlier))
    ones = torch.ones(1, 4, dtype=torch.float64)
    loss, _ = contrastive_loss(sums[winners][None], sums[losers][None], ones, bias)
    value, gradient = world.cpl_loss(log_policy, world.Pairs(visits, weights), earlier, beta, bias)
    assert loss.item() == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(loss, free)[0], gradient, atol=1e-12)

    # every (state, demonstrated action, own action), by how likely it is
    demonstrated = rng.dirichlet(np.ones(6)).reshape(3, 2)
    for linear in (False, True):
        ratios = beta * (free - torch.tensor(earlier))
        terms = []
        for state, action, own in np.ndindex(3, 2, 2):
            term, _ = self_play_loss(
                ratios[state, action].view(1, 1), ratios[state, own].view(1, 1), linear=linear
            )
            terms.append(term * float(demonstrated[state, action] * np.exp(earlier[state, own])))
        loss = torch.stack(terms).sum()
        value, gradient = world.self_play_loss(log_policy, earlier, demonstrated, beta, linear)
        assert loss.item() == pytest.approx(value, abs=1e-12)
        np.testing.assert_allclose(torch.autograd.grad(loss, free)[0], gradient, atol=1e-12)

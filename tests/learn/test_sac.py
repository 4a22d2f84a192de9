"""The update is Stable-Baselines3's, seed by seed, and a seed never touches another."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from aihf_control.learn.adam import Adam, restore
from aihf_control.learn.networks import TwinCritic
from aihf_control.learn.replay import Batch, ReplayBuffer
from aihf_control.learn.sac import SAC, SACConfig, actor_loss, critic_loss, temperature_loss
from aihf_control.learn.seed_mlp import SeedMLP

OBSERVATIONS, ACTIONS, BATCH = 5, 3, 8
CONFIG = SACConfig(critic="plain", hidden=(16, 12), batch_size=BATCH)


def learner(
    seeds: tuple[int, ...] = (0, 1, 2), dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> SAC:
    """A batch of seeds that differ in weights, targets and temperature."""
    sac = SAC(CONFIG, seeds, OBSERVATIONS, ACTIONS, device)
    for module in (sac.actor, sac.critic, target_of(sac)):
        module.to(dtype)
    with torch.no_grad():
        sac.log_temperature.data = torch.tensor([0.1 * k - 0.3 for k in seeds], dtype=dtype, device=device)
        target_of(sac).body.flat.mul_(0.9)
    # the parameters changed their type in place; Adam's moments are made anew in the same one
    sac.actor_optimiser = Adam(sac.actor.body.flat, CONFIG.form.learning_rate)
    sac.critic_optimiser = Adam(sac.critic.body.flat, CONFIG.form.learning_rate)
    sac.temperature_optimiser = Adam(sac.log_temperature, CONFIG.form.learning_rate)
    return sac


def target_of(sac: SAC) -> TwinCritic:
    """Of plain critics."""
    assert sac.target is not None
    return sac.target


def random_batch(generator: torch.Generator, seeds: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Transitions of which every other one terminates."""
    shape = (seeds, BATCH)
    return Batch(
        observations=torch.randn(*shape, OBSERVATIONS, generator=generator, dtype=dtype),
        actions=torch.rand(*shape, ACTIONS, generator=generator, dtype=dtype) * 2 - 1,
        rewards=torch.randn(*shape, generator=generator, dtype=dtype),
        next_observations=torch.randn(*shape, OBSERVATIONS, generator=generator, dtype=dtype),
        masks=(torch.arange(BATCH) % 2).to(dtype).expand(shape),
    )


def random_updates(
    count: int, seeds: int = 3, dtype: torch.dtype = torch.float32
) -> list[tuple[Batch, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (
            random_batch(generator, seeds, dtype),
            torch.randn(2, seeds, BATCH, ACTIONS, generator=generator, dtype=dtype),
        )
        for _ in range(count)
    ]


def of_seeds(batch: Batch, index: slice) -> Batch:
    return Batch(*(getattr(batch, name)[index] for name in Batch.__dataclass_fields__))


def weights(network: SeedMLP, member: int, flat: Tensor | None = None) -> list[Tensor]:
    """Weights and biases of a member as `nn.Linear` has them."""
    layers = network.layers(flat)
    return [part for weight, bias in layers for part in (weight[member].T, bias[member, 0])]


def state(sac: SAC, seed: int) -> Tensor:
    """Everything a seed has learnt, in one row."""
    parts = weights(sac.actor.body, seed) + [sac.log_temperature[seed]]
    for network in (sac.critic.body, target_of(sac).body):
        parts += weights(network, 2 * seed) + weights(network, 2 * seed + 1)
    return torch.cat([part.detach().flatten() for part in parts])


def train(sac: SAC, updates: list[tuple[Batch, Tensor]]) -> SAC:
    for batch, noise in updates:
        sac.update(batch, noise)
    return sac


# --- parity with Stable-Baselines3 ------------------------------------------------------------------


class Spaces(gym.Env[np.ndarray, np.ndarray]):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float64)


def as_sb3(sac: SAC, seed: int) -> stable_baselines3.SAC:
    """Stable-Baselines3's agent in float64, with the weights of one seed of ours."""
    model = stable_baselines3.SAC(
        "MlpPolicy", Spaces(), buffer_size=1, policy_kwargs={"net_arch": list(CONFIG.hidden)}, device="cpu"
    )
    model.set_logger(configure(None, []))
    model.policy.double()
    assert model.log_ent_coef is not None
    model.log_ent_coef.data = sac.log_temperature.detach()[seed : seed + 1].clone()
    with torch.no_grad():
        for theirs, ours in zip(sb3_actor(model), our_actor(sac, seed), strict=True):
            theirs.copy_(ours)
        for network, body in ((model.critic, sac.critic.body), (model.critic_target, target_of(sac).body)):
            for theirs, ours in zip(network.parameters(), our_critics(body, seed), strict=True):
                theirs.copy_(ours)
    return model


def sb3_actor(model: stable_baselines3.SAC) -> list[nn.Parameter]:
    actor = model.actor
    assert isinstance(actor.log_std, nn.Linear)
    return [*actor.latent_pi.parameters(), *actor.mu.parameters(), *actor.log_std.parameters()]


def our_actor(sac: SAC, seed: int, flat: Tensor | None = None) -> list[Tensor]:
    *hidden, weight, bias = weights(sac.actor.body, seed, flat)
    return [*hidden, weight[:ACTIONS], bias[:ACTIONS], weight[ACTIONS:], bias[ACTIONS:]]


def our_critics(body: SeedMLP, seed: int, flat: Tensor | None = None) -> list[Tensor]:
    return weights(body, 2 * seed, flat) + weights(body, 2 * seed + 1, flat)


class Gradients:
    """Keeps the gradients an optimiser was last given: both learners go on to overwrite theirs."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self.values: list[Tensor] = []
        optimiser.register_step_pre_hook(self._keep)

    def _keep(self, optimiser: torch.optim.Optimizer, *_: object) -> None:
        parameters = optimiser.param_groups[0]["params"]
        self.values = [parameter.grad.clone() for parameter in parameters]


class FixedReplay:
    """In the place of Stable-Baselines3's replay buffer: the batches it is told, in order."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = iter(batches)

    def sample(self, batch_size: int, env: None = None) -> ReplayBufferSamples:
        batch = next(self._batches)
        dones, rewards = 1 - batch.masks[0, :, None], batch.rewards[0, :, None]
        return ReplayBufferSamples(
            batch.observations[0], batch.actions[0], batch.next_observations[0], dones, rewards
        )


def assert_equal(theirs: Tensor | float, ours: Tensor | float) -> None:
    ours, theirs = torch.as_tensor(ours), torch.as_tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(ours.reshape(theirs.shape), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_updates_equal_stable_baselines3(seed: int, scripted_noise: list[Tensor]) -> None:
    sac = learner(dtype=torch.float64)
    updates = random_updates(3, dtype=torch.float64)
    model = as_sb3(sac, seed)
    model.replay_buffer = FixedReplay([of_seeds(b, slice(seed, seed + 1)) for b, _ in updates])  # type: ignore[assignment]
    assert model.ent_coef_optimizer is not None and model.log_ent_coef is not None
    theirs = [Gradients(o) for o in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer)]
    ours = [Gradients(o) for o in (sac.actor_optimiser, sac.critic_optimiser, sac.temperature_optimiser)]
    for batch, noise in updates:
        # Stable-Baselines3 draws the noise of the actor's loss before the one of the critics' goal
        scripted_noise += [noise[1, seed], noise[0, seed]]
        log_density = sac.actor.sample(batch.observations, noise[1])[1].detach()
        index = slice(seed, seed + 1)
        alpha_loss, _ = temperature_loss(
            sac.log_temperature.detach()[index], log_density[index], sac.target_entropy
        )

        metrics = sac.update(batch, noise)
        model.train(gradient_steps=1, batch_size=BATCH)

        assert scripted_noise == []
        logged = model.logger.name_to_value
        assert_equal(logged["train/critic_loss"], metrics["critic_loss"][seed])
        assert_equal(logged["train/actor_loss"], metrics["actor_loss"][seed])
        assert_equal(logged["train/ent_coef_loss"], alpha_loss)
        their_gradients = [gradients.values for gradients in theirs]
        our_gradients = [
            our_actor(sac, seed, ours[0].values[0]),
            our_critics(sac.critic.body, seed, ours[1].values[0]),
            [ours[2].values[0][index]],
        ]
        their_weights = [
            sb3_actor(model),
            model.critic.parameters(),
            model.critic_target.parameters(),
            [model.log_ent_coef],
        ]
        our_weights = [
            our_actor(sac, seed),
            our_critics(sac.critic.body, seed),
            our_critics(target_of(sac).body, seed),
            [sac.log_temperature[index]],
        ]
        for these, those in zip(their_gradients + their_weights, our_gradients + our_weights, strict=True):
            for this, that in zip(these, those, strict=True):
                assert_equal(this.detach(), that.detach())


# --- seeds share nothing ----------------------------------------------------------------------------


def test_the_other_seeds_keep_every_bit_when_one_seeds_replay_changes() -> None:
    generator = torch.Generator().manual_seed(3)
    replay = ReplayBuffer(3, 50, OBSERVATIONS, ACTIONS)
    replay.extend(torch.randn(3, 50, replay.rows.shape[-1], generator=generator))
    rows = torch.randint(50, (20, 3, BATCH), generator=generator)
    noise = torch.randn(20, 2, 3, BATCH, ACTIONS, generator=generator)

    before = train(learner(), [(replay.batch(r), n) for r, n in zip(rows, noise, strict=True)])
    replay.rows[1] = torch.randn(50, replay.rows.shape[-1], generator=generator)
    after = train(learner(), [(replay.batch(r), n) for r, n in zip(rows, noise, strict=True)])

    assert [torch.equal(state(before, k), state(after, k)) for k in range(3)] == [True, False, True]


def test_the_other_seeds_keep_every_bit_when_one_seeds_noise_changes() -> None:
    updates = random_updates(20)
    before = train(learner(), updates)
    for _, noise in updates:
        noise[:, 1] *= -1
    after = train(learner(), updates)
    assert [torch.equal(state(before, k), state(after, k)) for k in range(3)] == [True, False, True]


def test_the_other_seeds_keep_every_bit_when_one_seed_turns_nan() -> None:
    updates = random_updates(20)
    healthy = train(learner(), updates)
    broken = learner()
    with torch.no_grad():
        broken.actor.body.layers()[0][0][1] = torch.nan
    train(broken, updates)
    assert [torch.equal(state(healthy, k), state(broken, k)) for k in range(3)] == [True, False, True]
    assert state(broken, 1).isnan().any()
    assert broken.finite().tolist() == [True, False, True]


@pytest.mark.parametrize("seed", [0, 2])
def test_a_seed_alone_learns_what_it_learns_in_a_batch(seed: int) -> None:
    updates = random_updates(200)
    index = slice(seed, seed + 1)
    together = train(learner(), updates)
    alone = train(learner((seed,)), [(of_seeds(batch, index), noise[:, index]) for batch, noise in updates])
    learnt = (state(alone, 0) - state(learner((seed,)), 0)).abs().max()
    assert learnt > 0.01  # so that the tolerance below is small beside what was learnt
    torch.testing.assert_close(state(alone, 0), state(together, seed), rtol=0, atol=1e-4)


# --- what an update does, by hand -------------------------------------------------------------------


def constant_learner() -> SAC:
    """Two seeds whose networks answer the same everywhere: Q = 1 and 2 (seed 0), 3 and 5 (seed 1), targets
    10 below, actions tanh(σ·noise) with log σ = -1, temperature 1."""
    sac = SAC(CONFIG, (0, 1), OBSERVATIONS, ACTIONS)
    with torch.no_grad():
        for body in (sac.actor.body, sac.critic.body, target_of(sac).body):
            body.flat.zero_()
        sac.actor.body.layers()[-1][1][..., ACTIONS:] = -1.0
        sac.critic.body.layers()[-1][1][:, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 5.0])
        target_of(sac).body.layers()[-1][1][:, 0, 0] = torch.tensor([-9.0, -8.0, -7.0, -5.0])
    return sac


LOG_DENSITY_AT_ZERO = ACTIONS * (1.0 - 0.5 * math.log(2 * math.pi))  # noise 0: the Gaussian's peak, tanh' = 1


def test_critic_loss_is_half_the_squared_soft_bellman_error_mean_over_the_batch_by_hand() -> None:
    sac = constant_learner()
    batch = random_batch(torch.Generator().manual_seed(0), 2)
    noise = torch.zeros(2, BATCH, ACTIONS)
    temperature = torch.tensor([0.5, 2.0])
    total, metrics = critic_loss(sac.critic, sac.target, sac.actor, temperature, batch, noise, 0.9)

    expected = []
    for seed, (values, lowest, alpha) in enumerate([((1.0, 2.0), -9.0, 0.5), ((3.0, 5.0), -7.0, 2.0)]):
        steps = zip(batch.rewards[seed].tolist(), batch.masks[seed].tolist(), strict=True)
        goals = [r + 0.9 * mask * (lowest - alpha * LOG_DENSITY_AT_ZERO) for r, mask in steps]
        expected.append(sum(0.5 * (value - goal) ** 2 for value in values for goal in goals) / BATCH)
    torch.testing.assert_close(metrics["critic_loss"], torch.tensor(expected), rtol=1e-5, atol=0)
    torch.testing.assert_close(total, torch.tensor(sum(expected)), rtol=1e-5, atol=0)
    assert metrics["value"].tolist() == [1.5, 4.0]


def test_actor_and_temperature_losses_are_means_over_the_batch_by_hand() -> None:
    sac = constant_learner()
    observations = torch.zeros(2, BATCH, OBSERVATIONS)
    temperature = torch.tensor([0.5, 2.0])
    noise = torch.zeros(2, BATCH, ACTIONS)
    total, log_density, metrics = actor_loss(sac.actor, sac.critic, temperature, observations, noise)
    expected = torch.tensor([0.5 * LOG_DENSITY_AT_ZERO - 1.0, 2.0 * LOG_DENSITY_AT_ZERO - 3.0])
    torch.testing.assert_close(metrics["actor_loss"], expected)
    torch.testing.assert_close(total, expected.sum())
    torch.testing.assert_close(log_density, torch.full((2, BATCH), LOG_DENSITY_AT_ZERO))

    log_density = torch.tensor([[1.0, 3.0], [-1.0, -5.0]])  # means 2 and -3, so entropies -2 and 3
    total, metrics = temperature_loss(temperature.log(), log_density, target_entropy=-1.0)
    expected_total = -(math.log(0.5) * (2.0 - 1.0) + math.log(2.0) * (-3.0 - 1.0))
    torch.testing.assert_close(total, torch.tensor(expected_total))
    torch.testing.assert_close(metrics["temperature"], temperature)


def test_temperature_falls_for_a_seed_more_random_than_its_target_and_rises_for_one_less() -> None:
    sac = constant_learner()  # entropy near 1.3, target −3
    with torch.no_grad():
        sac.actor.body.layers()[-1][1][1, 0, ACTIONS:] = -5.0  # entropy near −11
    batch, noise = random_updates(1, seeds=2)[0]
    sac.update(batch, noise)
    falls, rises = sac.log_temperature.tolist()
    assert falls < 0.0 < rises


def test_critic_only_leaves_actor_and_temperature_alone() -> None:
    sac, untouched = learner(), learner()
    for batch, noise in random_updates(3):
        metrics = sac.update(batch, noise, critic_only=True)
    assert torch.equal(sac.actor.body.flat, untouched.actor.body.flat)
    assert torch.equal(sac.log_temperature, untouched.log_temperature)
    assert not torch.equal(sac.critic.body.flat, untouched.critic.body.flat)
    assert not torch.equal(target_of(sac).body.flat, target_of(untouched).body.flat)
    assert metrics.keys() == {"critic_loss", "value"}


def test_held_to_a_prior_the_temperature_stays_and_the_policy_strays_less_the_larger_it_is() -> None:
    strays = []
    for temperature in (0.01, 100.0):
        sac = learner()
        prior = sac.add_prior()
        with torch.no_grad():
            sac.log_temperature.fill_(math.log(temperature))
        for batch, noise in random_updates(30):
            metrics = sac.update(batch, noise)
        torch.testing.assert_close(
            sac.log_temperature.exp().detach(), torch.full((len(sac.seeds),), temperature)
        )
        assert torch.equal(prior.body.flat, learner().actor.body.flat)
        assert "temperature" not in metrics and "prior.body.flat" in sac.tensors()
        strays.append(metrics["divergence"])
    assert (strays[1] < 0.1 * strays[0]).all()


def test_target_moves_by_the_polyak_share() -> None:
    sac = learner()
    old = target_of(sac).body.flat.clone()
    batch, noise = random_updates(1)[0]
    sac.update(batch, noise)
    torch.testing.assert_close(target_of(sac).body.flat, 0.995 * old + 0.005 * sac.critic.body.flat.detach())
    assert target_of(sac).body.flat.grad is None


def test_metrics_are_one_number_a_seed() -> None:
    metrics = learner().update(*random_updates(1)[0])
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(metrics, (3,))
    assert not any(value.requires_grad for value in metrics.values())


def test_act_is_the_mode_without_noise_and_a_sample_with_it() -> None:
    sac = learner()
    observations = torch.randn(3, 4, OBSERVATIONS, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3, 4, ACTIONS, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(sac.act(observations), sac.act(observations, torch.zeros_like(noise)))
    assert not torch.allclose(sac.act(observations), sac.act(observations, noise))
    assert sac.act(observations, noise).abs().max() <= 1.0
    assert not sac.act(observations, noise).requires_grad


def test_settings_reach_the_learner() -> None:
    config = replace(CONFIG, initial_temperature=0.1, target_entropy=-1.5)
    sac = SAC(config, (0, 1), OBSERVATIONS, ACTIONS)
    torch.testing.assert_close(sac.log_temperature.detach().exp(), torch.tensor([0.1, 0.1]))
    assert sac.target_entropy == -1.5
    assert SAC(CONFIG, (0, 1), OBSERVATIONS, ACTIONS).target_entropy == -3.0
    assert torch.equal(target_of(sac).body.flat, sac.critic.body.flat)


def test_a_restored_learner_goes_on_as_the_saved_one_does() -> None:
    updates = random_updates(6)
    saved = train(learner(), updates[:3])
    resumed = SAC(CONFIG, (0, 1, 2), OBSERVATIONS, ACTIONS)
    restore(resumed.tensors(), {name: tensor.clone() for name, tensor in saved.tensors().items()})
    train(saved, updates[3:])
    train(resumed, updates[3:])
    assert [torch.equal(state(saved, k), state(resumed, k)) for k in range(3)] == [True, True, True]


@pytest.mark.gpu
def test_updates_on_the_gpu_are_those_of_the_cpu() -> None:
    updates = random_updates(3, dtype=torch.float64)
    moved = [
        (Batch(*(getattr(batch, name).cuda() for name in Batch.__dataclass_fields__)), noise.cuda())
        for batch, noise in updates
    ]
    on_cpu = train(learner(dtype=torch.float64), updates)
    on_gpu = train(learner(dtype=torch.float64, device="cuda"), moved)
    for seed in range(3):
        torch.testing.assert_close(state(on_gpu, seed).cpu(), state(on_cpu, seed), rtol=0, atol=1e-9)

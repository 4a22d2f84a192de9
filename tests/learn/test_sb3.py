"""Policies as Stable-Baselines3 zips: theirs can use ours, and ours trusts no file."""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from torch import Tensor

from aihf_control.envs.tasks import TASKS, make_env
from aihf_control.errors import InvalidData
from aihf_control.learn import sb3
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.randomness import SeedStreams, derive
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sac import SAC, SACConfig
from aihf_control.learn.sb3 import load_actor, save_policy

HOPPER = TASKS["hopper"]
CONFIG = SACConfig(
    critic="plain",
    hidden=(16, 12),
    discount=0.9,
    polyak=0.01,
    batch_size=32,
    learning_rate=1e-3,
    target_entropy=-2.0,
)
Weights = dict[str, Any]


@pytest.fixture(scope="module")
def learner() -> SAC:
    """Three seeds whose targets and temperatures are their own."""
    sac = SAC(CONFIG, (0, 1, 2), HOPPER.observation_size, HOPPER.action_size)
    with torch.no_grad():
        sac.actor.body.flat.mul_(3.0)  # away from zero actions
        assert sac.target is not None
        sac.target.body.flat.mul_(0.5)
        sac.log_temperature.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    return sac


@pytest.fixture(scope="module")
def saved(learner: SAC, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy of member 1."""
    path = tmp_path_factory.mktemp("policies") / "policy.zip"
    save_policy(path, HOPPER, learner, member=1)
    return path


def observations(count: int = 50) -> Tensor:
    return torch.randn(count, HOPPER.observation_size, generator=torch.Generator().manual_seed(0))


# --- theirs with ours -------------------------------------------------------------------------------


def test_stable_baselines3_acts_as_the_saved_seed_does(learner: SAC, saved: Path) -> None:
    model = stable_baselines3.SAC.load(saved)
    actions, _ = model.predict(observations().numpy(), deterministic=True)
    ours = learner.act(observations().expand(3, -1, -1))
    np.testing.assert_allclose(actions, ours[1], rtol=0, atol=1e-6)
    assert (ours[0] - ours[1]).abs().max() > 0.1  # another seed would have been noticed


def test_stable_baselines3_has_the_saved_distribution_and_values(learner: SAC, saved: Path) -> None:
    model = stable_baselines3.SAC.load(saved, device="cpu")
    states, actions = observations(), torch.zeros(50, 3)
    mean, log_std, _ = model.actor.get_action_dist_params(states)
    our_mean, our_log_std = learner.actor.distribution(states.expand(3, -1, -1))
    torch.testing.assert_close(mean, our_mean[1])
    torch.testing.assert_close(log_std, our_log_std[1])
    assert learner.target is not None
    for theirs, ours in ((model.critic, learner.critic), (model.critic_target, learner.target)):
        values = ours(states.expand(3, -1, -1), actions.expand(3, -1, -1))[1]
        torch.testing.assert_close(torch.cat(theirs(states, actions), dim=1).T, values)
    assert model.log_ent_coef is not None and model.log_ent_coef.item() == -2.0


def test_normalisation_and_standardisation_are_folded_into_an_ordinary_zip(tmp_path: Path) -> None:
    config = replace(CONFIG, critic="batch-norm")
    sac = SAC(config, (0, 1), HOPPER.observation_size, HOPPER.action_size)
    generator = torch.Generator().manual_seed(1)
    sac.standardise(
        torch.randn(2, 1, HOPPER.observation_size, generator=generator),
        torch.rand(2, 1, HOPPER.observation_size, generator=generator) + 0.5,
    )
    batch = torch.randn(2, 200, HOPPER.observation_size, generator=generator)
    with torch.no_grad():
        for _ in range(50):  # running statistics unlike those at the start
            sac.critic.learn(3 * batch + 1, torch.tanh(batch[..., :3]))
    save_policy(tmp_path / "policy.zip", HOPPER, sac, member=1)
    model = stable_baselines3.SAC.load(tmp_path / "policy.zip", device="cpu")

    states, actions = observations(), torch.tanh(observations()[:, :3])
    mean, log_std, _ = model.actor.get_action_dist_params(states)
    our_mean, our_log_std = sac.actor.distribution(states.expand(2, -1, -1))
    torch.testing.assert_close(mean, our_mean[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log_std, our_log_std[1], rtol=1e-4, atol=1e-5)
    values = sac.critic(states.expand(2, -1, -1), actions.expand(2, -1, -1))[1]
    for theirs in (model.critic, model.critic_target):  # which normalised critics do without
        torch.testing.assert_close(torch.cat(theirs(states, actions), dim=1).T, values, rtol=1e-4, atol=1e-4)


def test_the_zip_states_spaces_and_settings(saved: Path) -> None:
    model, env = stable_baselines3.SAC.load(saved), make_env(HOPPER)
    assert model.observation_space == env.observation_space
    assert model.action_space == env.action_space
    assert (model.gamma, model.tau, model.batch_size) == (0.9, 0.01, 32)
    assert (model.learning_rate, model.target_entropy, model.buffer_size) == (1e-3, -2.0, 1)
    assert model.policy.net_arch == [16, 12]


class FixedResets(gym.Wrapper[Any, Any, Any, Any]):
    """Resets to a given list of seeds, one after the other."""

    def __init__(self, env: gym.Env[Any, Any], seeds: Iterator[int]) -> None:
        super().__init__(env)
        self._seeds = seeds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        return self.env.reset(seed=next(self._seeds), options=options)


def test_their_evaluation_is_ours(learner: SAC, saved: Path) -> None:
    task, episodes = replace(HOPPER, horizon=60), 3
    roller = Roller(task, learner.seeds, episodes, fixed_horizon=False)
    rollouts = roller.play(learner.act, "evaluation", 0)
    roller.close()

    # one more than episodes, for the reset after the last
    seeds = (derive(1, f"evaluation/{episode}", 0) % 2**31 for episode in range(episodes + 1))
    env = Monitor(FixedResets(make_env(task), seeds))
    returns, lengths = evaluate_policy(
        stable_baselines3.SAC.load(saved), env, n_eval_episodes=episodes, return_episode_rewards=True
    )
    assert lengths == rollouts.lengths[1].tolist()
    np.testing.assert_allclose(returns, rollouts.returns[1], rtol=1e-4)
    env.close()


# --- round trip -------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", [0, 1, 2])
def test_the_actor_comes_back_exactly(learner: SAC, member: int, tmp_path: Path) -> None:
    save_policy(tmp_path / "policy.zip", HOPPER, learner, member)
    actor = load_actor(tmp_path / "policy.zip", HOPPER)
    for (weight, bias), (ours, our_bias) in zip(
        actor.body.layers(), learner.actor.body.layers(), strict=True
    ):
        assert torch.equal(weight[0], ours[member])
        assert torch.equal(bias[0], our_bias[member])
    assert [path.name for path in tmp_path.iterdir()] == ["policy.zip"]


def test_a_bare_actor_is_saved_with_the_same_untrained_critics_each_time(tmp_path: Path) -> None:
    actor = SquashedGaussianActor(2, HOPPER.observation_size, HOPPER.action_size, (8,))
    actor.body.initialise(SeedStreams((0, 1), "actor"))
    for name in ("a.zip", "b.zip"):
        torch.rand(1)  # whatever the global generator is at, and it stays there
        state = torch.random.get_rng_state()
        save_policy(tmp_path / name, HOPPER, actor, member=1)
        assert torch.equal(torch.random.get_rng_state(), state)
    first, second = (stable_baselines3.SAC.load(tmp_path / name).policy for name in ("a.zip", "b.zip"))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert torch.equal(
        load_actor(tmp_path / "a.zip", HOPPER).body.layers()[0][0][0], actor.body.layers()[0][0][1]
    )


def test_a_policy_without_hidden_layers_comes_back(tmp_path: Path) -> None:
    actor = SquashedGaussianActor(1, HOPPER.observation_size, HOPPER.action_size, ())
    actor.body.initialise(SeedStreams((0,), "actor"))
    save_policy(tmp_path / "policy.zip", HOPPER, actor, member=0)
    assert torch.equal(load_actor(tmp_path / "policy.zip", HOPPER).body.flat, actor.body.flat)


def test_what_cannot_be_saved_is_refused(learner: SAC, tmp_path: Path) -> None:
    for member in (-1, 3):
        with pytest.raises(ValueError, match=rf"no member {member} in a batch of 3"):
            save_policy(tmp_path / "policy.zip", HOPPER, learner, member)
    with pytest.raises(ValueError, match="11 observations to 3 actions cannot play walker2d"):
        save_policy(tmp_path / "policy.zip", TASKS["walker2d"], learner, 0)
    assert list(tmp_path.iterdir()) == []


# --- files from elsewhere ---------------------------------------------------------------------------


def rewritten(saved: Path, folder: Path, replaced: dict[str, bytes | None]) -> Path:
    """A copy of the zip with some entries replaced, or left out."""
    path = folder / "other.zip"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = replaced.get(name, source.read(name))
            if content is not None:
                target.writestr(name, content)
    return path


def weights_of(saved: Path) -> Weights:
    with zipfile.ZipFile(saved) as archive:
        return torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)


def packed(weights: object) -> bytes:
    content = io.BytesIO()
    torch.save(weights, content)
    return content.getvalue()


def refusal(path: Path, task: str = "hopper") -> str:
    """The one line with which a file is refused, without its path."""
    with pytest.raises(InvalidData) as error:
        load_actor(path, TASKS[task])
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


def test_a_payload_in_data_is_not_unpickled(saved: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with zipfile.ZipFile(saved) as archive:
        data = json.loads(archive.read("data"))
    data["policy_class"][":serialized:"] = base64.b64encode(pickle.dumps(Payload(marker))).decode()
    path = rewritten(saved, tmp_path, {"data": json.dumps(data).encode()})

    load_actor(path, HOPPER)
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, the payload is alive: to Stable-Baselines3 it is a class
        stable_baselines3.SAC.load(path)
    assert marker.exists()


@pytest.mark.parametrize("place", ["actor.mu.bias", "critic.qf0.0.bias", None])
def test_a_payload_in_the_weights_is_not_unpickled(saved: Path, tmp_path: Path, place: str | None) -> None:
    marker = tmp_path / "marker"
    content: object = Payload(marker) if place is None else weights_of(saved) | {place: Payload(marker)}
    path = rewritten(saved, tmp_path, {"policy.pth": packed(content)})
    assert refusal(path) == ": policy.pth holds more than plain weights, or is damaged"
    assert not marker.exists()


def test_zip_bombs_are_refused_before_they_are_unpacked(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sb3, "SIZE_LIMIT", 2**20)
    load_actor(saved, HOPPER)
    zeros = bytes(2**20 + 1)
    assert "unpacks to 1048577 bytes, more than" in refusal(rewritten(saved, tmp_path, {"policy.pth": zeros}))

    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", zeros)
    nested = rewritten(saved, tmp_path, {"policy.pth": inner.getvalue()})
    assert nested.stat().st_size < 2**16
    assert "unpacks to 1048577 bytes, more than" in refusal(nested)

    large = tmp_path / "large.zip"
    large.write_bytes(zeros)
    assert "is over 1048576 bytes" in refusal(large)


def test_a_view_larger_than_its_file_is_refused(saved: Path, tmp_path: Path) -> None:
    swollen = torch.zeros(1).expand(2**40, HOPPER.observation_size)
    path = rewritten(
        saved, tmp_path, {"policy.pth": packed(weights_of(saved) | {"actor.latent_pi.0.weight": swollen})}
    )
    assert refusal(path) == ": actor.latent_pi.0.weight is empty or not stored in full"


def test_files_that_are_no_policies_are_refused_in_one_line(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    assert "is not a zip that Stable-Baselines3 wrote" in refusal(text)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(saved.read_bytes()[:5000])
    assert "is not a zip that Stable-Baselines3 wrote" in refusal(cut)
    assert "has no policy.pth" in refusal(rewritten(saved, tmp_path, {"policy.pth": None}))
    assert "is not a zip" in refusal(rewritten(saved, tmp_path, {"policy.pth": b"not weights"}))
    assert "holds a list" in refusal(rewritten(saved, tmp_path, {"policy.pth": packed([1.0])}))
    with pytest.raises(FileNotFoundError):
        load_actor(tmp_path / "absent.zip", HOPPER)


def test_a_policy_of_another_task_is_refused(saved: Path) -> None:
    expected = ": actor.latent_pi.0.weight has shape (16, 11), expected (any, 17)"
    assert refusal(saved, "walker2d") == expected


def set_nan(weights: Weights) -> None:
    weights["actor.log_std.weight"][2, 5] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_nan, ": actor.log_std.weight[2, 5] is nan, not a finite number"),
        (lambda w: w.pop("actor.mu.bias"), ": actor.mu.bias is missing: this is no SAC policy"),
        (lambda w: w.update({"actor.mu.bias": 1.0}), ": actor.mu.bias is not a float32 tensor"),
        (
            lambda w: w.update({"actor.mu.bias": w["actor.mu.bias"].double()}),
            ": actor.mu.bias is not a float32 tensor",
        ),
        (
            lambda w: w.update({"actor.mu.bias": torch.zeros(4)}),
            ": actor.mu.bias has shape (4,), expected (3)",
        ),
        (
            lambda w: w.update({"actor.latent_pi.0.weight": torch.zeros(0, 11)}),
            ": actor.latent_pi.0.weight is empty or not stored in full",
        ),
        (
            lambda w: w.update({"actor.latent_pi.6.weight": torch.zeros(3, 12)}),
            ": policy.pth has actor.latent_pi.6.weight, which is not part of SAC's plain MLP policy",
        ),
    ],
)
def test_wrong_weights_are_named(
    saved: Path, tmp_path: Path, spoil: Callable[[Weights], object], message: str
) -> None:
    weights = dict(weights_of(saved))
    spoil(weights)
    assert refusal(rewritten(saved, tmp_path, {"policy.pth": packed(weights)})) == message

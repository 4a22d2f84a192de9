"""A seed's policy as a Stable-Baselines3 SAC zip, and back.

Reading never unpickles: `policy.pth` alone is opened, as plain weights, after its size was checked.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from aihf_control.arrays import require_finite, require_shape
from aihf_control.envs.tasks import Task, action_range
from aihf_control.errors import InvalidData
from aihf_control.learn.networks import SquashedGaussianActor, TwinCritic
from aihf_control.learn.sac import SAC, SACConfig
from aihf_control.learn.seed_mlp import layer_views
from aihf_control.runs.files import write_atomically

if TYPE_CHECKING:  # slow to import, and only saving needs it
    import stable_baselines3

SIZE_LIMIT = 64 * 2**20
"""Bytes, packed or unpacked, above which a file is refused; a 256-256 Hopper agent takes 1.4 MiB."""

Linear = tuple[Tensor, Tensor]
"""Weight (in, out) and bias (out,)."""


def save_policy(path: Path, task: Task, learner: SAC | SquashedGaussianActor, member: int) -> None:
    """Write seed `member` (0 … S-1) of `learner` as a zip for `stable_baselines3.SAC.load(path)`, atomically.

    A `SAC` brings its critics, targets, temperature and settings, but not its optimisers' moments;
    beside a bare actor, the critics in the zip are untrained, and the same ones each time. What
    standardises and normalises is folded into the weights, so that the zip is an ordinary one; normalised
    critics are their own targets. Raises
    `ValueError` if there is no such member or if it cannot play `task`.
    """
    actor = learner.actor if isinstance(learner, SAC) else learner
    if not 0 <= member < actor.body.members:
        raise ValueError(f"there is no member {member} in a batch of {actor.body.members} policies")
    widths = (actor.body.sizes[0], actor.actions)
    if widths != (task.observation_size, task.action_size):
        raise ValueError(
            f"a policy from {widths[0]} observations to {widths[1]} actions cannot play {task.name}"
        )
    config = learner.config if isinstance(learner, SAC) else SACConfig()
    model = _untrained(task, actor.body.sizes[1:-1], config)
    with torch.no_grad():
        *hidden, (weight, bias) = _layers(actor, member)
        mean, log_std = zip(weight.split(actor.actions, dim=1), bias.split(actor.actions), strict=True)
        _fill(model.actor, [*hidden, mean, log_std])
        if isinstance(learner, SAC):
            target = learner.target or learner.critic
            for ours, theirs in ((learner.critic, model.critic), (target, model.critic_target)):
                for twin, network in enumerate(theirs.q_networks):
                    _fill(network, _layers(ours, 2 * member + twin))
            assert model.log_ent_coef is not None  # there is one, for the temperature was asked to be tuned
            model.log_ent_coef.copy_(learner.log_temperature[member])
    content = io.BytesIO()
    model.save(content)
    write_atomically(path, content.getvalue())


def load_actor(path: Path, task: Task) -> SquashedGaussianActor:
    """The actor of a Stable-Baselines3 SAC zip, as a batch of one seed on the CPU.

    That its activation is ReLU and its actions have the task's bounds is taken for granted: only the pickled
    part says so. Raises `InvalidData`, one line naming file and field, if the file is not such a zip, does
    not fit `task` or holds a number that is not finite.
    """
    weights = _read_weights(path)
    layers: list[Linear] = []
    width = task.observation_size
    while f"actor.latent_pi.{2 * len(layers)}.weight" in weights:  # odd places are the activations
        layers.append(_take_linear(path, weights, f"actor.latent_pi.{2 * len(layers)}", width, None))
        width = len(layers[-1][1])
    hidden = [len(bias) for _, bias in layers]
    mean = _take_linear(path, weights, "actor.mu", width, task.action_size)
    log_std = _take_linear(path, weights, "actor.log_std", width, task.action_size)
    layers.append((torch.cat([mean[0], log_std[0]], dim=1), torch.cat([mean[1], log_std[1]])))
    rest = sorted(name for name in weights if name.startswith("actor."))
    if rest:
        raise InvalidData(f"{path}: policy.pth has {rest[0]}, which is not part of SAC's plain MLP policy")
    actor = SquashedGaussianActor(1, task.observation_size, task.action_size, hidden)
    with torch.no_grad():
        for (weight, bias), (ours, our_bias) in zip(layers, actor.body.layers(), strict=True):
            ours[0], our_bias[0, 0] = weight, bias
    return actor


class _Spaces(gym.Env[np.ndarray, np.ndarray]):
    """All that Stable-Baselines3 needs of a MuJoCo task to build a model; it is never stepped."""

    def __init__(self, task: Task) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (task.observation_size,), np.float64)
        bounds = action_range(task)  # to which Stable-Baselines3 stretches what the network says
        self.action_space = gym.spaces.Box(
            bounds.low.astype(np.float32), bounds.high.astype(np.float32), dtype=np.float32
        )


def _untrained(task: Task, hidden: Sequence[int], config: SACConfig) -> stable_baselines3.SAC:
    from stable_baselines3 import SAC as SB3SAC

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SB3SAC(
            "MlpPolicy",
            _Spaces(task),
            learning_rate=config.form.learning_rate,
            buffer_size=1,  # allocated when the zip is loaded
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            tau=config.polyak,
            gamma=config.discount,
            ent_coef="auto",
            target_entropy="auto" if config.target_entropy is None else config.target_entropy,
            policy_kwargs={"net_arch": list(hidden)},
            device="cpu",
        )


def _layers(network: SquashedGaussianActor | TwinCritic, member: int) -> list[Linear]:
    """The plain layers on raw observations that a member amounts to: normalisation and standardisation are
    folded into the weights."""
    body, standardise = network.body, network.standardise
    layers = [(w[member], b[member, 0]) for w, b in layer_views(body.effective(body.flat), *body.shape)]
    seed = member * len(standardise.mean) // body.members
    mean, std = standardise.mean[seed, 0].double(), standardise.std[seed, 0].double()
    (weight, bias), rest = layers[0], layers[1:]
    width = len(mean)
    scaled = weight[:width].double() / std.unsqueeze(1)
    folded = torch.cat([scaled, weight[width:].double()]), bias.double() - mean @ scaled
    return [(folded[0].float(), folded[1].float()), *rest]


def _fill(module: nn.Module, layers: Sequence[Linear]) -> None:
    """Copy `layers` into the `nn.Linear`s of `module`, in their order."""
    targets = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for target, (weight, bias) in zip(targets, layers, strict=True):
        target.weight.copy_(weight.T)
        target.bias.copy_(bias)


def _read_weights(path: Path) -> dict[str, Any]:
    """The table `policy.pth` of a zip, its values still to be judged."""
    if path.stat().st_size > SIZE_LIMIT:
        raise InvalidData(f"{path} is over {SIZE_LIMIT} bytes: too large for a policy")
    try:
        with zipfile.ZipFile(path) as archive:
            packed = _read_entry(path, archive, "policy.pth")
        # PyTorch's own format is a zip as well, which could swell in the same way
        with zipfile.ZipFile(io.BytesIO(packed)) as inner:
            size = sum(entry.file_size for entry in inner.infolist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidData(f"{path} is not a zip that Stable-Baselines3 wrote: {error}") from error
    if size > SIZE_LIMIT:
        raise InvalidData(f"{path}: policy.pth unpacks to {size} bytes, more than a policy's {SIZE_LIMIT}")
    try:
        weights = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a malformed file provokes in PyTorch, whose message is long
        raise InvalidData(f"{path}: policy.pth holds more than plain weights, or is damaged") from error
    if not isinstance(weights, dict):
        raise InvalidData(f"{path}: policy.pth holds a {type(weights).__name__}, not a table of weights")
    return weights


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise InvalidData(f"{path} has no {name}: it is not a zip that Stable-Baselines3 wrote")
    size = archive.getinfo(name).file_size
    if size > SIZE_LIMIT:
        raise InvalidData(f"{path}: {name} unpacks to {size} bytes, more than a policy's {SIZE_LIMIT}")
    return archive.read(name)


def _take_linear(path: Path, weights: dict[str, Any], name: str, inputs: int, outputs: int | None) -> Linear:
    """Remove `name`'s weight and bias from `weights`; any number of outputs if None."""
    weight = _take(path, weights, f"{name}.weight", (outputs, inputs))
    return weight.T, _take(path, weights, f"{name}.bias", (len(weight),))


def _take(path: Path, weights: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> Tensor:
    where = f"{path}: {name}"
    if name not in weights:
        raise InvalidData(f"{where} is missing: this is no SAC policy")
    value = weights.pop(name)
    if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.layout != torch.strided:
        raise InvalidData(f"{where} is not a float32 tensor")
    # a view with strides of zero could be of any size, whatever the file's
    if value.is_meta or not value.is_contiguous() or value.numel() == 0:
        raise InvalidData(f"{where} is empty or not stored in full")
    require_shape(where, value.detach().numpy(), shape)
    require_finite(where, value.detach().numpy())
    return value.detach()

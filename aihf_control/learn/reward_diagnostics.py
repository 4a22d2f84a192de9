"""What a learned reward knows, against the true reward and on preferences it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aihf_control.envs.tasks import Task
from aihf_control.learn.epic_probe import Probe, make_probe
from aihf_control.learn.feedback_tables import FeedbackTables, PairTable, StepTable
from aihf_control.learn.replay import Batch
from aihf_control.learn.rollouts import Rollouts

STEPS_AT_ONCE = 5_000
STEPS = 1_000
"""At most so many steps of a source are compared, always the same ones of a table."""

Rewards = Callable[[Batch], Tensor]
"""Steps → learned rewards (S, B)."""


class RewardDiagnostics:
    """Compares a learned reward of S seeds with the true one, step by step and by EPIC.

    The steps are (a) the demonstrations', (b) the preference data's, from the held-out episodes, so that
    no reward was fitted to them, and (c) those of the policy's latest evaluation.
    """

    def __init__(self, task: Task, feedback: FeedbackTables, seeds: int, discount: float) -> None:
        self.task, self.seeds, self.discount = task, seeds, discount
        self._pairs, self._device = feedback.held_out, feedback.pairs.confidence.device
        self._tables = {
            "demonstrations": feedback.demonstrated.steps,
            "preferences": feedback.held_out.steps,
        }
        self._probe = make_probe(task, feedback)

    @torch.no_grad()
    def measure(
        self, rewards: Rewards, reward: Callable[[Tensor, Tensor], Tensor] | None, rollouts: Rollouts
    ) -> dict[str, Tensor]:
        """The columns of `progress.csv`, (S,) each; NaN where one is undefined, as for a constant reward.

        `reward` is the same as a function of observations and actions, without which there is no EPIC.
        """
        columns = {"reward_accuracy": preference_accuracy(rewards, self._pairs, self.seeds)}
        batches = {name: table_steps(table, self.seeds) for name, table in self._tables.items()}
        batches["policy"] = played_steps(rollouts, self.task.horizon, self._device)
        for name, (batch, valid) in batches.items():
            learned = rewards(batch)
            columns[f"pearson_{name}"] = pearson(learned, batch.rewards, valid)
            columns[f"spearman_{name}"] = spearman(learned, batch.rewards, valid)
        if reward is not None and self._probe is not None:
            columns["epic_distance"] = epic_distance(
                self._probe, self._probe.ask(reward, self.seeds), self._probe.rewards, self.discount
            )
        return columns


@torch.no_grad()
def preference_accuracy(rewards: Rewards, pairs: PairTable, seeds: int) -> Tensor:
    """(S,) share of `pairs`, which all seeds share, whose preferred segment has the larger learned return;
    ties count half.

    Pairs labelled as equal are left out.
    """
    steps = torch.arange(pairs.steps.counts[0], device=pairs.confidence.device)
    blocks = steps.split(STEPS_AT_ONCE)  # a step is in many segments, and is asked for once
    learned = torch.cat([rewards(pairs.steps.rows(block.expand(seeds, -1))) for block in blocks], dim=1)
    preferred, rejected = pairs.returns(learned.double())
    decided = pairs.confidence[0] > 0.5
    return (0.5 + 0.5 * torch.sign(preferred - rejected))[:, decided].mean(1).float()


def table_steps(table: StepTable, seeds: int) -> tuple[Batch, Tensor]:
    """At most `STEPS` steps of each member of a table, always the same ones, and which of the batch are steps
    at all, `valid` (S, B)."""
    chosen = np.zeros((len(table.counts), min(STEPS, max(table.counts))), np.int64)
    for row, size in zip(chosen, table.counts, strict=True):
        kept = _order(size)[: len(row)]
        row[: len(kept)] = kept
    batch = table.rows(torch.as_tensor(chosen, device=table.sizes.device).expand(seeds, -1))
    within = torch.arange(chosen.shape[1], device=table.sizes.device) < table.sizes
    return batch, within.expand_as(batch.rewards)


def played_steps(rollouts: Rollouts, horizon: int, device: torch.device | str) -> tuple[Batch, Tensor]:
    """At most `STEPS` steps of each seed's episodes, and which of the batch are steps at all, `valid` (S, B).

    What is chosen of a seed, and the shape, do not depend on the other seeds of the batch.
    """
    episodes = rollouts.lengths.shape[1]
    order = _order(episodes * horizon)
    episode, time = np.divmod(order, horizon)
    valid = time < rollouts.lengths[:, episode]
    first = np.argsort(~valid, axis=1, kind="stable")[:, :STEPS]
    batch = rollouts.steps(episode[first], time[first], device)
    return batch, torch.from_numpy(np.take_along_axis(valid, first, axis=1)).to(device)


def _order(count: int) -> np.ndarray:
    """A fixed shuffling of `count` steps: at even distances one might hit the same phase of every stride."""
    return np.random.default_rng(0).permutation(count)


def pearson(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """(…,) correlation of `first` with `second`, both (…, N), where `valid`; NaN if either is constant."""
    product, scale = torch.ones((), dtype=torch.float64, device=valid.device), []
    for values in (first, second):
        values = values.double()
        mean = values.where(valid, 0).sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)
        deviations = (values - mean).where(valid, 0)
        product = product * deviations
        # compared exactly, because the deviations of a constant are zero only up to rounding
        varies = values.where(valid, -torch.inf).amax(-1) > values.where(valid, torch.inf).amin(-1)
        scale.append(deviations.square().sum(-1).sqrt().where(varies, torch.nan))
    return product.sum(-1) / (scale[0] * scale[1])


def spearman(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """(…,) Pearson correlation of the ranks."""
    return pearson(ranks(first, valid), ranks(second, valid), valid)


def ranks(values: Tensor, valid: Tensor) -> Tensor:
    """(…, N) ranks from 1 among the `valid` of the last axis; equal values share the mean of theirs."""
    values = values.double().where(valid, torch.inf).contiguous()
    ordered = values.sort(-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return ((below + up_to + 1) / 2).double().where(~values.isnan(), torch.nan)


def canonical(taken: Tensor, here: Tensor, following: Tensor, discount: float) -> Tensor:
    """The canonically shaped reward C(R)(s, a, s') (…, T) of EPIC's Definition 4.1 (2006.13900).

    `taken` (…, T) is R(s, a, s'); `here` and `following` (…, T, K) are R of K actions in s and in s'. For
    a reward of (s, a) alone, C = R(s, a) + γ·E[R(s', A)] − E[R(s, A)] − γ·E[R(S, A)].
    """
    here, following = here.mean(-1), following.mean(-1)
    return taken + discount * following - here - discount * here.mean(-1, keepdim=True)


def epic_distance(probe: Probe, first: Tensor, second: Tensor, discount: float) -> Tensor:
    """(…,) EPIC pseudometric of two rewards on the probe's rows, (…, rows): √((1 − ρ)/2) of their canonical
    shapes, from 0 (the same up to shaping and scale) to 1 (opposite). NaN if either reward is constant.
    """
    shapes = []
    for rewards in (first, second):
        # a shift changes no correlation, and so a constant reward stays exactly constant
        shifted = rewards.double() - rewards[..., :1].double()
        shapes.append(canonical(*probe.parts(shifted), discount))
    correlation = pearson(shapes[0], shapes[1], torch.ones_like(shapes[0], dtype=torch.bool))
    return ((1 - correlation).clamp(min=0) / 2).sqrt()

"""Losses that teach a policy preferences directly: its own log-density stands for the advantage.

In an MDP `β log π/π⁰` of the optimal policy is the soft advantage, the reward up to shaping (2310.13639,
section 3.1), so Bradley–Terry on its segment sums needs neither a reward network nor a critic.
"""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

from aihf_control.learn.feedback_tables import PairBatch
from aihf_control.learn.networks import SquashedGaussianActor
from aihf_control.learn.sac import Metrics


def contrastive_loss(
    preferred: Tensor, rejected: Tensor, confidence: Tensor, bias: float
) -> tuple[Tensor, Metrics]:
    """−log σ(preferred − λ·rejected), all (S, P), mean over pairs (CPL, 2310.13639, equation 7).

    A confidence below 1 weighs the other order with what is left; ½, a tie, counts both alike.
    """
    losses = confidence * functional.softplus(bias * rejected - preferred)
    losses = (losses + (1 - confidence) * functional.softplus(bias * preferred - rejected)).mean(-1)
    accuracy = (preferred.detach() > rejected.detach()).float().mean(-1)
    return losses.sum(), {"preference_loss": losses.detach(), "batch_accuracy": accuracy}


def self_play_loss(shown: Tensor, own: Tensor, *, linear: bool) -> tuple[Tensor, Metrics]:
    """−log σ(shown − own), mean over steps (SPIN, 2401.01335, equation 4.7): `shown` and `own` (S, B) are
    β log π/π_k of demonstrated actions and of the frozen self's at the same states.

    `linear`: without log σ, Lemma 4.1's gradient with the implicit reward (2405.17888).
    """
    margin = shown - own
    losses = (-margin if linear else functional.softplus(-margin)).mean(-1)
    return losses.sum(), {"demonstration_loss": losses.detach(), "margin": margin.detach().mean(-1)}


def segment_closeness(actor: SquashedGaussianActor, pairs: PairBatch) -> tuple[Tensor, Tensor]:
    """Sums of log π over preferred and rejected segments, (S, P) each; π is a Gaussian of variance ½ around
    the mode (`closeness`)."""
    preferred, rejected = actor.closeness(*pairs.steps()).chunk(2, dim=1)
    return pairs.preferred.sums(preferred), pairs.rejected.sums(rejected)

"""Which two segments a person is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aihf_control.arrays import Floats
from aihf_control.data.human_labels import LabelledSegments
from aihf_control.data.teacher import cut_segments
from aihf_control.data.types import Episode, Transitions
from aihf_control.errors import InvalidData

CANDIDATES = 10
"""Pairs looked at for each that is asked about, where an ensemble chooses."""

HELD_OUT_EVERY = 10
"""Every tenth pair, the first among them, measures the reward and trains none."""

Reward = Callable[[Floats, Floats], Floats]
"""Observations (N, O) and actions (N, A) → rewards (N,)."""


def draw_pairs(
    episodes: Sequence[Episode], count: int, length: int, seed: int, ensemble: Sequence[Reward] = ()
) -> LabelledSegments:
    """`count` pairs of segments that are worth `length` steps, all labelled ½ until someone says otherwise.

    With an `ensemble`, those of ten times as many on which its members differ most. A segment has one step
    more than it is worth, for the observation that follows the last (see `human_labels`).
    """
    rows = length + 1
    whole = [episode for episode in episodes if len(episode) >= rows]
    if not whole:
        raise InvalidData(
            f"no episode has {rows} steps, which a segment of {length} needs: give a lower --length"
        )
    if ensemble and len(ensemble) < 2:
        raise InvalidData("one reward cannot disagree: the study needs two seeds that learned one")
    rng = np.random.default_rng(seed)
    offered = count * (CANDIDATES if ensemble else 1)
    segments = cut_segments(whole, Transitions.from_episodes(whole), 2 * offered, rows, rng)
    index = segments.rows()[0].reshape(2, offered, rows)
    observations, actions = segments.steps.observations[index], segments.steps.actions[index]
    if ensemble:
        chosen = np.argsort(-disagreement(observations, actions, ensemble), kind="stable")[:count]
        chosen = rng.permutation(chosen)  # so that the first answered are not all alike
        observations, actions = observations[:, chosen], actions[:, chosen]
    held_out = np.arange(count) % HELD_OUT_EVERY == 0
    return LabelledSegments(
        observations.astype(np.float64), actions.astype(np.float64), np.full(count, 0.5), held_out
    )


def disagreement(observations: Floats, actions: Floats, ensemble: Sequence[Reward]) -> Floats:
    """(N,) standard deviation over the ensemble of P(first preferred), for N pairs (2, N, L, ·) that count
    all but their last step (Christiano et al. 2017; PEBBLE, Lee et al. 2021)."""
    states, moves = observations[:, :, :-1], actions[:, :, :-1]
    shape = states.shape[:-1]
    flat = states.reshape(-1, states.shape[-1]), moves.reshape(-1, moves.shape[-1])
    believed = []
    for reward in ensemble:
        first, second = reward(*flat).astype(np.float64).reshape(shape).sum(axis=-1)
        believed.append(1 / (1 + np.exp(np.clip(second - first, -50, 50))))
    spread: Floats = np.std(believed, axis=0)
    return spread

"""A learner's CUDA graphs against plain calls on a device, before anything is trained there."""

from __future__ import annotations

import torch

from aihf_control.learn.cuda_graphs import FAULTS, TRIED
from aihf_control.learn.replay import ReplayBuffer
from aihf_control.learn.sac import SAC, SACConfig
from aihf_control.learn.sac_updates import Updates


def check_graphs(config: SACConfig, device: torch.device, seeds: int = 2) -> list[str]:
    """What is wrong with graphs of SAC's updates on made-up steps of a Hopper's size, a line each; at best
    nothing. On a device without graphs nothing is compared."""
    observations, actions, steps = 11, 3, 1_000
    sac = SAC(config, range(seeds), observations, actions, device)
    replay = ReplayBuffer(seeds, steps, observations, actions, device)
    replay.extend(torch.rand(replay.rows.shape, generator=torch.Generator().manual_seed(0)).to(device))
    updates = Updates(sac, replay)
    updates.begin_round(0)
    updates.draw()
    known = len(FAULTS)
    for position in range(3 * TRIED):
        updates.update(position, None, critic_only=position % 2 > 0)
    found, FAULTS[known:] = FAULTS[known:], []
    return found

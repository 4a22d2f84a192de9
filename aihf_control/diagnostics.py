"""What a learned reward knows, measured on data that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aihf_control.replay import Batch
from aihf_control.samples import PairTable

PAIRS_AT_ONCE = 100


@torch.no_grad()
def preference_accuracy(rewards: Callable[[Batch], Tensor], pairs: PairTable, seeds: int) -> Tensor:
    """(S,) share of `pairs` whose preferred segment has the larger learned return; ties count half.

    Pairs labelled as equal are left out.
    """
    chosen = torch.nonzero(pairs.confidence > 0.5).squeeze(1)
    correct = torch.zeros(seeds, device=pairs.confidence.device)
    for block in chosen.split(PAIRS_AT_ONCE):
        batch = pairs.pairs(block.expand(seeds, -1))
        sums = [side.sums(rewards(side.steps)) for side in (batch.preferred, batch.rejected)]
        correct += (0.5 + 0.5 * torch.sign(sums[0] - sums[1])).sum(1)
    return correct / len(chosen)

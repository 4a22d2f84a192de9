"""Random numbers of a seed: every stream is derived from `(seed, purpose, round)` and from nothing else.

So seeds share nothing, a resumed round draws what it would have drawn, and a new consumer of
randomness never shifts the stream of an old one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, purpose: str, round: int = 0) -> int:
    """A 63-bit integer seed for the stream `(seed, purpose, round)`."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), round])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


UPDATES_PER_DRAW = 100
"""`Draws` serves so many updates at a time: a draw of its own for each would cost more than it, and all at
once would fill the memory."""


class SeedStreams:
    """One generator a seed for one purpose and round; draws come stacked on axis 1, after the count."""

    def __init__(
        self, seeds: Sequence[int], purpose: str, round: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self._generators = [
            torch.Generator(self.device).manual_seed(derive(seed, purpose, round)) for seed in seeds
        ]

    def __len__(self) -> int:
        """S."""
        return len(self._generators)

    def normal(self, count: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(count, S, *shape) standard normal numbers: `count` draws of each seed, made in one go."""
        draws = [
            torch.randn((count, *shape), generator=generator, device=self.device, dtype=dtype)
            for generator in self._generators
        ]
        return torch.stack(draws, dim=1)

    def uniform(self, count: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(count, S, *shape) numbers uniform in [0, 1)."""
        draws = [
            torch.rand((count, *shape), generator=generator, device=self.device, dtype=dtype)
            for generator in self._generators
        ]
        return torch.stack(draws, dim=1)

    def indices(self, count: int, batch: int, size: int | Tensor) -> Tensor:
        """(count, S, batch) whole numbers uniform in [0, size), where `size` may be of each seed, (S, 1)."""
        # float64, so that a million rows are drawn evenly
        return (self.uniform(count, batch, dtype=torch.float64) * size).long()


class Draws:
    """What `UPDATES_PER_DRAW` updates draw, by name: in one go and outside any CUDA graph, into places that
    the graph reads at a position kept on the device.

        draws.fill(rows=streams.indices(UPDATES_PER_DRAW, batch, size))   # every UPDATES_PER_DRAW updates
        draws.go_to(step % UPDATES_PER_DRAW)                              # before each
        draws["rows"]                                                     # in it: (S, batch)
    """

    def __init__(self, device: torch.device) -> None:
        self._places: dict[str, Tensor] = {}
        self._position = torch.zeros(1, dtype=torch.int64, device=device)

    def fill(self, **drawn: Tensor) -> None:
        """(UPDATES_PER_DRAW, ...) each, of the shapes of the first time: graphs keep the places."""
        for name, values in drawn.items():
            if name not in self._places:
                self._places[name] = torch.empty_like(values)
            self._places[name].copy_(values)

    def go_to(self, position: int) -> None:
        """The next update is the one at `position` of what was drawn last."""
        self._position.fill_(position)

    def __getitem__(self, name: str) -> Tensor:
        """At the position, without its axis."""
        return self._places[name].index_select(0, self._position)[0]

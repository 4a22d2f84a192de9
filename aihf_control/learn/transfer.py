"""Between host and device: one copy each way a step, through pinned memory where the device is a GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Upload:
    """Columns (S, ·) of the host as one tensor (S, `width`) on the device, overwritten by the next."""

    def __init__(self, seeds: int, width: int, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(seeds, width, pin_memory=on_gpu)
        self._there = torch.zeros(seeds, width, device=device)
        self._sent = torch.cuda.Event() if on_gpu else None

    def __call__(self, *columns: np.ndarray) -> Tensor:
        """Send them, without waiting until they are there: what uses them waits on the device."""
        if self._sent is not None:
            self._sent.synchronize()  # the copy before has left the host's memory
        np.concatenate(columns, axis=1, out=self._host.numpy(), casting="same_kind")
        self._there.copy_(self._host, non_blocking=True)
        if self._sent is not None:
            self._sent.record()
        return self._there


class Download:
    """A tensor (S, `width`) of the device on the host."""

    def __init__(self, seeds: int, width: int, device: torch.device) -> None:
        self._host = torch.zeros(seeds, width, pin_memory=device.type == "cuda")

    def __call__(self, values: Tensor) -> np.ndarray:
        """Wait for it."""
        self._host.copy_(values)
        return self._host.numpy().copy()

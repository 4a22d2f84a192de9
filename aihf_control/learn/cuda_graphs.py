"""CUDA graphs: a step of many small kernels, launched as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM_UP = 3  # PyTorch's advice: lazily made buffers and library handles must exist before the capture


class Graphed:
    """`step()`, captured at its first call on a GPU and replayed from then on; on a CPU it is only called.

    `step` reads and writes tensors in fixed places and decides nothing on the host. It returns its
    metrics in tensors that the next call overwrites. `state` are the tensors that a call changes: the
    calls that warm up the capture are undone, so a captured run and a plain one take the same steps.
    """

    def __init__(
        self,
        step: Callable[[], dict[str, Tensor]],
        state: Callable[[], Iterable[Tensor]],
        device: torch.device,
        *,
        enabled: bool = True,
    ) -> None:
        self._step, self._state = step, state
        self._enabled = enabled and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._metrics: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, Tensor]:
        """One step; the metrics are read before the next."""
        if not self._enabled:
            return self._step()
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        self._graph.replay()
        return self._metrics

    def _capture(self) -> None:
        rehearse(self._step, self._state())
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._metrics = self._step()


def repeat(
    step: Callable[[Tensor], dict[str, Tensor]],
    count: int,
    state: Callable[[], Iterable[Tensor]],
    device: torch.device,
    *,
    enabled: bool = True,
) -> dict[str, Tensor]:
    """`step(position)` for the positions 0 to `count` − 1, each a tensor (1,) on the device: how the
    offline phases run. Returns the last step's metrics."""
    position = torch.zeros(1, dtype=torch.int64, device=device)

    def advance() -> dict[str, Tensor]:
        metrics = step(position)
        position.add_(1)
        return metrics

    graphed = Graphed(advance, lambda: (*state(), position), device, enabled=enabled)
    metrics: dict[str, Tensor] = {}
    for _ in range(count):
        metrics = graphed()
    return metrics


def rehearse(step: Callable[[], object], state: Iterable[Tensor]) -> None:
    """Call `step` a few times beside the main stream, and put `state` back to what it was."""
    live = list(state)
    saved = [tensor.detach().clone() for tensor in live]
    if torch.cuda.is_available():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
    else:
        for _ in range(WARM_UP):
            step()
    with torch.no_grad():
        for tensor, before in zip(live, saved, strict=True):
            tensor.copy_(before)

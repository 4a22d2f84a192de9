"""CUDA graphs: a step of many small kernels, launched as one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

Step = Callable[[], dict[str, Tensor]]

WARM_UP = 3  # PyTorch's advice: lazily made buffers and library handles must exist before the capture

TRIED = 20
"""Calls at the start that are made both ways."""

LARGEST_DIFFERENCE = 0.1
"""Between both ways, as a share of what the call changes. With inputs off by 1e-7 it was at most 0.003 in
float32 and 0.03 in bfloat16: Adam's first steps go by a gradient's sign."""

SMALLEST_DIFFERENCE = 1e-6
"""Which is nothing, however little the call changes."""

FAULTS: list[str] = []
"""Why steps of this process are called one kernel at a time though a graph was asked for, a line each."""


class Graph(Protocol):
    """A step that was recorded when this was made, and that `replay` repeats into the same `metrics`."""

    metrics: dict[str, Tensor]

    def replay(self) -> None:
        """The step again, on what its memory holds now."""


class CudaGraph:
    """PyTorch's."""

    def __init__(self, step: Step) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(self._graph, stream=_side_stream()):
            self.metrics = step()

    def replay(self) -> None:
        """One launch."""
        self._graph.replay()


GRAPHS: dict[str, Callable[[Step], Graph]] = {"cuda": CudaGraph}
"""Of a type of device what records and replays steps there; on others they are only called."""


class Graphed:
    """`step()`, captured at its first call on a GPU and replayed from then on; on a CPU it is only called.

    `step` reads and writes tensors in fixed places and decides nothing on the host. It returns its
    metrics in tensors that the next call overwrites. `state` are the tensors that a call changes: the
    calls that warm up the capture are undone, so a captured run and a plain one take the same steps.

    The first `TRIED` calls are also made without the graph, from the same state. Where the two differ by more
    than rounding, what counts is the plain call, as all later calls are, and `FAULTS` says so.
    """

    def __init__(
        self,
        step: Step,
        state: Callable[[], Iterable[Tensor]],
        device: torch.device,
        *,
        enabled: bool = True,
        name: str = "a step",
    ) -> None:
        self._step, self._state, self._name = step, state, name
        self._record = GRAPHS.get(device.type) if enabled else None
        self._graph: Graph | None = None
        self._untried = TRIED

    def __call__(self) -> dict[str, Tensor]:
        """One step; the metrics are read before the next."""
        if self._record is None:
            return self._step()
        if self._graph is None:
            rehearse(self._step, self._state())
            self._graph = self._record(self._step)
        if self._untried:
            return self._try(self._graph)
        self._graph.replay()
        return self._graph.metrics

    def _try(self, graph: Graph) -> dict[str, Tensor]:
        """Replayed and called, from one state."""
        live = [tensor.detach() for tensor in self._state()]
        before = [tensor.clone() for tensor in live]
        told = {name: values.detach().clone() for name, values in self._step().items()}
        plain = [tensor.clone() for tensor in live]
        _put(live, before)
        graph.replay()
        different = _difference(before, (live, graph.metrics), (plain, told))
        if different is None:
            self._untried -= 1
            return graph.metrics
        FAULTS.append(f"CUDA graphs are off for {self._name}: {different}")
        self._record = self._graph = None
        _put(live, plain)
        return told


def _difference(
    before: list[Tensor],
    replayed: tuple[list[Tensor], dict[str, Tensor]],
    called: tuple[list[Tensor], dict[str, Tensor]],
) -> str | None:
    """What of state and metrics differs most between a step replayed and one called, if beyond rounding."""
    largest, where = 0.0, ""
    for number, (begin, ours, plain) in enumerate(zip(before, replayed[0], called[0], strict=True)):
        share = _share(ours, plain, plain.double() - begin.double())
        largest, where = max((largest, where), (share, f"tensor {number} of its state"))
    for name, plain in called[1].items():
        largest, where = max((largest, where), (_share(replayed[1][name], plain, plain.double()), name))
    return f"{where} was {largest:.0%} off a plain call's" if largest > LARGEST_DIFFERENCE else None


def _share(ours: Tensor, plain: Tensor, scale: Tensor) -> float:
    """‖ours − plain‖ / ‖scale‖; NaN in both is no difference, in one an infinite one."""
    difference = torch.where(ours.isnan() & plain.isnan(), 0.0, ours.double() - plain.double())
    distance, size = difference.norm().item(), scale.nan_to_num().norm().item()
    if distance < SMALLEST_DIFFERENCE:
        return 0.0
    return distance / size if size > 0 and distance == distance else float("inf")


@torch.no_grad()
def _put(live: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for tensor, value in zip(live, values, strict=True):
        tensor.copy_(value)


def repeat(
    step: Callable[[Tensor], dict[str, Tensor]],
    count: int,
    state: Callable[[], Iterable[Tensor]],
    device: torch.device,
    *,
    enabled: bool = True,
    name: str = "an offline step",
) -> dict[str, Tensor]:
    """`step(position)` for the positions 0 to `count` − 1, each a tensor (1,) on the device: how the
    offline phases run. Returns the last step's metrics."""
    position = torch.zeros(1, dtype=torch.int64, device=device)

    def advance() -> dict[str, Tensor]:
        metrics = step(position)
        position.add_(1).remainder_(count)  # so that a rehearsal of few steps finds a position too
        return metrics

    graphed = Graphed(advance, lambda: (*state(), position), device, enabled=enabled, name=name)
    metrics: dict[str, Tensor] = {}
    for _ in range(count):
        metrics = graphed()
    return metrics


def rehearse(step: Callable[[], object], state: Iterable[Tensor]) -> None:
    """Call `step` a few times beside the main stream, and put `state` back to what it was."""
    live = list(state)
    saved = [tensor.detach().clone() for tensor in live]
    if torch.cuda.is_available():
        stream = _side_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
    else:
        for _ in range(WARM_UP):
            step()
    _put(live, saved)


@cache
def _side_stream() -> torch.cuda.Stream:
    """One for all rehearsals and captures: cuBLAS keeps a workspace for every stream that it ever saw."""
    return torch.cuda.Stream()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage may hold graphs, and to free one within a capture ends it in an error: all before, none now."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""Graphed steps without a GPU: what a graph could not hold is noticed, a wrong graph is not gone on with."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recorded_graphs import META, NotStatic, RecordedGraph, pretended_device, recorded_on_the_cpu
from torch import Tensor

from aihf_control.learn import cuda_graphs
from aihf_control.learn.adam import Adam
from aihf_control.learn.cuda_graphs import FAULTS, TRIED, CudaGraph, Graphed, rehearse, repeat

CPU = torch.device("cpu")
Metrics = dict[str, Tensor]


def test_repeat_takes_the_positions_in_order() -> None:
    squares, total = torch.arange(5.0).square(), torch.zeros(())

    def step(position: Tensor) -> Metrics:
        total.mul_(10).add_(squares.index_select(0, position)[0])
        return {"total": total.clone()}

    # ((((0·10 + 1)·10 + 4)·10 + 9)·10 + 16)
    assert repeat(step, 5, lambda: [total], CPU)["total"].item() == 1506.0
    for count, expected in ((5, 1506.0), (2, 1.0)):  # two are fewer than a rehearsal takes
        total.zero_()
        with recorded_on_the_cpu() as made:
            assert repeat(step, count, lambda: [total], CPU)["total"].item() == expected
        assert made == {"graphs": 1, "replays": count}


def test_on_a_cpu_a_graphed_step_is_only_called() -> None:
    calls: Iterator[int] = iter(range(3))
    step = Graphed(lambda: {"call": torch.tensor(next(calls))}, lambda: (), CPU)
    assert [step()["call"].item() for _ in range(3)] == [0, 1, 2]


# What the record on the CPU notices.


def called_twice(step: Callable[[], Metrics], *state: Tensor) -> list[list[float]]:
    with recorded_on_the_cpu():
        graphed = Graphed(step, lambda: state, CPU)
        return [graphed()["a"].tolist() for _ in range(2)]


PLACE = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        (lambda: {"a": PLACE * PLACE.sum().item()}, "waits for a value"),
        (lambda: {"a": PLACE if PLACE.sum() > 0 else -PLACE}, "waits for a value"),
        (lambda: {"a": PLACE[PLACE > 1]}, "by a mask"),
        (lambda: {"a": PLACE.nonzero()}, "shape that values decide"),
        (lambda: {"a": PLACE.unique()}, "shape that values decide"),
        (lambda: {"a": torch.rand(2)}, "draws random numbers"),
        (lambda: {"a": torch.empty(2).normal_()}, "draws random numbers"),
    ],
)
def test_a_step_that_no_graph_could_replay_is_refused(step: Callable[[], Metrics], refusal: str) -> None:
    with pytest.raises(NotStatic, match=refusal):
        called_twice(step)


def test_a_record_reads_what_its_memory_holds_now_and_never_calls_the_step_again() -> None:
    place, numbers = torch.ones(2), iter(range(10))

    def step() -> Metrics:
        place.add_(1)
        return {"a": place * next(numbers)}

    # three rehearsals take 0 to 2, and are undone; the record has 3 baked in, as a graph would
    assert called_twice(step, place) == [[2.0 * 3] * 2, [3.0 * 3] * 2]


def test_a_buffer_that_moved_is_noticed() -> None:
    holder = SimpleNamespace(rows=torch.ones(2))
    with recorded_on_the_cpu():
        graphed = Graphed(lambda: {"a": holder.rows * 2}, lambda: (), CPU)
        graphed()
        holder.rows = torch.ones(2)
        with pytest.raises(NotStatic, match="let go of or moved"):
            graphed()


def test_a_result_of_an_earlier_step_is_noticed_within_and_beside_the_state() -> None:
    kept = SimpleNamespace(last=torch.zeros(2))
    scratch = torch.zeros(2)

    def reads_its_own_intermediate() -> Metrics:
        before, kept.last = kept.last, PLACE * 2
        return {"a": before + kept.last}

    def leaves_something() -> Metrics:
        scratch.add_(1)
        return {"a": scratch.clone()}

    kept.last = torch.zeros(2)
    with pytest.raises(NotStatic, match="let go of"):
        called_twice(reads_its_own_intermediate)
    assert np.isnan(called_twice(leaves_something)).all()
    scratch.zero_()
    assert called_twice(leaves_something, scratch) == [[1.0, 1.0], [2.0, 2.0]]


# What the meta device notices.


def captured_on_meta(step: Callable[[Tensor], Metrics]) -> None:
    with pretended_device():
        place = torch.ones(2, device=META)
        Graphed(lambda: step(place), lambda: (), META)()


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        (lambda place: {"a": place * place.sum().item()}, "waits for a value"),
        (lambda place: {"a": place[place > 0]}, "by a mask"),
        (lambda place: {"a": place * torch.tensor(2.0)}, "tensor of the host"),
        (lambda place: {"a": place + torch.as_tensor(np.ones(2, np.float32), device=META)}, "of the host"),
        (lambda place: {"a": place.copy_(PLACE)}, "tensor of the host"),
        (lambda place: {"a": place.cpu()}, "tensor of the host"),
        (lambda place: {"a": torch.ones(2)}, "tensor of the host"),
        (lambda place: {"a": torch.rand(2, device=META)}, "draws random numbers"),
    ],
)
def test_what_a_capture_could_not_hold_is_refused(step: Callable[[Tensor], Metrics], refusal: str) -> None:
    captured_on_meta(lambda place: {"a": place * 2})
    with pytest.raises((NotStatic, RuntimeError), match=refusal):
        captured_on_meta(step)


def test_host_and_device_do_not_mix_outside_a_capture_either() -> None:
    with pretended_device(), pytest.raises((NotStatic, RuntimeError), match="host and device"):
        torch.ones(2, device=META) + torch.ones(2)


# The self-check of a graph's first calls.


def learner(
    wrong: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> tuple[Callable[[], Metrics], list[Tensor]]:
    """A step of regression with momentum, and its state."""
    rows = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.nn.Parameter(torch.ones(3))
    optimiser = Adam(weights, 1e-2)

    def step() -> Metrics:
        loss = wrong((rows @ weights - rows.sum(1) * 2).square().mean())
        optimiser.descend(loss)
        return {"loss": loss.detach()}

    return step, [weights.detach(), *optimiser.tensors().values()]


def steps_of(step: Callable[[], Metrics], count: int) -> list[float]:
    return [step()["loss"].item() for _ in range(count)]


def test_a_graph_that_does_what_plain_calls_do_goes_on_with_the_same_bits() -> None:
    step, state = learner()
    expected, at_the_end = steps_of(step, 50), [tensor.clone() for tensor in state]
    step, state = learner()
    FAULTS.clear()
    with recorded_on_the_cpu(trial=True) as made:
        assert steps_of(Graphed(step, lambda: state, CPU), 50) == expected
    assert made == {"graphs": 1, "replays": 50} and FAULTS == []
    assert all(torch.equal(a, b) for a, b in zip(state, at_the_end, strict=True))


def test_a_graph_that_differs_is_left_for_plain_calls_which_go_on_as_if_there_had_been_none() -> None:
    step, state = learner()
    expected, at_the_end = steps_of(step, 50), [tensor.clone() for tensor in state]

    class Late(RecordedGraph):
        """Right for ten replays, then of another learning rate."""

        replays = 0

        def replay(self) -> None:
            before = state[0].clone()
            super().replay()
            self.replays += 1
            if self.replays > 10:
                state[0].lerp_(before, 0.5)

    step, state = learner()
    FAULTS.clear()
    with recorded_on_the_cpu(trial=True, graph=Late) as made:
        assert steps_of(Graphed(step, lambda: state, CPU, name="the regression"), 50) == expected
    assert made == {"graphs": 1, "replays": 11}
    assert all(torch.equal(a, b) for a, b in zip(state, at_the_end, strict=True))
    assert FAULTS == [
        "CUDA graphs are off for the regression: tensor 0 of its state was 50% off a plain call's"
    ]


def test_two_graphs_of_one_state_take_turns_and_neither_is_suspected() -> None:
    once, state = learner()
    total = state[0]

    def halve() -> Metrics:
        total.mul_(0.5)
        return {"loss": total.sum()}

    FAULTS.clear()
    with recorded_on_the_cpu(trial=True):
        graphs = Graphed(once, lambda: state, CPU), Graphed(halve, lambda: state, CPU)
        for index in range(3 * TRIED):
            graphs[index % 2]()
    assert FAULTS == []


class Misread(RecordedGraph):
    """A graph whose results are off by a share."""

    share = 0.0

    def replay(self) -> None:
        super().replay()
        for values in self.metrics.values():
            values.mul_(1 + self.share)


@pytest.mark.parametrize(("share", "faults"), [(1e-3, 0), (0.5, 1), (float("nan"), 1)])
def test_rounding_is_no_fault(monkeypatch: pytest.MonkeyPatch, share: float, faults: int) -> None:
    monkeypatch.setattr(Misread, "share", share)
    step, state = learner()
    FAULTS.clear()
    with recorded_on_the_cpu(trial=True, graph=Misread):
        steps_of(Graphed(step, lambda: state, CPU), TRIED)
    assert len(FAULTS) == faults
    if faults:
        assert "loss was" in FAULTS[0]


def test_nan_in_both_is_no_difference() -> None:
    step, state = learner(lambda loss: loss * torch.nan)
    FAULTS.clear()
    with recorded_on_the_cpu(trial=True):
        steps_of(Graphed(step, lambda: state, CPU), TRIED)
    assert FAULTS == []


# How `torch.cuda` is used.


class Cuda:
    """`torch.cuda` as far as a capture calls it, on a machine without one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[Any] = []
        self.captured_on: list[Any] = []
        monkeypatch.setattr(torch.cuda, "Stream", self.new_stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(wait_stream=lambda _: None))
        monkeypatch.setattr(torch.cuda, "stream", self.on_stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
        monkeypatch.setattr(torch.cuda, "graph", self.capture)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setitem(cuda_graphs.GRAPHS, "cpu", CudaGraph)
        cuda_graphs._side_stream.cache_clear()

    def new_stream(self) -> Any:
        self.streams.append(SimpleNamespace(wait_stream=lambda _: None))
        return self.streams[-1]

    @contextmanager
    def on_stream(self, stream: Any) -> Iterator[None]:
        yield

    @contextmanager
    def capture(self, graph: Any, stream: Any) -> Iterator[None]:
        self.captured_on.append(stream)
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    yield Cuda(monkeypatch)
    cuda_graphs._side_stream.cache_clear()


def test_rehearsals_and_captures_share_one_stream(cuda: Cuda) -> None:
    for _ in range(3):
        Graphed(lambda: {"a": PLACE * 2}, lambda: (), CPU)()
    assert len(cuda.streams) == 1 and cuda.captured_on == cuda.streams * 3


class Cycle:
    """Garbage that the collector alone sees."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_is_collected_before_a_capture_and_never_within(cuda: Cuda) -> None:
    gc.disable()  # so that nothing else collects
    try:
        cycle = weakref.ref(Cycle())
        gc.enable()
        alive: list[bool] = []
        Graphed(lambda: alive.append(gc.isenabled()) or {"a": PLACE}, lambda: (), CPU)()  # type: ignore[func-returns-value]
        assert cycle() is None and gc.isenabled()
        rehearsed, captured = alive[: cuda_graphs.WARM_UP], alive[cuda_graphs.WARM_UP]
        assert all(rehearsed) and not captured
    finally:
        gc.enable()


def test_a_capture_that_fails_leaves_no_graph_and_the_collector_on(cuda: Cuda) -> None:
    calls = iter(range(10))

    def step() -> Metrics:
        if next(calls) == cuda_graphs.WARM_UP:
            raise RuntimeError("out of memory")
        return {"a": PLACE}

    graphed = Graphed(step, lambda: (), CPU)
    with pytest.raises(RuntimeError, match="out of memory"):
        graphed()
    assert gc.isenabled()
    assert graphed()["a"] is PLACE  # captured anew, not replayed from half a graph


def test_rehearsing_leaves_no_trace() -> None:
    step, state = learner()
    before = [tensor.clone() for tensor in state]
    rehearse(step, state)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))


def test_adam_is_ready_for_a_capture_and_does_not_warn_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Before 2.13 PyTorch warned of an optimiser that could be captured and is not, as in a rehearsal."""
    with pretended_device():
        weights = torch.nn.Parameter(torch.ones(3, device=META))
        optimiser = Adam(weights, 1e-2)
        cuda, idle = torch.device("cuda"), SimpleNamespace(is_capturing=lambda: False)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: cuda)
        monkeypatch.setattr(torch.accelerator, "current_stream", lambda: idle)
        for _ in range(2):
            optimiser.descend((weights * 2).sum())
    assert optimiser.param_groups[0]["capturable"] and not recwarn.list
    monkeypatch.setattr(
        torch.accelerator, "current_stream", lambda: SimpleNamespace(is_capturing=lambda: True)
    )
    optimiser._accelerator_graph_capture_health_check()
    optimiser.param_groups[0]["capturable"] = False
    with pytest.raises(RuntimeError, match="capturable is False"):
        optimiser._accelerator_graph_capture_health_check()


def test_adam_on_the_cpu_leaves_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's step asks the stream of a GPU that is there, which begins to use it."""

    def refuse() -> None:
        raise AssertionError("the GPU was asked")

    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: cuda)
    monkeypatch.setattr(torch.accelerator, "current_stream", refuse)
    weights = torch.nn.Parameter(torch.ones(3))
    Adam(weights, 0.5).descend((weights * 2).sum())
    np.testing.assert_allclose(weights.detach(), 0.5, rtol=1e-6)
    with pytest.raises(AssertionError, match="was asked"):
        torch.optim.Adam([weights]).step()

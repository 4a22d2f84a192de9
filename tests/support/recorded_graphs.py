"""CUDA graphs without a GPU, in two halves that see different faults.

`RecordedGraph` runs on the CPU, with numbers: it records a step once, operation by operation, and replays the
record, the step's Python never being called again. Memory from before is held weakly and what the step wrote
beside its state is poisoned before every replay, so that a record is as unforgiving as a graph.

`pretended_device` runs on PyTorch's meta device, which has shapes and no numbers, and sees every operation:
there a tensor of the host, or a read of a value, can not hide as it can where all is one memory.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from aihf_control.learn import cuda_graphs
from aihf_control.learn.randomness import SeedStreams

META = torch.device("meta")
Step = Callable[[], dict[str, Tensor]]


class NotStatic(AssertionError):
    """A step that no graph could replay."""


def refuse_what_no_graph_holds(function: Any, args: tuple[Any, ...]) -> None:
    """Reads of values by the host, shapes that depend on values, and random draws."""
    name = function.overloadpacket.__name__
    if torch.Tag.nondeterministic_seeded in function.tags:
        raise NotStatic(f"{name} draws random numbers")
    if torch.Tag.data_dependent_output in function.tags:
        raise NotStatic(f"{name} waits for a value")
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        if any(leaf.dtype in (torch.bool, torch.uint8) for leaf in tensors_in(args[1])):
            raise NotStatic(f"{name} by a mask has a shape that values decide")
    elif torch.Tag.dynamic_output_shape in function.tags:
        raise NotStatic(f"{name} has a shape that values decide")


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def written_by(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation changes."""
    schema = function._schema.arguments
    given = [*zip(schema, args, strict=False), *((a, kwargs[a.name]) for a in schema if a.name in kwargs)]
    return tensors_in([value for a, value in given if a.alias_info is not None and a.alias_info.is_write])


class Place:
    """A tensor that was there before the recording, by its memory, which it does not keep."""

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._weak, self._pointer = storage._weak_ref(), storage.data_ptr()
        self._layout, self._dtype = (tensor.storage_offset(), tensor.size(), tensor.stride()), tensor.dtype
        weakref.finalize(self, torch.UntypedStorage._free_weak_ref, self._weak)

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self._weak)
        if storage is None or storage.data_ptr() != self._pointer:
            raise NotStatic(f"a replay needs memory {tuple(self._layout[1])} that was let go of or moved")
        return torch.empty(0, dtype=self._dtype).set_(storage, *self._layout)


class Recorder(TorchDispatchMode):
    """Runs a step and writes down its operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, list[Any], list[Tensor | None]]] = []
        """Function, its arguments' layout, these, and its results, None where they are no new memory."""
        self.own: dict[int, Tensor] = {}
        """Memory that the step made, kept as a graph keeps its pool."""
        self.written: dict[int, Tensor] = {}
        """Memory from before that the step wrote to."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        refuse_what_no_graph_holds(function, args)
        leaves, layout = tree_flatten((args, kwargs))
        out = function(*args, **kwargs)
        known = {storage_of(leaf) for leaf in tensors_in(leaves)}
        for tensor in written_by(function, args, kwargs):
            if storage_of(tensor) not in self.own:
                self.written[storage_of(tensor)] = tensor.detach()
        results: list[Tensor | None] = []
        for leaf in tensors_in(out):
            new = storage_of(leaf) not in known
            results.append(leaf.detach() if new else None)
            if new:
                self.own[storage_of(leaf)] = leaf.detach()
        self.calls.append((function, layout, leaves, results))
        return out


class RecordedGraph:
    """`cuda_graphs.Graph` on a CPU."""

    made: ClassVar[Counter[str]] = Counter()
    state: tuple[Tensor, ...] = ()
    """What the step, as it says, changes."""

    def __init__(self, step: Step) -> None:
        saved = [tensor.detach().clone() for tensor in self.state]
        with Recorder() as recorder:
            self.metrics = step()
        with torch.no_grad():  # a capture computes nothing
            for tensor, before in zip(self.state, saved, strict=True):
                tensor.copy_(before)
        self._own, kept = recorder.own, set(map(storage_of, self.state))
        self._scratch = [Place(t) for key, t in recorder.written.items() if key not in kept]
        RecordedGraph.state = ()

        def held(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return leaf.detach() if storage_of(leaf) in recorder.own else Place(leaf.detach())

        self._calls = [
            (function, layout, [held(leaf) for leaf in leaves], results)
            for function, layout, leaves, results in recorder.calls
        ]
        self.operations = [call[0].overloadpacket.__name__ for call in self._calls]
        RecordedGraph.made["graphs"] += 1

    @torch.no_grad()
    def replay(self) -> None:
        """On what the memory holds now; what an earlier step left beside its state is NaN."""
        for tensor in (*self._own.values(), *(place.tensor() for place in self._scratch)):
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
        for function, layout, leaves, results in self._calls:
            args, kwargs = tree_unflatten(
                [leaf.tensor() if isinstance(leaf, Place) else leaf for leaf in leaves], layout
            )
            for place, result in zip(results, tensors_in(function(*args, **kwargs)), strict=True):
                if place is not None:
                    place.copy_(result)
        RecordedGraph.made["replays"] += 1


@contextlib.contextmanager
def recorded_on_the_cpu(
    *, trial: bool = False, graph: type["RecordedGraph"] | None = None
) -> Iterator[Counter[str]]:
    """Within, every graphed step is recorded and replayed; `trial` leaves the self-check at its start on."""
    RecordedGraph.made.clear()
    rehearse = cuda_graphs.rehearse

    def noting_the_state(step: Callable[[], object], state: Iterable[Tensor]) -> None:
        live = list(state)
        RecordedGraph.state = tuple(live)
        rehearse(step, live)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cuda_graphs.GRAPHS, "cpu", graph or RecordedGraph)
        patch.setattr(cuda_graphs, "rehearse", noting_the_state)
        if not trial:
            patch.setattr(cuda_graphs, "TRIED", 0)
        yield RecordedGraph.made


VIEWS = {
    "view", "_unsafe_view", "slice", "select", "split", "split_with_sizes", "transpose", "expand", "detach",
    "unsqueeze", "squeeze", "alias", "t", "permute", "unbind", "as_strided", "reshape", "empty", "empty_like",
    "new_empty", "lift_fresh", "chunk", "unfold", "_record_function_enter_new", "_record_function_exit",
}  # fmt: skip
"""Operations that start no kernel."""


def kernels(operations: list[str]) -> list[str]:
    return [name for name in operations if name not in VIEWS]


class Device(TorchDispatchMode):
    """The meta device as if it were a GPU: what waits for it outside a capture is counted and gets zeros,
    what a capture could not hold is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.capturing = False
        self.captured: list[list[str]] = []
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        given = tensors_in((args, kwargs))
        places = {tensor.device.type for tensor in given}
        if self.capturing:
            refuse_what_no_graph_holds(function, args)
            if "cpu" in places or torch.device(kwargs.get("device") or META).type == "cpu":
                raise NotStatic(f"{name} takes or makes a tensor of the host within a capture")
            self.captured[-1].append(name)
        elif name in ("copy_", "_to_copy") and self._is_sent(name, args, kwargs):
            self.waits["to the device"] += 1
        elif len(places) == 2 and name not in ("_to_copy", "copy_") and any(t.dim() for t in given):
            on_host = [t for t in given if t.device.type == "cpu" and t.dim()]
            if on_host:
                raise NotStatic(f"{name} mixes host and device")
        if "meta" in places and not self.capturing:
            answer = self._waited_for(name, function, args, kwargs)
            if answer is not None:
                return answer
        if kwargs.get("generator") is not None and kwargs.get("device") == META:
            kwargs = kwargs | {"generator": None}
        if function is torch.ops.aten._fused_adam_.tensor_lr:
            return None  # which has no implementation without numbers, and returns nothing where it has
        return function(*args, **kwargs)

    @staticmethod
    def _is_sent(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        source, target = (args[1], args[0].device) if name == "copy_" else (args[0], kwargs.get("device"))
        return source.device.type == "cpu" and target is not None and torch.device(target) == META

    def _waited_for(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Zeros for what the host reads, yes to what it asks; None for what it does not wait for."""
        if name == "_local_scalar_dense":
            self.waits[name] += 1
            return args[0].dtype == torch.bool or torch.zeros((), dtype=args[0].dtype).item()
        if name == "equal":
            self.waits[name] += 1
            return True
        if name == "index" and any(leaf.dtype == torch.bool for leaf in tensors_in(args[1])):
            self.waits["a mask"] += 1
            return args[0].clone()
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if name == "_to_copy" and args[0].device == META and target is not None and target.type == "cpu":
            self.waits["to the host"] += 1
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "copy_" and args[0].device.type == "cpu":
            self.waits["to the host"] += 1
            return args[0].zero_()
        return None


@contextlib.contextmanager
def pretended_device() -> Iterator[Device]:
    """Within, `META` is a GPU whose graphs refuse what a real one's could not hold."""
    watch = Device()

    class CapturedOnMeta:
        def __init__(self, step: Step) -> None:
            watch.captured.append([])
            watch.capturing = True
            try:
                self.metrics = step()
            finally:
                watch.capturing = False

        def replay(self) -> None:
            """There is nothing to compute."""

    plain = SeedStreams.__init__

    def on_the_host(
        self: SeedStreams,
        seeds: Sequence[int],
        purpose: str,
        round: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """There is no generator of a meta device."""
        plain(self, seeds, purpose, round)
        self.device = torch.device(device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cuda_graphs.GRAPHS, "meta", CapturedOnMeta)
        patch.setattr(cuda_graphs, "TRIED", 0)
        patch.setattr(SeedStreams, "__init__", on_the_host)
        with watch:
            yield watch

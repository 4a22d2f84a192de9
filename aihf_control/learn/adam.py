"""Adam over one flat parameter, with its state laid out from the start."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Adam(torch.optim.Adam):
    """PyTorch's fused Adam of a single parameter.

    PyTorch makes the moments at the first step; here they exist at once, so that a checkpoint can
    be copied into a fresh optimiser tensor by tensor.
    """

    def __init__(
        self,
        parameter: nn.Parameter,
        learning_rate: float | Tensor,
        first_moment: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            [parameter],
            lr=learning_rate,
            betas=(first_moment, 0.999),
            weight_decay=weight_decay,
            fused=True,
            capturable=parameter.device.type != "cpu",  # its step count is there too, as a CUDA graph needs
        )
        self.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def _accelerator_graph_capture_health_check(self) -> None:
        """PyTorch's own asks a GPU's stream before every step, for parameters on the CPU too, which
        initialises CUDA in a job that was told to leave it alone."""
        (parameter,) = self.state
        if parameter.device.type != "cpu":
            super()._accelerator_graph_capture_health_check()

    def descend(self, loss: Tensor) -> None:
        """One step against the gradient of `loss` with respect to the parameter."""
        (parameter,) = self.state
        (parameter.grad,) = torch.autograd.grad(loss, parameter)
        self.step()
        # the fused step does not say so itself, and a backward pass over the old weights must be refused
        torch.autograd.graph.increment_version(parameter)

    def tensors(self) -> dict[str, Tensor]:
        """The live state, by name."""
        (state,) = self.state.values()
        return dict(state)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def restore(live: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy `saved` into the `live` tensors in place; the names and shapes must be the same."""
    if live.keys() != saved.keys():
        missing = ", ".join(sorted(live.keys() ^ saved.keys()))
        raise ValueError(f"the checkpoint and the method differ in: {missing}")
    with torch.no_grad():
        for name, tensor in live.items():
            if tensor.shape != saved[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(saved[name].shape)} in the checkpoint, "
                    f"expected {tuple(tensor.shape)}"
                )
            tensor.copy_(saved[name])

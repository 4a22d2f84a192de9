"""Arrays of numbers, and the two checks that every array from outside passes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aihf_control.errors import InvalidData

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


def require_finite(name: str, values: Floats) -> None:
    """Raise `InvalidData` naming the first index of `values` (any shape) that is NaN or infinite."""
    bad = ~np.isfinite(values)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidData(f"{name}{list(index)} is {values[index]}, not a finite number")


def require_shape(name: str, values: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    """Raise `InvalidData` unless `values` has `shape`, where `None` stands for any length."""
    fits = values.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise InvalidData(f"{name} has shape {values.shape}, expected ({wanted})")

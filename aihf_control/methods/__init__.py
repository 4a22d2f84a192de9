"""The methods, by name. Each file reads like its pseudocode; what two share stands below them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aihf_control.methods.aihf import AIHF
from aihf_control.methods.bc import BC
from aihf_control.methods.ipl import IPL
from aihf_control.methods.method import Context, Method
from aihf_control.methods.oracle import Oracle
from aihf_control.methods.rlhf import RLHF

METHODS: dict[str, Callable[[Context], Method]] = {
    "aihf": AIHF,
    "rlhf": RLHF,
    "ipl": IPL,
    "bc": BC,
    "irl": partial(AIHF, preferences=False),
    "oracle": Oracle,
}

__all__ = ["METHODS", "Context", "Method"]

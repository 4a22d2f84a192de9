"""The methods, by name. Each file reads like its pseudocode; what two share stands below them.

The names exported here are what a method of your own is written with: see `docs/your_method.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aihf_control.alignment import Exploration
from aihf_control.methods.aihf import AIHF
from aihf_control.methods.bc import BC
from aihf_control.methods.constant import Constant
from aihf_control.methods.ipl import IPL
from aihf_control.methods.method import Context, Method
from aihf_control.methods.oracle import Oracle
from aihf_control.methods.rlhf import RLHF
from aihf_control.methods.sac_method import SACMethod
from aihf_control.methods.settings import Settings
from aihf_control.randomness import SeedStreams
from aihf_control.replay import Batch
from aihf_control.sac import Metrics

METHODS: dict[str, Callable[[Context], Method]] = {
    "aihf": AIHF,
    "rlhf": RLHF,
    "ipl": IPL,
    "bc": BC,
    "irl": partial(AIHF, preferences=False),
    "oracle": Oracle,
    "constant_plus": partial(Constant, value=1.0),
    "constant_minus": partial(Constant, value=-1.0),
}

__all__ = [
    "METHODS",
    "Batch",
    "Context",
    "Exploration",
    "Method",
    "Metrics",
    "SACMethod",
    "SeedStreams",
    "Settings",
]

"""The methods, a row each: all that the rest of the package knows of them (standard library only).

A new method is one file in `aihf_control/methods/` and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from aihf_control.errors import InvalidChoice

if TYPE_CHECKING:
    from aihf_control.methods.method import Context, Method

ENTRY_POINTS = "aihf_control.methods"
"""The entry-point group in which other packages offer methods; a built-in's name stays the built-in's."""

OTHER_COLOURS = ("#B0862B", "#C2456F", "#4477AA")
"""Of methods without a row, one after the other."""


@dataclass(frozen=True)
class MethodRow:
    """One method; calling it with a `Context` makes it."""

    place: str
    """`file:Class`, in this folder."""
    label: str
    """The name a reader knows it by."""
    legend: str
    """The same with what it learns from, for a stranger."""
    colour: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the class: two methods may be one class."""
    settings: tuple[str, ...] = ()
    """The blocks of `Settings` that are its own; none if empty."""
    starts: tuple[str, ...] = ("clone",)
    """Of `--settings.start`: what its policy may start from, its own first."""
    axis: Literal["steps", "updates", "none"] = "steps"
    """What its curve counts: SAC steps, updates of its own, or nothing, for it is done once it has begun."""
    learns_reward: bool = False
    """Whether it keeps a reward network."""
    line: Literal["thick", "thin", "faint", "none"] = "thick"
    """How it is drawn beside the others; none: it is in tables alone."""
    expected: bool = True
    """Whether a comparison has a row for it even where it was not run."""

    def __call__(self, context: Context) -> Method:
        """S runs of it."""
        file, _, name = self.place.partition(":")
        made: Method = getattr(import_module(f"aihf_control.methods.{file}"), name)(context, **self.options)
        return made


RANDOM_OR_CLONE = ("random", "clone")

METHODS = {
    "aihf": MethodRow(
        "aihf:AIHF", "AIHF", "AIHF: both, jointly", "#E8710A",
        settings=("aihf", "from_clone"), starts=RANDOM_OR_CLONE, learns_reward=True,
    ),
    "rlhf": MethodRow(
        "rlhf:RLHF", "RLHF", "RLHF: cloned, then preferences", "#0B6BB8",
        settings=("rlhf", "from_clone"), learns_reward=True,
    ),
    "ipl": MethodRow(
        "ipl:IPL", "IPL", "IPL: cloned, then preferences, offline", "#9B5FC0",
        settings=("ipl",), axis="updates",
    ),
    "bc": MethodRow("bc:BC", "BC", "BC: demonstrations, cloned", "#8A8A8A", axis="none"),
    "irl": MethodRow(
        "aihf:AIHF", "IRL", "IRL: demonstrations alone", "#00917C", {"preferences": False},
        settings=("aihf", "from_clone"), starts=RANDOM_OR_CLONE, learns_reward=True, line="thin",
    ),
    "preferences": MethodRow(
        "rlhf:RLHF", "Preferences", "Preferences alone, from random", "#56B4E9", {"start": "random"},
        settings=("rlhf",), starts=("random",), learns_reward=True, line="thin", expected=False,
    ),
    "hybrid": MethodRow(
        "aihf:AIHF", "Hybrid AIHF", "Hybrid AIHF: demonstrations in replay too", "#A6761D", {"hybrid": True},
        settings=("aihf", "hybrid", "from_clone"), starts=RANDOM_OR_CLONE, learns_reward=True, line="thin",
        expected=False,
    ),
    "cpl": MethodRow(
        "cpl:CPL", "CPL", "CPL: cloned, then preferences, direct", "#CC4C8E",
        settings=("cpl",), axis="updates", line="thin", expected=False,
    ),
    "direct_aihf": MethodRow(
        "cpl:DirectAIHF", "Direct AIHF", "Direct AIHF: both, no reward", "#B22222",
        settings=("direct_aihf",), axis="updates", line="thin", expected=False,
    ),
    "selfplay_aihf": MethodRow(
        "selfplay_aihf:SelfPlayAIHF", "Self-Play AIHF", "Self-Play AIHF: against earlier selves", "#6B8E23",
        settings=("selfplay_aihf",), axis="updates", line="thin", expected=False,
    ),
    "oracle": MethodRow(
        "controls:KnownReward", "Oracle (true reward)", "Oracle: the true reward", "#3D3D3D",
        starts=("random",), line="faint",
    ),
    "constant_plus": MethodRow(
        "controls:KnownReward", "Constant +1", "Constant +1", "#B8B8B8", {"value": 1.0},
        starts=("random",), line="none", expected=False,
    ),
    "constant_minus": MethodRow(
        "controls:KnownReward", "Constant −1", "Constant −1", "#CFCFCF", {"value": -1.0},
        starts=("random",), line="none", expected=False,
    ),
}  # fmt: skip

OWN: dict[str, Callable[[Context], Method]] = {}
"""Methods from outside the package, while a process runs them; `external.register` adds them."""


@dataclass(frozen=True)
class ChosenMethod:
    """What a user asked for: a known name, or the user's own with the file and the class in it."""

    name: str
    file: str = ""
    attribute: str = ""

    @property
    def entry(self) -> str:
        """As `METHODS=` names it."""
        return f"{self.name}={self.file}:{self.attribute}" if self.file else self.name


def make(name: str, context: Context) -> Method:
    """S runs of a built-in or a registered method."""
    return (OWN.get(name) or METHODS[name])(context)


def require_start(methods: Iterable[str], start: str) -> None:
    """Raise `InvalidChoice`, by name, for a built-in that cannot start as `--settings.start` says."""
    for name in methods:
        if start != "own" and name in METHODS and start not in METHODS[name].starts:
            raise InvalidChoice(
                f"--settings.start is {start}, and {name} has no start from a {start}; those that have: "
                f"{', '.join(key for key, row in METHODS.items() if start in row.starts)}"
            )


def method_label(method: str) -> str:
    """The name a reader knows `method` by: `aihf` → AIHF; a user's own as it was named."""
    return METHODS[method].label if method in METHODS else method


def axis_of(method: str) -> str:
    """What a method's curve counts: steps (a user's own too), updates or none."""
    return METHODS[method].axis if method in METHODS else "steps"


def total_steps(config: Mapping[str, Any]) -> int:
    """The last step of a run by its `config.json`: cloning has none, and IPL counts its own updates."""
    method = config.get("method", "")
    axis = axis_of(method)
    if axis == "none":
        return 0
    own = config.get("settings", {}).get(METHODS[method].settings[0], {}) if axis == "updates" else {}
    return int(own.get("updates") or config.get("steps", 0))


def line_of(method: str) -> str:
    """How a method is drawn: thick (a user's own too), thin, faint or none."""
    return METHODS[method].line if method in METHODS else "thick"


def learns_reward(method: str) -> bool:
    """Whether a method keeps a reward network; of a user's own its records tell."""
    return METHODS[method].learns_reward if method in METHODS else True

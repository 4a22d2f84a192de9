"""Seed-batched comparison of methods that learn from demonstrations and preferences.

The names below are what scripts and methods of your own are written with. They are looked up when they are
used, so that what needs no torch starts without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aihf_control.data.feedback import load_feedback
    from aihf_control.data.types import Episode, Feedback, PreferencePairs
    from aihf_control.envs.tasks import TASKS, Task
    from aihf_control.learn.randomness import SeedStreams
    from aihf_control.learn.replay import Batch
    from aihf_control.learn.sac import Metrics
    from aihf_control.learn.sac_loop import Exploration
    from aihf_control.learn.saved import load_policy, load_reward
    from aihf_control.methods.method import Context, Method
    from aihf_control.methods.sac_method import SACMethod
    from aihf_control.methods.settings import Settings
    from aihf_control.methods.table import METHODS
    from aihf_control.report.tidy import read_study
    from aihf_control.study.scripting import make_feedback, train

__version__ = "0.1.0"

_PLACES = {
    "METHODS": "methods.table",
    "TASKS": "envs.tasks",
    "Batch": "learn.replay",
    "Context": "methods.method",
    "Episode": "data.types",
    "Exploration": "learn.sac_loop",
    "Feedback": "data.types",
    "Method": "methods.method",
    "Metrics": "learn.sac",
    "PreferencePairs": "data.types",
    "SACMethod": "methods.sac_method",
    "SeedStreams": "learn.randomness",
    "Settings": "methods.settings",
    "Task": "envs.tasks",
    "load_feedback": "data.feedback",
    "load_policy": "learn.saved",
    "load_reward": "learn.saved",
    "make_feedback": "study.scripting",
    "read_study": "report.tidy",
    "train": "study.scripting",
}

__all__ = [
    "METHODS",
    "TASKS",
    "Batch",
    "Context",
    "Episode",
    "Exploration",
    "Feedback",
    "Method",
    "Metrics",
    "PreferencePairs",
    "SACMethod",
    "SeedStreams",
    "Settings",
    "Task",
    "load_feedback",
    "load_policy",
    "load_reward",
    "make_feedback",
    "read_study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)

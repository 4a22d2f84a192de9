"""The environment backends: which there are, and one of them by name. No torch in here, so that a
worker process starts without it."""

from __future__ import annotations

from aihf_control.envs.environments import Environments, SerialEnvironments, Steps
from aihf_control.envs.envpool import EnvPoolEnvironments, why_not
from aihf_control.envs.external import OWN
from aihf_control.envs.tasks import BACKENDS, Task
from aihf_control.envs.workers import HAS_WORKERS, WorkerEnvironments
from aihf_control.errors import InvalidChoice, choose

__all__ = ["Environments", "Steps", "choose_backend", "make_environments"]


def choose_backend(name: str, device: str, task: str = "") -> str:
    """The backend that `auto` means on a device of type `device`; any other name is checked and kept.

    On a CPU the update uses all cores and one loop is best. Beside a GPU they are free to simulate. Raises
    `InvalidChoice` for one that cannot be had here, as EnvPool's cannot for a user's own `task`.
    """
    choose("ENVIRONMENTS", name, BACKENDS)
    if name == "envpool" and task in OWN:
        raise InvalidChoice(f"ENVIRONMENTS=envpool: EnvPool has no task {task}: choose workers or serial")
    if name == "envpool" and (fault := why_not()):
        raise InvalidChoice(fault)
    if name == "workers" and not HAS_WORKERS:
        raise InvalidChoice("ENVIRONMENTS=workers needs Linux or macOS: choose serial")
    if name != "auto":
        return name
    if device != "cuda":
        return "serial"
    if task not in OWN and why_not() is None:
        return "envpool"
    return "workers" if HAS_WORKERS else "serial"


def make_environments(
    task: Task, count: int, backend: str, *, fixed_horizon: bool, autoreset: bool
) -> Environments:
    """`count` environments of `task`. With `autoreset` an ended episode is followed by a new one within
    the same step; without it the caller stops playing it. `backend` is one of `choose_backend`'s answers.

    `serial` and `workers` give the same numbers bit for bit; `envpool` draws other initial states and
    brings its own version of MuJoCo, so backends are not mixed in one study. It needs `autoreset`.
    """
    choose("ENVIRONMENTS", backend, BACKENDS[1:])
    if backend == "envpool":
        return EnvPoolEnvironments(task, count, fixed_horizon=fixed_horizon, autoreset=autoreset)
    kind = WorkerEnvironments if backend == "workers" else SerialEnvironments
    return kind(task, count, fixed_horizon=fixed_horizon, autoreset=autoreset)

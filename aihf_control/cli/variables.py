"""What `make` may be told, each under one name with `aihf`'s flags: LABEL_ERROR= is --label-error.

Needs the standard library alone, since make asks it before anything is installed:
`python3 -m aihf_control.cli.variables check bench ENV=hoper` prints one line for the first wrong name or
value, nothing when all are right; `… options bench SEEDS=0-2` prints what `aihf bench` is then given.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aihf_control.cli import values
from aihf_control.envs.tasks import BACKENDS
from aihf_control.errors import InvalidChoice, choose
from aihf_control.hardware import DEVICES, PRECISIONS

STUDY = ("bench", "sweep")


@dataclass(frozen=True)
class Variable:
    """A row of `make help`; `check` raises `InvalidChoice`."""

    default: str
    example: str
    check: Callable[[str], object]
    meaning: str
    targets: tuple[str, ...] = STUDY
    """Which of make's take it; none: all do, as each sets up .venv."""

    @property
    def metavar(self) -> str:
        """What the help of a flag shows in its value's place: the choices, or else an example."""
        valid = getattr(self.check, "keywords", {}).get("valid")
        return "|".join(valid) if valid else self.example


VARIABLES = {
    "ENV": Variable(
        "hopper", "walker2d", values.parse_tasks,
        "task: hopper, halfcheetah, walker2d; all: these three; swimmer, ant, humanoid, reacher and pusher "
        "with data of yours, or once you trained their policies (`aihf data train`); your own as "
        "my_task.py:TASK: docs/your_data.md", (*STUDY, "data"),
    ),
    "PRESET": Variable(
        "quick", "smoke", partial(choose, "PRESET", valid=values.PRESETS),
        "smoke (minutes), quick (an hour on two cores), reference (hours), authors or paper (a GPU)",
    ),
    "METHODS": Variable(
        "preset's", "aihf,rlhf", values.parse_methods,
        f"all, or any of {', '.join(values.METHODS)}; your own as my_method.py:MyMethod, or as "
        "name=my_method.py:MyMethod: docs/your_method.md",
    ),
    "SEEDS": Variable(
        "preset's", "0-4", values.parse_seeds,
        "learner seeds, as 0-4 or 0,3,7; up to ten are a batch on a CPU",
    ),
    "STEPS": Variable("preset's", "50000", values.parse_steps, "SAC steps a seed"),
    "STUDY": Variable(
        "preset's", "noisy", values.parse_study, "name of the results' folder, for settings of your own"
    ),
    "DEVICE": Variable(
        "auto", "cpu", partial(choose, "DEVICE", valid=DEVICES), "auto, cpu or cuda",
        (*STUDY, "speed", "gpu-check"),
    ),
    "PRECISION": Variable(
        "auto", "float32", partial(choose, "PRECISION", valid=PRECISIONS),
        "of the updates' products: float32, bfloat16, or auto: bfloat16 where the device multiplies it "
        "natively",
    ),
    "ENVIRONMENTS": Variable(
        "auto", "workers", partial(choose, "ENVIRONMENTS", valid=BACKENDS),
        "serial, workers (processes), envpool (the extra `fast`), or auto: serial beside a CPU learner",
    ),
    "DEMO_MIX": Variable(
        "0", "0.25", partial(values.parse_share, "DEMO_MIX"),
        "share of demonstrations from a lower tier, 0 to 1",
    ),
    "DEMO_NOISE": Variable(
        "0", "0.1", partial(values.parse_share, "DEMO_NOISE"),
        "action noise in the demonstrations, 0 to 1",
    ),
    "LABEL_ERROR": Variable(
        "0", "0.1", partial(values.parse_share, "LABEL_ERROR"),
        "share of preference labels that are wrong, 0 to 1",
    ),
    "DEMONSTRATIONS": Variable(
        "expert tier", "mine/good-v0", partial(values.parse_dataset, "DEMONSTRATIONS"),
        "Minari id to take the demonstrations from",
    ),
    "PREFERENCES": Variable(
        "two tiers", "mine/a-v0,mine/b-v0", partial(values.parse_datasets, "PREFERENCES"),
        "Minari ids to cut the preference pairs from, instead of the simple and the medium tier",
    ),
    "PREFERENCE_FILE": Variable(
        "none", "labels.npz", partial(values.parse_file, "PREFERENCE_FILE"),
        "labels of people, a file that `aihf preferences import` wrote, not a simulated teacher's",
    ),
    "JOBS": Variable(
        "cores", "2", partial(values.parse_count, "JOBS"),
        "jobs at once; the cores are those that this process may use, by affinity and cgroup. It changes no "
        "number. On a GPU bench is one process, and a sweep has a job a GPU",
    ),
    "TRACK": Variable(
        "none", "wandb", values.parse_trackers,
        "also track each run in tensorboard, wandb or trackio, or in several: wandb,trackio; all write on "
        "this machine, and nothing leaves it unasked: docs/trackers.md",
    ),
    "TENSORBOARD": Variable(
        "0", "1", partial(values.parse_switch, "TENSORBOARD"), "the same as TRACK=tensorboard"
    ),
    "FORCE_NEW": Variable(
        "0", "1", partial(values.parse_switch, "FORCE_NEW"),
        "start over beside runs made in another way, as STUDY-2; nothing is overwritten",
    ),
    "OTHER_DEVICE": Variable(
        "0", "1", partial(values.parse_switch, "OTHER_DEVICE"),
        "let runs begun on another device go on here, marked as moved in every table",
    ),
    "CLUSTER": Variable(
        "local", "slurm", partial(choose, "CLUSTER", valid=values.CLUSTERS),
        "local: as many jobs at once as there are GPUs or cores; slurm: one array job", ("sweep",),
    ),
    "SEEDS_PER_JOB": Variable(
        "10", "5", partial(values.parse_count, "SEEDS_PER_JOB"),
        "a job's seeds are trained as one batch", ("sweep",),
    ),
    "DRY_RUN": Variable(
        "0", "1", partial(values.parse_switch, "DRY_RUN"),
        "print the plan and its hours, start nothing, write nothing", ("sweep",),
    ),
    "PARTITION": Variable(
        "none", "gpu", partial(values.parse_slurm_name, "PARTITION"), "of Slurm", ("sweep",)
    ),
    "ACCOUNT": Variable(
        "none", "mylab", partial(values.parse_slurm_name, "ACCOUNT"), "of Slurm", ("sweep",)
    ),
    "GPUS": Variable(
        "0", "1", partial(values.parse_count, "GPUS", least=0), "of a job on Slurm, 0 or 1", ("sweep",)
    ),
    "CPUS": Variable(
        "1", "8", partial(values.parse_count, "CPUS"),
        "cores of a job on Slurm: one for its learner, all of them for environments in worker processes, as "
        "beside a GPU", ("sweep",),
    ),
    "MEMORY": Variable(
        "none", "8", partial(values.parse_count, "MEMORY"),
        "GB of a job on Slurm; the cluster's own default if not given", ("sweep",),
    ),
    "TIME": Variable(
        "4:00:00", "1-12:00:00", values.parse_minutes,
        "of a job on Slurm, after which it queues again and goes on", ("sweep",),
    ),
    "RUNS": Variable(
        "none", "results/runs/figure5", partial(values.parse_folder, "RUNS"),
        "compare what this study has so far, finished or not", ("figure5",),
    ),
    "PYTHON": Variable(
        "python3", "python3.12", str, "interpreter to make .venv with, 3.11 or newer", ()
    ),
    "TORCH_INDEX": Variable(
        "none", "URL", str,
        "one more package index for pip. Linux without a GPU: with the index of PyTorch's CPU wheels, .venv "
        "is several GB smaller", (),
    ),
}  # fmt: skip

SWITCHES = ("TENSORBOARD", "FORCE_NEW", "OTHER_DEVICE", "DRY_RUN")
"""Whose flags have no value: 1 sets them."""


OLD_NAMES = {
    "--task": "--env",
    "--feedback.demo-mix": "--demo-mix",
    "--feedback.demo-noise": "--demo-noise",
    "--feedback.teacher.mistake": "--label-error",
}
"""Of flags, as in the commands that committed runs were made with."""


def flag(name: str) -> str:
    """`LABEL_ERROR` → `--label-error`."""
    return "--" + name.lower().replace("_", "-")


def typed_by_make() -> bool:
    """Whether the user typed `make …`, whose line make hands on, and not `aihf …`."""
    return os.environ.get("AIHF_COMMAND", "").startswith("make ")


def in_flags(message: str) -> str:
    """`message`, which speaks of `ENV=hoper`, for who typed `--env hoper`."""

    def replaced(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        return flag(name) + ("" if name in SWITCHES else value.replace("=", " "))

    message = re.sub(rf"\b({'|'.join(VARIABLES)})\b(=1\b|=(?=\S))?", replaced, message)
    return re.sub("|".join(map(re.escape, OLD_NAMES)), lambda match: OLD_NAMES[match[0]], message)


def present_names(options: Iterable[str]) -> Iterator[str]:
    """`options` with the names that flags have now."""
    for option in options:
        name, equals, value = option.partition("=")
        yield OLD_NAMES.get(name.replace("_", "-"), name) + equals + value


def given(targets: Sequence[str], typed: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What any of `targets` is told, in the table's order; what make was told comes before the environment.

    Raises `InvalidChoice` for a name that is none, or of other targets: the environment may hold such.
    """
    for name in typed:
        if name not in VARIABLES:
            near = difflib.get_close_matches(name, VARIABLES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InvalidChoice(f"{name} is not a variable: {hint}`make` lists them")
        takers = VARIABLES[name].targets
        if takers and not set(takers) & set(targets):
            wanted, asked = " and ".join(takers), " or ".join(targets)
            raise InvalidChoice(f"{name} is a variable of {wanted}, not of {asked}")
    told = {name: typed.get(name, environment.get(name, "")) for name in VARIABLES}
    return {n: value for n, value in told.items() if value and set(VARIABLES[n].targets) & set(targets)}


def options(told: Mapping[str, str]) -> list[str]:
    """The flags of what a target is told."""
    flags: list[str] = []
    for name, value in told.items():
        flags += [flag(name)] * (value == "1") if name in SWITCHES else [flag(name), value]
    return flags


def table() -> str:
    """Every variable, those of the same targets together."""
    lines = []
    for targets in dict.fromkeys(row.targets[:2] for row in VARIABLES.values()):
        title = f"Variables of {' and '.join(targets) or 'every target'}"
        lines += ["", f"{title:<30}Default   Meaning"]
        for name, row in VARIABLES.items():
            if row.targets[:2] == targets:
                also = f" (also of {row.targets[2]})" if row.targets[2:] else ""
                first, *rest = textwrap.wrap(row.meaning + also, 70)
                lines.append(f"  {f'{name}={row.example} ':<28}{row.default:<10}{first}")
                lines += [" " * 40 + line for line in rest]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """`table`; or `check`, `options` or `typed` with make's targets and its `VARIABLE=value`s."""
    action, *rest = arguments
    typed = {name: value for name, equals, value in (word.partition("=") for word in rest) if equals}
    targets = [word for word in rest if "=" not in word]
    try:
        told = given(targets, typed, os.environ)
        for name, value in told.items():
            VARIABLES[name].check(value)
            if "\n" in value:
                raise InvalidChoice(f"{name}={value} has more than one line")
    except InvalidChoice as error:
        print(error)
        return 2
    if action == "table":
        print(table())
    elif action == "options":
        print(shlex.join(options(told)))
    elif action == "typed":
        words = [f"{name}={shlex.quote(value)}" for name, value in told.items()]
        print(shlex.quote(" ".join(["make", *targets, *words])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a user may ask for by name, checked with the standard library alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from aihf_control.data.dataset_ids import require_id
from aihf_control.envs.tasks import ALL_TASKS, TASKS
from aihf_control.envs.tasks import ENTRY_POINTS as TASK_ENTRY_POINTS
from aihf_control.errors import InvalidChoice, InvalidData, choose
from aihf_control.methods.table import ENTRY_POINTS, METHODS, ChosenMethod
from aihf_control.own_code import FOLDER_NAME, is_file_entry, offered, require_folder_name, split_place

PRESETS = ("smoke", "quick", "reference", "authors", "paper")
LARGEST_SEED = 1_000_000
CLUSTERS = ("local", "slurm")
TRACKERS = ("tensorboard", "wandb", "trackio")


def parse_tasks(value: str) -> tuple[str, ...]:
    """`"hopper"` → `("hopper",)`; `"all"` → `ALL_TASKS`; your own as `"path/my_task.py:TASK"`, whose file
    must exist, or by the name under which an installed package offers it.
    """
    if value == "all" or value in TASKS:  # looking for other packages takes a while
        return ALL_TASKS if value == "all" else (value,)
    if is_file_entry(value):
        split_place(f"ENV={value}", value, "ENV=path/to/my_task.py:TASK")
        return (value,)
    try:
        return (choose("ENV", value, [*TASKS, *offered(TASK_ENTRY_POINTS, TASKS), "all"]),)
    except InvalidChoice as error:
        raise InvalidChoice(f"{error}, or your own as my_task.py:TASK") from None


def parse_methods(value: str) -> tuple[ChosenMethod, ...]:
    """`"aihf,my=path/my_method.py:MyMethod"` → each method once, in this order; files must exist.

    `all` is every built-in.
    """
    chosen: dict[str, ChosenMethod] = {}
    entries = (value.strip() for value in value.split(","))
    for entry in itertools.chain.from_iterable(METHODS if one == "all" else [one] for one in entries):
        method = _own_method(entry) if is_file_entry(entry) else _known_method(entry)
        if chosen.setdefault(method.name, method) != method:
            raise InvalidChoice(
                f"METHODS={value}: two methods are named {method.name}: name one of them, as "
                f"{method.name}_2=path/to/my_method.py:MyMethod"
            )
    return tuple(chosen.values())


def _known_method(name: str) -> ChosenMethod:
    if name in METHODS:  # looking for other packages takes a while
        return ChosenMethod(name)
    try:
        known = choose("METHODS", name, [*METHODS, *offered(ENTRY_POINTS, METHODS)])
    except InvalidChoice as error:
        raise InvalidChoice(f"{error}, or your own as my_method.py:MyMethod") from None
    return ChosenMethod(require_folder_name(f"METHODS={name}", known, "my_method"))


def _own_method(entry: str) -> ChosenMethod:
    """`[name=]path/to/my_method.py:MyMethod`; without a name, the class's in snake case: my_method."""
    name, equals, place = entry.rpartition("=")
    file, attribute = split_place(f"METHODS={entry}", place, "path/to/my_method.py:MyMethod")
    name = name if equals else _snake_case(attribute)
    if name.lower() in METHODS:  # AIHF too would be read as the built-in one
        raise InvalidChoice(f"METHODS={entry}: {name} is built in: name yours, as my_{name}={place}")
    example = "my_method=path/to/my_method.py:MyMethod"
    return ChosenMethod(require_folder_name(f"METHODS={entry}", name, example), file, attribute)


def _snake_case(name: str) -> str:
    """`MyMethod` → `my_method`, `GAILPlus` → `gail_plus`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def parse_seeds(value: str) -> tuple[int, ...]:
    """`"0-2,7"` → `(0, 1, 2, 7)`; seeds are whole numbers from 0, sorted, without repeats."""
    seeds: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise InvalidChoice(
                f"SEEDS={value} is not a list of seeds below {LARGEST_SEED:,}: write 0-2 or 0,1,2"
            )
        if dash and int(last) < int(first):
            raise InvalidChoice(f"SEEDS={value}: the range {part} is empty, its end is below its start")
        seeds.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(seeds))


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < LARGEST_SEED


def parse_study(value: str) -> str:
    """A study's name, which becomes a folder's."""
    if not re.fullmatch(FOLDER_NAME, value):
        raise InvalidChoice(f"STUDY={value} cannot name a folder: use letters, digits, '.', '_' and '-'")
    return value


def parse_share(variable: str, value: str) -> float:
    """A number in [0, 1]."""
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise InvalidChoice(f"{variable}={value} is not a number from 0 to 1")
    return share


def parse_steps(value: str) -> int:
    """A whole number of steps, at least 1."""
    digits = value.replace("_", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and int(digits) > 0):
        raise InvalidChoice(f"STEPS={value} is not a whole number above 0")
    return int(digits)


def parse_count(variable: str, value: str, least: int = 1) -> int:
    """A whole number from `least` up."""
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) >= least):
        raise InvalidChoice(f"{variable}={value} is not a whole number from {least} up")
    return int(value)


def parse_minutes(value: str) -> int:
    """Slurm's way of writing a time limit, in minutes: `240`, `4:00:00`, `1-12:00:00`."""
    match = re.fullmatch(r"(?:(?:(\d{1,3})-)?(\d{1,4}):(\d\d):(\d\d))|(\d{1,6})", value, re.ASCII)
    if match is None:
        raise InvalidChoice(
            f"TIME={value} is not a time limit: write minutes, as 240, or 4:00:00, or 1-12:00:00"
        )
    days, hours, minutes, seconds, alone = (int(part or 0) for part in match.groups())
    total = alone or (days * 24 + hours) * 60 + minutes + (seconds > 0)
    if total < 2:
        raise InvalidChoice(f"TIME={value} is too short: a job is told to stop a minute before its end")
    return total


def parse_slurm_name(variable: str, value: str) -> str:
    """A partition or an account: nothing that a batch script could read as something else."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._,@-]*", value, re.ASCII):
        raise InvalidChoice(f"{variable}={value} is no name: use letters, digits, '.', '_', ',', '@' and '-'")
    return value


def parse_trackers(value: str) -> tuple[str, ...]:
    """`"wandb,trackio"` → each once."""
    return tuple(dict.fromkeys(choose("TRACK", name.strip(), TRACKERS) for name in value.split(",")))


def parse_file(variable: str, value: str) -> Path:
    """A file that is there: no folder, pipe or device."""
    path = Path(value)
    if not path.is_file():
        raise InvalidChoice(
            f"{variable}={value}: {'is no file' if path.exists() else 'there is no such file'}"
        )
    return path


def parse_folder(variable: str, value: str) -> Path:
    """A folder that is there."""
    if not Path(value).is_dir():
        raise InvalidChoice(f"{variable}={value}: there is no such folder")
    return Path(value)


def parse_datasets(variable: str, value: str) -> tuple[str, ...]:
    """Minari ids, as `mine/good-v0,mine/poor-v0`."""
    names = tuple(name.strip() for name in value.split(","))
    for name in names:
        try:
            require_id(name)
        except InvalidData as error:
            raise InvalidChoice(f"{variable}={value}: {error}") from None
    return names


def parse_dataset(variable: str, value: str) -> str:
    """One Minari id."""
    names = parse_datasets(variable, value)
    if len(names) > 1:
        raise InvalidChoice(f"{variable}={value} names {len(names)} datasets: give one")
    return names[0]


def parse_switch(variable: str, value: str) -> bool:
    """0 or 1."""
    if value not in ("0", "1"):
        raise InvalidChoice(f"{variable}={value} is neither 0 nor 1")
    return value == "1"

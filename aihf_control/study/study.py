"""The only place where tasks, data, methods and runs meet."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from aihf_control.data.types import Feedback
from aihf_control.envs.backends import choose_backend
from aihf_control.envs.external import OWN
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.methods.external import SOURCES
from aihf_control.methods.method import Context
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS, axis_of, require_start, total_steps
from aihf_control.runs.folder import (
    MAY_DIFFER,
    RunPaths,
    clean_up_ended,
    differences,
    find_batches,
    read_config,
    read_status,
    write_config,
)
from aihf_control.runs.locks import SeedLock
from aihf_control.runs.progress import Listener
from aihf_control.study import machine, reference_policies
from aihf_control.study.prepare import Folders, Say
from aihf_control.study.training import BatchRun, Observer

PLACE = ("device", "instructions")
"""Fields of `config.json` that say where a run was made; numbers differ in their last bits with them."""


@dataclass(frozen=True)
class Study:
    """One task's part of a study: which methods over which seeds, on which feedback."""

    name: str
    preset: str
    task: Task
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings
    device: torch.device
    command: str
    other_device: bool = False
    """Let runs that were begun on another device go on here, marked as moved."""


def on_device(
    settings: Settings, device: torch.device, precision: str, environments: str, task: str = ""
) -> Settings:
    """The settings with what `auto` means on this device, and for this task."""
    sac = replace(settings.sac, precision=machine.choose_precision(precision, device))
    return replace(settings, sac=sac, environments=choose_backend(environments, device.type, task))


FeedbackOf = Feedback | Callable[[int], Feedback] | None
"""One feedback for all learner seeds, or of each seed its own, or none."""


def run_study(
    study: Study, feedback: FeedbackOf, folders: Folders, say: Say, observer: Observer | None = None,
    listener: Listener | None = None,
) -> None:  # fmt: skip
    """Train every method's seeds that are not finished yet; a finished one is left as it is.

    `listener` is told how far the batch is. On a CPU this process computes with one thread from here on.

    Raises `InvalidData` before anything is trained or written if `check_study` does.
    """
    planned = configs(study, folders)
    _check(study, feedback, planned, folders)
    machine.use_one_thread()
    machine.keep_freed_memory()
    tables = functools.cache(functools.partial(_tables, study, feedback))
    for method, config in planned.items():
        paths = _paths(study, method, folders)
        clean_up_ended(paths)
        for seeds in _batches(paths, study.seeds, say):
            context = Context(study.task, seeds, study.settings, tables(seeds), study.device)
            facts = [_facts(feedback, seed) for seed in seeds]
            _run_batch(paths, context, [config | fact for fact in facts], observer, listener)


def _tables(study: Study, feedback: FeedbackOf, seeds: tuple[int, ...]) -> FeedbackTables | None:
    given = [_feedback_of(feedback, seed) for seed in seeds]
    found = [one for one in given if one is not None]
    return FeedbackTables(found, study.settings.aihf.trajectory_discount, study.device) if found else None


def check_study(study: Study, feedback: FeedbackOf, folders: Folders) -> None:
    """Raise `InvalidData`, naming every difference, if its runs there are were made in another way."""
    _check(study, feedback, configs(study, folders), folders)


def name_beside(studies: Sequence[tuple[Study, FeedbackOf]], folders: Folders) -> str:
    """The name under which these studies of one name, one a task, can start over or go on.

    It is their own, or has -2, -3, … after it: the first that is free, or whose runs were made in just
    this way. So nothing is overwritten, and the same command finds its own unfinished runs again.
    """
    for number in itertools.count(1):
        first = studies[0][0].name
        name = first if number == 1 else f"{first}-{number}"
        try:
            for study, feedback in studies:
                check_study(replace(study, name=name), feedback, folders)
        except InvalidData:
            continue
        return name
    raise AssertionError("there is always a free number")


def configs(study: Study, folders: Folders) -> dict[str, dict[str, Any]]:
    """Of each method what `config.json` says, but for the seed, its batch and its feedback."""
    reference = reference_policies.references(study.task, folders.policies(study.task))
    config = {
        "study": study.name,
        "task": study.task.name,
        "preset": study.preset,
        "steps": study.settings.steps,
        "device": machine.describe_device(study.device),
        "instructions": machine.instructions(study.device),
        "versions": machine.versions(study.settings.environments),
        "commit": machine.commit(),
        "references": asdict(reference) if reference else None,
        "command": study.command,
    }
    planned = {}
    for method in study.methods:
        own = config | {"method": method, "settings": _settings_of(method, study.settings)}
        planned[method] = (
            own | _round_of(own, study.settings) | _code_of(method) | _code_of_task(study.task.name)
        )
    return planned


def _round_of(config: dict[str, Any], settings: Settings) -> dict[str, int]:
    """`round_steps`, in the method's own count."""
    offline = axis_of(config["method"]) == "updates"
    steps = settings.between_evaluations(total_steps(config)) if offline else settings.round_steps
    return {"round_steps": steps}


def _paths(study: Study, method: str, folders: Folders) -> RunPaths:
    return RunPaths(folders.runs, study.name, study.task.name, method)


def _check(study: Study, feedback: FeedbackOf, planned: dict[str, dict[str, Any]], folders: Folders) -> None:
    require_start(study.methods, study.settings.start)
    _check_alike(study, folders)
    for method, config in planned.items():
        paths = _paths(study, method, folders)
        for seed in sorted({*study.seeds, *itertools.chain(*_recorded(paths, study.seeds))}):
            made = config | _facts(feedback, seed)
            _check_same(paths.seed(seed), made, PLACE if study.other_device else ())


def _check_same(folder: Path, config: dict[str, Any], allowed: Sequence[str]) -> None:
    there = read_config(folder)
    unknown = [name for name in PLACE if there is not None and name not in there]  # to an older version
    if there is not None and (changes := differences(there, config, (*MAY_DIFFER, *allowed, *unknown))):
        moved = all(change.partition(":")[0] in PLACE for change in changes)
        hint = ", or --other-device (OTHER_DEVICE=1) to go on here, marked as moved" if moved else ""
        raise InvalidData(
            f"{folder} was made with other settings ({'; '.join(changes)}): use the same ones, or another "
            f"--study (STUDY=name), or --force-new (FORCE_NEW=1), which starts over beside it{hint}"
        )


def _check_alike(study: Study, folders: Folders) -> None:
    """What is compared is trained on the same task, in the same arithmetic and on the same simulator."""
    ours = {"precision": study.settings.sac.precision, "environments": study.settings.environments}
    code = _code_of_task(study.task.name)
    for path in sorted((folders.runs / study.name / study.task.name).glob("*/seed_*")):
        config = read_config(path)
        if config is None:
            continue
        there = {"task_code": config["task_code"]} if "task_code" in config else {}
        if changes := differences(there, code):
            raise InvalidData(
                f"{path} was trained on another task of the name {study.task.name} ({'; '.join(changes)}): a "
                "study has one; use another --study (STUDY=name)"
            )
        settings = config.get("settings", {})
        theirs = settings | {"precision": settings.get("sac", {}).get("precision")}
        for name, value in ours.items():
            if theirs.get(name) not in (None, value):
                raise InvalidData(
                    f"{path} was trained with {name} {theirs[name]}, this command would use {value}: a "
                    f"study has one; use {name.upper()}={theirs[name]}, or another --study (STUDY=name)"
                )


def _settings_of(method: str, settings: Settings) -> dict[str, Any]:
    """Without the blocks of the other methods, on which a built-in one's numbers do not depend."""
    if method not in METHODS:
        return asdict(settings)
    blocks = {block for row in METHODS.values() for block in row.settings}
    others = blocks.difference(METHODS[method].settings)
    return {name: value for name, value in asdict(settings).items() if name not in others}


def _code_of(method: str) -> dict[str, Any]:
    """What a method that is not built in was made of: resuming it with other code is refused."""
    return {"code": asdict(SOURCES[method])} if method not in METHODS else {}


def _code_of_task(task: str) -> dict[str, Any]:
    """The same of a task that is not built in."""
    return OWN[task].record() if task in OWN else {}


def _feedback_of(feedback: FeedbackOf, seed: int) -> Feedback | None:
    return feedback(seed) if callable(feedback) else feedback


def _facts(feedback: FeedbackOf, seed: int) -> dict[str, Any]:
    """What `config.json` says of a seed's feedback."""
    own = _feedback_of(feedback, seed)
    if own is None:
        return {"feedback": None}
    return {
        "feedback": {
            "sha256": own.sha256,
            "demonstrations_return": own.demonstrations_return,
            "demonstrations": sum(len(episode) for episode in own.demonstrations),
            "pairs": len(own.pairs),
            "segment_length": own.pairs.preferred.horizon,
        }
    }


def _recorded(paths: RunPaths, seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """The batches that were begun and not ended and that hold any of `seeds`."""
    return [batch for batch in find_batches(paths) if set(batch) & set(seeds)]


def _batches(paths: RunPaths, seeds: Sequence[int], say: Say) -> list[tuple[int, ...]]:
    """The batches to run: recorded unfinished ones as they were, then one of all that is new."""
    recorded = _recorded(paths, seeds)
    finished: list[int] = []
    new: list[int] = []
    for seed in sorted(set(seeds).difference(*recorded)):
        status = read_status(paths.seed(seed))
        (finished if status is not None and status.ended else new).append(seed)
    if finished:
        say(f"{paths.method}: seeds {_list(finished)} are finished already")
    for batch in recorded:
        say(f"{paths.method}: resuming seeds {_list(batch)}")
    return [*recorded, *([tuple(new)] if new else [])]


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _run_batch(
    paths: RunPaths, context: Context, configs: Sequence[dict[str, Any]], observer: Observer | None,
    listener: Listener | None,
) -> None:  # fmt: skip
    folders = [paths.seed(seed) for seed in context.seeds]
    with SeedLock(folders) as lock:
        statuses = [read_status(folder) for folder in folders]
        if all(status is not None and status.ended for status in statuses):
            return  # another process finished them while this one waited for its turn
        for seed, folder, config in zip(context.seeds, folders, configs, strict=True):
            there = read_config(folder) or {}
            kept = {"moved": _moves(there, folder, config)}
            kept |= {name: there[name] for name in ("graphs_off",) if name in there}
            write_config(folder, config | kept | {"seed": seed, "batch": list(context.seeds)})
        try:
            BatchRun(paths, context, lock, observer, listener).run()
        except torch.OutOfMemoryError as full:
            raise InvalidChoice(
                f"{paths.method}: {'. '.join(str(full).split('. ')[:3])}: train fewer seeds at once "
                "(SEEDS_PER_JOB of a sweep), or keep fewer steps (--settings.sac.replay-capacity); finished "
                "rounds are kept"
            ) from full
    gc.collect()  # a method and its callbacks know each other; their memory goes before the next one's comes


def _moves(there: dict[str, Any], folder: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    """From where to where a run that was begun has moved so far, this time included."""
    if not there:
        return []
    changed = [name for name in PLACE if name in there and there[name] != config[name]]
    before, after = (", ".join(str(record[name]) for name in changed) for record in (there, config))
    status = read_status(folder)
    step = status.step if status else 0
    moves: list[dict[str, Any]] = there.get("moved", [])
    return moves + ([{"step": step, "before": before, "after": after}] if changed else [])

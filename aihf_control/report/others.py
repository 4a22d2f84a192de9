"""Runs from elsewhere beside a study's: another study of ours, Stable-Baselines3's logs, or any CSV.

They are shown on the study's page alone, dashed and in a table of their own: nothing says that they were
taught, evaluated or counted alike.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aihf_control.arrays import Floats, Integers
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidChoice, InvalidData, choose
from aihf_control.methods.table import method_label
from aihf_control.report.results import StudyResults, TaskResults, read_results
from aihf_control.runs.stored import stored_runs

WINDOWS = 50
"""Of training episodes, which become one point each."""
OTHER_UNIT = 100
"""How many times shorter or longer than the study's steps look like steps of another unit."""


@dataclass(frozen=True)
class Other:
    """Runs of one method from elsewhere: `returns` (seeds, T) at `steps` (T,), and what they are."""

    name: str
    task: str
    steps: Integers
    returns: Floats
    seeds: tuple[str, ...]
    what: str


def read_others(given: str, study: StudyResults) -> list[Other]:
    """What `[NAME[@TASK]=]PATH` names, on the study's tasks.

    PATH is a study's folder; a folder with `evaluations.npz` or `monitor.csv` files in it (one run) or in
    its subfolders (a run each); or a CSV with the columns step, seed and return. Raises `InvalidChoice` and
    `InvalidData`, one line naming file and field.
    """
    label, _, place = given.rpartition("=")
    path, (name, _, task) = Path(place), label.partition("@")
    if not path.exists():
        raise InvalidChoice(f"--with {given}: there is no {path}")
    if path.is_dir() and stored_runs(path, strict=False):
        found = _of_study(path, name, study)
    else:
        name = name or path.resolve().stem
        found = [_of_csv(path, name) if path.suffix == ".csv" and path.is_file() else _of_logs(path, name)]
        found = [_on_task(other, task or other.task, given, study) for other in found]
    for other in found:
        _check_unit(other, path, next(t for t in study.tasks if t.task == other.task))
    return found


def _on_task(other: Other, task: str, given: str, study: StudyResults) -> Other:
    tasks = [results.task for results in study.tasks]
    if not task and len(tasks) > 1:
        raise InvalidChoice(f"--with {given} does not say of which task it is: write NAME@{tasks[0]}=PATH")
    chosen = choose(f"--with {given}: the task", task, tasks) if task else tasks[0]
    return Other(other.name, chosen, other.steps, other.returns, other.seeds, other.what)


def _check_unit(other: Other, path: Path, task: TaskResults) -> None:
    ours = max(int(results.steps[-1]) for results in task.methods if results.runs)
    theirs = int(other.steps[-1])
    if ours and not 1 / OTHER_UNIT < max(theirs, 1) / ours < OTHER_UNIT:
        raise InvalidData(
            f"{path}: its last step is {theirs:,}, the study's {ours:,}: is it in another unit? Steps are "
            "environment steps of one environment, each counted once"
        )


def _of_study(path: Path, name: str, study: StudyResults) -> list[Other]:
    theirs, others = read_results(path), []
    for task in study.tasks:
        for found in theirs.tasks:
            if found.task != task.task:
                continue
            same = found.feedback.sha256 == task.feedback.sha256
            unlike = "the same feedback" if same else "other feedback, not bit for bit this study's"
            others += [
                Other(
                    f"{method_label(results.method)} ({name or theirs.name})",
                    task.task,
                    results.steps,
                    results.returns,
                    tuple(map(str, results.seeds)),
                    f"study {theirs.name}, {unlike}, {found.evaluation_episodes} evaluation episodes",
                )
                for results in found.methods
                if results.runs
            ]
    if not others:
        raise InvalidData(f"{path}: has no run that ended on {', '.join(t.task for t in study.tasks)}")
    return others


def _of_csv(path: Path, name: str) -> Other:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InvalidData(f"{path}: cannot be read as CSV: {error}") from error
    for column in ("step", "seed", "return"):
        if column not in table:
            raise InvalidData(f"{path}: has no column {column}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise InvalidData(f"{path}: has no rows")
    for column in ("step", "return"):
        if not pd.api.types.is_numeric_dtype(table[column]) or not np.isfinite(table[column]).all():
            row = int(np.argmax(~np.isfinite(pd.to_numeric(table[column], errors="coerce"))))
            raise InvalidData(f"{path}: {column} in row {row} is {table[column].iloc[row]}, not a number")
    if table.duplicated(["seed", "step"]).any():
        row = int(np.argmax(table.duplicated(["seed", "step"])))
        raise InvalidData(f"{path}: row {row} repeats seed {table['seed'][row]} at step {table['step'][row]}")
    wide = table.pivot(index="seed", columns="step", values="return")
    if wide.isna().any(axis=None):
        seed, step = np.argwhere(wide.isna())[0]
        raise InvalidData(
            f"{path}: seed {wide.index[seed]} has no return at step {wide.columns[step]}: all seeds need the "
            "same steps"
        )
    steps = wide.columns.to_numpy().astype(np.int64)
    return Other(name, "", steps, wide.to_numpy(np.float64), tuple(map(str, wide.index)), f"{path.name}")


def _of_logs(path: Path, name: str) -> Other:
    """One run where the logs lie, or one a subfolder."""
    places = [path] if path.is_file() else [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    for read, pattern in ((_evaluations, "evaluations.npz"), (_episodes, "*monitor.csv")):
        logs = {p.name: [p] if p.is_file() and p.match(pattern) else sorted(p.glob(pattern)) for p in places}
        runs = {seed: files for seed, files in logs.items() if files}
        if runs:
            return read(name, runs)
    raise InvalidData(
        f"{path}: is no study's folder and no CSV, and no evaluations.npz or monitor.csv is in it or in its "
        "subfolders"
    )


def _evaluations(name: str, runs: dict[str, list[Path]]) -> Other:
    """Of Stable-Baselines3's `EvalCallback`."""
    curves: dict[Path, tuple[Integers, Floats]] = {}
    for (path,) in runs.values():
        try:
            with np.load(path, allow_pickle=False) as saved:
                steps, results = saved["timesteps"], saved["results"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InvalidData(f"{path}: is no log of EvalCallback ({error})") from None
        if steps.ndim != 1 or results.shape[:1] != steps.shape or results.ndim != 2 or not len(steps):
            raise InvalidData(f"{path}: results has shape {results.shape}, timesteps {steps.shape}")
        curves[path] = steps.astype(np.int64), results.mean(axis=1, dtype=np.float64)
    first, (steps, _) = next(iter(curves.items()))
    for path, (others, _) in curves.items():
        if not np.array_equal(steps, others):
            raise InvalidData(f"{path}: timesteps are not those of {first}: all runs need the same")
    returns = np.stack([values for _, values in curves.values()])
    return Other(name, "", steps, returns, tuple(runs), "Stable-Baselines3's evaluations.npz")


def _episodes(name: str, runs: dict[str, list[Path]]) -> Other:
    """Of Stable-Baselines3's `Monitor`: returns of training episodes, in as many windows for every run."""
    tasks: set[str] = set()
    logged = []
    for files in runs.values():
        parts = [_monitor(path, tasks) for path in files]  # of the run's environments
        table = pd.concat(parts).sort_values("t", kind="stable")
        if len(table) < 2:
            raise InvalidData(f"{files[0]}: has {len(table)} episodes, 2 are needed for a curve")
        logged.append((table["l"].cumsum().to_numpy(np.int64), table["r"].to_numpy(np.float64)))
    last = min(int(steps[-1]) for steps, _ in logged)
    edges = np.linspace(0, last, WINDOWS + 1).astype(np.int64)[1:]
    returns = np.stack([_windows(steps, values, edges) for steps, values in logged])
    known = {task.env_id: task.name for task in TASKS.values()}
    task = known.get(next(iter(tasks)), "") if len(tasks) == 1 else ""
    what = f"Stable-Baselines3's Monitor: training episodes, as they ended, in {WINDOWS} windows"
    return Other(name, task, edges, returns, tuple(runs), what)


def _windows(steps: Integers, values: Floats, edges: Integers) -> Floats:
    """The mean of the episodes that ended up to each edge since the one before; where none did, the last."""
    window = np.searchsorted(edges, steps, side="left")
    inside = window < len(edges)
    sums = np.bincount(window[inside], values[inside], len(edges))
    counts = np.bincount(window[inside], minlength=len(edges))
    held = np.maximum.accumulate(np.where(counts > 0, np.arange(len(edges)), -1))
    means = sums / np.maximum(counts, 1)
    return np.asarray(np.where(held >= 0, means[np.maximum(held, 0)], values[0]))


def _monitor(path: Path, tasks: set[str]) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline().removeprefix("#"))
            table = pd.read_csv(file)
        tasks.add(str(header.get("env_id")))
        return table[["r", "l", "t"]].astype(float).assign(t=table["t"] + float(header["t_start"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path}: is no log of Monitor ({error})") from None

"""A study's runs in either form they are kept in, and the way from the one into the other.

As trained, a run is a folder `<study>/<task>/<method>/seed_<k>/` with `config.json`, `status.json` and
`progress.csv`. As committed, all seeds' rows are in `<study>/<task>/<method>.csv`, and their configurations
and statuses in one `<study>/runs.json`, where what all of them have in common is said once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aihf_control.errors import InvalidData
from aihf_control.runs.files import build, make_folder, read_json, write_atomically
from aihf_control.runs.folder import Status, hash_rows, read_config, read_status

FORMAT = 1
INDEX = "runs.json"
PROGRESS_COLUMNS = ("step", "return_mean", "environment_steps")
"""Columns of `progress.csv` that every method must have."""


@dataclass(frozen=True)
class Lines:
    """A CSV file, or a part of one, as text: that keeps every digit."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """What is not empty, a dictionary a row."""
        return [{k: v for k, v in zip(self.header, row, strict=True) if v} for row in self.rows]


@dataclass(frozen=True)
class StoredRun:
    """One seed's run, of which no more was read than what it is; the places are for people."""

    task: str
    method: str
    seed: int
    config: Mapping[str, Any]
    """All of `config.json`."""
    config_place: str
    progress_place: str
    status: Status | None
    read_lines: Callable[[], Lines]
    folder: Path | None = None
    """Where its policy is, as trained."""

    def progress(self) -> pd.DataFrame:
        """Its evaluations: numbers throughout, and steps that rise. Raises `InvalidData`."""
        lines = self.read_lines()
        text = _text([lines.header, *lines.rows])
        table = _checked(self.progress_place, pd.read_csv(io.StringIO(text)))
        self._require_all(lines, table)
        return table

    def _require_all(self, lines: Lines, table: pd.DataFrame) -> None:
        """A run that ended has all of its rows, to the last digit."""
        if self.status is None or not self.status.ended:
            return
        last = 0 if table.empty else int(table["step"].iloc[-1])
        if self.status.state == "finished" and last != self.status.step:
            raise InvalidData(
                f"{self.progress_place}: row {len(table) - 1}, the last one, is of step {last:,}, and the "
                f"run ended at step {self.status.step:,}: rows are missing; restore the file"
            )
        wrote = self.status.rows_sha256
        if wrote is not None and (found := hash_rows(lines.records())) != wrote:
            raise InvalidData(
                f"{self.progress_place}: its rows, to row {len(table) - 1} of step {last:,}, are not those "
                f"that the run wrote (their SHA-256 is {found[:12]}…, not {wrote[:12]}…): restore the file"
            )


def stored_runs(study: Path, strict: bool = True) -> list[StoredRun]:
    """All runs in a study's folder, begun or ended, by task, method and seed.

    Raises `InvalidData`, naming file and field; unless `strict`, passes over what is broken.
    """
    found: list[StoredRun] = []
    trained = (partial(_trained, folder) for folder in sorted(study.glob("*/*/seed_*")))
    for read in (partial(_committed, study), *trained):
        try:
            found += read()
        except InvalidData:
            if strict:
                raise
    return sorted(found, key=lambda run: (run.task, run.method, run.seed))


def _trained(folder: Path) -> list[StoredRun]:
    number = folder.name.removeprefix("seed_")
    config = read_config(folder) if number.isdecimal() else None
    if config is None:
        return []
    task, method, path = folder.parts[-3], folder.parts[-2], folder / "progress.csv"
    have = (config.get("study"), config.get("task"), config.get("method"), config.get("seed"))
    place = (folder.resolve().parts[-4], task, method, int(number))
    for name, value, expected in zip(("study", "task", "method", "seed"), have, place, strict=True):
        if value != expected:
            raise InvalidData(f"{folder / 'config.json'}: {name} is {value!r}, the folder's {expected!r}")
    names = str(folder / "config.json"), str(path)
    status = read_status(folder)
    return [StoredRun(task, method, place[3], config, *names, status, partial(_read_csv, path), folder)]


@dataclass(frozen=True)
class _Entry:
    """Of `runs.json`: seeds with one configuration and one status."""

    task: str
    method: str
    seeds: tuple[int, ...]
    config: dict[str, Any]
    status: Status


@dataclass(frozen=True)
class _Index:
    format: int
    config: dict[str, Any]
    runs: tuple[_Entry, ...]


def _committed(study: Path) -> list[StoredRun]:
    """The runs that a `runs.json` lists."""
    path = study / INDEX
    if not path.is_file():
        return []
    index = build(path, _Index, read_json(path))
    if index.format != FORMAT:
        raise InvalidData(f"{path}: format is {index.format}, not {FORMAT}: use the version that wrote it")
    found = []
    for entry in index.runs:
        file = study / entry.task / f"{entry.method}.csv"
        for seed in entry.seeds:
            own = {"task": entry.task, "method": entry.method, "seed": seed}
            config = own | _joined(index.config, entry.config)
            name = f"{path} ({entry.task}/{entry.method}/seed_{seed})", f"{file} (seed {seed})"
            read = partial(_seed_lines, file, seed)
            found.append(StoredRun(entry.task, entry.method, seed, config, *name, entry.status, read))
    return found


def _seed_lines(file: Path, seed: int) -> Lines:
    whole = _read_csv(file)
    if "seed" not in whole.header:
        raise InvalidData(f"{file}: has no column seed")
    at = whole.header.index("seed")
    rows = (row[:at] + row[at + 1 :] for row in whole.rows if row[at] == str(seed))
    return Lines(whole.header[:at] + whole.header[at + 1 :], tuple(rows))


def _read_csv(path: Path) -> Lines:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidData(f"{path}: cannot be read as CSV: {error}") from error
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise InvalidData(f"{path}: cannot be read as CSV: its rows are not all as long as its header")
    return Lines(rows[0], tuple(rows[1:]))


def _text(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _checked(place: str, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:  # a seed may fail before its first evaluation; columns without rows have no type
        table = table.astype(dict.fromkeys(table.columns, float)).astype({"step": int}, errors="ignore")
    for name in (*PROGRESS_COLUMNS, *table.columns):
        if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
            raise InvalidData(f"{place}: column {name} is missing or holds something else than numbers")
    if not pd.api.types.is_integer_dtype(table["step"]) or not (np.diff(table["step"]) > 0).all():
        raise InvalidData(f"{place}: step must be whole numbers that rise from row to row")
    return table


def common(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all `records` say alike, within nested ones too."""
    shared = {}
    for name in records[0]:
        values = [record[name] for record in records if name in record]
        if len(values) < len(records):
            continue
        if all(value == values[0] for value in values):
            shared[name] = values[0]
        elif all(isinstance(value, dict) for value in values) and (inner := common(values)):
            shared[name] = inner
    return shared


def rest(record: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What `record` says beyond `shared`, which is part of it."""
    own = {}
    for name, value in record.items():
        if name not in shared:
            own[name] = value
        elif value != shared[name]:
            own[name] = rest(value, shared[name])
    return own


def _joined(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The record of which `own` is the rest beyond `shared`."""
    both = {k: _joined(shared[k], own[k]) for k in shared.keys() & own.keys()}
    return {**shared, **own, **both}


def add_runs(study: Path, results: Path, methods: Sequence[str] = (), rename: str = "") -> list[str]:
    """Take the ended batches in `study` into the committed `results`; says of each method what was done.

    `methods` are all if none is given; `rename` is the name that a single one gets there. What is there
    already stays as it is. Raises `InvalidData`, with nothing written, if it is not the same to the last
    digit, or if there is nothing to take.
    """
    runs = [run for run in stored_runs(study) if not methods or run.method in methods]
    if not runs:
        raise InvalidData(f"{study} has no runs of {', '.join(methods) or 'any method'}")
    if rename and len({run.method for run in runs}) > 1:
        raise InvalidData(f"{study} has several methods: name the one that becomes {rename} with --methods")
    ended = {(run.task, run.method, run.seed) for run in runs if run.status and run.status.ended}
    said: dict[str, list[int]] = {}
    there = {(run.task, run.method, run.seed): run for run in stored_runs(results)}
    new = dict(there)
    for run in runs:
        whole = all((run.task, run.method, seed) in ended for seed in run.config.get("batch", [run.seed]))
        taken = replace(run, method=rename or run.method)
        key = taken.task, taken.method, taken.seed
        if whole and key in there:
            _refuse_other(there[key], taken)
        elif whole:
            new[key] = taken
        word = "not ended" if not whole else "there already" if key in there else "taken"
        said.setdefault(f"{taken.task}/{taken.method}: {word}: seeds", []).append(run.seed)
    if not ended:
        raise InvalidData(f"{study}: no batch of seeds has ended")
    _write(results, list(new.values()), {(task, method) for task, method, _ in new.keys() - there.keys()})
    return [f"{words} {', '.join(map(str, seeds))}" for words, seeds in said.items()]


def _refuse_other(there: StoredRun, new: StoredRun) -> None:
    for what, one, other, place in (
        ("settings or status", _said(there), _said(new), there.config_place),
        ("rows", there.read_lines().records(), new.read_lines().records(), there.progress_place),
    ):  # fmt: skip
        if one != other:
            raise InvalidData(
                f"{place}: its {what} are not those of {new.progress_place}: what is committed is never "
                "overwritten; remove it first, or add to another folder"
            )


def _said(run: StoredRun) -> tuple[dict[str, Any], Status | None]:
    """What a run records but for its rows, of which an older version kept no hash."""
    return dict(run.config), run.status and replace(run.status, rows_sha256=None)


def _write(results: Path, runs: Sequence[StoredRun], changed: set[tuple[str, str]]) -> None:
    """The files of `changed` methods and the index, the index last."""
    ordered = sorted(runs, key=lambda run: (run.task, run.method, run.seed))
    contents = {}
    for task, method in sorted(changed):
        seeds = [(run.seed, run.read_lines()) for run in ordered if (run.task, run.method) == (task, method)]
        names = dict.fromkeys(name for _, lines in seeds for name in lines.header if name != "step")
        header = ["step", "seed", *names]
        rows = [
            [record.get("step", ""), seed, *(record.get(name, "") for name in names)]
            for seed, lines in seeds
            for record in lines.records()
        ]
        contents[results / task / f"{method}.csv"] = _text([header, *rows])
    contents[results / INDEX] = _index_text(ordered)
    for path, text in contents.items():
        make_folder(path.parent)
        write_atomically(path, text.encode())


def _index_text(runs: Sequence[StoredRun]) -> str:
    shared = common([_without_place(run) for run in runs])
    entries: list[dict[str, Any]] = []
    for run in runs:
        assert run.status is not None
        entry = {"task": run.task, "method": run.method, "config": rest(_without_place(run), shared)}
        entry["status"] = asdict(run.status)
        alike = next((other for other in entries if other | {"seeds": None} == entry | {"seeds": None}), None)
        if alike is None:
            entries.append(entry | {"seeds": [run.seed]})
        else:
            alike["seeds"].append(run.seed)
    record = {"format": FORMAT, "config": shared, "runs": entries}
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _without_place(run: StoredRun) -> dict[str, Any]:
    """The configuration without what the run's place in the results says already."""
    own = {"task": run.task, "method": run.method, "seed": run.seed}
    return {name: value for name, value in run.config.items() if name not in own or own[name] != value}

"""A labelling session on disk: the pairs that are asked about, and each person's answers so far.

    data/labelling/<task>/<session>/session.json       what was drawn from where
                                    pairs.npz          the pairs, in the order of asking
                                    answers/<name>.json  one a person, rewritten whole at every answer
    data/preferences/<task>/<session>.npz              what was answered, for --preference-file

People share the pairs: each is asked of one of them. Whatever kills the process, an answer that was
acknowledged is on the disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aihf_control.data.human_labels import LabelledSegments, encode_labelled, read_labelled
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.runs.files import make_folder, write_atomically, write_json
from aihf_control.runs.folder import differences

FORMAT = 1
LABELS = (0.0, 0.5, 1.0)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Refused(ValueError):
    """What a page asked for cannot be done now; the one line is for the person before it."""


@dataclass(frozen=True)
class Places:
    """Where a session is kept, and where its labels go."""

    folder: Path
    labels: Path

    @staticmethod
    def of(root: Path, task: Task, session: str) -> Places:
        """Below a checkout's `data/`. Raises `InvalidChoice` for a name that cannot be a folder's."""
        if not _NAME.fullmatch(session):
            raise InvalidChoice(f"--session {session!r}: use up to 32 letters, digits, '.', '_' and '-'")
        data = root / "data"
        return Places(
            data / "labelling" / task.name / session, data / "preferences" / task.name / f"{session}.npz"
        )


@dataclass(frozen=True)
class Asked:
    """What a person is to be shown: a pair, or None once all are answered."""

    pair: int | None
    mine: int
    """Pairs this person answered."""
    answered: int
    total: int


class Session:
    """The pairs of one session and who answered what; used by one process, in one thread."""

    def __init__(self, places: Places, task: Task, pairs: LabelledSegments) -> None:
        self.places, self.task, self.pairs = places, task, pairs
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._shown: dict[str, tuple[str, int | None]] = {}  # by name: the page, and the pair before it
        for path in sorted((places.folder / "answers").glob("*.json")):
            self._answers[path.stem] = self._read(path)

    @staticmethod
    def open(
        places: Places, task: Task, plan: Mapping[str, Any], draw: Callable[[], LabelledSegments]
    ) -> Session:
        """The session that is there, if it was begun with this `plan`, else a new one of what `draw` gives.

        Raises `InvalidChoice` if another plan began it, `InvalidData` if a file of it is damaged.
        """
        wanted, path = {"format": FORMAT, **plan}, places.folder / "session.json"
        if path.is_file():
            try:
                there = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InvalidData(f"{path}: cannot be read as JSON ({error})") from None
            if unlike := differences(there, wanted, ()):
                raise InvalidChoice(
                    f"{places.folder} was begun otherwise ({unlike[0]}): ask for the same, or give another "
                    "--session"
                )
            session = Session(places, task, read_labelled(places.folder / "pairs.npz", task))
            if session.labels:  # which a kill may have left an answer behind
                session._export()
            return session
        pairs = draw()
        if places.labels.exists():
            raise InvalidChoice(f"{places.labels} is there already, of no session: name another --session")
        make_folder(places.folder / "answers")
        write_atomically(places.folder / "pairs.npz", encode_labelled(pairs, task))
        write_json(path, wanted)  # last: a session that has it is whole
        return Session(places, task, pairs)

    def _read(self, path: Path) -> list[dict[str, Any]]:
        """A person's answers, checked."""
        try:
            answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
            for answer in answers:
                pair, label = answer["pair"], answer["label"]
                if type(pair) is not int or not 0 <= pair < self.total or label not in LABELS:
                    raise InvalidData(f"{path}: {answer} is no answer to one of {self.total} pairs")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidData(f"{path}: cannot be read ({error}): mend it or move it away") from None
        for other, theirs in [*self._answers.items(), (path.stem, answers)]:
            numbers = [answer["pair"] for answer in theirs]
            again = {n for n in numbers if numbers.count(n) > 1}
            again |= set() if other == path.stem else {a["pair"] for a in answers} & set(numbers)
            if again:
                raise InvalidData(f"{path}: pair {min(again)} has a second answer, of {other}: remove one")
        return list(answers)

    @property
    def total(self) -> int:
        """Pairs of the session."""
        return len(self.pairs.labels)

    @property
    def labels(self) -> dict[int, float]:
        """Each answered pair's label."""
        return {a["pair"]: a["label"] for answers in self._answers.values() for a in answers}

    def join(self, name: str, page: str) -> Asked:
        """A page that was just opened asks under `name`; an older page of that name is put aside."""
        if not _NAME.fullmatch(name):
            raise Refused("A name has 1 to 32 letters, digits, '.', '_' and '-'.")
        before = self._shown.get(name, ("", None))[1]
        self._shown[name] = page, before
        return self._ask(name)

    def answer(self, name: str, page: str, pair: int, label: float) -> Asked:
        """Record it, on the disk before this returns; the same answer twice counts once."""
        self._check_page(name, page)
        mine = self._answers.get(name, [])
        if label not in LABELS:
            raise Refused(f"{label} is neither 0, ½ nor 1.")
        if mine and (mine[-1]["pair"], mine[-1]["label"]) == (pair, label):
            return self._ask(name)  # sent again after a broken connection
        if pair != self._shown[name][1]:
            raise Refused(f"Pair {pair} is not the one that you were shown: reload this page.")
        if pair in self.labels:  # two had the last one before them, and the other was faster
            self._shown[name] = page, None
            return self._ask(name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._save(name, [*mine, {"pair": pair, "label": label, "at": now}])
        self._shown[name] = page, None
        return self._ask(name)

    def undo(self, name: str, page: str) -> Asked:
        """Take this person's last answer back, and ask again."""
        self._check_page(name, page)
        mine = self._answers.get(name, [])
        if not mine:
            raise Refused("There is no answer of yours to take back.")
        self._save(name, mine[:-1])
        self._shown[name] = page, mine[-1]["pair"]
        return self._ask(name)

    def _check_page(self, name: str, page: str) -> None:
        if self._shown.get(name, ("", None))[0] != page:
            raise Refused(f"{name} goes on in another page, or the program was restarted: reload this page.")

    def _ask(self, name: str) -> Asked:
        page, pair = self._shown[name]
        done = self.labels
        if pair is None or pair in done:
            # at the end also what someone else was shown, who may have closed the page
            rest = self.upcoming(1) or [pair for pair in range(self.total) if pair not in done]
            pair = next(iter(rest), None)
            self._shown[name] = page, pair
        return Asked(pair, len(self._answers.get(name, [])), len(done), self.total)

    def upcoming(self, count: int) -> list[int]:
        """The next pairs that nobody answered or looks at."""
        taken = {*self.labels, *(pair for _, pair in self._shown.values())}
        return [pair for pair in range(self.total) if pair not in taken][:count]

    def _save(self, name: str, answers: list[dict[str, Any]]) -> None:
        before = self._answers.get(name, [])
        self._answers[name] = answers
        try:
            self._export()
            write_json(self.places.folder / "answers" / f"{name}.json", {"answers": answers})  # counts it
        except BaseException:
            self._answers[name] = before
            raise

    def _export(self) -> None:
        """Write what is answered so far as a file that `--preference-file` takes."""
        done = self.labels
        if not done:
            self.places.labels.unlink(missing_ok=True)
            return
        chosen = np.array(sorted(done))
        labelled = LabelledSegments(
            self.pairs.observations[:, chosen],
            self.pairs.actions[:, chosen],
            np.array([done[pair] for pair in chosen.tolist()]),
            self.pairs.held_out[chosen],
        )
        make_folder(self.places.labels.parent)
        write_atomically(self.places.labels, encode_labelled(labelled, self.task))

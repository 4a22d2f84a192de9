"""The commands that train nothing, and `data train`: each is a dataclass, parsed by tyro."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from aihf_control.cli import values
from aihf_control.cli.study_command import (
    feedback_source,
    find_task,
    find_tasks,
    need_policies,
    say,
    typed_command,
    variable,
)
from aihf_control.data.feedback import FeedbackConfig
from aihf_control.errors import InvalidChoice
from aihf_control.report.write import no_films, write_report
from aihf_control.runs.stored import add_runs
from aihf_control.study.exchange import pull_study, push_study
from aihf_control.study.machine import choose_device
from aihf_control.study.policy_training import train_policies
from aihf_control.study.prepare import Folders, build_data, import_preferences, make_feedback


@dataclass(frozen=True)
class DataTrain:
    """Train a task's reference policies on the true reward, and choose the three tiers."""

    env: str
    """Task by its name, or your own as my_task.py:TASK."""
    seeds: str = "1000-1003"
    """From 1000 up, so that no reported run is the agent that made the data."""
    steps: int = 300_000
    device: Annotated[str, variable("DEVICE")] = "auto"
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Resumable; the policies are chosen when the last seed has finished."""
        task, folders = find_task(self.env), Folders(self.root)
        device = choose_device(self.device)
        path = train_policies(
            task, values.parse_seeds(self.seeds), self.steps, device, folders, say, typed_command()
        )
        say(f"wrote {path}")
        return 0


@dataclass(frozen=True)
class DataBuild:
    """Roll a task's committed policies out into Minari datasets under `data/minari/`."""

    env: Annotated[str, variable("ENV")] = "hopper"
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Replaces datasets that are there."""
        tasks, folders = find_tasks(self.env), Folders(self.root)
        need_policies(tasks, folders)
        for task in tasks:
            build_data(task, folders, say)
        return 0


@dataclass(frozen=True)
class DataPush:
    """Write a study's ended runs, and what they were made from, into a folder or an archive."""

    target: tyro.conf.Positional[Path]
    """A folder, where other studies may be already, or a new file that ends in .tar.gz, .tgz or .zip."""
    study: str
    """Name of the study's folder in results/runs."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Overwrites nothing."""
        push_study(values.parse_study(self.study), self.target, Folders(self.root), say)
        return 0


@dataclass(frozen=True)
class DataPull:
    """Take a study that `aihf data push` wrote: extending it, or its figure, trains nothing again."""

    source: tyro.conf.Positional[Path]
    """Folder or archive."""
    most_gb: float = 20.0
    """Refuse what unpacks to more."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Files of the same content are left; if one has another, it is named, and nothing is taken."""
        if not self.most_gb > 0.0:
            raise InvalidChoice(f"--most-gb is {self.most_gb}, not above 0")
        pull_study(self.source, int(min(self.most_gb, 1e9) * 1e9), Folders(self.root), say)
        return 0


@dataclass(frozen=True)
class FeedbackBuild:
    """Write demonstrations and preference pairs as .npz files with a manifest."""

    env: str
    """Task, as hopper."""
    demonstrations: Annotated[str | None, variable("DEMONSTRATIONS")] = None
    preferences: Annotated[str | None, variable("PREFERENCES")] = None
    preference_file: Annotated[Path | None, variable("PREFERENCE_FILE")] = None
    root: Path = field(default_factory=Folders.default_root)
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)

    def run(self) -> int:
        """What was built before is only named."""
        given = (self.demonstrations, self.preferences, self.preference_file)
        source = feedback_source(*given, self.feedback)
        feedback, folder = make_feedback(find_task(self.env), source, Folders(self.root), say)
        say(f"feedback {feedback.sha256[:12]} in {folder}")
        return 0


@dataclass(frozen=True)
class PreferencesImport:
    """Check preferences that people labelled and make them a --preference-file for every method."""

    file: tyro.conf.Positional[Path]
    """.npz with obs_1, obs_2, action_1, action_2 and label: 0 first, 1 second, 0.5 a tie,
    or the probability of the second."""
    env: str
    """Task, as hopper."""
    evaluation: Path | None = None
    """A second such file, of which every pair is held out: it measures the reward and trains none."""
    held_out_share: float | None = None
    """Without it, where the file marks none, the share of pairs held out at random; a tenth if not given."""
    seed: int = 0
    """Of that choice."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Writes nothing if anything is wrong."""
        if self.held_out_share is not None and not 0.0 < self.held_out_share < 1.0:
            raise InvalidChoice(f"--held-out-share is {self.held_out_share}, not between 0 and 1")
        path, people = import_preferences(
            find_task(self.env),
            self.file,
            self.evaluation,
            self.held_out_share,
            self.seed,
            Folders(self.root),
        )
        say(people.counts())
        say(f"{people.actions.shape[2] - 1} steps of each count: what follows the last is not in the file")
        say(f"wrote {path}: give it as --preference-file (PREFERENCE_FILE=)")
        return 0


@dataclass(frozen=True)
class ResultsAdd:
    """Take a study's ended runs into committed results, a batch of seeds whole or not at all."""

    runs: tyro.conf.Positional[Path]
    """The study's folder, results/runs/<study>."""
    results: tyro.conf.Positional[Path]
    """Where to, as results/<study>; rows that are there already are never overwritten."""
    methods: str | None = None
    """Comma-separated names; all if not given."""
    rename: str = ""
    """The name that a single method gets there."""

    def run(self) -> int:
        """Writes nothing if anything is wrong."""
        methods = self.methods.split(",") if self.methods else ()
        for line in add_runs(self.runs, self.results, methods, self.rename):
            say(line)
        return 0


@dataclass(frozen=True)
class Report:
    """Redraw a study's figures and tables from its runs."""

    study: tyro.conf.Positional[Path]
    """Its folder: results/runs/<study> as trained, results/<study> as committed."""
    output: Path | None = None
    """Where to, if not into the study's folder."""
    films: bool = False
    """Also film the median and the worst seed of each method, on the page report.html; half a minute each."""
    beside: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Runs from elsewhere to show on the page, as [NAME[@TASK]=]PATH: a study's folder, Stable-Baselines3's
    evaluations.npz or monitor.csv files, or a CSV with step, seed and return."""

    def run(self) -> int:
        """Trains nothing."""
        from aihf_control.cli.video import study_films

        film = study_films if self.films else no_films
        say(write_report(self.study, self.output, film=film, beside=self.beside).text)
        return 0

"""`aihf label`: people compare segments in a browser, on this machine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from aihf_control.cli import values
from aihf_control.cli.study_command import find_task, need_policies, say, variable
from aihf_control.data import datasets
from aihf_control.data.dataset_ids import dataset_id
from aihf_control.data.human_labels import LabelledSegments, read_labelled
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice
from aihf_control.labelling.draw import draw_pairs
from aihf_control.labelling.session import Places, Session
from aihf_control.learn.saved import load_reward
from aihf_control.runs.files import sha256, write_atomically
from aihf_control.runs.locks import SeedLock
from aihf_control.study.prepare import Folders, build_missing


@dataclass(frozen=True)
class Label:
    """Label preferences in a browser on this machine; every answer is saved, the same command goes on."""

    env: str
    session: str = "labels"
    """Of the answers, and of the file with them: data/preferences/<env>/<session>.npz, which is a
    --preference-file as it is."""
    pairs: int = 100
    """To ask about; people who label at once, each under a name, share them."""
    length: int = 50
    """Steps that a segment counts."""
    preferences: Annotated[str | None, variable("PREFERENCES")] = None
    disagreement: Path | None = None
    """A method's folder of a study, as results/runs/bench/hopper/aihf: asks where the rewards that its seeds
    learned disagree, instead of at random."""
    seed: int = 0
    """Of the draw."""
    port: int = 8765
    """On 127.0.0.1; 0 is any that is free."""
    root: Path = field(default_factory=Folders.default_root)

    def run(self) -> int:
        """Serves until Ctrl-C."""
        task = find_task(self.env)
        values.parse_count("--pairs", str(self.pairs))
        values.parse_count("--length", str(self.length))
        if find_spec("starlette") is None or find_spec("uvicorn") is None:
            raise InvalidChoice("aihf label needs a server: pip install -c constraints.txt -e '.[label]'")
        from aihf_control.labelling.clips import Clips  # which need what may not be there
        from aihf_control.labelling.server import HOST, listen, make_app, serve

        places, rewards = Places.of(self.root, task, self.session), self._rewards()
        plan = {
            "task": task.name,
            "pairs": self.pairs,
            "length": self.length,
            "seed": self.seed,
            "datasets": list(self._datasets(task)),
            "disagreement": [sha256(path) for path in rewards],
        }
        with listen(self.port) as listener, SeedLock([places.folder]):
            session = Session.open(places, task, plan, lambda: self._draw(task, rewards))
            clips = Clips(task, session.pairs.observations)
            token = secrets.token_urlsafe(24)
            try:
                say(f"open http://{HOST}:{listener.getsockname()[1]}/?token={token}")
                say(f"{len(session.labels)} of {session.total} pairs are answered; Ctrl-C ends, all is saved")
                serve(make_app(session, clips, token, task.env_id), listener)
            except KeyboardInterrupt:
                say("")
            finally:
                clips.close()
                say(_what_to_do(session))
        return 0

    def _datasets(self, task: Task) -> Sequence[str]:
        if self.preferences is None:
            return [dataset_id(task, tier) for tier in ("simple", "medium")]
        return values.parse_datasets("PREFERENCES", self.preferences)

    def _rewards(self) -> list[Path]:
        if self.disagreement is None:
            return []
        found = sorted(self.disagreement.glob("seed_*/reward.safetensors"))
        if len(found) < 2:
            raise InvalidChoice(
                f"--disagreement {self.disagreement}: {len(found)} of its seeds learned a reward; 2 must"
            )
        return found

    def _draw(self, task: Task, rewards: Sequence[Path]) -> LabelledSegments:
        names, folders = self._datasets(task), Folders(self.root)
        if self.preferences is None:
            need_policies([task], folders)
        build_missing(task, names, folders, say)
        say(f"drawing {self.pairs} pairs of segments")
        root = datasets.minari_root(self.root)
        episodes = [e for name in names for e in datasets.load_episodes(name, task, root, download=True)]
        ensemble = [load_reward(path.parent) for path in rewards]
        return draw_pairs(episodes, self.pairs, self.length, self.seed, ensemble)


def _what_to_do(session: Session) -> str:
    done = len(session.labels)
    if done < 2:
        return f"{done} of {session.total} pairs are answered: 2 are needed to learn and to measure"
    return f"{done} of {session.total} pairs are answered: PREFERENCE_FILE={session.places.labels}"


@dataclass(frozen=True)
class PreferencesRender:
    """Show labels that are there as a page without a server: each pair as two clips, the preferred framed."""

    file: tyro.conf.Positional[Path]
    """.npz in Preference Transformer's format, imported or not."""
    env: str
    pairs: int = 20
    """How many of the first to show."""
    out: Path | None = None
    """HTML file to write; beside `file`, with its name, if not given."""

    def run(self) -> int:
        """Writes the page whole, or nothing."""
        from aihf_control.labelling.gallery import gallery

        values.parse_count("--pairs", str(self.pairs))
        task, out = find_task(self.env), self.out or self.file.with_suffix(".html")
        labelled = read_labelled(self.file, task)
        content = gallery(task, labelled, f"{self.file.name}, {task.env_id}", self.pairs).encode()
        write_atomically(out, content)
        say(labelled.counts())
        say(f"wrote {out}: {len(content) / 1e6:.1f} MB")
        return 0

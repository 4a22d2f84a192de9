"""Every setting that is accepted has its effect, and what cannot be meant is refused by its range."""

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from aihf_control.bounds import Within, ranges
from aihf_control.cli.bench import Bench
from aihf_control.cli.main import main, parse
from aihf_control.data.feedback import FeedbackConfig
from aihf_control.errors import InvalidChoice
from aihf_control.learn.sac import SACConfig
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS
from aihf_control.study import scripting
from aihf_control.study.prepare import Folders
from aihf_control.study.study import configs

Leaf = tuple[tuple[str, ...], Any]

OPTIONS = {
    "settings.steps": ("--steps", 30_000, 40_000),
    "settings.environments": ("--environments", "serial", "workers"),
    "settings.sac.precision": ("--precision", "float32", "bfloat16"),
    "settings.sac.critic": ("--settings.sac.critic", "plain", "batch-norm"),
    "settings.start": ("--settings.start", "own", "clone"),
}
"""Settings with an option of their own or with names for values."""

NEEDED = {"feedback.tier_steps": ("--feedback.segment-length", "1")}
"""What a setting may not be given without."""


def leaves(settings: Any, path: tuple[str, ...]) -> Iterator[Leaf]:
    """Each setting by its path, with its value."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from leaves(value, (*path, field.name))
        else:
            yield (*path, field.name), value


def name_of(leaf: Leaf) -> str:
    return ".".join(leaf[0])


SETTINGS = [*leaves(Settings(), ("settings",)), *leaves(FeedbackConfig(), ("feedback",))]


def range_of(path: tuple[str, ...]) -> Within | None:
    block: Any = Settings() if path[0] == "settings" else FeedbackConfig()
    for name in path[1:-1]:
        block = getattr(block, name)
    return ranges(type(block)).get(path[-1], (None, False))[0]


def another(value: Any, within: Within | None) -> Any:
    """A value that a setting of this one may have as well."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (24, 40)
    assert within is not None, "a setting without a range needs a row in OPTIONS"
    near = (value * 2, value + 1, value / 2) if value else (0.25, 3)
    return next(other for other in near if other in within and other != value)


def option(path: tuple[str, ...], value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        path = path if value else (*path[:-1], f"no-{path[-1]}")
        return (f"--{'.'.join(path)}".replace("_", "-"),)
    values = value if isinstance(value, tuple) else (value,)
    return (f"--{'.'.join(path)}".replace("_", "-"), *map(str, values))


@cache
def recorded(*options: str) -> dict[str, Any]:
    """All that the runs of every method record with these options, and the manifest of their feedback."""
    start = "clone" if "clone" in options else "random"
    able = [name for name, row in METHODS.items() if start == "random" or start in row.starts]
    command = parse(["bench", "--env", "hopper", "--methods", ",".join(able), *options])
    assert isinstance(command, Bench)
    command.check()
    object.__setattr__(command, "feedbacks", lambda: [None])  # none is built; its manifest has the config
    study = command.planned()[0][0]
    records = configs(study, Folders(Path("none"))).values()
    settings = {name: value for record in records for name, value in record["settings"].items()}
    return dict(flat({"settings": settings, "feedback": asdict(command.feedback)}, ""))


def flat(tree: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        yield from flat(value, f"{path}{name}.") if isinstance(value, dict) else [(f"{path}{name}", value)]


@pytest.mark.parametrize("leaf", SETTINGS, ids=name_of)
def test_a_setting_that_is_given_is_what_is_recorded(leaf: Leaf) -> None:
    path, name = leaf[0], name_of(leaf)
    needed = NEEDED.get(name, ())
    before = recorded(*needed)
    if name in OPTIONS:
        spelt, *offered = OPTIONS[name]
        new = next(value for value in offered if value != before[name])
        after = recorded(*needed, spelt, str(new))
    else:
        new = another(before[name], range_of(path))
        after = recorded(*needed, *option(path, new))
    assert {n: after[n] for n in after if after[n] != before[n]} == {name: new}


@pytest.mark.parametrize("leaf", [leaf for leaf in SETTINGS if range_of(leaf[0])], ids=name_of)
def test_a_setting_out_of_its_range_is_refused_with_field_value_and_range(leaf: Leaf) -> None:
    path, value = leaf
    within = range_of(path)
    assert within is not None
    block: Any = Settings() if path[0] == "settings" else FeedbackConfig()
    for name in path[1:-1]:
        block = getattr(block, name)
    ends = [float(end) for end in within.interval.replace("∞", "inf")[1:-1].split(",")]
    for bad in (ends[0] - 1, ends[1] + 1, nan, *(end for end in ends if end not in within)):
        wrong = (bad, 8) if isinstance(value, tuple) else bad
        with pytest.raises(InvalidChoice) as told:
            replace(block, **{path[-1]: wrong})
        spelt = name_of(leaf).replace("_", "-")
        assert str(told.value) == f"--{spelt} is {wrong}, not {within}"


def test_every_number_among_the_settings_has_a_range() -> None:
    unbounded = {name_of(leaf) for leaf in SETTINGS if not range_of(leaf[0])}
    texts = {"environments", "sac.critic", "sac.precision", "start"}
    switches = {
        "fixed_horizon",
        "cuda_graphs",
        "selfplay_aihf.linear",
        "selfplay_aihf.moving_prior",
        "sac.tuned_temperature",
    }
    settings = {f"settings.{name}" for name in texts | switches}
    assert unbounded == settings | {"feedback.other_environment", "feedback.tier_steps"}


@pytest.mark.parametrize(
    ("number", "interval", "whole", "inside"),
    [
        (0, "[0, 1)", False, True),
        (1, "[0, 1)", False, False),
        (1, "(0, 1]", False, True),
        (0, "(0, 1]", False, False),
        (nan, "(-∞, ∞)", False, False),
        (inf, "[0, ∞)", False, False),
        (2.5, "[1, ∞)", True, False),
        (2, "[1, ∞)", True, True),
    ],
)
def test_intervals(number: float, interval: str, whole: bool, inside: bool) -> None:
    assert (number in Within(interval, whole)) is inside


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--steps", "0"], "--steps 0 is not a whole number above 0"),
        (["--seeds", ""], "--seeds= is not a list of seeds"),
        (["--methods", ""], "--methods= is not known"),
        (["--study", ""], "--study= cannot name a folder"),
        (["--demonstrations", ""], "dataset id '' is malformed"),
        (["--settings.round-steps", "0"], "--settings.round-steps is 0, not a whole number from 1 up"),
        (["--settings.sac.discount", "1.7"], "--settings.sac.discount is 1.7, not a number in [0, 1]"),
        (["--feedback.seed", "-1"], "--feedback.seed is -1, not a whole number from 0 up"),
        (["--settings.sac.replay-capacity", "99"], "less than a round's steps"),
        (
            ["--methods", "bc,ipl", "--settings.aihf.reward-steps", "3"],
            "--settings.aihf changes nothing here",
        ),
    ],
)
@pytest.mark.parametrize("command", ["bench", "sweep"])
def test_what_cannot_be_meant_is_one_line_before_anything_is_written(
    command: str, options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = tmp_path / "data" / "policies" / "hopper"
    policies.mkdir(parents=True)
    (policies / "manifest.json").touch()
    assert main([command, "--env", "hopper", *options, "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [policies / "manifest.json"]


@pytest.mark.parametrize(
    ("methods", "options", "reason"),
    [
        ("aihf,rlhf", "sac.polyak 0.01", "no critic has a target; with --settings.sac.critic plain they"),
        ("aihf", "sac.target-entropy -1 --settings.sac.no-tuned-temperature", "--settings.sac.no-tuned-"),
        ("aihf", "cloning.steps 9", "none of aihf starts from a clone"),
        ("aihf,oracle", "from-clone.warm-up-steps 9", "none of aihf, oracle is aligned from a clone"),
        ("aihf", "aihf.rollout-episodes 3 --settings.aihf.replay-steps 99", "--settings.aihf.replay-steps"),
        ("bc,irl", "aihf.preference-weight 2", "irl learns from demonstrations alone"),
        ("bc,oracle", "reward.bound 3", "none of bc, oracle learns a reward"),
        ("bc,cpl", "fixed-horizon", "none of bc, cpl trains in the environment"),
        ("bc,ipl", "sac.batch-size 99", "none of bc, ipl is aligned by SAC"),
        ("bc", "sac.discount 0.9", "none of bc discounts"),
    ],
)
def test_a_setting_that_can_have_no_effect_is_refused(methods: str, options: str, reason: str) -> None:
    given = f"--settings.{options}".split()
    command = parse(["bench", "--methods", methods, *given])
    with pytest.raises(InvalidChoice) as told:
        command.check()  # type: ignore[attr-defined]
    refused, _, why = str(told.value).partition(" changes nothing here: ")
    assert given[0].startswith(refused) and why.startswith(reason)


@pytest.mark.parametrize(
    ("methods", "options"),
    [
        ("aihf", "sac.polyak 0.01 --settings.sac.critic plain"),
        ("ipl,bc", "sac.polyak 0.01 --settings.sac.hidden 24 24 --settings.sac.discount 0.9"),
        ("aihf", "cloning.steps 9 --settings.start clone --settings.from-clone.divergence-weight 2"),
        ("irl,hybrid", "aihf.preference-weight 2"),
        ("bc", "cloning.steps 9"),
    ],
)
def test_where_it_has_one_it_is_taken(methods: str, options: str) -> None:
    command = parse(["bench", "--methods", methods, *f"--settings.{options}".split()])
    command.check()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "spelling", ["--settings.steps", "--settings.sac.precision", "--settings.environments"]
)
def test_a_setting_has_one_spelling(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["bench", "--env", "hopper", spelling, "workers"])
    assert exit.value.code == 2 and spelling in capsys.readouterr().err


def test_a_script_gets_the_precision_of_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = []
    monkeypatch.setattr(scripting, "run_study", lambda study, *_: studies.append(study.settings))
    chosen = Settings(environments="workers", sac=SACConfig(precision="bfloat16"))
    scripting.train("bc", "hopper", None, folder=tmp_path, settings=chosen)
    scripting.train("bc", "hopper", None, folder=tmp_path, settings=chosen, precision="float32")
    assert studies == [chosen, replace(chosen, sac=SACConfig(precision="float32"))]

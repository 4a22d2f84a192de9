"""EnvPool against Gymnasium, from the same states."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aihf_control.envs.envpool as fast
from aihf_control.cli.main import main
from aihf_control.envs.backends import choose_backend
from aihf_control.envs.environments import SerialEnvironments, Steps
from aihf_control.envs.envpool import EnvPoolEnvironments, make_pool
from aihf_control.envs.tasks import TASKS, Task, make_env
from aihf_control.errors import InvalidChoice
from aihf_control.learn.epic_probe import put

HOPPER, CHEETAH = TASKS["hopper"], TASKS["halfcheetah"]

needs_envpool = pytest.mark.skipif(find_spec("envpool") is None, reason="needs EnvPool, the extra `fast`")


def pool(task: Task, count: int, *, fixed_horizon: bool = False) -> EnvPoolEnvironments:
    return EnvPoolEnvironments(task, count, fixed_horizon=fixed_horizon, autoreset=True, threads=2)


def play(envs: EnvPoolEnvironments, actions: np.ndarray) -> list[Steps]:
    results = []
    for action in actions:
        envs.begin(action)
        results.append(envs.finish())
    return results


def random_actions(seed: int, steps: int, count: int, task: Task = HOPPER) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (steps, count, task.action_size)).astype(np.float32)


@pytest.mark.parametrize(
    "fault",
    [
        ModuleNotFoundError("No module named 'envpool'"),
        ImportError("libstdc++.so.6: version `GLIBCXX_3.4.32'\nnot found"),
        OSError("cannot open shared object file"),
    ],
)
def test_an_envpool_that_cannot_be_imported_is_said_with_its_own_words_before_anything_is_built(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> Any:
        raise fault

    monkeypatch.setattr(fast, "import_module", broken)
    words = " ".join(str(fault).split())
    told = f"needs EnvPool ({words}): pip install -c constraints.txt -e '.[fast]', or choose workers"
    with pytest.raises(InvalidChoice, match=re.escape(told)):
        pool(HOPPER, 1)
    assert main(["bench", "--environments", "envpool", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"aihf: --environments envpool {told}\n"
    assert list(tmp_path.iterdir()) == []
    assert choose_backend("auto", "cuda") == "workers"


def test_evaluation_is_sent_to_gymnasiums_own_environments() -> None:
    with pytest.raises(ValueError, match="serial or workers"):
        EnvPoolEnvironments(HOPPER, 1, fixed_horizon=False, autoreset=False)


@needs_envpool
def test_everything_follows_from_the_seeds() -> None:
    envs, actions = pool(HOPPER, 4), random_actions(0, 150, 4)
    first = envs.reset([5, 6, 7, 8])
    results = play(envs, actions)
    assert sum(steps.terminated.sum() for steps in results) > 4
    assert len(np.unique(first, axis=0)) == 4

    np.testing.assert_array_equal(envs.reset([5, 6, 7, 8]), first)
    for one, two in zip(results, play(envs, actions), strict=True):
        for field in fields(Steps):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))

    other = envs.reset([8, 6, 7, 5])  # each seed belongs to one environment, wherever it is
    np.testing.assert_array_equal(other[[3, 1, 2, 0]], first)


@needs_envpool
def test_final_is_where_the_episode_ended_and_following_where_the_next_one_starts() -> None:
    envs = pool(HOPPER, 4)
    envs.reset([0, 1, 2, 3])
    ended = 0
    for steps in play(envs, random_actions(1, 300, 4)):
        over = steps.terminated | steps.truncated
        ended += int(over.sum())
        # Hopper starts within 0.005 of rest at height 1.25; it falls below 0.7 or beyond 0.2 rad.
        height, angle = steps.final[over, 0], steps.final[over, 1]
        assert ((height <= 0.7) | (np.abs(angle) >= 0.2)).all()
        started = steps.following[over] - np.eye(1, 11, dtype=np.float32) * 1.25
        assert (np.abs(started) <= 0.005 + 1e-6).all()
        np.testing.assert_array_equal(steps.following[~over], steps.final[~over])
        assert (steps.rewards != 0).all()  # EnvPool's own reset rows have reward 0
    assert ended > 10


@needs_envpool
def test_the_time_limit_truncates_and_no_step_is_lost_to_a_reset() -> None:
    envs = pool(replace(CHEETAH, horizon=7), 2)
    envs.reset([0, 1])
    results = play(envs, random_actions(0, 21, 2, CHEETAH))
    assert [n for n, steps in enumerate(results, start=1) if steps.truncated.all()] == [7, 14, 21]
    assert sum(steps.truncated.sum() for steps in results) == 6
    assert not any(steps.terminated.any() for steps in results)


@needs_envpool
def test_a_fall_in_the_last_step_is_a_fall() -> None:
    actions = random_actions(3, 200, 1)
    envs = pool(HOPPER, 1)
    envs.reset([0])
    fell = next(n for n, steps in enumerate(play(envs, actions), start=1) if steps.terminated[0])
    shorter = pool(replace(HOPPER, horizon=fell), 1)
    shorter.reset([0])
    last = play(shorter, actions[:fell])[-1]
    assert last.terminated[0] and last.truncated[0]  # as Gymnasium has it


@needs_envpool
def test_with_a_fixed_horizon_a_fallen_robot_plays_on() -> None:
    envs = pool(replace(HOPPER, horizon=150), 2, fixed_horizon=True)
    envs.reset([0, 1])
    results = play(envs, random_actions(0, 150, 2))
    assert not any(steps.terminated.any() for steps in results)
    assert [steps.truncated.all() for steps in results] == [False] * 149 + [True]
    cheetah = pool(CHEETAH, 1, fixed_horizon=True)
    assert cheetah.reset([0]).shape == (1, 17)


@needs_envpool
@pytest.mark.parametrize("fixed_horizon", [False, True])
@pytest.mark.parametrize("name", [name for name in TASKS if name != "ant"])  # whose contacts amplify rounding
def test_envpool_steps_like_gymnasium_from_the_same_state(name: str, fixed_horizon: bool) -> None:
    """Its first observation is all of the state but the position along the track, which changes nothing."""
    task, seeds, steps = TASKS[name], [11, 12, 13, 14], 50
    states = make_pool(task, seeds, 1, fixed_horizon=fixed_horizon).reset()[0]  # in double precision
    ours = pool(task, len(seeds), fixed_horizon=fixed_horizon)
    np.testing.assert_array_equal(ours.reset(seeds), states.astype(np.float32))
    actions = random_actions(4, steps, len(seeds), task)
    results, fell = play(ours, actions), 0
    for i, state in enumerate(states):
        env = make_env(task, fixed_horizon=fixed_horizon)
        env.reset(seed=0)
        put(env.unwrapped, task, state)
        for number, result in enumerate(results):
            observation, reward, terminated, truncated, _ = env.step(actions[number, i])
            np.testing.assert_allclose(result.final[i], observation, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(result.rewards[i], float(reward), rtol=1e-4, atol=1e-4)
            assert (result.terminated[i], result.truncated[i]) == (terminated, truncated)
            if terminated:
                fell += 1
                break
    assert (fell > 0) == (task.can_fall and not fixed_horizon)


@needs_envpool
def test_faults_name_the_environment_that_broke() -> None:
    envs = pool(HOPPER, 2)
    envs.reset([0, 1])
    play(envs, np.array([[[0, 0, 0], [0, np.nan, 0]]], np.float32))
    envs.reset([2, 3])
    assert envs.faults() == [None, "the action is not finite"]
    envs.begin(np.zeros((2, 3), np.float32))
    envs.close()  # in the middle of a step
    envs.close()


@needs_envpool
def test_what_was_returned_is_never_overwritten() -> None:
    envs = pool(HOPPER, 2)
    returned, action = [envs.reset([0, 1])], np.empty((2, 3), np.float32)
    copies = [returned[0].copy()]
    for values in random_actions(0, 60, 2):
        action[:] = values
        envs.begin(action)
        action[:] = np.nan  # the caller's buffer is the caller's again
        steps = envs.finish()
        columns = [getattr(steps, field.name) for field in fields(Steps)]
        returned += columns
        copies += [column.copy() for column in columns]
    for column, copy in zip(returned, copies, strict=True):
        np.testing.assert_array_equal(column, copy)
    assert np.isfinite(np.concatenate([column.ravel() for column in returned])).all()


@needs_envpool
def test_random_play_is_worth_the_same_as_in_gymnasium() -> None:
    """The numbers drawn at a reset differ, so whole episodes agree in distribution only."""
    lengths = []
    for envs in (pool(HOPPER, 8), SerialEnvironments(HOPPER, 8, fixed_horizon=False, autoreset=True)):
        envs.reset(list(range(8)))
        ended = 0
        for action in random_actions(9, 400, 8):
            envs.begin(action)
            ended += int(envs.finish().terminated.sum())
        lengths.append(3200 / ended)
    assert lengths[0] == pytest.approx(lengths[1], rel=0.2)

"""The serial environments against Gymnasium's own batch, and the workers against the serial ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from aihf_control.envs.backends import Environments, Steps, choose_backend, make_environments
from aihf_control.envs.environments import SerialEnvironments
from aihf_control.envs.tasks import TASKS, make_env
from aihf_control.envs.workers import WorkerEnvironments
from aihf_control.errors import InvalidChoice

HOPPER, CHEETAH = TASKS["hopper"], TASKS["halfcheetah"]
ROOT = Path(__file__).parents[2]


def actions(seed: int, steps: int, count: int, size: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, count, size)).astype(np.float32)


def step(envs: Environments, action: np.ndarray, playing: np.ndarray | None = None) -> Steps:
    envs.begin(action, playing)
    return envs.finish()


def serial(count: int, *, autoreset: bool = True) -> SerialEnvironments:
    return SerialEnvironments(HOPPER, count, fixed_horizon=False, autoreset=autoreset)


def assert_equal(one: Steps, two: Steps) -> None:
    for field in fields(Steps):
        a, b = getattr(one, field.name), getattr(two, field.name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerEnvironments]:
    """Three environments in two workers: one has the first, the other the last two."""
    envs = WorkerEnvironments(HOPPER, 3, fixed_horizon=False, autoreset=True, workers=2)
    yield envs
    envs.close()


def test_serial_environments_are_gymnasiums_bit_for_bit() -> None:
    seeds = (3, 4, 5)
    ours = serial(3)
    theirs = SyncVectorEnv([lambda: make_env(HOPPER)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    first, _ = theirs.reset(seed=list(seeds))
    np.testing.assert_array_equal(ours.reset(seeds), first.astype(np.float32))
    falls = 0
    for action in actions(0, 400, 3):
        following, rewards, terminated, truncated, infos = theirs.step(action)
        final = following.astype(np.float32)
        for i in np.flatnonzero(terminated | truncated):
            final[i] = infos["final_obs"][i]
        expected = Steps(following.astype(np.float32), final, rewards, terminated, truncated)
        assert_equal(step(ours, action), expected)
        falls += int(terminated.sum())
    assert falls > 10


def test_the_time_limit_truncates_and_the_new_episode_lasts_as_long() -> None:
    envs = SerialEnvironments(replace(CHEETAH, horizon=7), 2, fixed_horizon=False, autoreset=True)
    envs.reset([0, 1])
    results = [step(envs, action) for action in actions(0, 21, 2, size=6)]
    ends = [number for number, steps in enumerate(results, start=1) if steps.truncated.all()]
    assert ends == [7, 14, 21]
    assert not any(steps.terminated.any() for steps in results)
    assert sum(steps.truncated.sum() for steps in results) == 6


def test_with_a_fixed_horizon_a_fallen_robot_plays_on() -> None:
    envs = SerialEnvironments(replace(HOPPER, horizon=150), 1, fixed_horizon=True, autoreset=True)
    envs.reset([0])
    results = [step(envs, action) for action in actions(0, 150, 1)]
    assert not any(steps.terminated[0] for steps in results)
    assert [steps.truncated[0] for steps in results] == [False] * 149 + [True]


@pytest.mark.parametrize("kind", ["serial", "workers"])
def test_environments_that_do_not_play_are_left_alone(kind: str, workers: WorkerEnvironments) -> None:
    envs: Environments = workers if kind == "workers" else serial(3)
    envs.reset([7, 8, 9])
    before = step(envs, actions(0, 1, 3)[0])
    pause = step(envs, actions(1, 1, 3)[0], np.array([True, False, True]))
    for column in (pause.following, pause.final):
        np.testing.assert_array_equal(column[1], before.following[1])
    assert (pause.rewards[1], pause.terminated[1], pause.truncated[1]) == (0.0, False, False)
    assert (pause.final[[0, 2]] != before.final[[0, 2]]).any(axis=1).all()

    alone = make_env(HOPPER)  # the second environment, which has never paused
    alone.reset(seed=8)
    alone.step(actions(0, 1, 3)[0, 1])
    expected, reward, *_ = alone.step(actions(2, 1, 3)[0, 1])
    after = step(envs, actions(2, 1, 3)[0])
    np.testing.assert_array_equal(after.final[1], expected.astype(np.float32))
    assert after.rewards[1] == reward


def test_without_autoreset_nothing_is_reset() -> None:
    envs = serial(1, autoreset=False)
    envs.reset([0])
    for action in actions(0, 200, 1):
        steps = step(envs, action)
        if steps.terminated[0]:
            break
    assert steps.terminated[0]
    assert steps.following is steps.final
    waiting = step(envs, action, np.array([False]))
    np.testing.assert_array_equal(waiting.following, steps.final)
    assert not waiting.terminated[0]


@pytest.mark.parametrize("kind", ["serial", "workers"])
def test_what_was_returned_is_never_overwritten(kind: str, workers: WorkerEnvironments) -> None:
    envs: Environments = workers if kind == "workers" else serial(3)
    first = envs.reset([0, 1, 2])
    returned, copies = [first], [first.copy()]
    action = np.empty((3, 3), np.float32)
    for values in actions(0, 60, 3):
        action[:] = values
        envs.begin(action)
        action[:] = np.nan  # the caller's buffer is the caller's again
        steps = envs.finish()
        columns = [getattr(steps, field.name) for field in fields(Steps)]
        returned += columns
        copies += [column.copy() for column in columns]
    for column, copy in zip(returned, copies, strict=True):
        np.testing.assert_array_equal(column, copy)
    assert envs.faults() == [None] * 3


def test_workers_give_the_numbers_of_one_process(workers: WorkerEnvironments) -> None:
    one = serial(3)
    for seeds in ([1, 2, 3], [4, 5, 6]):  # two rounds
        np.testing.assert_array_equal(workers.reset(seeds), one.reset(seeds))
        ended = 0
        for action in actions(seeds[0], 100, 3):
            expected = step(one, action)
            assert_equal(step(workers, action), expected)
            ended += int(expected.terminated.sum())
        assert ended > 3


def test_workers_shrug_off_the_signals_that_stop_a_run(workers: WorkerEnvironments) -> None:
    workers.reset([0, 1, 2])
    for pid in workers.pids:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(pid, number)
    assert np.isfinite(step(workers, actions(0, 1, 3)[0]).rewards).all()


def test_a_reset_forgets_a_step_that_nobody_finished(workers: WorkerEnvironments) -> None:
    first = workers.reset([0, 1, 2])
    workers.begin(actions(0, 1, 3)[0])
    np.testing.assert_array_equal(workers.reset([0, 1, 2]), first)
    with pytest.raises(RuntimeError, match="nothing was begun"):
        workers.finish()
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        workers.reset([0, 1])


@pytest.mark.filterwarnings("ignore:.*reward is a NaN")
@pytest.mark.parametrize("kind", ["serial", "workers"])
def test_faults_name_the_environment_that_broke(kind: str) -> None:
    envs = make_environments(HOPPER, 2, kind, fixed_horizon=False, autoreset=True)
    envs.reset([0, 1])
    step(envs, np.array([[0, 0, 0], [0, np.nan, 0]], np.float32))
    envs.reset([2, 3])
    assert envs.faults() == [None, "the action is not finite"]
    envs.begin(np.zeros((2, 3), np.float32))
    envs.close()  # in the middle of a step
    envs.close()


def test_a_killed_worker_is_an_error_and_ends_the_others() -> None:
    envs = WorkerEnvironments(HOPPER, 3, fixed_horizon=False, autoreset=True, workers=2)
    envs.reset([0, 1, 2])
    killed, other = envs.pids[1], envs.pids[0]
    os.kill(killed, signal.SIGKILL)
    envs.begin(actions(0, 1, 3)[0])
    with pytest.raises(RuntimeError, match="environments 1 to 2: their worker process ended with status -9"):
        envs.finish()
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)
    with pytest.raises(RuntimeError, match="have ended"):
        envs.reset([0, 1, 2])
    envs.close()


def test_an_error_in_a_worker_arrives_with_its_text() -> None:
    envs = WorkerEnvironments(HOPPER, 2, fixed_horizon=False, autoreset=True, workers=2)
    with pytest.raises(RuntimeError, match=r"environments 1 to 1: .*[Ss]eed.*-1"):
        envs.reset([0, -1])


def run_python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=ROOT)
    assert done.stderr == ""
    return done.stdout


def test_workers_end_with_their_parent_and_leave_nothing() -> None:
    # The workers hold the pipe of standard output too, so this comes back only when they have ended.
    lines = [
        "import os",
        "from aihf_control.envs.backends import make_environments",
        "from aihf_control.envs.tasks import TASKS",
        "envs = make_environments(TASKS['hopper'], 2, 'workers', fixed_horizon=False, autoreset=True)",
        "envs.reset([0, 1])",
        "print('playing', flush=True)",
        "os.kill(os.getpid(), 9)",
    ]
    assert run_python("\n".join(lines)) == "playing\n"


def test_a_worker_imports_no_torch() -> None:
    lines = [
        "import sys",
        "import aihf_control.envs.backends, aihf_control.envs.worker_process",
        "from aihf_control.envs.environments import SerialEnvironments",
        "from aihf_control.envs.tasks import TASKS",
        "envs = SerialEnvironments(TASKS['hopper'], 1, fixed_horizon=False, autoreset=True)",
        "envs.reset([0])",
        "print('mujoco' in sys.modules, 'torch' in sys.modules)",
    ]
    assert run_python("\n".join(lines)) == "True False\n"


def test_auto_takes_one_process_on_a_cpu_and_the_fastest_there_is_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose_backend("auto", "cpu") == "serial"
    for fault, name in (("it is missing", "workers"), (None, "envpool")):
        monkeypatch.setattr("aihf_control.envs.backends.why_not", lambda found=fault: found)
        assert choose_backend("auto", "cuda") == name
        assert choose_backend("serial", "cuda") == "serial"
    with pytest.raises(InvalidChoice, match="ENVIRONMENTS=worker is not known: did you mean workers"):
        choose_backend("worker", "cpu")


def test_environments_are_made_by_name() -> None:
    envs = make_environments(HOPPER, 2, "serial", fixed_horizon=False, autoreset=True)
    assert isinstance(envs, SerialEnvironments)
    assert envs.count == 2
    with pytest.raises(InvalidChoice, match="ENVIRONMENTS=auto"):
        make_environments(HOPPER, 2, "auto", fixed_horizon=False, autoreset=True)

"""A user's own task: named, loaded, acted in, and told what is wrong, one line each."""

import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from aihf_control.cli.values import parse_tasks
from aihf_control.envs import external
from aihf_control.envs.actions import ActionRange
from aihf_control.envs.backends import choose_backend, make_environments
from aihf_control.envs.external import OWN, entry_of, open_task
from aihf_control.envs.tasks import TASKS, Task, action_range, make_env
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.own_code import Source

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_task.py"

ENV = """
import gymnasium as gym, numpy as np
from aihf_control import Task
class Env(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 9, (2,)), gym.spaces.Box(-2.0, 4.0, (1,))
    def __init__(self, scale=1.0): self.scale = scale
    def reset(self, seed=None, options=None): return np.zeros(2, np.float32), {}
    def step(self, action): return np.full(2, self.scale * action[0], np.float32), 1.0, False, False, {}
gym.register("aihf_test/Own-v0", f"{__name__}:Env")
TASK = Task("own", "aihf_test/Own-v0", 2, 1, can_fall=False, horizon=5, env_kwargs={"scale": 2.0})
"""


@pytest.fixture(autouse=True)
def no_own_tasks_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "OWN", OWN)
    OWN.clear()


def written(folder: Path, code: str) -> str:
    path = folder / "my_task.py"
    path.write_text(code)
    return f"{path}:TASK"


def test_a_task_from_a_file_acts_in_its_own_bounds(tmp_path: Path) -> None:
    entry = written(tmp_path, ENV)
    assert parse_tasks(entry) == (entry,)
    task = open_task(entry)
    assert (task.name, entry_of("own"), entry_of("hopper")) == ("own", entry, "hopper")
    assert open_task(entry) is task
    assert str(action_range(task)) == "[-2, 4]"
    for backend in ("serial", "workers"):  # worker processes load the file too
        envs = make_environments(task, 2, backend, fixed_horizon=False, autoreset=False)
        envs.reset([0, 1])
        envs.begin(np.array([[-1.0], [0.5]]))
        np.testing.assert_array_equal(envs.finish().final, [[-4.0, -4.0], [5.0, 5.0]])
        envs.close()
    assert choose_backend("auto", "cuda", "own") == "workers"
    with pytest.raises(InvalidChoice, match="EnvPool has no task own"):
        choose_backend("envpool", "cpu", "own")


def test_what_a_file_was_is_recorded_and_a_changed_one_is_another_task(tmp_path: Path) -> None:
    task = open_task(entry := written(tmp_path, ENV))
    record = OWN["own"].record()["task_code"]
    assert record["object"] == "TASK" and record["file"] == "my_task.py"
    assert record["task"] == {
        "name": "own", "env_id": "aihf_test/Own-v0", "observation_size": 2, "action_size": 1,
        "can_fall": False, "hidden_positions": None, "horizon": 5, "env_kwargs": {"scale": 2.0},
    }  # fmt: skip
    written(tmp_path, ENV.replace('scale": 2.0', 'scale": 3.0'))
    changed = open_task(entry)
    assert changed == replace(task, env_kwargs={"scale": 3.0})
    assert OWN["own"].record()["task_code"]["sha256"] != record["sha256"]


SEEN, RESET = "np.full(2, self.scale * action[0], np.float32)", "return np.zeros(2, np.float32), {}"
ACTIONS, NAMED = "Box(-2.0, 4.0, (1,))", 'Task("own"'
ROW = ENV.splitlines()[-1].removeprefix("TASK = ")

WRONG = [
    (
        "import gym",
        "1 / 0\nimport gym",
        "cannot be loaded: ZeroDivisionError: division by zero, my_task.py line 2",
    ),
    ("class Env", "class", "cannot be loaded: SyntaxError"),
    ("TASK =", "MINE =", "there is no TASK in my_task.py; its tasks: MINE"),
    (ROW, "7", "is int, not a Task"),
    ('"aihf_test/Own-v0", 2', '"Nowhere-v5", 2', "Gymnasium knows no env_id Nowhere-v5"),
    ('"aihf_test/Own-v0", 2', '"Hoper-v5", 2', "Did you mean: `Hopper`?"),
    (NAMED, 'Task("hopper"', "its name, 'hopper', is taken"),
    (NAMED, 'Task("All"', "its name, 'All', is taken"),
    (NAMED, 'Task("../../x"', "'../../x' cannot name a folder"),
    (NAMED, "Task(5", "its name, 5, is taken"),
    ("2, 1, can_fall", "3, 1, can_fall", "observation_size is 3 in the Task, and 2 in the environment"),
    ("2, 1, can_fall", "2, 4, can_fall", "action_size is 4 in the Task, and 1 in the environment"),
    ("horizon=5", "horizon=0", "horizon is 0, not a whole number from 1 up"),
    ('{"scale": 2.0}', '{"scale": float("inf")}', "env_kwargs cannot be written into config.json"),
    ('{"scale": 2.0}', '{"scales": 2.0}', "unexpected keyword argument 'scales'"),
    (ACTIONS, "Discrete(2)", "actions are Discrete(2); only a bounded Box"),
    (ACTIONS, "Box(-np.inf, 4.0, (1,))", "which is not bounded"),
    (ACTIONS, "Box(-2, 4, (1,), int)", "only a bounded Box of floats"),
    ("Box(-9, 9, (2,))", "Box(-9, 9, (2, 1))", "only a Box with one axis can be learned from"),
    ("Box(-9, 9, (2,))", "MultiBinary(2)", "only a Box with one axis can be learned from"),
    (RESET, r"raise RuntimeError('no\nroom')", "fails: RuntimeError: no room, my_task.py line 7"),
    (SEEN, "np.full(3, 1.0)", "step returns an observation of shape (3,)"),
    (SEEN, "np.full(2, np.nan)", "expected 2 finite numbers"),
    ("np.float32), 1.0, False", "np.float32), np.nan, False", "step returns the reward nan"),
]


@pytest.mark.parametrize(("part", "instead", "message"), WRONG)
@pytest.mark.filterwarnings("ignore::UserWarning")  # what Gymnasium says of such environments
def test_what_is_no_task_is_one_line(tmp_path: Path, part: str, instead: str, message: str) -> None:
    assert part in ENV
    entry = written(tmp_path, ENV.replace(part, instead))
    with pytest.raises(InvalidChoice, match=re.escape(message)) as caught:
        open_task(entry)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"ENV={entry}: ")
    assert not OWN


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere.py:TASK", "there is no file nowhere.py"),
        ("{file}", "names nothing in a file: write ENV=path/to/my_task.py:TASK"),
        ("mine={place}", "there is no file mine="),
        ("hoper", "did you mean hopper?"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, value: str, message: str) -> None:
    place = written(tmp_path, ENV)
    with pytest.raises(InvalidChoice, match=re.escape(message)) as caught:
        parse_tasks(value.format(place=place, file=place.removesuffix(":TASK")))
    assert "\n" not in str(caught.value)


def test_a_fixed_horizon_is_refused_where_the_environment_has_none(tmp_path: Path) -> None:
    task = open_task(written(tmp_path, ENV.replace("can_fall=False", "can_fall=True")))
    make_env(task).close()
    with pytest.raises(InvalidChoice, match=r"--settings.fixed-horizon: aihf_test/Own-v0 takes no"):
        make_env(task, fixed_horizon=True)


def test_an_installed_package_offers_a_task_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("whatever", "Reacher-v5", 10, 2, can_fall=False, horizon=50)
    monkeypatch.setattr(external, "offered", lambda group, known: ["reach"])
    source = Source("TASK", "tasks.py", "ab" * 32, "my_package", "1.2")
    monkeypatch.setattr(external, "load_entry_point", lambda asked, group, name: (task, source))
    assert open_task("reach") == replace(task, name="reach")
    assert entry_of("reach") == "reach" and OWN["reach"].record()["task_code"]["version"] == "1.2"


def test_bounds_there_and_back() -> None:
    bounds = ActionRange(np.array([-0.4, 1.0]), np.array([0.4, 3.0]))
    own = bounds.own(np.array([[-1.0, 1.0], [0.0, -0.5]]))
    np.testing.assert_allclose(own, [[-0.4, 3.0], [0.0, 1.5]])
    np.testing.assert_allclose(bounds.unit(own), [[-1.0, 1.0], [0.0, -0.5]])
    assert bounds.own(np.array([7.0, -7.0])).tolist() == [0.4, 1.0]
    assert np.isnan(bounds.own(np.array([np.nan, 0.0]))[0])
    unit, actions = ActionRange(-np.ones(2), np.ones(2)), np.ones(2, np.float32)
    assert unit.is_unit and unit.own(actions) is actions and unit.unit(actions) is actions
    assert str(action_range(TASKS["humanoid"])) == "[-0.4, 0.4]"
    with pytest.raises(InvalidData, match="not bounded"):
        ActionRange.of(gym.spaces.Box(0.0, 0.0, (1,)))

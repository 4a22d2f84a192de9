"""The Makefile and the names it takes, tried in a copy of the checkout with a stand-in for Python.

The stand-in checks names with the real interpreter, and writes down what it would have installed or run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aihf_control.cli import values, variables
from aihf_control.cli.values import parse_methods, parse_seeds, parse_share, parse_steps
from aihf_control.envs.tasks import TASKS
from aihf_control.errors import InvalidChoice, choose
from aihf_control.methods.table import ChosenMethod

ROOT = Path(__file__).parents[2]
CHECKED = tuple(variables.VARIABLES)

STAND_IN = """#!/bin/sh
case "$*" in
    *aihf_control.cli.variables* | -c*) exec {python} "$@" ;;
    "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/aihf
        echo "prompt = 'aihf'" > .venv/pyvenv.cfg ;;
    *) status=$(cat {fail} 2>/dev/null) ;;
esac
echo "$(basename "$0")" "$@" "${{PYTHONSAFEPATH+with PYTHONSAFEPATH}}" | sed 's/ *$//' >> {log}
[ "$1" != bench ] || echo "$AIHF_COMMAND" > {command}
exit "${{status:-0}}"
"""


class Checkout:
    """A copy of what `make` reads, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a copy"
        self.log, self.fail, self.command = folder / "log", folder / "fail", folder / "command"
        self.root.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "aihf_control", self.root / "aihf_control", ignore=ignore)
        self.python = folder / "python3"
        self.python.write_text(
            STAND_IN.format(
                python=shlex.quote(sys.executable),
                log=shlex.quote(str(self.log)),
                command=shlex.quote(str(self.command)),
                fail=shlex.quote(str(self.fail)),
            )
        )
        self.python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run make as from a fresh terminal, not as below the `make test` that runs this."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.root,
            env=inherited | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def files(self) -> list[str]:
        return sorted(str(path) for path in self.root.parent.rglob("*"))

    def calls(self) -> list[str]:
        """What was installed or run since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def makefile_targets() -> list[str]:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    return phony.group(1).split()


def test_make_alone_explains_every_target_and_variable(checkout: Checkout) -> None:
    before = checkout.files()
    shown = checkout.make()
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == checkout.make("help").stdout
    for name in makefile_targets():
        assert re.search(rf"^  {name} +\S", shown.stdout, re.MULTILINE), name
    for name in (*TASKS, *values.METHODS, *values.PRESETS, *variables.DEVICES):
        assert re.search(rf"\b{name}\b", shown.stdout), name
    for name in CHECKED:  # every example is a value that the check lets through
        example = re.search(rf"^  {name}=(\S+) +\S+ +\w", shown.stdout, re.MULTILINE)
        assert example, name
        if name not in ("PREFERENCE_FILE", "RUNS"):  # which are not there
            variables.VARIABLES[name].check(example.group(1))
    assert checkout.files() == before


WRONG_VALUES: list[tuple[list[str], list[str]]] = [
    (["bench", "ENV=hoper"], ["ENV=hoper", "did you mean hopper?", *TASKS]),
    (["data", "ENV=hoper"], ["ENV=hoper", "did you mean hopper?"]),
    (["-n", "bench", "ENV=hoper"], ["ENV=hoper"]),
    (["bench", "ENV=hopper", "METHODS=aihf,rhlf"], ["METHODS=rhlf", "did you mean rlhf?"]),
    (["bench", "ENV=hopper", "SEEDS=3-1"], ["SEEDS=3-1", "3-1 is empty"]),
    (["bench", "PRESET=slow"], ["PRESET=slow", *values.PRESETS]),
    (["bench", "DEVICE=gpu"], ["DEVICE=gpu", *variables.DEVICES]),
    (["bench", "STEPS=0"], ["STEPS=0", "above 0"]),
    (["bench", "DEMO_MIX=1.5"], ["DEMO_MIX=1.5", "from 0 to 1"]),
    (["bench", "LABEL_ERROR=some"], ["LABEL_ERROR=some", "from 0 to 1"]),
    (["bench", "JOBS=0"], ["JOBS=0", "whole number from 1 up"]),
    (["sweep", "JOBS=two"], ["JOBS=two", "whole number from 1 up"]),
    (["bench", "TENSORBOARD=yes"], ["TENSORBOARD=yes", "neither 0 nor 1"]),
    (["bench", "SEED=3"], ["SEED is not a variable", "SEEDS"]),
    (["bench", "DRY_RUN=1"], ["DRY_RUN is a variable of sweep, not of bench"]),
    (["bench", "CLUSTER=slurm", "GPUS=1"], ["is a variable of sweep, not of bench"]),
    (["figure5", "SEEDS=3"], ["SEEDS is a variable of bench and sweep, not of figure5"]),
    (["data", "STUDY=x"], ["STUDY is a variable of bench and sweep, not of data"]),
    (["test", "ENV=hopper"], ["ENV is a variable of bench and sweep and data, not of test"]),
    (["SEEDS=3"], ["SEEDS is a variable of bench and sweep, not of help"]),
    (["figure5", "RUNS=results/none"], ["RUNS=results/none: there is no such folder"]),
    (["bench", "PYTHON=/no/such/python"], ["/no/such/python was not found"]),
    (["bench", "ENV=$(touch x)"], ["ENV=$(touch x) is not known"]),
    (["bench", "ENV=$(shell touch x)"], ["ENV=$(shell touch x) is not known"]),
    (["bench", "ENV=`touch x`"], ["ENV=`touch x` is not known"]),
    (["bench", "ENV=; touch x"], ["ENV=; touch x is not known"]),
    (["bench", "ENV='; touch x; '"], ["ENV='; touch x; ' is not known"]),
    (["bench", 'ENV="; touch x; "'], ['ENV="; touch x; " is not known']),
    (["bench", "ENV=hopper\ntouch x"], ["is not known"]),
    (["bench", "ENV=#"], ["ENV=# is not known"]),
]


@pytest.mark.parametrize(
    ("arguments", "words"), WRONG_VALUES, ids=[" ".join(arguments) for arguments, _ in WRONG_VALUES]
)
def test_a_wrong_value_is_one_line_and_nothing_is_written(
    checkout: Checkout, arguments: list[str], words: list[str]
) -> None:
    before = checkout.files()
    failed = checkout.make(*arguments)
    assert failed.returncode != 0
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    for word in words:
        assert word in failed.stderr
    assert checkout.files() == before


def test_a_wrong_value_may_come_from_the_environment_too(checkout: Checkout) -> None:
    failed = checkout.make("bench", ENV="$(shell touch x)")
    assert "ENV=$(shell touch x) is not known" in failed.stderr
    assert not (checkout.root / "x").exists()


def test_targets_without_a_task_do_not_mind_a_foreign_env_variable(checkout: Checkout) -> None:
    assert checkout.make("-n", "test", ENV="production").returncode == 0


def test_bench_sets_up_once_and_hands_on_what_was_set(checkout: Checkout) -> None:
    first = checkout.make("bench", "ENV=hopper", "SEEDS=0-2", "TENSORBOARD=0")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Setting up .venv")
    assert first.stdout.count("\n") == 1
    create, install, bench = checkout.calls()
    assert create == "python3 -m venv --clear --prompt aihf .venv"
    assert re.fullmatch(r"python -m pip install .*-c constraints\.txt -e \.\[dev\]", install)
    assert bench == "aihf bench --env hopper --seeds 0-2"

    values = (
        "METHODS=aihf,bc STEPS=10 PRESET=smoke DEVICE=cpu DEMO_MIX=0.25 DEMO_NOISE=0.1 LABEL_ERROR=0.2 JOBS=3"
    )
    second = checkout.make("bench", *values.split())
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert checkout.calls() == [
        "aihf bench --preset smoke --methods aihf,bc --steps 10 --device cpu"
        " --demo-mix 0.25 --demo-noise 0.1 --label-error 0.2 --jobs 3"
    ]


def test_bench_hands_on_the_command_that_makes_its_results_again(checkout: Checkout) -> None:
    assert checkout.make("bench", "SEEDS=0-1, 4", "METHODS=aihf", DEVICE="cpu").returncode == 0
    assert checkout.command.read_text() == "make bench METHODS=aihf SEEDS='0-1, 4' DEVICE=cpu\n"


def test_other_targets_run_their_commands_in_the_environment(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.calls()
    ran = {}
    for target in ("data", "figure5", "test", "test-all"):
        assert checkout.make(target).returncode == 0
        ran[target] = checkout.calls()
    assert ran == {
        "data": ["aihf data build"],
        "figure5": ["python -m benchmarks.figure5"],
        "test": ["python -m pytest -q -n 2"],
        "test-all": ["python -m pytest -q -m not slurm"],
    }


def test_a_sweep_is_a_bench_with_a_cluster(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.calls()
    here = checkout.make("sweep", "SEEDS=0-3", "SEEDS_PER_JOB=2", "PRESET=smoke", "DRY_RUN=1")
    assert (here.returncode, here.stderr) == (0, "")
    assert checkout.calls() == ["aihf sweep --preset smoke --seeds 0-3 --seeds-per-job 2 --dry-run"]
    assert checkout.make("sweep", "CLUSTER=slurm", "GPUS=1", "TIME=8:00:00", "PARTITION=gpu").returncode == 0
    install, sweep = checkout.calls()
    assert install.endswith("-c constraints.txt -e .[slurm]")
    assert sweep == "aihf sweep --cluster slurm --partition gpu --gpus 1 --time 8:00:00"
    assert checkout.make("test-slurm").returncode == 0
    assert checkout.calls() == ["python -m pytest -v -s -rs -m slurm"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("CLUSTER=slrum", "CLUSTER=slrum is not known: did you mean slurm?"),
        ("TIME=4h", "TIME=4h is not a time limit"),
        ("PARTITION=gpu;ls", "PARTITION=gpu;ls is no name"),
        ("SEEDS_PER_JOB=0", "SEEDS_PER_JOB=0 is not a whole number from 1 up"),
        ("PREFERENCE_FILE=none.npz", "PREFERENCE_FILE=none.npz: there is no such file"),
        ("OTHER_DEVICE=yes", "OTHER_DEVICE=yes is neither 0 nor 1"),
    ],
)
def test_a_wrong_value_of_a_sweep_is_named_and_nothing_runs(
    checkout: Checkout, wrong: str, message: str
) -> None:
    done = checkout.make("sweep", wrong)
    assert done.returncode == 2 and message in done.stderr and checkout.calls() == []


def test_tensorboard_is_installed_when_it_is_asked_for(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.calls()
    assert checkout.make("bench", "TENSORBOARD=1").returncode == 0
    install, bench = checkout.calls()
    assert install.endswith("-c constraints.txt -e .[tensorboard]")
    assert bench == "aihf bench --tensorboard"
    assert checkout.make("bench", "TENSORBOARD=1").returncode == 0
    assert checkout.calls() == [bench]


def test_every_tracker_that_is_asked_for_is_installed(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.calls()
    assert checkout.make("bench", "TRACK=wandb, trackio", "TENSORBOARD=1").returncode == 0
    *installs, bench = checkout.calls()
    assert [line.split()[-1] for line in installs] == [".[tensorboard]", ".[trackio]", ".[wandb]"]
    assert bench == "aihf bench --track wandb, trackio --tensorboard"
    wrong = checkout.make("bench", "TRACK=wandbb")
    assert wrong.returncode == 2 and "TRACK=wandbb is not known: did you mean wandb?" in wrong.stderr


def test_torch_index_reaches_pip_as_one_word(checkout: Checkout) -> None:
    assert checkout.make("setup", "TORCH_INDEX=file:///some where; touch x").returncode == 0
    assert " --extra-index-url file:///some where; touch x " in checkout.calls()[1]
    assert not (checkout.root / "x").exists()


def test_a_failed_installation_is_started_again(checkout: Checkout) -> None:
    checkout.fail.write_text("1")
    assert checkout.make("bench").returncode != 0
    create, install = checkout.calls()
    assert create == "python3 -m venv --clear --prompt aihf .venv"
    checkout.fail.unlink()
    assert checkout.make("bench").returncode == 0
    assert checkout.calls() == [create, install, "aihf bench"]


def test_new_pins_are_installed_into_the_environment_at_hand(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    create, install = checkout.calls()
    later = checkout.root.joinpath(".venv/.stamp").stat().st_mtime + 10
    os.utime(checkout.root / "constraints.txt", (later, later))
    assert checkout.make("setup").returncode == 0
    assert checkout.calls() == [create.replace(" --clear", ""), install]


def test_a_copied_checkout_makes_its_own_environment(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    setup = checkout.calls()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.make("setup").returncode == 0
    assert checkout.calls() == setup
    assert checkout.make("setup").returncode == 0
    assert checkout.calls() == []


@pytest.mark.parametrize("goal", ["setup", "bench"])
def test_an_environment_of_someone_else_is_not_cleared(checkout: Checkout, goal: str) -> None:
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv/pyvenv.cfg").write_text("prompt = mine\n")
    before = checkout.files()
    kept = checkout.make(goal)
    assert kept.returncode != 0 and kept.stderr.count("\n") == 1
    assert ".venv was not made by make: move it away, or remove it with `make clean`" in kept.stderr
    assert checkout.files() == before and checkout.calls() == []


def test_an_environment_whose_interpreter_may_not_be_run_is_not_cleared(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.calls()
    (checkout.root / ".venv/bin/python").chmod(0o644)
    before = checkout.files()
    kept = checkout.make("bench")
    assert kept.returncode != 0 and kept.stderr.count("\n") == 1
    assert ".venv has an interpreter that cannot be run: mend it, or remove" in kept.stderr
    assert checkout.files() == before and checkout.calls() == []


def test_pythons_safe_path_is_no_obstacle(checkout: Checkout) -> None:
    assert checkout.make("setup", PYTHONSAFEPATH="1").returncode == 0
    assert checkout.make("figure5", PYTHONSAFEPATH="1").returncode == 0
    assert checkout.calls()[-1] == "python -m benchmarks.figure5"


def test_make_fails_when_bench_fails(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    checkout.fail.write_text("75")
    failed = checkout.make("bench")
    assert failed.returncode != 0
    assert "75" in failed.stderr


@pytest.mark.parametrize(
    ("reply", "words"),
    [("echo 'is Python 3.9'", ["is Python 3.9"]), ("case $2 in *venv*) exit 1;; esac", ["python3-venv"])],
    ids=["too old", "without venv"],
)
def test_an_unfit_python_is_one_line(checkout: Checkout, reply: str, words: list[str]) -> None:
    checkout.python.write_text(f"#!/bin/sh\n{reply}\n")
    before = checkout.files()
    failed = checkout.make("test")
    assert failed.returncode != 0
    assert failed.stderr.count("\n") == 1
    for word in words:
        assert word in failed.stderr
    assert checkout.files() == before


def test_clean_keeps_results_and_policies(checkout: Checkout) -> None:
    kept = ["results/bench/table.md", "results/runs/bench/config.json", "data/policies/hopper/expert.zip"]
    removed = [".venv/bin/python", "data/minari/aihf/x", "tests/__pycache__/x", ".ruff_cache/x", "build/x"]
    for name in (*kept, *removed, "benchmarks/speed.py"):
        (checkout.root / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout.root / name).touch()
    assert checkout.make("clean").returncode == 0
    assert all((checkout.root / name).exists() for name in (*kept, "benchmarks/speed.py"))
    assert not any((checkout.root / name).parent.exists() for name in removed)


def test_constraints_pin_every_package_without_hosts_or_local_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


@pytest.mark.parametrize(
    ("value", "seeds"),
    [("0", (0,)), ("0-2", (0, 1, 2)), ("0-2,7", (0, 1, 2, 7)), ("3,1, 3,2-3", (1, 2, 3)), ("5-5", (5,))],
)
def test_seeds_are_ranges_and_lists(value: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(value) == seeds


@pytest.mark.parametrize("value", ["", "a", "-1", "1-", "2-0", "0,,1", "1.5", "0:3"])
def test_wrong_seeds_are_refused(value: str) -> None:
    with pytest.raises(InvalidChoice, match="SEEDS"):
        parse_seeds(value)


def test_methods_keep_their_order_without_repeats() -> None:
    assert parse_methods("rlhf, aihf,rlhf") == (ChosenMethod("rlhf"), ChosenMethod("aihf"))
    with pytest.raises(InvalidChoice, match="METHODS=sac is not known: Valid: aihf"):
        parse_methods("aihf,sac")


def test_shares_are_from_zero_to_one() -> None:
    assert [parse_share("DEMO_MIX", value) for value in ("0", "0.25", "1")] == [0.0, 0.25, 1.0]
    for value in ("-0.1", "1.01", "nan", "half", ""):
        with pytest.raises(InvalidChoice, match="DEMO_MIX"):
            parse_share("DEMO_MIX", value)


def test_steps_are_whole_and_positive() -> None:
    assert parse_steps("500_000") == 500_000
    for value in ("0", "-5", "1e5", "2.5", ""):
        with pytest.raises(InvalidChoice, match="STEPS"):
            parse_steps(value)


def test_choose_names_the_nearest_and_all_valid_names() -> None:
    assert choose("ENV", "hopper", ["hopper", "walker2d"]) == "hopper"
    with pytest.raises(
        InvalidChoice, match=r"^ENV=walker .* did you mean walker2d\? Valid: hopper, walker2d$"
    ):
        choose("ENV", "walker", ["hopper", "walker2d"])


def test_names_are_checked_with_the_standard_library_alone() -> None:
    code = "import aihf_control.cli.variables, sys; print('numpy' in sys.modules, 'gymnasium' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]

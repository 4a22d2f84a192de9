"""The house rules that a program can check: which way imports point, and what may never be called."""

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS

PACKAGE = Path(__file__).parents[1] / "aihf_control"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    {"errors", "bounds", "words", "hardware", "runs", "own_code"}, {"arrays"}, {"statistics", "envs"},
    {"data"}, {"learn"}, {"methods"}, {"study", "cluster", "report", "labelling"}, {"cli"}, {"__main__"},
)  # fmt: skip
"""From the ground up: a folder, or a file beside them, imports from itself and from floors below its own."""

DOORS = {
    "bounds": {"errors"},
    "words": {"errors"},
    "hardware": {"errors"},
    "runs": {"errors", "words"},
    "own_code": {"errors"},
}
"""What of its own floor the ground floor may use."""

TABLE_ONLY = {"cluster", "report"}
"""Of `methods` these see the table alone."""

TORCH = {"learn", "methods", "study", "cli"}
"""Where torch may be imported, but for `methods/table.py`: reports and worker processes start without it."""

STANDARD_LIBRARY = (
    "errors.py",
    "bounds.py",
    "hardware.py",
    "own_code.py",
    "data/dataset_ids.py",
    "envs/tasks.py",
    "methods/table.py",
    "cli/surroundings.py",
    "cli/values.py",
    "cli/variables.py",
)
"""`make` checks what a user typed with these before anything is installed."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_imports(path: Path) -> set[str]:
    """Modules of this package, as `envs.tasks` or `errors`."""
    names = {
        name.removeprefix("aihf_control.") for name in imported(path) if name.startswith("aihf_control.")
    }
    return {name for name in names if (PACKAGE / f"{name.replace('.', '/')}.py").is_file()}


def forbidden(path: Path) -> Iterator[str]:
    """Each import of a file that the house rule does not allow."""
    here = folder(path)
    below = set().union(*FLOORS[: next(n for n, floor in enumerate(FLOORS) if here in floor)])
    for name in own_imports(path):
        there = name.split(".")[0]
        if there not in below | {here} | DOORS.get(here, set()):
            yield name
        if here in TABLE_ONLY and there == "methods" and name != "methods.table":
            yield name
    for name in imported(path):
        outside = name.split(".")[0]
        if outside == "torch" and (here not in TORCH or path.name == "table.py"):
            yield name
        if outside in ("benchmarks", "tests"):
            yield name


INSIDE = [path for path in FILES if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert not list(forbidden(path))


def test_a_forbidden_import_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = PACKAGE / "report" / "tables.py"
    planted = path.read_text() + "\nfrom aihf_control.study.training import BatchRun\nimport torch\n"
    monkeypatch.setattr(Path, "read_text", lambda self: planted)
    assert sorted(forbidden(path)) == ["study.training", "torch"]


def test_folders_hold_no_code_of_their_own() -> None:
    assert all(path.stat().st_size == 0 for path in PACKAGE.glob("*/__init__.py"))
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} <= set().union(
        *FLOORS
    )


@pytest.mark.parametrize("name", STANDARD_LIBRARY)
def test_names_are_checked_with_the_standard_library_alone(name: str) -> None:
    outside = {module.split(".")[0] for module in top_level_imports(PACKAGE / name)}
    assert outside <= {*sys.stdlib_module_names, "aihf_control"}
    own = {f"{module.replace('.', '/')}.py" for module in own_imports(PACKAGE / name)}
    assert own <= {
        *STANDARD_LIBRARY,
        "envs/actions.py",
        "envs/simulator.py",
        "methods/method.py",
    }  # imported where they are used


def top_level_imports(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_imports_have_no_cycle() -> None:
    names = {str(path.relative_to(PACKAGE)).removesuffix(".py").replace("/", "."): path for path in INSIDE}
    graph = {name: own_imports(path) - {name} for name, path in names.items()}
    graph["methods.table"] = set()  # which imports a method where it is made
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_methods_never_import_each_other() -> None:
    shared = {"method", "settings", "sac_method", "offline_method", "table"}
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.stem != "__init__":
            others = {n.split(".")[2] for n in imported(path) if n.startswith("aihf_control.methods.")}
            assert others <= shared, path


def unpickling(path: Path) -> Iterator[str]:
    """Every way in which `path` could run code that a file brings along."""
    modules = {name.split(".")[0] for name in imported(path)}
    yield from modules & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if options.get("allow_pickle", "False") != "False":
            yield f"{called}(allow_pickle={options['allow_pickle']})"
        if called == "torch.load" and options.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if called.endswith("read_pickle"):
            yield called


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unpickles(path: Path) -> None:
    assert not list(unpickling(path))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file, allow_pickle=trusted)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pd.read_pickle(path)",
    ],
)
def test_unpickling_is_noticed(tmp_path: Path, line: str) -> None:
    (tmp_path / "planted.py").write_text(f"def read(path):\n    {line}\n")
    assert len(list(unpickling(tmp_path / "planted.py"))) == 1


def test_versions_with_known_holes_are_excluded() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    floors = dict(re.split(r"\[.*\]>=|>=", line) for line in project["dependencies"])
    # below 2.10 torch.load(weights_only=True) could be made to run code (CVE-2026-24747)
    assert tuple(map(int, floors["torch"].split("."))) >= (2, 10)


def test_names_are_stated_where_they_are_checked_before_anything_is_installed() -> None:
    from aihf_control.cli import values
    from aihf_control.study import presets

    assert tuple(presets.PRESETS) == values.PRESETS


@pytest.mark.parametrize("name", METHODS)
def test_a_row_describes_its_method_fully(name: str) -> None:
    row = METHODS[name]
    file, _, attribute = row.place.partition(":")
    made = getattr(import_module(f"aihf_control.methods.{file}"), attribute)
    assert isinstance(made, type)
    inspect.signature(made).bind(None, **row.options)
    assert {*row.settings} <= {field.name for field in fields(Settings)}
    assert row.starts and {*row.starts} <= {"random", "clone"}
    assert re.fullmatch(r"#[0-9A-F]{6}", row.colour) and row.label and row.legend
    others = [other for key, other in METHODS.items() if key != name]
    assert row.colour not in {other.colour for other in others}
    assert row.label not in {other.label for other in others}


PAGES = ["README.md", *(f"docs/{path.name}" for path in (PACKAGE.parent / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_tests_that_are_there(page: str) -> None:
    """As `learn/test_sac.py`, `learn/test_sac.py::test_name`, or `::test_name` of the file named last."""
    file = ""
    named = re.finditer(
        r"`(?:tests/)?((?:\w+/)?test_\w+\.py)?(?:::(\w+))?`", (PACKAGE.parent / page).read_text()
    )
    for match in named:
        file = match[1] or file
        if match[1] or match[2]:
            content = (PACKAGE.parent / "tests" / file).read_text()
            assert match[2] is None or f"def {match[2]}(" in content, match[0]


def test_the_readme_lists_methods_that_are_there() -> None:
    table = (PACKAGE.parent / "README.md").read_text().split("## Methods")[1].split("##")[0]
    listed = [
        name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(set(listed)) == len(listed) > 10 and set(listed) <= set(METHODS)

"""The house rules that a program can check: which way imports point, and what may never be called."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aihf_control"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ["types", "tasks", "simulation", "choices", "statistics", "files", "processes", "signals", "cores"],
    [
        "environment_steps",
        "environment_server",
        "environment_workers",
        "fast_environments",
        "environments",
        "randomness",
        "seed_mlp",
        "batch_norm",
        "networks",
        "optimisers",
        "graphs",
    ],
    [
        "replay",
        "sac",
        "samples",
        "reward",
        "cloning",
        "updates",
        "alignment",
        "evaluation",
        "agent_steps",
        "diagnostics",
        "probe",
        "datasets",
        "preferences",
        "human_preferences",
        "feedback",
        "feedback_format",
        "rollouts",
        "sb3",
        "policies",
        "machine",
        "results",
        "records",
        "figures",
        "tables",
        "report",
        "curves",
        "layout",
        "panels",
        "profiles",
        "reward_panels",
        "comparison",
        "comparison_tables",
        "comparison_report",
        "findings",
        "latex",
        "provenance",
        "appendix",
    ],
    ["methods"],
    [
        "presets",
        "plugins",
        "runs",
        "checkpoints",
        "locks",
        "progress",
        "job_line",
        "job_display",
        "batch",
        "events",
        "preparation",
        "experiment",
        "sweep",
        "submissions",
        "monitor",
        "estimate",
        "local_jobs",
        "slurm",
    ],
    ["study_commands", "bench", "commands", "cluster_commands", "cli", "__main__"],
)
"""From the bottom; a module may import from its own layer and from those below it."""

NO_TORCH = [
    "types",
    "tasks",
    "choices",
    "cores",
    "environment_steps",
    "environment_server",
    "environment_workers",
    "fast_environments",
    "environments",
    "statistics",
    "files",
    "results",
    "records",
    "figures",
    "tables",
    "report",
    "curves",
    "layout",
    "panels",
    "profiles",
    "reward_panels",
    "comparison",
    "comparison_tables",
    "comparison_report",
    "findings",
    "latex",
    "provenance",
    "appendix",
]
"""`make figure5` and the check of a wrong ENV= work where torch is not installed."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_imports(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported(path) if name.startswith("aihf_control.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def test_every_module_has_a_layer() -> None:
    names = {module(path) for path in FILES} - {"__init__"}
    assert names == {name for names in LAYERS for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    if module(path) != "__init__":
        assert all(layer(name) <= layer(module(path)) for name in own_imports(path))
    assert not any(name.split(".")[0] in ("benchmarks", "tests") for name in imported(path))


def test_imports_have_no_cycle() -> None:
    graph = {module(path): set() for path in FILES}  # type: dict[str, set[str]]
    for path in FILES:
        graph[module(path)] |= own_imports(path) - {module(path)}
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_methods_never_import_each_other() -> None:
    shared = {"method", "settings", "sac_method"}
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.stem != "__init__":
            others = {n.split(".")[2] for n in imported(path) if n.startswith("aihf_control.methods.")}
            assert others <= shared, path


def test_reports_need_no_torch() -> None:
    for name in NO_TORCH:
        path = PACKAGE / f"{name}.py"
        assert "torch" not in {n.split(".")[0] for n in imported(path)}
        assert own_imports(path) <= {*NO_TORCH, "processes", "signals", "simulation"}, path


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


def test_registered_names_are_the_ones_checked_before_anything_is_installed() -> None:
    from aihf_control import choices, methods, presets

    assert tuple(methods.METHODS) == choices.METHODS
    assert tuple(presets.PRESETS) == choices.PRESETS

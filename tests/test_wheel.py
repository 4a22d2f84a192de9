"""The package without a checkout: what a wheel holds, and that it works from any folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = (
    "--feedback.pairs 200 --feedback.held-out-pairs 50 --feedback.demonstration-transitions 2000 "
    "--settings.cloning.steps 50 --settings.evaluation-episodes 2"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package alone, as pip installs its wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    for name in ("aihf_control", "data/policies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(source)], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(site), str(wheel)], check=True)
    return site


@pytest.mark.slow
def test_a_wheel_trains_in_an_empty_folder_and_keeps_everything_there(
    installed: Path, tmp_path: Path
) -> None:
    variables = ("AIHF_MINARI_ROOT", "MINARI_DATASETS_PATH", "AIHF_COMMAND")
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    before = sorted(installed.rglob("*"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    where = run("-c", "import aihf_control; print(aihf_control.__file__)").stdout
    assert Path(where.strip()).is_relative_to(installed)
    aihf = ["-m", "aihf_control", "bench", "--preset", "smoke", "--methods", "bc", "--device", "cpu"]
    bench = run(*aihf, "--env", "hopper", "--seeds", "0", *TINY.split())
    assert bench.returncode == 0, bench.stdout + bench.stderr
    (config,) = tmp_path.glob("results/runs/*/hopper/bc/seed_0/config.json")
    assert json.loads(config.read_text())["commit"] is None
    assert (config.parent / "policy.zip").is_file() and (
        tmp_path / "data/minari/aihf/hopper/expert-v0"
    ).is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "results"}

    elsewhere = run(*aihf, "--env", "swimmer", "--root", str(tmp_path / "other"))
    assert elsewhere.returncode == 2 and "aihf data train --env swimmer" in elsewhere.stderr
    assert elsewhere.stderr.count("\n") == 1 and not (tmp_path / "other").exists()
    assert sorted(installed.rglob("*")) == before

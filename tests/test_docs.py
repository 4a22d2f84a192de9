"""Pages lead where they say, in the checkout and as the site that `make docs` builds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]
PAGES += (ROOT / "results").rglob("*.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_to_files_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert re.match(r"https?://|mailto:", target) or (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_explains_every_public_name(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")
    import aihf_control

    for name in ("docs", "examples", "results"):
        ignored = shutil.ignore_patterns("runs", "report.html")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copy(ROOT / "CITATION.cff", tmp_path)
    config = (ROOT / "mkdocs.yml").read_text()
    assert "docs_dir: build/pages" in config
    (tmp_path.parent / "mkdocs.yml").write_text(
        config.replace("build/pages", str(tmp_path)).replace("paths: [.]", f"paths: [{ROOT}]")
    )
    site = tmp_path.parent / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", str(site)]
    done = subprocess.run(build, cwd=tmp_path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    explained = (site / "docs" / "api.html").read_text()
    assert all(f'id="aihf_control.{name}"' in explained for name in aihf_control.__all__)

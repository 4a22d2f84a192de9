"""The report of a comparison over tasks: figures, tables and provenance, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from aihf_control.report.comparison import Comparison, read_comparison
from aihf_control.report.comparison_tables import csv_text, markdown, tabulate, text
from aihf_control.report.figure5 import figure5
from aihf_control.report.latex import latex
from aihf_control.report.profiles import profiles
from aihf_control.report.provenance import provenance
from aihf_control.report.results import NoResults
from aihf_control.report.reward_quality import reward_panels
from aihf_control.report.style import render
from aihf_control.report.variants import OTHER_HORIZON, appendix
from aihf_control.report.write import Report
from aihf_control.runs.files import make_folder, write_atomically

SOMETIMES = ("profiles.png", "reward.png", "appendix.md")
"""Files that some studies have nothing for."""


def _other_horizon(folder: Path, study: str) -> Comparison | None:
    """The study beside this one under the other horizon rule, if it has results."""
    for ending in OTHER_HORIZON:
        try:
            return read_comparison(folder.parent / (study + ending), study + ending)
        except NoResults:
            continue
    return None


def write_comparison(folder: Path, study: str, output: Path, bootstrap_seed: int = 0) -> Report:
    """Read the tasks of `study` in `folder` and write its comparison into the folder `output`.

    `folder` holds `<task>/runs/<method>/seed_<k>/` or `<task>/<method>/seed_<k>/`; what is missing is named.
    The same runs give the same bytes. Raises `InvalidResults`, with nothing written, if runs cannot be read
    or compared, and `NoResults` if none has ended. Files: `figure5.png` and `.pdf`, `table.md`, `.csv` and
    `.tex`, `profiles.png`, `reward.png` (if any run recorded what its reward learned), `PROVENANCE.md`, and
    `appendix.md` if a study of the other horizon rule lies beside.
    """
    comparison = read_comparison(folder, study)
    other = _other_horizon(folder, study)
    tables = tabulate(comparison, bootstrap_seed)
    curves = figure5(comparison, bootstrap_seed)
    contents = {
        "figure5.png": render(curves, "png"),
        "figure5.pdf": render(curves, "pdf"),
        "table.md": markdown(tables).encode(),
        "table.csv": csv_text(tables).encode(),
        "table.tex": latex(tables).encode(),
        "PROVENANCE.md": provenance(comparison, folder.parent).encode(),
    }
    profile = profiles(comparison, bootstrap_seed)
    learned = reward_panels(comparison, bootstrap_seed)
    for name, figure in (("profiles.png", profile), ("reward.png", learned)):
        if figure is not None:
            contents[name] = render(figure, "png")
    if other is not None:
        contents["appendix.md"] = appendix(comparison, other).encode()
    make_folder(output)
    for name in SOMETIMES:
        if name not in contents:  # of an earlier report, whose runs are not these
            (output / name).unlink(missing_ok=True)
    for name, content in contents.items():
        write_atomically(output / name, content)
    paths = tuple(output / name for name in contents)
    listing = "\n".join(f"  {path}" for path in paths)
    return Report(f"{text(tables)}\n\nWritten:\n{listing}", paths)

"""The report of a study: figures, tables and provenance, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aihf_control.report.figure5 import environment_figure, figure5
from aihf_control.report.latex import latex
from aihf_control.report.others import read_others
from aihf_control.report.page import Film, page
from aihf_control.report.profiles import profiles
from aihf_control.report.provenance import provenance
from aihf_control.report.results import StudyResults, read_results
from aihf_control.report.reward_quality import reward_panels
from aihf_control.report.style import render
from aihf_control.report.table_csv import csv_text
from aihf_control.report.tables import markdown, tabulate, text
from aihf_control.report.variants import appendix, matched, other_horizon
from aihf_control.runs.files import make_folder, write_atomically

Filmed = tuple[Sequence[Film], str]
"""Films of runs, and in words why there are no more."""

SOMETIMES = ("environment_steps.png", "profiles.png", "reward.png", "appendix.md")
"""Files that some studies have nothing for."""


PICTURES = {
    "figure5.png": "Learning curves",
    "environment_steps.png": "Learning curves over environment steps",
    "profiles.png": "Performance profiles",
    "reward.png": "What the rewards learned",
}
"""Those that the page shows, with their titles."""


@dataclass(frozen=True)
class Report:
    """What a terminal prints, and the files that were written."""

    text: str
    paths: tuple[Path, ...]


def no_films(study: StudyResults) -> Filmed:
    """None, without a word."""
    return (), ""


def write_report(
    folder: Path,
    output: Path | None = None,
    bootstrap_seed: int = 0,
    film: Callable[[StudyResults], Filmed] = no_films,
    beside: Sequence[str] = (),
) -> Report:
    """Read all runs in a study's folder and write its report there, or into the folder `output`.

    The same runs give the same bytes. Raises `InvalidData`, with nothing written, if runs cannot be read
    or compared, and `NoResults` if none has ended. Files: `figure5.png` and `.pdf`,
    `environment_steps.png` (if any method took others than SAC's), `table.md`, `.csv` and `.tex`,
    `profiles.png`, `reward.png` (if any run recorded what its reward learned), `PROVENANCE.md`, and
    `appendix.md` if a study of the other horizon rule lies beside; and `report.html`, all of it on one page,
    with what `film` makes, and runs from elsewhere `beside` them (`others.read_others`). A study beside whose
    name ends in `-matched` is a second row of the figures and a second part of the tables.
    """
    output = folder if output is None else output
    place = folder.resolve()
    study, other = read_results(folder), other_horizon(place)
    tables = tabulate(study, bootstrap_seed, matched(place))
    curves, made = figure5(tables, bootstrap_seed), provenance(study, place.parent)
    contents = {
        "figure5.png": render(curves, "png"),
        "figure5.pdf": render(curves, "pdf"),
        "table.md": markdown(tables).encode(),
        "table.csv": csv_text(tables).encode(),
        "table.tex": latex(tables).encode(),
        "PROVENANCE.md": made.encode(),
    }
    for name, figure in (
        ("environment_steps.png", environment_figure(tables, bootstrap_seed)),
        ("profiles.png", profiles(study, bootstrap_seed)),
        ("reward.png", reward_panels(study, bootstrap_seed)),
    ):
        if figure is not None:
            contents[name] = render(figure, "png")
    if other is not None:
        contents["appendix.md"] = appendix(study, other).encode()
    shown = {title: contents[name] for name, title in PICTURES.items() if name in contents}
    others = [other for given in beside for other in read_others(given, study)]
    contents["report.html"] = page(tables, shown, made, *film(study), others).encode()
    make_folder(output)
    for name in SOMETIMES:
        if name not in contents:  # of an earlier report, whose runs are not these
            (output / name).unlink(missing_ok=True)
    for name, content in contents.items():
        write_atomically(output / name, content)
    paths = tuple(output / name for name in contents)
    listing = "\n".join(f"  {path}" for path in paths)
    return Report(f"{text(tables)}\n\nWritten:\n{listing}", paths)

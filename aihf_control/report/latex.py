"""`table.tex`: a whole document around one booktabs table, to compile as it is or to copy from."""

from __future__ import annotations

from collections.abc import Sequence

from aihf_control.envs.tasks import task_title
from aihf_control.methods.table import method_label
from aihf_control.report.results import StudyResults
from aihf_control.report.scores import Line, Score
from aihf_control.report.tables import ALL, Form, Tables, chance, reach
from aihf_control.statistics import CONFIDENCE, RANGE_BELOW_SEEDS
from aihf_control.words import NOTHING, number, share

ESCAPES = {
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
HEAD = r"""% Compiles as it is; in a paper, copy the tabular and load booktabs.
\documentclass{article}
\usepackage[margin=2cm,landscape]{geometry}
\usepackage{booktabs}
\begin{document}
\begin{table}
\centering\footnotesize
"""
TAIL = r"""\end{table}
\end{document}
"""


def escape(words: str) -> str:
    """`words` as LaTeX shows them as they are; characters that no font may have become "?"."""
    escaped = "".join(ESCAPES.get(character, character) for character in words)
    return escaped.encode("ascii", "replace").decode()


def _cell(score: Score | None, form: Form) -> str:
    if score is None:
        return escape(NOTHING)
    estimate, low, high = (
        escape(form(value).replace("-", "−")) for value in (score.estimate, score.low, score.high)
    )
    if score.interval == "one seed":
        return f"{estimate} (1 seed)"
    mark = r"$^\dagger$" if score.interval == "range" else ""
    return f"{estimate} [{low} to {high}]{mark}"


def _rows(title: str, lines: Sequence[Line]) -> list[str]:
    rows = [r"\midrule", rf"\multicolumn{{7}}{{l}}{{\textit{{{escape(title)}}}}} \\"]
    for line in lines:
        if not any(results.runs for results in line.results):
            continue
        cells = [
            rf"\quad {escape(method_label(line.method))}",
            str(sum(len(results.runs) for results in line.results)),
            _cell(line.final, number),
            _cell(line.area, number) if line.final else _cell(line.normalised_area, share),
            escape(reach(line)),
            _cell(line.normalised, share),
            escape(chance(line)),
        ]
        rows.append(" & ".join(cells) + r" \\")
    return rows


def _caption(study: StudyResults) -> str:
    return (
        f"{escape(study.name)}: interquartile means over seeds with {CONFIDENCE:.0%} "
        f"stratified-bootstrap intervals; $^\\dagger$: range of fewer than {RANGE_BELOW_SEEDS} seeds. "
        "Final: mean over the last tenth of a seed's evaluations. p: exact two-sided Mann--Whitney test. "
        "Over all tasks the area is that of normalised scores."
    ).replace("%", "\\%")


def latex(tables: Tables) -> str:
    """`table.tex`: methods without runs are left out; `table.md` names them."""
    study = tables.study
    body = [
        r"\begin{tabular}{lrlllll}",
        r"\toprule",
        r"Method & Runs & Final return & Area under curve & Steps to 90\% & Normalised score "
        r"& P(AIHF $>$ method) \\",
    ]
    for task, lines in zip(study.tasks, tables.tasks, strict=True):
        body += _rows(task_title(task.task), lines)
    if len(study.tasks) > 1:
        body += _rows(ALL, tables.overall)
    body += [r"\bottomrule", r"\end{tabular}"]
    caption = rf"\caption{{{_caption(study)}}}"
    return HEAD + caption + "\n" + "\n".join(body) + "\n" + TAIL

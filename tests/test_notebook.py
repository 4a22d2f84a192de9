"""The notebook runs from its first cell to its last, in a kernel of its own."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "a_first_study.ipynb"

TOY = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent / "support")!r}]
from dataclasses import replace
from functools import partial
import aihf_control, toy
from aihf_control.envs.tasks import TASKS
TASKS["hopper"] = replace(toy.TASK, name="hopper")
full = toy.SETTINGS
aihf, rlhf = replace(full.aihf, reward_steps=5), replace(full.rlhf, reward_steps=50)
small = replace(full, round_steps=75, aihf=aihf, rlhf=rlhf)
aihf_control.train = partial(aihf_control.train, settings=small)
aihf_control.make_feedback = lambda task, pairs, label_error, folder: toy.feedback()
"""
"""In place of Hopper and its data, which take minutes."""


def test_the_notebook_has_ten_cells_and_runs_to_its_end(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 10
    assert not any(cell.get("outputs") for cell in notebook.cells)  # as committed
    notebook.cells[1].source = notebook.cells[1].source.replace("20_000", "150")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(TOY))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(list(tmp_path.rglob("progress.csv"))) == 9
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "correlation with the true reward" in said and "aihf: interquartile mean" in said
    drawn = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("image/png" in output["data"] for output in drawn)

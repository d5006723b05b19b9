"""The tutorials: executed, without errors, with their figures, on paths that every checkout has.

`make notebooks` runs them.
"""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_the_tutorials():
    assert {path.stem for path in NOTEBOOKS} >= {"spectra", "scattering"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tutorial_is_executed_and_shows_figures(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    text = path.read_text(encoding="utf-8")
    assert "../../../shared/data" in text
    assert str(ROOT) not in text
    assert path.stat().st_size < 4 * 2**20

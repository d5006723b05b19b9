"""Run notebooks in their own folders and keep their outputs: `python -m docs.run_notebook FILE...`.

What changes from run to run without meaning (times, identifiers, the steps of a progress bar) is left out, so
that the files differ only where the results do. `--check` runs them and writes nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

LONGEST_CELL_S = 1800
DATA = Path(__file__).parents[2] / "shared" / "data"


def run(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook from its top in a fresh kernel; an error in a cell stops it with a traceback."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=LONGEST_CELL_S,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent.resolve())}},
    )
    client.execute()
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    """Run the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description="Run notebooks and keep their outputs.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"notebooks skipped: their data is not at {DATA}")
        return
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for path in options.notebooks:
        notebook = run(path)
        if not options.check:
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()

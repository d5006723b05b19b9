"""Whether an output that is there is what its parts were joined to, for who comes after a process was killed.

Before the output is moved into its place, the folder of its parts is told what it is: its form, and size and
date of every file, which a move does not change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smae_jax.io.form import Form
from smae_jax.io.outputs import files_beside, parts_of

_RECORD = "joined.json"


def tell_finished(parts: Path, form: Form, files: Sequence[Path]) -> None:
    """Put down what parts were joined to.

    Args:
      parts: folder of the parts.
      form: of the output.
      files: the output and those that may be beside it, where they were written; under their last names.
    """
    (parts / _RECORD).write_text(json.dumps(_record(form, files)) + "\n")


def is_finished(output: str, form: Form) -> bool:
    """Whether an output is there as its parts were joined to it, in this form, and they are there too."""
    try:
        told = json.loads((parts_of(output) / _RECORD).read_text())
    except (OSError, ValueError):
        return False
    paths = [Path(os.path.abspath(one)) for one in (output, *files_beside(output))]
    return paths[0].exists() and told == _record(form, paths)


def _record(form: Form, paths: Sequence[Path]) -> dict[str, Any]:
    return {"form": repr(form), "files": {one.name: _state(one) for one in paths if one.exists()}}


def _state(path: Path) -> Any:
    """Return size and date of a file, or of all files of a folder by name."""
    if path.is_dir():
        return {name: _state(path / name) for name in sorted(os.listdir(path))}
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]

"""Whether an output that is there is what a killed command would have left, for who comes after it.

Before an output is moved into its place, a folder is told what it is: its form, and size and date of every
file, which a move does not change. Joined blocks tell it to the folder of the parts; any other output of
several files tells it to the hidden folder that it was written in.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smae_jax.io.form import Form
from smae_jax.io.outputs import files_beside, parts_of

_RECORD = "joined.json"
JOINED = ".joined"
"""Folder among the parts that their output is written in."""


def tell_finished(folder: Path, form: Form, files: Sequence[Path], *, options: str = "") -> None:
    """Put down what is about to be moved into place.

    Args:
      folder: of the parts, or the hidden one.
      form: of the output.
      files: the output and those that may be beside it, where they were written; under their last names.
      options: that made it; "" = the parts tell.
    """
    (folder / _RECORD).write_text(json.dumps(_record(form, options, files)) + "\n")


def is_finished(output: str, form: Form) -> bool:
    """Whether an output is there as its parts were joined to it, in this form, and they are there too.

    Files beside it may still be among the parts, see `move_rest`.
    """
    return _is_told(output, form, "", parts_of(output), parts_of(output) / JOINED)


def move_rest(output: str) -> None:
    """Move into place what a process that was killed left of a finished output among its parts."""
    for one in map(Path, files_beside(output)):
        if (there := parts_of(output) / JOINED / Path(os.path.abspath(one)).name).exists():
            os.replace(there, os.path.abspath(one))


def left_without_rest(output: str, form: Form, options: str) -> Path | None:
    """Return where a process of these options, killed while it moved its output, left files of it.

    Returns:
      Its hidden folder beside the output, which is in place; None = there was no such process.
    """
    path = Path(os.path.abspath(output))
    names = [Path(os.path.abspath(one)).name for one in files_beside(output)]
    for folder in map(Path, glob.glob(f"{glob.escape(str(path.parent / f'.{path.name}'))}.*")):
        if any((folder / name).exists() for name in names) and _is_told(
            output, form, options, folder, folder
        ):
            return folder
    return None


def _is_told(output: str, form: Form, options: str, folder: Path, unmoved: Path) -> bool:
    """Whether an output is what a folder was told, with files beside it in place or in `unmoved`."""
    try:
        told = json.loads((folder / _RECORD).read_text())
    except (OSError, ValueError):
        return False
    path, *beside = (Path(os.path.abspath(one)) for one in (output, *files_beside(output)))
    beside = [one if one.exists() else unmoved / one.name for one in beside]
    return path.exists() and told == _record(form, options, [path, *beside])


def _record(form: Form, options: str, paths: Sequence[Path]) -> dict[str, Any]:
    files = {one.name: _state(one) for one in paths if one.exists()}
    return {"form": repr(form), "options": options, "files": files}


def _state(path: Path) -> Any:
    """Return size and date of a file, or of all files of a folder by name."""
    if path.is_dir():
        return {name: _state(path / name) for name in sorted(os.listdir(path))}
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]

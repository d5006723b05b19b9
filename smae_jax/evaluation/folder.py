"""The folder that an evaluation writes: tables as text, Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smae_jax.encodable import encodable
from smae_jax.evaluation.tables import Columns, as_csv, as_markdown, as_text, without_infinities
from smae_jax.io.atomic import OutputError, refuse_existing
from smae_jax.io.outputs import is_within
from smae_jax.version import version

MADE_BY = "smae-jax evaluate"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of numbers.

    Attributes:
      title: headline.
      rows: each with its `name`.
      columns: what is shown of them, as of `evaluation.tables`.
      legend: what the columns mean.
    """

    title: str
    rows: Sequence[dict[str, Any]]
    columns: Columns
    legend: str


def check_folder(
    folder: Path,
    *,
    overwrite: bool,
    read: Sequence[str] = (),
    record: str = "metrics.json",
    made_by: str = MADE_BY,
) -> None:
    """Refuse a folder that exists, or with `overwrite` one that holds what the same command did not write.

    Args:
      folder: where the output goes.
      overwrite: whether one that is there may be replaced.
      read: the run and the input; the folder lies in neither.
      record: its file that tells what made it, and which files are its own, see `list_files`.
      made_by: what that says.

    Raises:
      OutputError: if it is refused.
    """
    for one in read:
        if is_within(str(folder), one):
            raise OutputError(
                f"--output {folder}: lies in {one}, which is read; choose a folder outside"
            )
    refuse_existing(folder, overwrite=overwrite)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        told = json.loads((folder / record).read_text())
        maker = told["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        told, maker = {}, ""
    if maker != made_by:
        raise OutputError(
            f"--output {folder}: was not made by '{made_by}' and is not replaced; choose another folder"
        )
    own = told.get("files")
    if own is None:
        raise OutputError(
            f"--output {folder}: {record}, of an earlier version, does not say which files are its own; "
            "choose another folder"
        )
    others = [name for name in _files_in(folder) if name not in own]
    if others:
        raise OutputError(
            f"--output {folder}: holds {others[0]}, which '{made_by}' did not write and --overwrite would "
            "remove; move it elsewhere, or choose another folder"
        )


def list_files(folder: Path, record: str = "metrics.json") -> None:
    """Add the names of all files of a folder to its record, once they are written."""
    told = json.loads((folder / record).read_text(encoding="utf-8"))
    told["files"] = _files_in(folder)
    (folder / record).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _files_in(folder: Path) -> list[str]:
    found = (one for one in folder.rglob("*") if one.is_symlink() or not one.is_dir())
    return sorted(one.relative_to(folder).as_posix() for one in found)


def write_tables(
    folder: Path,
    tables: Sequence[Table],
    *,
    title: str,
    notes: Sequence[str],
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    """Print the tables, and write them as Markdown, CSV and JSON; the CSV joins them by name.

    Args:
      folder: where to.
      tables: in their order.
      title: headline of the page.
      notes: what was evaluated and how, a line each.
      options: kept in the JSON.
      say: receives every line that a person should read.
    """
    joined: dict[str, dict[str, Any]] = {}
    text = [f"# {title}", "", *(f"- {note}" for note in notes)]
    for table in tables:
        shown = as_text(table.rows, table.columns).splitlines()
        for line in [f"{table.title}:", *shown, *table.legend.splitlines()]:
            say(line)
        markdown = as_markdown(table.rows, table.columns)
        text += ["", f"## {table.title}", "", markdown, "", table.legend]
        for row in table.rows:
            joined.setdefault(row["name"], {}).update(row)
    (folder / "table.md").write_text(encodable("\n".join(text) + "\n"), encoding="utf-8")
    (folder / "metrics.csv").write_text(as_csv(list(joined.values())), encoding="utf-8")
    record = {
        "made_by": MADE_BY,
        "version": version(),
        "options": dict(options),
        "notes": list(notes),
        "rows": without_infinities(list(joined.values())),
    }
    (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

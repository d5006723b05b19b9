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
    folder: Path, *, overwrite: bool, record: str = "metrics.json", made_by: str = MADE_BY
) -> None:
    """Refuse a folder that exists, or with `overwrite` one that was not made by the same command.

    Args:
      folder: where the output goes.
      overwrite: whether one that is there may be replaced.
      record: its file that tells what made it.
      made_by: what that says.

    Raises:
      OutputError: if it is refused.
    """
    refuse_existing(folder, overwrite=overwrite)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        told = json.loads((folder / record).read_text())["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        told = ""
    if told != made_by:
        raise OutputError(
            f"--output {folder}: was not made by '{made_by}' and is not replaced; choose another folder"
        )


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

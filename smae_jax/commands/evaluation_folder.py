"""The folder that an evaluation writes: tables as text, Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from smae_jax.config import EvaluateConfig
from smae_jax.data.atomic import OutputError, refuse_existing
from smae_jax.evaluation.tables import as_csv, as_markdown, as_text, without_infinities

MADE_BY = "smae-jax evaluate"

Say = Callable[[str], None]
Table = tuple[str, list[dict[str, Any]], Mapping[str, tuple[str, str]], str]
"""Title, rows with name and step, columns as of `evaluation.tables`, legend."""


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, or with `overwrite` one that no evaluation made.

    Raises:
      OutputError: if it is refused.
    """
    refuse_existing(folder, overwrite=overwrite)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        made_by = json.loads((folder / "metrics.json").read_text())["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        made_by = ""
    if made_by != MADE_BY:
        raise OutputError(
            f"--output {folder}: was not made by an evaluation and is not replaced; choose another folder"
        )


def write_tables(
    folder: Path,
    config: EvaluateConfig,
    notes: list[str],
    tables: Sequence[Table],
    say: Say,
) -> None:
    """Print the tables, and write them as Markdown, CSV and JSON; the CSV joins them by name."""
    joined: dict[str, dict[str, Any]] = {}
    text = [f"# Evaluation of {config.run} on {config.input}", ""]
    text += [f"- {note}" for note in notes]
    for title, rows, columns, legend in tables:
        for line in [f"{title}:", *as_text(rows, columns).splitlines(), *legend.splitlines()]:
            say(line)
        text += ["", f"## {title}", "", as_markdown(rows, columns), "", legend]
        for row in rows:
            joined.setdefault(row["name"], {"name": row["name"], "step": row["step"]}).update(row)
    (folder / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    (folder / "metrics.csv").write_text(as_csv(list(joined.values())), encoding="utf-8")
    record = {
        "made_by": MADE_BY,
        "version": metadata.version("smae_jax"),
        "options": dataclasses.asdict(config),
        "notes": notes,
        "rows": without_infinities(list(joined.values())),
    }
    (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

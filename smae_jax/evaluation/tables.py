"""Rows of numbers as text for a terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Columns = Mapping[str, tuple[str, str]]
"""Key of a row -> heading and format."""


def as_text(rows: Sequence[Row], columns: Columns, *, missing: str = "-") -> str:
    """Align the columns for a terminal; what a row lacks, or is no number, reads `missing`."""
    lines = _cells(rows, columns, missing)
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    ]
    text.insert(1, "-" * len(text[0]))
    return "\n".join(text)


def as_markdown(rows: Sequence[Row], columns: Columns, *, missing: str = "-") -> str:
    """Write a Markdown table; `missing` as for `as_text`."""
    lines = _cells(rows, columns, missing)
    rule = ["---", *["---:"] * len(columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def as_csv(rows: Sequence[Row]) -> str:
    """Write all keys of all rows, in full precision; empty where a row has no such number."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return text.getvalue()


def finite_or_none(value: Any) -> float | None:
    """Return a number as tables hold it; None where it is not known."""
    return float(value) if math.isfinite(value) else None


def without_infinities(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Replace what is not finite by None, which JSON can hold."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]


def _cells(rows: Sequence[Row], columns: Columns, missing: str) -> list[list[str]]:
    lines = [["estimate", *(heading for heading, _ in columns.values())]]
    for row in rows:
        cells = []
        for key, (_, form) in columns.items():
            value = row.get(key)
            none = value is None or (isinstance(value, float) and math.isnan(value))
            cells.append(missing if none else form.format(value))
        lines.append([str(row["name"]), *cells])
    return lines

"""Spectra in text files (CSV and white space): what rows and columns mean, and back to text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import RawRepeats
from smae_jax.io.text_layout import (
    axis_row,
    below_each_other,
    in_columns,
    in_rows,
    is_in_columns,
    names_in_first_row,
)
from smae_jax.io.text_tables import Table, TableOptions, read_table

SUFFIXES = (".csv", ".txt", ".dat", ".tsv", ".asc", ".xy", ".xye", ".prn")
READ_SUFFIXES = (*SUFFIXES, ".dpt", ".xdi", ".spec", ".mca")  # and nothing is written as these


def read_text(
    path: str, *, repeats_axis: int = 0, options: TableOptions | None = None
) -> RawRepeats:
    """Read spectra from a table of text.

    Repeats in rows have their axis in the first row (or none); repeats in columns have it in a column that is
    called an axis, or the first one. Which of them a file is shows by where ascending numbers stand;
    `repeats_axis` 1, and a choice of columns, say columns. Spectra may also follow each other in the rows.

    Args:
      path: text file, see `text_tables.read_table`.
      repeats_axis: 0 = by the file, else rows; 1 = repeats in columns.
      options: what the user says of the table; None = nothing.

    Returns:
      Values (repeats, channels), float64, NaN where there is no number.

    Raises:
      UserError: in one line, if it is no table of numbers or holds no spectrum.
    """
    options = options or TableOptions()
    if repeats_axis not in (0, 1, -1, -2):
        raise UserError(
            f"--data.repeats-axis {repeats_axis}: {path} is a table; expected 0 (rows) or 1 (columns)"
        )
    table = names_in_first_row(read_table(path, options))
    in_line = repeats_axis % 2 == 0 and not options.columns
    try:
        raw = _by_layout(table, in_line=in_line, columns=options.columns)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if raw.values.size == 0 or not np.isfinite(raw.values).any():
        raise UserError(f"{path}: holds no spectrum beside its axis; give a file with counts")
    return raw


def _by_layout(table: Table, *, in_line: bool, columns: str) -> RawRepeats:
    """Read a table by rows where `in_line` allows and the file tells, by columns otherwise."""
    if not columns and (raw := below_each_other(table)) is not None:
        return raw
    if in_line and (axis_columns := axis_row(table)) is not None:
        return in_rows(table, axis_columns)
    if not in_line or is_in_columns(table):
        return in_columns(table, columns)
    return in_rows(table, None)


def write_text(
    path: Path,
    values: np.ndarray,
    *,
    axis: np.ndarray | None,
    axis_label: str,
    names: tuple[str, ...],
    sigma: np.ndarray | None = None,
    process: dict[str, str] | None = None,
) -> None:
    """Write spectra as columns: the axis, the spectra, and their sigmas as columns `<name> sigma`.

    Args:
      path: `.csv` is a table with commas and one line of names, `.tsv` with tabs, as spreadsheets read it;
        anything else has blanks and comments, as `numpy.loadtxt` reads it.
      values: (spectra, channels); NaN is written as `nan`.
      axis: (channels,); None = channel numbers are written.
      axis_label: heads the first column.
      names: one per spectrum.
      sigma: shaped as `values`.
      process: what made the spectra, a comment line each, where there are comments.
    """
    delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower(), " ")
    first = np.arange(values.shape[1]) if axis is None else axis
    labels = ["channel" if axis is None else axis_label, *names]
    columns = [first, *values]
    if sigma is not None:
        labels += [f"{name} sigma" for name in names]
        columns += [*sigma]
    lines = list[str]()
    if delimiter == " ":  # a blank within a name would be taken for the next column
        labels = [label.replace(" (", "_").replace(")", "").replace(" ", "_") for label in labels]
        told = (process or {}).items()
        lines += [f"# {name}: {' '.join(str(text).split())}" for name, text in told]
    names_line = delimiter.join(label.replace(delimiter, "_") for label in labels)
    lines.append(f"# {names_line}" if delimiter == " " else names_line)
    lines += [delimiter.join(f"{value:.9g}" for value in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

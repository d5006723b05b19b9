"""Spectra in text files (CSV and white space): what rows and columns mean, and back to text."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import (
    EXPOSURE_NAMES,
    RawRepeats,
    is_axis,
    is_numbering,
    split_label,
    usual_name,
)
from smae_jax.io.text_tables import Table, read_table

SUFFIXES = (".csv", ".txt", ".dat", ".tsv", ".asc", ".xy", ".xye", ".prn")
_LEAST_AXIS = 8  # so many ascending numbers in a row are no chance
_TRAILING = 6  # so many columns at most that are no channels
_SIGMA = ("sigma", "error", "err", "std", "stdev", "uncertainty", "esd")
_OVERFLOW = 20.0  # times the largest of its neighbours, and more than as many counts


def read_text(path: str, *, repeats_axis: int = 0) -> RawRepeats:
    """Read spectra from a table of text.

    Repeats in rows have their axis in the first row (or none); repeats in columns have it in the first
    column. Which of them a file is shows by where ascending numbers stand; `repeats_axis` 1 says columns.

    Args:
      path: text file, see `text_tables.read_table`.
      repeats_axis: 0 = by the file, else rows; 1 = repeats in columns.

    Returns:
      Values (repeats, channels), float64, NaN where there is no number.

    Raises:
      UserError: in one line, if it is no table of numbers or holds no spectrum.
    """
    if repeats_axis not in (0, 1, -1, -2):
        raise UserError(
            f"--data.repeats-axis {repeats_axis}: {path} is a table; expected 0 (rows) or 1 (columns)"
        )
    table = _names_in_first_row(read_table(path))
    if repeats_axis % 2 == 0 and (axis_row := _axis_row(table)) is not None:
        raw = _in_rows(table, axis_row)
    elif repeats_axis % 2 == 1 or _first_column_is_axis(table):
        raw = _in_columns(table)
    else:
        raw = _in_rows(table, None)
    if raw.values.size == 0 or not np.isfinite(raw.values).any():
        raise UserError(f"{path}: holds no spectrum beside its axis; give a file with counts")
    return raw


def _names_in_first_row(table: Table) -> Table:
    """Take a first row of mere numbering above an axis column for what it is: names of the columns."""
    numbers = table.numbers
    if numbers.shape[1] < 2 or len(numbers) < _LEAST_AXIS or not np.isnan(numbers[0, 0]):
        return table
    below = numbers[1:, 0]
    if is_axis(below) and not is_numbering(below) and is_numbering(numbers[0, 1:]):
        return dataclasses.replace(table, numbers=numbers[1:], header=table.first_row)
    return table


def _axis_row(table: Table) -> np.ndarray | None:
    """Return the columns that the first row is an axis of, or None if it is no axis.

    The axis may begin after an index column and end before columns of another kind.
    """
    if len(table.numbers) < 2:
        return None
    for row, first in ((0, 0), (0, 1)):
        values = table.numbers[row, first:]
        length, least = len(values), max(_LEAST_AXIS, len(values) - _TRAILING)
        while length > least and not is_axis(values[:length]):
            length -= 1
        if length >= least and is_axis(values[:length]):
            if first == 0 and is_numbering(table.numbers[1:, 0]) and table.first_row[0] == "":
                continue
            later = table.numbers[1:, first : first + length]
            if not any(is_axis(one) for one in later):
                return np.arange(first, first + length)
    return None


def _first_column_is_axis(table: Table) -> bool:
    rows, columns = table.numbers.shape
    if columns == 1:
        return True  # one spectrum, written as a column
    if 0 in table.texts:
        return False
    named = usual_name(split_label(table.header[0])[0]) if table.header else None
    if named or (table.header and split_label(table.header[0])[1]):
        return is_axis(table.numbers[:, 0])
    return rows > columns and rows >= _LEAST_AXIS and is_axis(table.numbers[:, 0])


def _in_rows(table: Table, axis_columns: np.ndarray | None) -> RawRepeats:
    """One spectrum a row; the first row is the axis where `axis_columns` says so."""
    notes = list(table.notes)
    body = table.numbers if axis_columns is None else table.numbers[1:]
    columns = np.arange(body.shape[1]) if axis_columns is None else axis_columns
    names: tuple[str, ...] | None = None
    if 0 in table.texts:
        names = tuple(table.texts[0][-len(body) :])
        columns = columns[columns != 0]
        notes.append("first column taken as names")
    elif axis_columns is not None and axis_columns[0] == 1:
        is_index = is_numbering(body[:, 0])
        notes.append("first column taken as an index" + ("" if is_index else " (no axis above it)"))
        names = None if is_index else tuple(f"{value:g}" for value in body[:, 0])
    elif (
        axis_columns is None
        and 2 <= len(body) <= body.shape[1]
        and is_numbering(body[:, 0])
        and body.shape[1] > 2
    ):
        columns = columns[1:]
        notes.append("first column taken as an index")
    exposure, others = None, list[str]()
    labels = table.first_row if axis_columns is not None else (table.header or [])
    for column in sorted(set(range(body.shape[1])) - set(columns.tolist()) - {0}):
        label = labels[column] if column < len(labels) else ""
        if label.strip().lower() in EXPOSURE_NAMES and (body[:, column] > 0).all():
            exposure = body[:, column]
            notes.append(f"column '{label}' taken as the exposure")
        else:
            others.append(f"{column + 1}" + (f" '{label}'" if label else ""))
    text = [column for column in columns if column in table.texts]
    columns = np.array([column for column in columns if column not in table.texts], int)
    others += [f"{column + 1} (text)" for column in text]
    if others:
        notes.append(f"column(s) {', '.join(others)} left out: of another kind than the axis")
    if len(columns) > _LEAST_AXIS and _is_overflow(body[:, columns]):
        notes.append(
            f"last column left out: mean {np.nanmean(body[:, columns[-1]]):.4g} counts beside "
            f"{np.nanmean(body[:, columns[-9:-1]]):.2g}, so it is an overflow or a sum, not a channel"
        )
        columns = columns[:-1]
    axis, label = None, ("", "")
    if axis_columns is not None:
        axis = table.numbers[0, columns]
        if is_numbering(axis):
            notes.append("first row taken as channel numbers")
            return RawRepeats(
                body[:, columns], None, "", "", names, exposure, None, tuple(notes), True
            )
        label = split_label(table.first_row[0]) if axis_columns[0] > 0 else label
        name = usual_name(label[0])
        label = (name or "", label[1]) if name or label[1] else ("", "")
        notes.append(f"first row taken as the axis, {axis[0]:g} to {axis[-1]:g}")
    elif len(body) > len(columns):
        notes.append("repeats in rows; if they are in columns, set --data.repeats-axis 1")
    values = body[:, columns]
    return RawRepeats(values, axis, *label, names, exposure, None, tuple(notes), True)


def _in_columns(table: Table) -> RawRepeats:
    """One spectrum a column; the first column is the axis if it ascends or descends."""
    notes, header = list(table.notes), table.header
    columns = [column for column in range(table.numbers.shape[1]) if column not in table.texts]
    texts = sorted(table.texts)
    axis, label = None, ("", "")
    first = table.numbers[:, columns[0]] if columns else np.empty(0)
    if len(columns) > 1 and is_axis(first):
        name, unit = split_label(header[columns[0]]) if header else ("", "")
        usual = usual_name(name)
        if is_numbering(first) and not usual and not unit:
            notes.append("first column taken as channel numbers")
        else:
            axis, label = first, (usual or name.lower(), unit)
            notes.append(f"first column taken as the axis, {first[0]:g} to {first[-1]:g}")
        columns = columns[1:]
    sigmas = [c for c in columns if header and re.split("[ _]", header[c].lower())[-1] in _SIGMA]
    columns = [column for column in columns if column not in sigmas]
    if left := [
        f"{c + 1}" + (f" '{header[c]}'" if header and header[c] else "") for c in texts + sigmas
    ]:
        notes.append(f"column(s) {', '.join(left)} left out: text or uncertainties")
    names = (
        tuple(header[c] for c in columns) if header and all(header[c] for c in columns) else None
    )
    return RawRepeats(
        table.numbers[:, columns].T.copy(), axis, *label, names, None, None, tuple(notes), True
    )


def _is_overflow(values: np.ndarray) -> bool:
    """Whether the last column stands out of its neighbours in every row as no peak can."""
    last, before = values[:, -1], values[:, -9:-1]
    limit = _OVERFLOW * (1 + np.nanmax(np.nanmean(before, axis=0)))
    return bool(np.isfinite(last).all() and (last > limit).all())


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

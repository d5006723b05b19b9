"""What rows and columns of a table mean: one spectrum a row, one a column, or all below each other."""

from __future__ import annotations

import dataclasses

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
from smae_jax.io.text_cells import kind_of
from smae_jax.io.text_columns import (
    axis_name,
    choose_measured,
    find_axis,
    is_numbering_name,
    named_columns,
    without_derived,
)
from smae_jax.io.text_tables import Table

LEAST_AXIS = 8  # so many ascending numbers in a row are no chance
_TRAILING = 6  # so many columns at most that are no channels
_LEADING = 4  # so many columns at most stand before the channels: positions of a map
_OVERFLOW = 20.0  # times the largest of its neighbours, and more than as many counts


def names_in_first_row(table: Table) -> Table:
    """Take a first row of mere numbering above an axis column for what it is: names of the columns."""
    numbers = table.numbers
    if numbers.shape[1] < 2 or len(numbers) < LEAST_AXIS or not np.isnan(numbers[0, 0]):
        return table
    above, below = numbers[0, 1:], numbers[1:, 0]
    if not is_axis(below) or is_numbering(below):
        return table
    # Temperatures of 9 spectra ascend as well; the corner says what the column below it is.
    named = axis_name(table.first_row[0]) is not None and len(below) > len(above)
    if is_numbering(above) or named:
        return dataclasses.replace(table, numbers=numbers[1:], header=table.first_row)
    return table


def axis_row(table: Table) -> np.ndarray | None:
    """Return the columns that the first row is an axis of, or None if it is no axis.

    The axis may begin after an index column and end before columns of another kind.
    """
    if len(table.numbers) < 2:
        return None
    for first in range(_LEADING):
        if first > 1 and not np.isnan(table.numbers[0, :first]).all():
            break  # above positions of a map there is nothing
        values = table.numbers[0, first:]
        length, least = len(values), max(LEAST_AXIS, len(values) - _TRAILING)
        while length > least and not is_axis(values[:length]):
            length -= 1
        if length >= least and is_axis(values[:length]):
            if first == 0 and is_numbering(table.numbers[1:, 0]) and table.first_row[0] == "":
                continue
            later = table.numbers[1:, first : first + length]
            if not any(is_axis(one) for one in later):
                return np.arange(first, first + length)
    return None


def is_in_columns(table: Table) -> bool:
    """Whether spectra lie in columns: there is a column that is called an axis, or ascends as one does."""
    rows, columns = table.numbers.shape
    if columns == 1:
        return True  # one spectrum, written as a column
    numeric = [column for column in range(columns) if column not in table.texts]
    stamped = [c for c in table.texts if all(kind_of(cell) != "text" for cell in table.texts[c])]
    if not numeric or set(range(numeric[0])) - set(stamped):
        return False  # names of spectra in rows
    if table.header:
        leading = [c for c in numeric if not _counts_up(table.numbers[:, c], table.header[c])][:1]
        if find_axis(table.numbers, table.header, leading) is not None:
            return True
        if axis_name(table.header[numeric[0]]):
            return False
    first = table.numbers[:, numeric[0]]
    return rows > columns and rows >= LEAST_AXIS and is_axis(first)


def _counts_up(values: np.ndarray, name: str) -> bool:
    """Whether a column numbers the rows: from 0 or 1, or by its name from anywhere."""
    if is_numbering(values):
        return axis_name(name) is None
    return is_numbering_name(name) and len(values) > 1 and bool((np.diff(values) == 1).all())


def in_rows(table: Table, axis_columns: np.ndarray | None) -> RawRepeats:
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
    elif axis_columns is not None and axis_columns[0] > 1:
        notes.append(f"first {axis_columns[0]} columns taken as positions")
        places = body[:, : axis_columns[0]]
        names = tuple(",".join(f"{value:g}" for value in place) for place in places)
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
    before = 1 if axis_columns is None else max(1, int(axis_columns[0]))
    for column in sorted(set(range(before, body.shape[1])) - set(columns.tolist())):
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
    if len(columns) > LEAST_AXIS and _is_overflow(body[:, columns]):
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


def in_columns(table: Table, wanted: str = "") -> RawRepeats:
    """Read one spectrum a column.

    Args:
      table: the axis is the column that is called one, else the first that ascends or descends; columns that
        number the rows stand beside it.
      wanted: which columns are spectra, see `text_columns.named_columns`; "" = by their names.

    Raises:
      UserError: in one line without the file, if the names leave a choice, or there is no such column.
    """
    numbers, notes = table.numbers, list(table.notes)
    header = table.header or [""] * numbers.shape[1]
    columns = [column for column in range(numbers.shape[1]) if column not in table.texts]
    asked = named_columns(wanted, table.header, numbers.shape[1]) if wanted else []
    if texts := [c for c in asked if c in table.texts]:
        raise UserError(
            f"--data.columns {wanted}: column {texts[0] + 1} holds text; choose numbers"
        )
    axis_column, rest = _split_axis(table, header, [c for c in columns if c not in asked])
    axis, label = None, ("", "")
    if axis_column is not None:
        first = numbers[:, axis_column]
        name, unit = axis_name(header[axis_column]), split_label(header[axis_column])[1]
        which = "first column" if axis_column == 0 else f"column {axis_column + 1}"
        which += f" '{header[axis_column]}'" if axis_column and header[axis_column] else ""
        if is_numbering(first) and not name and not unit:
            notes.append(f"{which} taken as channel numbers")
        else:
            usual = name or split_label(header[axis_column])[0].lower()
            axis, label = first, (usual, unit)
            notes.append(f"{which} taken as the axis, {first[0]:g} to {first[-1]:g}")
    free = without_derived(header, rest)
    chosen, quantity = (asked, "") if asked else choose_measured(header, free) if free else ([], "")
    if asked or quantity:
        listed = ", ".join(f"{c + 1} '{header[c]}'" if header[c] else str(c + 1) for c in chosen)
        notes.append(f"spectra: column(s) {listed}; --data.columns chooses others")
    spare = {*range(numbers.shape[1])} - {*chosen, axis_column}
    if left := [
        f"{c + 1}" + (f" '{header[c]}'" if header[c] else "")
        for c in sorted(spare)
        if _told(table, c)
    ]:
        notes.append(f"column(s) {', '.join(left)} left out: no spectra by their names or cells")
    names = tuple(header[c] for c in chosen) if all(header[c] for c in chosen) else None
    return RawRepeats(
        numbers[:, chosen].T.copy(),
        axis,
        *label,
        names if chosen else None,
        notes=tuple(notes),
        oriented=True,
        quantity=quantity,
    )


def _told(table: Table, column: int) -> bool:
    """Whether it is worth a word that a column is left out: it has a cell or a name."""
    named = bool(table.header and table.header[column])
    return named or column not in table.texts or any(table.texts[column])


def _split_axis(
    table: Table, header: list[str], columns: list[int]
) -> tuple[int | None, list[int]]:
    """Tell the axis, and what may be spectra, among columns of numbers; other axes are neither."""
    numbers = table.numbers
    named = find_axis(numbers, header, columns)
    if named is not None:
        rest = [
            c
            for c in columns
            if c != named
            and not _counts_up(numbers[:, c], header[c])
            and axis_name(header[c]) is None
        ]
        return named, rest
    columns = list(columns)
    while len(columns) > 2 and _counts_up(numbers[:, columns[0]], header[columns[0]]):
        if not is_axis(numbers[:, columns[1]]) or not _long(numbers):
            break
        columns.pop(0)
    if len(columns) > 1 and is_axis(numbers[:, columns[0]]):
        return columns[0], columns[1:]
    return None, columns


def _long(numbers: np.ndarray) -> bool:
    return len(numbers) >= LEAST_AXIS


def below_each_other(table: Table) -> RawRepeats | None:
    """Read spectra that follow each other in the rows, as maps are written: x, y, shift, intensity.

    Returns:
      None if no column repeats itself as an axis does, or several columns may be the spectra.
    """
    numbers, rows = table.numbers, len(table.numbers)
    header = table.header or [""] * numbers.shape[1]
    columns = [column for column in range(numbers.shape[1]) if column not in table.texts]
    for column in columns:
        values = numbers[:, column]
        again = np.flatnonzero(values[1:] == values[0])
        length = int(again[0]) + 1 if len(again) else 0
        if length < LEAST_AXIS or rows % length or not is_axis(values[:length]):
            continue
        blocks = numbers.reshape(rows // length, length, -1)
        if not (blocks[:, :, column] == values[:length]).all():
            continue
        places = [c for c in columns if (blocks[:, :, c] == blocks[:, :1, c]).all()]
        others = [c for c in columns if c not in places and c != column]
        signal = without_derived(header, others)
        if len(signal) != 1:
            return None
        name, unit = axis_name(header[column]) or "", split_label(header[column])[1]
        names = tuple(",".join(f"{one:g}" for one in block[0, places]) for block in blocks)
        notes = (
            *table.notes,
            f"{len(blocks)} spectra below each other, {length} points each; column {column + 1} taken as the "
            f"axis, {values[0]:g} to {values[length - 1]:g}",
        )
        return RawRepeats(
            blocks[:, :, signal[0]].copy(),
            values[:length],
            name,
            unit,
            names if places else None,
            notes=notes,
            oriented=True,
        )
    return None


def _is_overflow(values: np.ndarray) -> bool:
    """Whether the last column stands out of its neighbours in every row as no peak can."""
    last, before = values[:, -1], values[:, -9:-1]
    limit = _OVERFLOW * (1 + np.nanmax(np.nanmean(before, axis=0)))
    return bool(np.isfinite(last).all() and (last > limit).all())

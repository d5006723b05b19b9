"""A frame as a matrix of text, one number a pixel, as `numpy.savetxt` and ImageJ write it."""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import RawRepeats, is_numbering
from smae_jax.io.text_tables import Table, TableOptions, read_table


def read_frame(path: str, options: TableOptions | None = None) -> RawRepeats:
    """Read one frame from a matrix of text.

    Args:
      path: rows and columns are those of the frame; numbers of the columns above and of the rows beside it,
        as pandas writes them, are left out.
      options: what the user says of the table; None = nothing.

    Returns:
      Values (height, width), int64 where all are whole numbers, else float64 with NaN where there is none.

    Raises:
      UserError: in one line, if it is no matrix of numbers.
    """
    table = _without_numbering(read_table(path, options))
    if table.texts:
        raise UserError(
            f"{path}: column {min(table.texts) + 1} holds no numbers; expected a matrix of one frame, or "
            "leave --data.dimensions 2 out for a table of spectra"
        )
    values, (height, width) = table.numbers, table.numbers.shape
    if min(height, width) < 2:
        raise UserError(
            f"{path}: holds {height} x {width} numbers, which are no frame; leave --data.dimensions 2 out "
            "for a table of spectra"
        )
    if (values == np.rint(values)).all() and (np.abs(values) < 2**53).all():
        values = values.astype(np.int64)
    return RawRepeats(values, notes=(*table.notes, f"text read as a frame of {height} x {width}"))


def _without_numbering(table: Table) -> Table:
    """Leave out the numbers of rows and columns; their corner is empty or holds a word."""
    numbers, notes = table.numbers, table.notes
    height, width = numbers.shape
    if min(height, width) > 2 and np.isnan(numbers[0, 0]) and is_numbering(numbers[0, 1:]):
        if is_numbering(numbers[1:, 0]):
            numbers = numbers[1:, 1:]
            notes = (*notes, "first row and column taken as numbers of rows and columns")
    elif table.header and table.header[0] == "" and width > 2 and is_numbering(numbers[:, 0]):
        numbers = numbers[:, 1:]
        notes = (*notes, "first column taken as numbers of rows")
    return dataclasses.replace(table, numbers=numbers, notes=notes)

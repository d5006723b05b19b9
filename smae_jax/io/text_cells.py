"""From the lines of a table to its cells: the delimiter, and what a single cell can be."""

from __future__ import annotations

import csv
import re
from typing import Literal

from smae_jax.io.decimal_marks import is_number

Kind = Literal["number", "missing", "stamp", "text"]

DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", None: "white space"}
_MISSING = {
    *("", "nan", "-nan", "na", "n/a", "#n/a", "#nv", "null", "none", "-", "--", "---"),
    *("inf", "-inf", "+inf", "infinity", "-infinity", "1.#qnan", "1.#inf", "-1.#ind"),
    *("#div/0!", "#value!", "#wert!", "#valeur!", "#num!", "#zahl!", "#nombre!"),
}
_DATE = r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}([-./])\d{1,2}\1\d{2,4})"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?"
_STAMP = re.compile(rf"{_DATE}(?:[T ,]\s*{_CLOCK})?(?:\s*(?:Z|[+-]\d\d:?\d\d))?|{_CLOCK}", re.I)


def kind_of(cell: str) -> Kind:
    """Tell a number, a missing value, a date or clock time, and any other text apart.

    >>> kind_of("3,584"), kind_of("n/a"), kind_of("2024-05-01T12:30:00Z"), kind_of("sample 1")
    ('number', 'missing', 'stamp', 'text')
    """
    if is_number(cell):
        return "number"
    if cell.lower() in _MISSING:
        return "missing"
    return "stamp" if _STAMP.fullmatch(cell) else "text"


def split_cells(line: str, delimiter: str | None) -> list[str]:
    """Split a line at a delimiter, or at blanks and tabs; quotes may hold the delimiter."""
    if delimiter is None and '"' not in line:
        return re.split(r"[ \t]+", line.strip(" \t\r\n"))
    if '"' in line:
        text = line.strip(" \r\n") if delimiter else re.sub(r"[ \t]+", " ", line.strip())
        row = next(csv.reader([text], delimiter=delimiter or " ", skipinitialspace=True), [])
    else:
        row = line.strip(" \r\n").split(delimiter)
    return [cell.strip() for cell in row]


def choose_delimiter(lines: list[str]) -> str | None:
    """Choose what splits lines into the most numbers and the fewest other cells; None = white space.

    White space is chosen only where it is better than the others: blanks group thousands, too.
    """
    best, chosen = (-1.0, False, 0), None
    for delimiter in DELIMITERS:
        rows = [split_cells(line, delimiter) for line in lines]
        width = max((sum(map(bool, row)) for row in rows), default=0)
        if delimiter is not None and width < 2:
            continue
        filled = [cell for row in rows for cell in row if cell]
        numeric = sum(_counts(cell, delimiter) for cell in filled) / max(len(filled), 1)
        score = (round(numeric, 2), delimiter is not None, width)
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _counts(cell: str, delimiter: str | None) -> bool:
    """Whether a cell speaks for a delimiter; `05` is a decimal of `1,05`, and `15 307` two columns."""
    if delimiter == "," and (re.match(r"0\d", cell) or " " in cell):
        return False
    return kind_of(cell) in ("number", "stamp") or cell.lower() == "nan"

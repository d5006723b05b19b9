"""Whether the commas and points of a table of text are decimal marks or group thousands.

`3,584` is 3584 or 3.584. One number tells only where it can be read in one way, so all numbers of a file
decide together. Knows nothing of what rows and columns mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from smae_jax.errors import UserError

Mark = Literal["point", "comma"]
Rows = list[tuple[int, list[str]]]

_BLANKS = " '\u2019\u00a0\u2009\u202f"  # that group thousands beside any decimal mark
_WITHOUT_GROUPS = str.maketrans("", "", _BLANKS)
_BELOW_1000 = re.compile(r"[+-]?[1-9]\d{0,2}")
_FROM_1000 = re.compile(r"[+-]?[1-9]\d{3,}")


def _pattern(decimal: str, group: str) -> re.Pattern[str]:
    grouped = rf"[1-9]\d{{0,2}}(?:(?:{group}\d{{3}})+|(?:[{_BLANKS}]\d{{3}})+)(?:{decimal}\d*)?"
    plain = rf"(?:\d+(?:{decimal}\d*)?|{decimal}\d+)(?:[eEdD][+-]?\d+)?"
    return re.compile(rf"[+\-\u2212]?(?:{grouped}|{plain})")


_NUMBER = {"point": _pattern("[.]", ","), "comma": _pattern(",", "[.]")}


def is_number(cell: str, mark: Mark | None = None) -> bool:
    """Whether a cell is a number with this decimal mark, or with either where none is given.

    >>> is_number("1,234.5", "point"), is_number("0,857", "point"), is_number("0,857")
    (True, False, True)
    """
    if mark is None:
        try:  # most numbers are plain, and Python is fast at these
            float(cell)
            if cell[-1].isdecimal() and "_" not in cell:
                return True
        except ValueError:
            pass
        return any(pattern.fullmatch(cell) for pattern in _NUMBER.values())
    return _NUMBER[mark].fullmatch(cell) is not None


def number(cell: str, mark: Mark) -> float:
    """Return the number that a cell holds; `is_number(cell, mark)` must hold.

    >>> number("1.234,5", "comma"), number("1 234.5", "point"), number("2.5D+01", "point")
    (1234.5, 1234.5, 25.0)
    """
    text = cell.translate(_WITHOUT_GROUPS).replace("\u2212", "-").lower().replace("d", "e")
    if mark == "comma":
        return float(text.replace(".", "").replace(",", "."))
    return float(text.replace(",", ""))


def find_mark(path: str, rows: Rows, delimiter: str | None) -> tuple[Mark, list[str]]:
    """Find out what the decimal mark of a table is.

    Settled by any number that can be read in one way alone (`1,2`, `0,857`, `1.234,5`; `1.2`, `3,584,001`).
    Else numbers of one column that are whole below 1000 and grouped from there on (857 beside 3,584) show
    that the groups are thousands. Points that nothing settles are decimal marks, as everywhere; commas are
    refused.

    Args:
      path: for messages.
      rows: (line number, cells).
      delimiter: what the cells were split at.

    Returns:
      (the decimal mark, what to say of it).

    Raises:
      UserError: in one line with the option that decides, if numbers contradict each other or none tells.
    """
    commas = any("," in cell for _, row in rows for cell in row)
    if delimiter == "," and not commas:
        return "point", []
    settled: dict[Mark, tuple[int, str]] = {}
    open_: dict[
        str, tuple[int, str]
    ] = {}  # the first number with this mark that both ways can read
    for line, row in rows:
        for cell in row:
            if "," not in cell and "." not in cell:
                continue
            point, comma = is_number(cell, "point"), is_number(cell, "comma")
            if point and comma:
                open_.setdefault("," if "," in cell else ".", (line, cell))
            elif point or comma:
                settled.setdefault("point" if point else "comma", (line, cell))
        if settled and not commas:  # nothing else can come
            break
    if len(settled) == 2:
        (a, first), (b, second) = settled["point"], settled["comma"]
        raise UserError(
            f"{path}: has decimal points (line {a}: '{first}') and decimal commas (line {b}: '{second}'); "
            "write all numbers in one way, or say which with --data.decimal point or comma"
        )
    if settled:
        (mark,) = settled
        return mark, _said(mark, open_)
    grouping = [sign for sign in open_ if _groups(sign, rows)]
    if len(grouping) == 1:
        mark = "point" if grouping[0] == "," else "comma"
        return mark, _said(mark, open_)
    if "," in open_ or grouping:
        line, cell = next(iter(open_.values()))
        whole, broken = re.sub("[.,]", "", cell), cell.replace(",", ".")
        by_point, by_comma = (whole, broken) if "," in cell else (broken, whole)
        raise UserError(
            f"{path}: line {line}: '{cell}' may be {whole} or {broken}, and no number of the file tells; "
            f"say --data.decimal point ({by_point}) or --data.decimal comma ({by_comma})"
        )
    if open_:
        cell = open_["."][1]
        return "point", [
            f"points taken as decimal marks ({cell}); if they group thousands, set --data.decimal comma"
        ]
    return "point", []


def _said(mark: Mark, open_: dict[str, tuple[int, str]]) -> list[str]:
    sign = "," if mark == "point" else "."
    notes = ["decimal commas"] if mark == "comma" else []
    if sign in open_:
        cell = open_[sign][1]
        notes.append(f"thousands are grouped: '{cell}' read as {number(cell, mark):.15g}")
    return notes


def _groups(sign: str, rows: Rows) -> bool:
    """Whether a sign groups thousands: numbers of one kind have it from 1000 on and are whole below.

    Numbers of one kind are those of a column; of a table with more columns than rows also those of a row, but
    for its first cell.
    """
    cells = [row for _, row in rows]
    lanes: Iterable[Iterable[str]] = zip(*cells, strict=False)
    if cells and len(cells[0]) > len(cells):
        lanes = [*lanes, *(row[1:] for row in cells)]
    for lane in lanes:
        lane = list(lane)
        if any(sign in cell and is_number(cell) for cell in lane):
            below = any(_BELOW_1000.fullmatch(cell) for cell in lane)
            if below and not any(_FROM_1000.fullmatch(cell) for cell in lane):
                return True
    return False

"""From the text of a file to a table of numbers: delimiter, comments, header lines, columns of text.

Knows nothing of what rows and columns mean; that is the business of `text_files`.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from smae_jax.errors import UserError

_COMMENT = ("#", "%", "!", "//")
_MISSING = {"", "nan", "na", "n/a", "null", "none", "-", "--", "inf", "-inf", "+inf"}
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eEdD][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", None: "white space"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A rectangle of cells, and the lines above it.

    Attributes:
      numbers: (rows, columns), float64; NaN where a cell holds no number.
      texts: the cells of every column that holds text throughout, by its index.
      header: the cells of the line of names above the table, one per column; None = there is none.
      notes: what was recognised.
      first_row: cells of the first row as they are written.
    """

    numbers: np.ndarray
    texts: dict[int, list[str]]
    header: list[str] | None
    notes: tuple[str, ...]
    first_row: list[str]


def read_table(path: str) -> Table:
    """Read a table of numbers from a text file.

    Args:
      path: text file; UTF-8, or Latin-1 where it is not that.

    Returns:
      The table. Empty cells, `nan` and infinities are NaN.

    Raises:
      UserError: in one line, if the file cannot be read, is no text, holds no numbers, or has lines of
        unlike length or text among numbers.
    """
    lines, comments = _content(path)
    delimiter = _delimiter([line for _, line in lines[-30:]])
    cells = [(number, _split(line, delimiter)) for number, line in lines]
    start, header = _body(cells, comments, delimiter)
    body = cells[start:]
    if not body:
        raise UserError(
            f"{path}: holds no rows of numbers; give a table with one spectrum a row or column"
        )
    columns = len(body[-1][1])
    if (
        len(body) > 1 and len(body[0][1]) == columns - 1
    ):  # a header line without a cell above the index
        body[0] = body[0][0], ["", *body[0][1]]
    for number, row in body:
        if len(row) != columns:
            raise UserError(
                f"{path}: line {number}: expected {columns} columns as in the last line (delimiter "
                f"{_DELIMITERS[delimiter]}), got {len(row)}; mend the line or mark it as a comment with #"
            )
    notes = [f"delimiter: {_DELIMITERS[delimiter]}"] if columns > 1 else []
    skipped = start - (1 if header and header[1] else 0)
    if skipped:
        notes.append(f"{skipped} line(s) of text above the table left out")
    names = header[0] if header and len(header[0]) == columns else None
    return _table(path, body, names, notes)


def _content(path: str) -> tuple[list[tuple[int, str]], list[str]]:
    """Return the numbered lines that are no comments, and the comments."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this file ({error.strerror}); check the path"
        ) from None
    if b"\0" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: is no text file; give it the suffix of its format")
    try:
        text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines, comments = list[tuple[int, str]](), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(_COMMENT):
            comments.append(line.strip().lstrip("#%!/").strip())
        elif line.strip():
            lines.append((number, line))
    if not lines:
        raise UserError(f"{path}: holds no rows of numbers; check that the file is complete")
    return lines, comments


def _delimiter(lines: list[str]) -> str | None:
    """Choose what splits the last lines into the most numbers and the fewest other cells."""
    best, chosen = (-1.0, 0), None
    for delimiter in _DELIMITERS:
        rows = [_split(line, delimiter) for line in lines]
        if delimiter is not None and len(rows[-1]) < 2:
            continue
        filled = [cell for row in rows for cell in row if cell]
        numeric = sum(_is_number(cell) for cell in filled) / max(len(filled), 1)
        score = (round(numeric, 2), len(rows[-1]))
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    cells = line.strip(" \r\n").split(delimiter)
    if delimiter == "," and '"' in line:  # a quoted name may hold the delimiter
        cells = re.findall(r'(?:^|,)("(?:[^"]|"")*"|[^,]*)', line.strip())
    cells = [cell.strip().strip('"').strip() for cell in cells]
    return [_point(cell) for cell in cells] if delimiter != "," else cells


def _point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell)) or cell.lower() == "nan"


def _body(
    cells: list[tuple[int, list[str]]], comments: list[str], delimiter: str | None
) -> tuple[int, tuple[list[str], bool] | None]:
    """Find the first row of numbers, and the names above it with whether they are a line of their own."""
    columns = len(cells[-1][1])
    start = 0
    for start, (_, row) in enumerate(cells):  # noqa: B007  (the index of the first row of numbers is the answer)
        filled = [cell for cell in row if cell]
        numeric = sum(_is_number(cell) for cell in filled)
        if numeric and 2 * numeric >= len(filled) and len(row) >= columns - 1:
            break
    else:
        start = len(cells)
    names = cells[start - 1][1] if start else []
    if len(names) in (columns, columns - 1) and not any(map(_is_number, names)):
        return start, ([""] * (columns - len(names)) + names, True)
    for text in reversed(comments[-3:]):
        for names in (_split(text, delimiter), re.split(r"\s{2,}|\t|,\s*", text), text.split()):
            if len(names) == columns and not any(_is_number(name) for name in names if name):
                return start, (names, False)
    return start, None


def _table(
    path: str, body: list[tuple[int, list[str]]], header: list[str] | None, notes: list[str]
) -> Table:
    columns = len(body[0][1])
    numbers = np.full((len(body), columns), np.nan)
    texts: dict[int, list[str]] = {}
    for column in range(columns):
        cells = [row[column] for _, row in body]
        try:
            numbers[:, column] = cells
            continue
        except ValueError:
            pass
        if all(cell == "" for cell in cells):
            texts[column] = cells
            continue
        # The first row may be a header of energies with a word above the index column.
        odd = [i for i, cell in enumerate(cells) if not _readable(cell)]
        if len(odd) > 1 and len(odd) >= len(cells) - 1:
            texts[column] = cells
            continue
        if odd and odd != [0]:
            number = body[odd[-1]][0]
            raise UserError(
                f"{path}: line {number}, column {column + 1}: expected a number as in the other lines, got "
                f"'{cells[odd[-1]][:40]}'; mend it, leave it empty, or mark the line as a comment with #"
            )
        numbers[:, column] = [
            _number(cell) if i not in odd else np.nan for i, cell in enumerate(cells)
        ]
    numbers[~np.isfinite(numbers)] = np.nan
    return Table(numbers, texts, header, tuple(notes), body[0][1])


def _readable(cell: str) -> bool:
    return cell.lower() in _MISSING or _is_number(cell)


def _number(cell: str) -> float:
    if cell.lower() in _MISSING:
        return np.nan
    return float(cell.lower().replace("d", "e").replace(",", "."))

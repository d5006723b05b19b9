"""From the text of a file to a table of numbers: comments, header lines, footers, columns of text.

Knows nothing of what rows and columns mean; that is the business of `text_layout`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.decimal_marks import Mark, Rows, find_mark, is_number, number
from smae_jax.io.raw_repeats import UNITS
from smae_jax.io.text_cells import DELIMITERS, choose_delimiter, kind_of, split_cells
from smae_jax.io.text_lines import Lines, read_lines

_SUMMARY = re.compile(
    r"(sub)?total|sum|summe|somme|mean|average|avg|mittelwert|moyenne|media|std\.?|stdev|min|max|median|count"
    r"|end|eof|ende|fin|check ?sum|crc(32)?|md5|sha\d*",
    re.I,
)
_MORE_UNITS = (
    *("counts", "count", "cts", "cps", "counts/s", "a.u.", "au", "a. u.", "arb. units", "arb.u."),
    *(
        "s",
        "sec",
        "ms",
        "min",
        "deg",
        "°",
        "k",
        "°c",
        "mm",
        "µm",
        "%",
        "1",
        "å",
        "å-1",
        "1/å",
        "cm⁻¹",
    ),
    *("", "-"),
)
_HEADER_LINES = 4  # so far above the table names may stand


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """What the user says of a table of text.

    Attributes:
      decimal: the decimal mark; "auto" = as all numbers of the file together tell.
      columns: which columns are spectra, by names or numbers from 1; "" = as the names of the columns tell.
    """

    decimal: str = "auto"
    columns: str = ""


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


def read_table(path: str, options: TableOptions | None = None) -> Table:
    """Read a table of numbers from a text file.

    Args:
      path: text file, see `text_lines.read_lines`.
      options: None = all by the file.

    Returns:
      The table. Empty cells, `nan` and infinities are NaN.

    Raises:
      UserError: in one line, if the file cannot be read, is no text, holds no numbers, has lines of unlike
        length or text among numbers, or its commas can be read in two ways.
    """
    options = options or TableOptions()
    lines = read_lines(path)
    if not lines.content:
        raise UserError(f"{path}: holds no rows of numbers; check that the file is complete")
    texts, count = [text for _, text in lines.content], len(lines.content)
    sample = texts[count // 2 - 20 : count // 2 + 20] if count > 80 else texts[-30:]
    delimiter = choose_delimiter(sample)
    rows = [(line, split_cells(text, delimiter)) for line, text in lines.content]
    width, first, last = _body(path, rows)
    body = _rectangle(path, rows[first:last], width, delimiter)
    notes = [f"delimiter: {DELIMITERS[delimiter]}"] if width > 1 else []
    header, used = _header(lines, body, delimiter)
    body, header = _without_empty_ends(body, header)
    skipped = sum(line < body[0][0] for line, _ in lines.content) - used
    if skipped:
        notes.append(f"{skipped} line(s) of text above the table left out")
    if last < len(rows):
        told = " ".join(texts[last].split())[:40]
        notes.append(f"{len(rows) - last} line(s) below the table left out, from '{told}' on")
    mark: Mark
    if options.decimal == "point" or options.decimal == "comma":
        mark, said = options.decimal, list[str]()
    else:
        mark, said = find_mark(path, body, delimiter)
    return _table(path, body, header, [*notes, *said], mark)


def _body(path: str, rows: Rows) -> tuple[int, int, int]:
    """Find the table: (its number of columns, its first row, the row behind its last)."""
    numeric = [row for _, row in rows if _is_numeric(row)]
    if not numeric:
        raise UserError(
            f"{path}: holds no rows of numbers; give a table with one spectrum a row or column"
        )
    late = numeric[-max(3, len(numeric) // 2) :]
    width = Counter(len(row) for row in late).most_common(1)[0][0]
    numbered = 2 * sum(kind_of(row[0]) in ("number", "missing") for row in late) > len(late)

    full = Counter(sum(map(bool, row)) for row in late).most_common(1)[0][0]

    def belongs(row: list[str]) -> bool:
        filled = sum(map(bool, row))
        if len(row) < width - 1 or 2 * filled < full or not _is_numeric(row):
            return False
        if numbered and kind_of(row[0]) == "text":  # a word above an index: all else is an axis
            figures = sum(map(is_number, row[1:]))
            return filled >= 3 and figures == filled - 1 >= full - 2
        return True

    def is_footer(row: list[str]) -> bool:
        word = row[0].rstrip(": ")
        if numbered and kind_of(row[0]) == "text" and re.match(r"[^\W\d]{3}", word):
            return True
        return _SUMMARY.fullmatch(word) is not None or not _is_numeric(row)

    last = len(rows)
    while last and is_footer(rows[last - 1][1]):
        last -= 1
    last = last or len(rows)
    for first in range(last):
        if belongs(rows[first][1]) and (first + 1 == last or belongs(rows[first + 1][1])):
            return width, first, last
    # A lone row, or one of unlike length among the others: told by its line.
    first = next(place for place in range(last) if _is_numeric(rows[place][1]))
    return width, first, last


def _is_numeric(row: list[str]) -> bool:
    """Whether a row holds numbers, and no more text than these."""
    kinds = Counter(kind_of(cell) for cell in row)
    return 0 < kinds["number"] >= kinds["text"]


def _rectangle(path: str, body: Rows, width: int, delimiter: str | None) -> Rows:
    """Cut empty cells beyond the last column and rows of empty cells; refuse any other length."""
    body = [(line, _cut(row, width)) for line, row in body if any(row)]
    if len(body) > 1 and len(body[0][1]) == width - 1 and kind_of(body[0][1][0]) == "number":
        body[0] = body[0][0], ["", *body[0][1]]  # axis values, without a cell above the index
    for line, row in body:
        if len(row) != width:
            raise UserError(
                f"{path}: line {line}: expected {width} columns as in the other lines (delimiter "
                f"{DELIMITERS[delimiter]}), got {len(row)}; mend the line or mark it as a comment with #"
            )
    return body


def _cut(row: list[str], width: int) -> list[str]:
    return row[:width] if len(row) > width and not any(row[width:]) else row


def _header(lines: Lines, body: Rows, delimiter: str | None) -> tuple[list[str] | None, int]:
    """Find the names of the columns: (one per column or None, lines of their own that they take)."""
    start, width = body[0][0], len(body[0][1])
    if names := _xdi_names(lines.comments, width):
        return names, 0
    content = [(line, text, True) for line, text in lines.content if line < start]
    comments = [(line, text, False) for line, text in lines.comments if line < start]
    above = sorted([*content[-_HEADER_LINES:], *comments[-_HEADER_LINES:]])[-_HEADER_LINES:]
    units: tuple[list[str], bool] | None = None
    for place, (_, text, own) in enumerate(reversed(above)):
        if own and place > 1 and not units:
            break  # names stand right above the numbers, or above their units
        names = _names(text, body, delimiter, own=own)
        if names is None:
            continue
        if units is None and place + 1 < len(above) and all(map(_is_unit, names)):
            units = names, own
            continue
        if units is None:
            return names, int(own)
        joined = [
            f"{name} ({unit})" if unit.strip("-") and "(" not in name and "[" not in name else name
            for name, unit in zip(names, (unit.strip("()[]") for unit in units[0]), strict=True)
        ]
        return joined, own + units[1]
    return (units[0], int(units[1])) if units else (None, 0)


def _xdi_names(comments: list[tuple[int, str]], width: int) -> list[str] | None:
    """Return the names that an XAS Data Interchange header gives: `Column.1: energy eV`."""
    names = [""] * width
    for _, text in comments:
        match = re.fullmatch(r"Column\.(\d+):\s*(\S+)(?:\s+(.*))?", text.split("||")[0].strip())
        if match and 1 <= int(match[1]) <= width:
            unit = (match[3] or "").strip()
            names[int(match[1]) - 1] = f"{match[2]} ({unit})" if unit else match[2]
    return names if all(names) else None


def _names(text: str, body: Rows, delimiter: str | None, *, own: bool) -> list[str] | None:
    """Split a line into one name per column, or None if it is no line of names."""
    width = len(body[0][1])
    ends = next((k for k in range(width) if any(row[width - 1 - k] for _, row in body)), 0)
    splits = [split_cells(text, sign) for sign in (delimiter, "\t", ";", ",")]
    splits += [re.split(r"\s{2,}|\t", text.strip()), text.split()]
    for names in splits:
        names = _cut([name.strip().lstrip("#").strip() for name in names], width)
        filled = [name for name in names if name]
        figures = sum(map(is_number, filled))
        if not filled or (figures if not own else 2 * figures > len(filled)):
            continue
        if re.search("[:=]$", filled[0]):  # a statement: `Title: steel`
            continue
        if len(names) == width:
            return names
        if width - ends <= len(names) < width:  # rows end in delimiters, the header does not
            return names + [""] * (width - len(names))
        if len(names) == width - 1 > 1 and own and not figures:  # no name above an index
            return ["", *names]
    return None


def _is_unit(text: str) -> bool:
    plain = text.strip().strip("()[]").strip().lower()
    return plain in UNITS or plain in _MORE_UNITS


def _without_empty_ends(body: Rows, header: list[str] | None) -> tuple[Rows, list[str] | None]:
    """Leave out last columns without a name and without a cell: rows that end in delimiters."""
    width = len(body[0][1])
    while width > 1 and not (header and header[width - 1]):
        if any(row[width - 1] for _, row in body):
            break
        width -= 1
    return [(line, row[:width]) for line, row in body], header and header[:width]


def _table(path: str, body: Rows, header: list[str] | None, notes: list[str], mark: Mark) -> Table:
    columns = len(body[0][1])
    numbers = np.full((len(body), columns), np.nan)
    texts: dict[int, list[str]] = {}
    for column in range(columns):
        cells = [row[column] for _, row in body]
        if mark == "point":
            try:
                numbers[:, column] = cells
                continue
            except ValueError:
                pass
        odd = [i for i, cell in enumerate(cells) if not _readable(cell, mark)]
        # The first row may be a header of energies with a word above the index column.
        figures = sum(is_number(cell, mark) for cell in cells[1:])
        if foreign := [i for i in odd if is_number(cells[i])]:
            _refuse(path, body[foreign[0]], column, header, mark)
        if not any(cells) or len(odd) > max(1, len(cells) // 2) or (odd and not figures):
            texts[column] = cells
            continue
        if odd and odd != [0]:
            _refuse(path, body[odd[-1]], column, header, mark)
        for i, cell in enumerate(cells):
            if is_number(cell, mark):
                numbers[i, column] = number(cell, mark)
    numbers[~np.isfinite(numbers)] = np.nan
    return Table(numbers, texts, header, tuple(notes), body[0][1])


def _readable(cell: str, mark: Mark) -> bool:
    return is_number(cell, mark) or kind_of(cell) == "missing"


def _refuse(
    path: str, row: tuple[int, list[str]], column: int, header: list[str] | None, mark: Mark
) -> None:
    line, cells = row
    name = f" '{header[column][:30]}'" if header and header[column] else ""
    advice = "mend it, leave it empty, or mark the line as a comment with #"
    if is_number(cells[column]):
        other = "comma" if mark == "point" else "point"
        advice = f"numbers are read with a decimal {mark}; mend it, or set --data.decimal {other}"
    raise UserError(
        f"{path}: line {line}, column {column + 1}{name}: expected a number as in the other lines, got "
        f"'{cells[column][:40]}'; {advice}"
    )

"""From the bytes of a text file to its lines, told apart from comments. Knows nothing of tables."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from smae_jax.errors import UserError

_COMMENT = ("#", "%", "!", "//")
_PROBE = 4096


@dataclasses.dataclass(frozen=True)
class Lines:
    """What a text file says, each line with its number, counted from 1.

    Attributes:
      content: lines that are neither empty nor comments.
      comments: the comments, without their mark.
    """

    content: list[tuple[int, str]]
    comments: list[tuple[int, str]]


def read_lines(path: str) -> Lines:
    """Read the lines of a text file.

    Args:
      path: UTF-8, UTF-16 with or without a byte-order mark, or else a Western code page.

    Raises:
      UserError: in one line, if the file cannot be read or is no text.
    """
    lines = Lines([], [])
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_characters(path)), 1):
        plain = line.strip()
        if plain.startswith(_COMMENT):
            lines.comments.append((number, plain.lstrip("#%!/").strip()))
        elif plain:
            lines.content.append((number, line))
    return lines


def read_characters(path: str) -> str:
    """Read all the characters of a text file; see `read_lines`."""
    try:
        with Path(path).open("rb") as file:
            probe = file.read(_PROBE)
            encoding = _encoding(path, probe)
            raw = probe + file.read()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this file ({error.strerror}); check the path"
        ) from None
    for name in (encoding, "cp1252", "latin-1"):
        try:
            return raw.decode(name)
        except UnicodeDecodeError:
            if encoding.startswith("utf-16"):
                break
    raise UserError(f"{path}: is cut off or damaged within its UTF-16 text; write it again")


def _encoding(path: str, probe: bytes) -> str:
    if probe.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" not in probe:
        return "utf-8-sig"
    for first, name in (
        (1, "utf-16-le"),
        (0, "utf-16-be"),
    ):  # Latin letters: every second byte is 0
        zeros, others = probe[first::2], probe[1 - first :: 2]
        if len(probe) > 3 and 10 * zeros.count(0) > 9 * len(zeros) and 0 not in others:
            return name
    raise UserError(f"{path}: is no text file; give it the suffix of its format")

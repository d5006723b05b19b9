"""What is said of many files: one line for each reason, however many files have it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

LEFT_OUT = "left out"
"""What happened to a file that is there and was not answered."""
NAMED = 3
"""Of many files, as many are named."""


@dataclasses.dataclass
class _Reason:
    """One reason: its words, whom it is to be said of, and whether it was said before.

    Attributes:
      what: that happened: "left out".
      first: of whom it was true first, and why.
      why: as of the first of `names`; what to do about it, too.
      names: of whom it was not said yet.
      said: of how many it was said.
    """

    what: str
    first: str
    why: str
    names: list[str] = dataclasses.field(default_factory=list)
    said: int = 0


class Gathered:
    """Lines about files that come one by one: the first of each reason at once, further ones together.

    >>> lines = Gathered()
    >>> lines.add("left out", "b.tif", "holds 12 of 99 bytes; copy it again")
    >>> lines.new()
    ['left out: b.tif: holds 12 of 99 bytes; copy it again']
    >>> for name in ("c.tif", "d.tif", "e.tif", "f.tif"):
    ...     lines.add("left out", name, "holds 7 of 99 bytes; copy it again")
    >>> lines.new()
    []
    >>> lines.rest()
    ['left out: 4 more (c.tif, d.tif, e.tif, ...): holds 7 of 99 bytes; copy it again']
    """

    def __init__(self) -> None:
        """Begin with nothing to say."""
        self._reasons: dict[tuple[str, str], _Reason] = {}

    def add(self, what: str, name: str, why: str) -> None:
        """Note what happened to a file, or a frame, and why; reasons that differ in numbers are one."""
        key = what, re.sub(r"\d+", "0", why.replace(name, ""))
        reason = self._reasons.setdefault(key, _Reason(what, f"{name}: {why}", why))
        if not reason.names:
            reason.why = why
        reason.names.append(name)

    def new(self) -> list[str]:
        """Return, once, lines on reasons of which nothing was said yet."""
        return [_line(one) for one in self._reasons.values() if one.names and not one.said]

    def rest(self) -> list[str]:
        """Return, once, lines on all that was not said."""
        return [_line(one) for one in self._reasons.values() if one.names]

    def first(self, what: str) -> str:
        """Return the first reason why this happened, and how often anything of the kind did; "" = never."""
        found = [one for one in self._reasons.values() if one.what == what]
        if not found:
            return ""
        total = sum(one.said + len(one.names) for one in found)
        return f"{what}: {total}, as {found[0].first}"


def few(names: Sequence[str], between: str = ", ", *, most: int = NAMED) -> str:
    """Name the first of them, and say how many more there are.

    >>> few(["a.tif", "b.tif"]), few(["1", "2", "3", "4", "5"], "; ")
    ('a.tif, b.tif', '1; 2; 3 and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def _line(reason: _Reason) -> str:
    names, more = reason.names, " more" if reason.said else ""
    reason.said, reason.names = reason.said + len(names), []
    if len(names) == 1:
        return f"{reason.what}: {names[0]}: {reason.why}"
    named = ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)
    return f"{reason.what}: {len(names)}{more} ({named}): {reason.why}"

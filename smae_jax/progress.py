"""How far a piece of work has come: a bar on a terminal, now and then a plain line in a log file.

Also how much is said at all. It knows nothing of what the work is, and writes to standard error alone.
"""

from __future__ import annotations

import contextvars
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SHARE = 10
"""Percent of the work between two plain lines."""
PAUSE_S = 30.0
"""Seconds after which a plain line comes all the same."""

_verbosity: contextvars.ContextVar[int] = contextvars.ContextVar("smae_jax_verbosity", default=0)


def set_verbosity(level: int) -> None:
    """Set how much is said: -1 = errors only, 0 = as usual, 1 = more; holds for this thread or task."""
    if level not in (-1, 0, 1):
        raise ValueError(f"verbosity: expected -1, 0 or 1, got {level!r}")
    _verbosity.set(level)


def verbosity() -> int:
    """Return how much is said: -1 = errors only, 0 = as usual, 1 = more."""
    return _verbosity.get()


class Bar:
    """The display of one piece of work, a context manager.

    On a terminal a bar that moves; elsewhere one line every `SHARE` percent or every `PAUSE_S` seconds,
    whichever comes first; nothing when quiet.

    >>> set_verbosity(-1)
    >>> with Bar(30, unit="batch", desc="64 frames") as bar:
    ...     bar.to(12)
    >>> set_verbosity(0)
    """

    def __init__(self, total: int | None, *, unit: str, desc: str = "", initial: int = 0) -> None:
        """Begin.

        Args:
          total: units in all; None = unknown.
          unit: what is counted, in the singular, e.g. "batch".
          desc: what is done, e.g. "64 frames"; "" = said elsewhere.
          initial: units that were done before, by an earlier training for instance.
        """
        self.total, self.unit, self.desc = total, unit, desc
        self._note, self._said, self._clock = "", self._tenths(initial), time.monotonic()
        self._loud = verbosity() >= 0 and sys.stderr is not None
        self._bar: tqdm | None = None
        if self._loud and sys.stderr is not None and sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=initial, unit=unit, desc=desc or None, dynamic_ncols=True
            )

    def to(self, done: int) -> None:
        """Say that so many units are done, those of `initial` included."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._loud:
            now, tenths = time.monotonic(), self._tenths(done)
            if tenths > self._said or now - self._clock >= PAUSE_S:
                sys.stderr.write(f"{self._line(done)}\n")
                sys.stderr.flush()
                self._said, self._clock = tenths, now

    def note(self, text: str) -> None:
        """Show a text beside the progress from the next `to` on, e.g. "loss=0.12"."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """End the display; a bar stays where it is."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the display."""
        self.close()

    def _tenths(self, done: int) -> int:
        return done * 100 // (SHARE * self.total) if self.total else 0

    def _line(self, done: int) -> str:
        if self.total:
            count = _plural(self.unit, self.total)
            said = f"{100 * done // self.total} % ({done} of {self.total} {count})"
        else:
            said = f"{done} {_plural(self.unit, done)}"
        return (
            (f"{self.desc}: " if self.desc else "") + said + (f", {self._note}" * bool(self._note))
        )


def each(
    iterable: Iterable[Item], *, total: int | None = None, desc: str = "", unit: str = "batch"
) -> Iterator[Item]:
    """Yield what an iterable yields, and show how far that has come.

    Args:
      iterable: what to go through.
      total: how many there are; None = its length, where it has one.
      desc: what is done, e.g. "64 frames".
      unit: what an item is, in the singular.

    Yields:
      The items; one counts as done when the next is asked for.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Bar(total, unit=unit, desc=desc) as bar:
        for done, item in enumerate(iterable, 1):
            yield item
            bar.to(done)


def _plural(unit: str, number: int) -> str:
    if number == 1:
        return unit
    return f"{unit}es" if unit.endswith(("s", "x", "ch", "sh")) else f"{unit}s"

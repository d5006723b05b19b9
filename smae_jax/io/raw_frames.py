"""The frames of one file as they are on disk, before anything is decided about them.

Every format reader yields a `Frames`; what its numbers mean (sentinels, saturation) is decided
once, for all formats, by `smae_jax.io.sentinels`.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.measurements import Axis

CHUNK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of its measurement beside the numbers.

    Attributes:
      exposure_s: measuring time in seconds, of all frames or of each.
      count_cutoff: counts from which a pixel is saturated.
      geometry: beam and detector.
      bit_depth: bits of the detector's counters, whose two largest values are marks.
      notes: what the user should know of this, one sentence each.
      program: what wrote the file, where it says so.
    """

    exposure_s: float | tuple[float, ...] | None = None
    count_cutoff: float | None = None
    geometry: Geometry = dataclasses.field(default_factory=Geometry)
    notes: tuple[str, ...] = ()
    bit_depth: int | None = None
    program: str = ""


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of one file, still on disk where the format allows it.

    Attributes:
      values: array, memory map or HDF5 dataset, read when it is sliced; (height, width), (frames,
      height, width) or (rows, columns, height, width).
      inside: name within the file, `::/entry/data/data`, or empty.
      header: exposure, cutoff and geometry.
      pixel_mask: nonzero = bad, (height, width) or (frames, height, width), read when it is sliced.
      places: where each frame stood on the leading axes of its file, where some are left out.
      motors: coordinates along the leading axes, where the file names them.
      begun: reads the bytes of a run of frames, given as of `part`, and returns what unpacks them in any
        thread; None = there is nothing to be unpacked.
    """

    values: Any
    inside: str = ""
    header: Header = dataclasses.field(default_factory=Header)
    pixel_mask: Any = None
    places: tuple[tuple[int, ...], ...] | None = None
    motors: tuple[Axis | None, ...] = ()
    begun: Callable[[int, int], Callable[[], np.ndarray]] | None = None

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(np.prod(self.values.shape[:-2]))

    def labels(self, name: str) -> tuple[str, ...]:
        """Name every frame, given the name of the file."""
        leading = self.values.shape[:-2]
        places = np.ndindex(*leading) if self.places is None else self.places
        indices = ("".join(f"[{','.join(map(str, i))}]") for i in places)
        return tuple(f"{name}{self.inside}{index if leading else ''}" for index in indices)

    @property
    def exposure_s(self) -> tuple[float, ...]:
        """Measuring time of each frame; () where the file does not tell."""
        told = self.header.exposure_s
        if told is None:
            return ()
        return told if isinstance(told, tuple) else (told,) * self.count

    def runs(self, wanted: Iterable[int], *, size: int = 0) -> Iterator[tuple[int, int]]:
        """Split frames, given by ascending indices, into runs that are read at once.

        Args:
          wanted: the frames.
          size: bytes of a run, at most, but for one frame; 0 = `CHUNK_BYTES`.

        Yields:
          (first, one past the last), so small that the memory for it is bounded.
        """
        shape = self.values.shape
        frame = int(np.prod(shape[-2:]) * np.dtype(self.values.dtype).itemsize)
        most = max(1, (size or CHUNK_BYTES) // frame)
        row = shape[-3] if len(shape) == 4 else self.count
        first = last = -1
        for index in wanted:
            if first < 0 or index != last or last - first == most or index % row == 0:
                if first >= 0:
                    yield first, last
                first = index
            last = index + 1
        if first >= 0:
            yield first, last

    def bad(self, first: int, last: int) -> np.ndarray | None:
        """Read the file's mask of one run of frames, True = bad, (1 or last - first, height, width)."""
        mask = self.pixel_mask
        if mask is None or len(mask.shape) == 2:
            return None if mask is None else np.asarray(mask[:]) != 0
        return np.asarray(mask[first:last]) != 0

    def part(self, first: int, last: int) -> np.ndarray:
        """Read one run of frames, (last - first, height, width)."""
        values = self.values
        if len(values.shape) == 2:
            return np.asarray(values[:])[None]
        if len(values.shape) == 3:
            return np.asarray(values[first:last])
        row, column = divmod(first, values.shape[1])
        return np.asarray(values[row, column : column + last - first])

    def begin(self, first: int, last: int) -> Callable[[], np.ndarray]:
        """Begin to read one run of frames; what is returned gives them, and may be called in any thread."""
        if self.begun is not None:
            return self.begun(first, last)
        values = self.part(first, last)
        return lambda: values


class DamagedFrameError(UserError):
    """A frame of many that cannot be read; the others can."""


def unreadable(path: str, kind: str, error: BaseException | str) -> UserError:
    """Say in one line that a file is not what its name promises."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path}: cannot be read as {kind} ({reason[:200]}); the file is truncated, damaged or of "
        "another "
        f"format: copy it again or give it its right suffix"
    )


@contextmanager
def hushed(logger_name: str) -> Iterator[list[str]]:
    """Keep a library's log and warnings from the user; yield the list of messages caught."""
    messages: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                messages.append(record.getMessage())

    logger = logging.getLogger(logger_name)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Catch()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield messages
    finally:
        logger.handlers, logger.propagate = handlers, propagate

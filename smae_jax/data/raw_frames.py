"""The frames of one file as they are on disk, before anything is decided about them.

Every format reader yields a `Frames`; what its numbers mean (sentinels, saturation) is decided
once, for all formats, by `smae_jax.data.sentinels`.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from smae_jax.data.scan import Geometry

CHUNK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of its measurement beside the numbers.

    Attributes:
      exposure_s: measuring time in seconds, of all frames or of each.
      count_cutoff: counts from which a pixel is saturated.
      geometry: beam and detector.
    """

    exposure_s: float | tuple[float, ...] | None = None
    count_cutoff: float | None = None
    geometry: Geometry = dataclasses.field(default_factory=Geometry)


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of one file, still on disk where the format allows it.

    Attributes:
      values: array, memory map or HDF5 dataset, read when it is sliced; (height, width), (frames,
      height, width) or (rows, columns, height, width).
      inside: name within the file, `::/entry/data/data`, or empty.
      header: exposure, cutoff and geometry.
      pixel_mask: nonzero = bad, (height, width) or (frames, height, width).
    """

    values: Any
    inside: str = ""
    header: Header = dataclasses.field(default_factory=Header)
    pixel_mask: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(np.prod(self.values.shape[:-2]))

    def labels(self, name: str) -> tuple[str, ...]:
        """Name every frame, given the name of the file."""
        leading = self.values.shape[:-2]
        indices = ("".join(f"[{','.join(map(str, i))}]") for i in np.ndindex(*leading))
        return tuple(f"{name}{self.inside}{index if leading else ''}" for index in indices)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the frames in order, a bounded number at a time, each (n, height, width)."""
        values = self.values
        height, width = values.shape[-2:]
        if len(values.shape) == 2:
            yield np.asarray(values[:])[None]
        elif len(values.shape) == 3:
            step = max(1, CHUNK_BYTES // (height * width * np.dtype(values.dtype).itemsize))
            for start in range(0, values.shape[0], step):
                yield np.asarray(values[start : start + step])
        else:
            for row in range(values.shape[0]):
                yield np.asarray(values[row]).reshape(-1, height, width)


def unreadable(path: str, kind: str, error: BaseException | str) -> ValueError:
    """Say in one line that a file is not what its name promises."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
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

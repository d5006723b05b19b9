"""Frames of an HDF5 file as they are written into it, in their order."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from smae_jax.errors import UserError
from smae_jax.io.arrivals import Reading, ShapeError
from smae_jax.io.hdf5_files import open_hdf5
from smae_jax.io.hdf5_opening import FAULTS, open_file
from smae_jax.io.hdf5_stack import Stack
from smae_jax.io.locations import split_inside
from smae_jax.io.nexus_attributes import class_of
from smae_jax.io.raw_frames import Frames
from smae_jax.measurements import Measurements


class GrowingFile:
    """Frames of one dataset, or series, of an HDF5 file, now and later.

    A frame that is not there while later ones are is waited for, `Reading.patience` seconds long.

    Attributes:
      ended: whether the file tells that the scan is over (`end_time` of its NXentry), and all is read.
      news: when something last came or changed (`time.monotonic`); None = nothing yet.
      waiting: frames that are there and not read.
    """

    def __init__(self, path: str, reading: Reading, done: Sequence[str] = ()) -> None:
        """Look out for frames of `path`; those whose names are `done` are not read again."""
        self.path, self.inside = split_inside(path)
        self.reading, self.done = reading, set(done)
        self.news: float | None = None
        self.waiting, self.ended = 0, False
        self._next = 0  # number of the next frame
        self._gap = (-1, 0.0)  # a frame that is missing, and since when
        self._state, self._changed = (0, 0, 0), 0.0
        self._came: list[tuple[int, float]] = []  # frames that were there, and when
        self._lines: list[str] = []
        self._last = ""

    def told(self) -> list[str]:
        """Return what a person should read, once."""
        lines, self._lines = self._lines, []
        return lines

    def left(self) -> list[str]:
        """Say what is there and was not read."""
        return [f"{self.path}: {self.waiting} frames have come last"] if self.waiting else []

    def take(self, most: int) -> tuple[Measurements, float] | None:
        """Read frames that have come.

        Args:
          most: frames at once.

        Returns:
          (the frames, when the first of them came); None where there is none.

        Raises:
          UserError: if they have another shape than is expected.
        """
        now, label = time.monotonic(), os.path.basename(self.path)
        try:
            over = _has_ended(self.path)
            with open_hdf5(self.path, self.inside, missing="skip") as frames:
                self.reading.check(self.path, frames)
                ready = self._ready(frames, frames.labels(label), over=over, now=now)[:most]
                data = self.reading.frames(self.path, label, frames, ready) if ready else None
        except ShapeError:
            raise
        except (UserError, *FAULTS) as error:  # it is not there yet, or being written
            self._say_once(f"waiting: {' '.join(str(error).split())}")
            return None
        if data is None:
            self.ended = over and not self.waiting
            return None
        self.done.update(data.names)
        self.waiting -= data.frames
        came = next((at for count, at in self._came if count > ready[0]), now)
        self._came = [one for one in self._came if one[0] > ready[0]]
        return data, came

    def _ready(self, frames: Frames, labels: Sequence[str], *, over: bool, now: float) -> list[int]:
        """Return the frames to read next: none behind a gap, and none that may be half written."""
        state = (os.path.getsize(self.path), os.stat(self.path).st_mtime_ns, len(labels))
        if state != self._state:
            self._state, self._changed, self.news = state, now, now
        if not self._came or self._came[-1][0] < len(labels):
            self._came.append((len(labels), now))
        one_axis = frames.places is None or len(frames.places[0]) == 1
        known = frames.places if one_axis else None
        numbers = range(len(labels)) if known is None else [place[0] for place in known]
        missing = [index for index, name in enumerate(labels) if name not in self.done]
        self.waiting = len(missing)
        read = [n for n, name in zip(numbers, labels, strict=True) if name in self.done]
        self._next = max(self._next, 1 + max(read, default=-1))
        held = 0 if over or now - self._changed >= self.reading.settle else _half_written(frames)
        ready = list[int]()
        for index in missing:
            if index >= len(labels) - held:
                break
            if numbers[index] > self._next and not self._passes(numbers[index], over=over, now=now):
                break
            self._next = max(self._next, numbers[index] + 1)
            ready.append(index)
        return ready

    def _passes(self, number: int, *, over: bool, now: float) -> bool:
        """Whether frames before this one, which are not there, are waited for no longer."""
        if self._gap[0] != self._next:
            self._gap = self._next, now
        if not over and now - self._gap[1] < self.reading.patience:
            return False
        last = f" to {number - 1}" if number - 1 > self._next else ""
        self._lines.append(
            f"left out: {self.path}: frame {self._next}{last} is not there, and later ones are; it is "
            "answered last, should it come"
        )
        return True

    def _say_once(self, line: str) -> None:
        if line != self._last:
            self._lines.append(line)
            self._last = line


def _half_written(frames: Frames) -> int:
    """Return how many of the newest frames may be there in part: none, where a chunk is one whole frame."""
    values = frames.values
    dataset: Any = values.segments[-1].dataset() if isinstance(values, Stack) else values
    chunks = getattr(dataset, "chunks", None)
    if chunks is None:
        return 1
    frame = len(chunks) == 2 or (chunks[-3] == 1 and set(chunks[:-3]) <= {1})
    return 0 if frame and chunks[-2:] == dataset.shape[-2:] else max(1, *chunks[:-2])


def _has_ended(path: str) -> bool:
    """Whether an NXentry of the file has an end time."""
    with open_file(path) as file:
        nodes: list[Any] = [file.get(name) for name in file]
        entries = [node for node in nodes if class_of(node) == "NXentry"]
        times = [entry["end_time"][()] for entry in entries if "end_time" in entry]
    return any(bytes(one).strip(b"\0 ") if isinstance(one, bytes) else one for one in times)

"""Datasets of frames joined into one stack, read only as far as asked."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.hdf5_chunks import (
    Chunk,
    DamagedChunkError,
    chunks_of,
    is_packed_by_frames,
    unpacked,
)
from smae_jax.io.raw_frames import DamagedFrameError, unreadable


@dataclasses.dataclass(frozen=True)
class Segment:
    """Frames of one dataset.

    Attributes:
      dataset: opens it, or gives the one that is open.
      shape: of the dataset, with two axes (one frame) or more.
      dtype: of its numbers.
      frames: indices over its leading axes, ascending.
    """

    dataset: Callable[[], Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    frames: np.ndarray

    def read(self, first: int, last: int) -> np.ndarray:
        """Read frames by their place in the segment, (last - first, height, width)."""
        dataset = self.dataset()
        leading = self.shape[:-2]
        row = leading[-1] if leading else 1
        pieces: list[np.ndarray] = []
        for start, stop in _runs(self.frames[first:last], row):
            try:
                if not leading:
                    pieces.append(np.asarray(dataset[()])[None])
                    continue
                *outer, column = np.unravel_index(start, leading)
                pieces.append(np.asarray(dataset[(*outer, slice(column, column + stop - start))]))
            except OSError as error:
                frame = _first_damaged(dataset, start, stop)
                raise self._damaged(_names(dataset), frame, error) from error
        return np.concatenate(pieces)

    def begin(self, first: int, last: int) -> Callable[[], np.ndarray]:
        """Read the bytes of frames by their place in the segment; what is returned unpacks them.

        Frames that are not packed one by one, or were never written, are read at once.
        """
        dataset = self.dataset()
        if is_packed_by_frames(dataset):
            index = np.unravel_index(self.frames[first:last], self.shape[:-2])
            places = list(zip(*(one.tolist() for one in index), strict=True))
            try:
                chunks = chunks_of(dataset, places)
            except (OSError, RuntimeError, ValueError):
                pass
            else:
                wanted = self.frames[first:last]
                return functools.partial(self._unpacked, _names(dataset), wanted, chunks)
        frames = self.read(first, last)
        return lambda: frames

    def _unpacked(
        self, names: tuple[str, str], frames: np.ndarray, chunks: list[Chunk]
    ) -> np.ndarray:
        try:
            return unpacked(chunks, self.shape[-2:], self.dtype)
        except DamagedChunkError as error:
            raise self._damaged(names, int(frames[error.number]), error) from error

    def _damaged(self, names: tuple[str, str], frame: int, error: Exception) -> UserError:
        """Say in one line which frame of which dataset cannot be read, and how to do without it."""
        file, dataset = names
        if len(self.shape) < 3:
            return unreadable(file, "an HDF5 file", error)
        reason = " ".join(str(error).split())[:200]
        return DamagedFrameError(
            f"{file}: frame {frame} of {dataset} cannot be read ({reason}): the file "
            f"is truncated or damaged; copy it again, or leave the frame out, as 0:{frame},{frame + 1}: does "
            "(infer: --repeats, train: --data.frames)"
        )


class Stack:
    """Frames of several datasets, (frames, height, width), as if they were one."""

    def __init__(self, segments: list[Segment]) -> None:
        """Join segments of one frame shape, one at least."""
        self.segments = segments
        self.ends = [0, *itertools.accumulate(len(one.frames) for one in segments)]
        self.shape = (self.ends[-1], *segments[0].shape[-2:])
        self.dtype = np.result_type(*(one.dtype for one in segments))
        self.ndim = len(self.shape)

    def __getitem__(self, frames: slice) -> np.ndarray:
        """Read a run of frames; of the whole stack with `[:]`."""
        first, last, step = frames.indices(self.shape[0])
        if step != 1:
            raise TypeError(f"a stack is read in runs, got a step of {step}")
        pieces = [
            one.read(max(first, start) - start, min(last, end) - start)
            for one, start, end in zip(self.segments, self.ends, self.ends[1:], strict=False)
            if max(first, start) < min(last, end)
        ]
        empty = np.empty((0, *self.shape[1:]), self.dtype)
        return np.concatenate(pieces).astype(self.dtype, copy=False) if pieces else empty

    def begin(self, first: int, last: int) -> Callable[[], np.ndarray]:
        """Read the bytes of a run of frames; what is returned unpacks them, in any thread."""
        begun = [
            one.begin(max(first, start) - start, min(last, end) - start)
            for one, start, end in zip(self.segments, self.ends, self.ends[1:], strict=False)
            if max(first, start) < min(last, end)
        ]
        if len(begun) == 1 and self.dtype == self.segments[0].dtype:
            return begun[0]
        return lambda: np.concatenate([one() for one in begun]).astype(self.dtype, copy=False)


def _names(dataset: Any) -> tuple[str, str]:
    """Return the names of file and dataset, for threads that work when the file is closed."""
    return dataset.file.filename, dataset.name


def _first_damaged(dataset: Any, start: int, stop: int) -> int:
    """Return the first frame of a run that cannot be read; the first of all where each can."""
    for frame in range(start, stop) if dataset.ndim > 2 else ():
        try:
            dataset[tuple(map(int, np.unravel_index(frame, dataset.shape[:-2])))]
        except OSError:
            return frame
    return start


def _runs(frames: np.ndarray, row: int) -> Iterator[tuple[int, int]]:
    """Split ascending indices into runs that lie in one row: (first, one past the last)."""
    breaks = np.flatnonzero((np.diff(frames) != 1) | (frames[1:] % row == 0)) + 1
    for part in np.split(frames, breaks):
        if len(part):
            yield int(part[0]), int(part[-1]) + 1

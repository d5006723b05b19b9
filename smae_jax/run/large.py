"""Scans that do not fit into memory: some frames tell what must be known, all are read block by block."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from smae_jax import blocks
from smae_jax.config import DataOptions
from smae_jax.errors import UserError
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.choosing import parse_frames
from smae_jax.io.hdf5_linked_files import linked_files
from smae_jax.io.monitor import relative_monitor, with_exposures
from smae_jax.io.parts import checksum
from smae_jax.io.readable import file_state
from smae_jax.io.reading import is_spectra
from smae_jax.io.source import Source, estimated_frames, open_source
from smae_jax.measurements import Measurements

TELLING = 128
"""Frames that tell mask, centre and scale of a scan, at most: more say the same."""


@dataclasses.dataclass(frozen=True)
class Large:
    """Frames of a scan that are read when they are needed.

    Attributes:
      source: reads them.
      wanted: indices of the frames that are asked for, ascending.
      light: exposure of each of them, relative to their mean; None = all alike.
      notes: what is said of the exposures.
      files: all that it is read from.
      states: size and date of each of them when the scan was opened, (files, 2).
    """

    source: Source
    wanted: np.ndarray
    light: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    states: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 2), np.int64))

    @property
    def frames(self) -> int:
        """Number of frames that are asked for."""
        return len(self.wanted)

    @property
    def whole(self) -> bool:
        """Whether all frames of the source are asked for, so that a raster stays one."""
        return self.frames == self.source.frames

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return int(np.prod(self.source.shape[1:]))

    def read(self, which: np.ndarray | slice) -> Measurements:
        """Read some of the frames that are asked for, with their exposures.

        Raises:
          UserError: in one line, if a file has gone, changed or is damaged.
        """
        data = self.source.read(self.wanted[which])
        return data if self.light is None else with_exposures(data, self.light[which])

    def some(self, count: int, why: str) -> Measurements:
        """Read so many frames, evenly spread, with a note of `why`."""
        which = blocks.spread(self.frames, count)
        data = self.read(which)
        notes = [*self.source.notes, *data.origin.notes, *self.notes]
        if len(which) < self.frames:
            notes.append(f"{len(which)} of {self.frames} frames, evenly spread, {why}")
        origin = dataclasses.replace(
            data.origin,
            notes=tuple(notes),
            leading=(),
            motors=(),
            numbers=tuple(self.wanted[which].tolist()) if len(which) < self.frames else (),
        )
        return dataclasses.replace(data, origin=origin)

    def record(self) -> dict[str, str]:
        """Tell what is read, to recognise it: location, shape, type, and size and date of every file."""
        return {
            "input": self.source.path,
            "shape": str((self.frames, *self.source.shape[1:])),
            "dtype": self.source.dtype,
            "frames": str(checksum(self.wanted)),
            "exposures": str(None if self.light is None else checksum(self.light)),
            "files": str(checksum(self.states)),
        }

    def changed(self) -> str:
        """Say so where a file has another size or date than when the scan was opened; "" = none has."""
        odd = np.flatnonzero((_states(self.files) != self.states).any(axis=1))
        if not odd.size:
            return ""
        file, more = self.files[odd[0]], f" and {odd.size - 1} more files" if odd.size > 1 else ""
        return (
            f"{file}{more}: changed size or date while the scan was read, so that answers may be to what was "
            "there before"
        )


def _files(source: Source) -> tuple[str, ...]:
    """Return every file that a scan is read from, with those that its HDF5 files link to."""
    files = [part.file for part in source.parts]
    linked = (linked_files(file) for file in files if file.lower().endswith(HDF5_SUFFIXES))
    return tuple(dict.fromkeys((*files, *itertools.chain.from_iterable(linked))))


def _states(files: Sequence[str]) -> np.ndarray:
    """Return size and date of every file, (files, 2); -1 where there is none."""
    found = [file_state(file) or (-1, -1) for file in files]
    return np.array(found, np.int64).reshape(-1, 2)


def open_large(
    options: DataOptions,
    path: str,
    *,
    frames: str = "",
    monitor: str = "",
    left_out: Sequence[str] = (),
    most: Callable[[int], int],
    choice: str = "--data.frames",
) -> Large | None:
    """Open a scan of patterns of more frames than `most`; None where it is anything else.

    Args:
      options: how measurements lie in files.
      path: which files.
      frames: which of the frames, as `parse_frames` reads it.
      monitor: location of monitor counts, one per frame of the files.
      left_out: locations that are no frames.
      most: pixels of a frame -> frames that are not many yet.
      choice: option of `frames`, for messages.

    Raises:
      UserError: in one line, if it cannot be read.
    """
    plain = options.repeats_axis == 0 and options.channel_axis is None and not options.dimensions
    if not plain or is_spectra(path):
        return None
    left_out = (*options.mask, *left_out)
    shape = estimated_frames(path, left_out=left_out, missing=options.missing)
    if shape is None or shape[0] <= most(shape[1] * shape[2]):
        return None
    source = open_source(
        path,
        saturation=options.saturation or None,
        left_out=left_out,
        marks=options.marks,
        missing=options.missing,
    )
    wanted = np.array(parse_frames(frames, source.frames, choice))
    if (np.diff(wanted) < 0).any():
        raise UserError(
            f"{choice}: '{frames}' turns the order of frames; name them in ascending order"
        )
    if len(wanted) <= most(int(np.prod(source.shape[1:]))):
        return None
    light, notes = None, ()
    if monitor:
        option = "--data.monitor" if choice.startswith("--data") else "--monitor"
        light, note = relative_monitor(monitor, source.frames, wanted, option=option)
        notes = (note,)
    files = _files(source)
    return Large(source, wanted, light, notes, files, _states(files))

"""A scan on disk: its facts at once, its frames when they are asked for, never more than asked."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io import array_files
from smae_jax.io.file_kinds import FileKinds
from smae_jax.io.frame_files import find_frames
from smae_jax.io.hdf5_linked_files import without_linked
from smae_jax.io.locations import display_names, split_inside
from smae_jax.io.marks import parse_marks
from smae_jax.io.scans import Assembly, find_marks, open_frames
from smae_jax.io.sentinels import Marks
from smae_jax.measurements import Axis, Measurements


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a scan.

    Attributes:
      file: its path.
      label: what its frames are named after.
      first: index of its first frame in the scan.
      count: number of its frames.
    """

    file: str
    label: str
    first: int
    count: int


@dataclasses.dataclass(frozen=True)
class Source:
    """A lazy reader of patterns; `open_source` makes it.

    Attributes:
      path: location as the user typed it.
      shape: (frames, height, width).
      dtype: of the numbers on disk.
      geometry: beam and detector, of the first file.
      exposure_s: measuring time of each frame in seconds; None where not all files tell.
      leading: (rows, columns) of a raster in one file; () = one axis.
      motors: coordinates along the leading axes; () = unknown.
      names: one per frame.
      parts: the files.
      saturation: counts from which a pixel is saturated; None = each file's own cutoff.
      asked: which values are marks, as the user says it.
      missing: "skip" leaves out frames that are announced and not there; "refuse" names them.
      notes: which files were left out, and which are hardly frames of it, a sentence each.
    """

    path: str
    shape: tuple[int, int, int]
    dtype: str
    geometry: Geometry
    exposure_s: tuple[float, ...] | None
    leading: tuple[int, ...]
    names: tuple[str, ...]
    parts: tuple[Part, ...]
    saturation: float | None = None
    asked: str = "auto"
    missing: str = "refuse"
    motors: tuple[Axis | None, ...] = ()
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def marks(self) -> Marks:
        """Marks of the scan, decided once from frames spread over it."""
        files, inside = [part.file for part in self.parts], split_inside(self.path)[1]
        return find_marks(files, inside, self.asked, missing=self.missing)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.shape[0]

    def read(self, frames: Sequence[int] | np.ndarray | slice = slice(None)) -> Measurements:
        """Read frames, in the order asked for; files without one of them are not opened.

        Args:
          frames: indices, or a slice.

        Returns:
          As `reading.read` gives them, but that frames without a count or a valid pixel are not refused: a
          few of a scan may well be empty.

        Raises:
          UserError: in one line, if a file has gone or is damaged.
        """
        index = np.arange(self.frames)[frames]
        wanted, place = np.unique(index, return_inverse=True)
        inside = split_inside(self.path)[1]
        assembly = Assembly(self.path, 1, self.saturation, self.marks)
        for part in self.parts:
            own = wanted[(wanted >= part.first) & (wanted < part.first + part.count)] - part.first
            if len(own):
                with open_frames(part.file, inside, missing=self.missing) as opened:
                    if opened.count != part.count:
                        raise UserError(
                            f"{part.file}: has {opened.count} frames now, and had {part.count}; is it still "
                            "being written?"
                        )
                    assembly.add(part.file, part.label, opened, own.tolist())
        assembly.kinds = FileKinds()  # `notes` tells of all files
        data = assembly.close()
        return data if np.array_equal(place, np.arange(data.frames)) else data.take(place)


def estimated_frames(
    path: str, *, left_out: Sequence[str] = (), missing: str = "refuse"
) -> tuple[int, int, int] | None:
    """Estimate (frames, height, width) of a scan from its first file; None where it holds spectra.

    Raises:
      UserError: if there is no such file, or the first one cannot be read.
    """
    file_path, inside = split_inside(path)
    files, _ = without_linked(find_frames(file_path, left_out)[0])
    suffix = os.path.splitext(files[0])[1].lower()
    if suffix in array_files.SUFFIXES and array_files.is_spectrum(files[0], inside):
        return None
    with open_frames(files[0], inside, missing=missing) as frames:
        height, width = (int(n) for n in frames.values.shape[-2:])
        return frames.count * len(files), height, width


def open_source(
    path: str,
    *,
    saturation: float | None = None,
    left_out: Sequence[str] = (),
    marks: str = "auto",
    missing: str = "refuse",
) -> Source:
    """Look at every file of a scan without reading its frames.

    Args:
      path: see `reading.read`; patterns only.
      saturation: see `reading.read`.
      left_out: locations of files that are no frames of it, see `find_frames`.
      marks: see `reading.read`.
      missing: see `reading.read`.

    Raises:
      UserError: in one line, if there is no such file or dataset, a file is damaged or no stack of numbers,
        or frames differ in shape.
    """
    parse_marks(marks)  # refused at once, if it is
    file_path, inside = split_inside(path)
    files, notes = find_frames(file_path, left_out)
    files, told = without_linked(files)
    parts, names, times, kinds = list[Part](), list[str](), list[float](), FileKinds()
    first: Source | None = None
    for file, label in zip(files, display_names(files), strict=True):
        with open_frames(file, inside, missing=missing) as frames:
            shape = tuple(int(n) for n in frames.values.shape)
            if first is None:
                first = Source(
                    path=path,
                    shape=(0, shape[-2], shape[-1]),
                    dtype=np.dtype(frames.values.dtype).name,
                    geometry=frames.header.geometry,
                    exposure_s=None,
                    leading=shape[:2] if len(files) == 1 and len(shape) == 4 else (),
                    names=(),
                    parts=(),
                    saturation=saturation,
                    asked=marks,
                    missing=missing,
                    motors=frames.motors if len(files) == 1 else (),
                )
            elif shape[-2:] != first.shape[1:]:
                raise UserError(
                    f"frames differ in shape: {files[0]} is {first.shape[1:]}, {file} is {shape[-2:]} "
                    "(height, width); keep one shape per scan"
                )
            dtype = np.dtype(frames.values.dtype).name
            kinds.add(label, dtype=dtype, program=frames.header.program)
            parts.append(Part(file, label, len(names), frames.count))
            names += frames.labels(label)
            times += frames.exposure_s
    if first is None:
        raise TypeError(f"{path}: `find_files` gives one file at least")
    return dataclasses.replace(
        first,
        shape=(len(names), *first.shape[1:]),
        exposure_s=tuple(times) if len(times) == len(names) else None,
        names=tuple(names),
        parts=tuple(parts),
        notes=(*notes, *told, *kinds.notes()),
    )

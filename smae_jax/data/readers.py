"""From files to a `Scan`: one entry point for every format, and one for masks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

from smae_jax.data.locations import display_names, find_files, opener_of, split_inside
from smae_jax.data.raw_frames import Frames
from smae_jax.data.scan import Geometry, Metadata, Scan
from smae_jax.data.sentinels import CAUSES, causes_of


def read_scan(path: str, *, saturation: float | None = None) -> Scan:
    """Read the frames of a scan, and decide which pixels are measurements.

    Args:
      path: a file, a quoted pattern, a folder, `file.h5::/entry/data/data` or `file.npz::name`.
        Several files are taken in natural order (`frame2` before `frame10`); a stack with four axes
        is (rows, columns, height, width).
      saturation: counts from which a pixel is saturated; None takes each file's own cutoff, where
        it has one; infinity takes none.

    Returns:
      The scan. Sentinels, pixel masks of the file, not-a-number and saturated pixels are invalid
      and 0.

    Raises:
      ValueError: in one line, if there is no such file or dataset, a file is damaged or no stack of
        numbers, frames differ in shape, or nothing is left to use.
    """
    if saturation is not None and not saturation > 0:
        raise ValueError(
            f"saturation: expected counts above 0, got {saturation}; leave it out for the file's "
            "own"
        )
    file_path, inside = split_inside(path)
    files = find_files(file_path)
    assembly = _Assembly(len(files), saturation)
    for file, name in zip(files, display_names(files), strict=True):
        with _open(file, inside) as frames:
            assembly.add(file, name, frames)
    return assembly.scan(path)


def read_mask(path: str, *, polarity: Literal["bad", "good"] = "bad") -> np.ndarray:
    """Read a mask file.

    Args:
      path: one image, in any format of `read_scan`; `file.npz::name` and `file.h5::/dataset` name
      it.
      polarity: what nonzero means: `bad` (the detectors' convention) or `good` (True = usable).

    Returns:
      valid, True = use, bool (height, width). A value that is not a number is never valid.

    Raises:
      ValueError: in one line, if the file cannot be read, is not one image, or leaves no pixel.
    """
    if polarity not in ("bad", "good"):
        raise ValueError(
            f"mask polarity: expected 'bad' or 'good' (what nonzero means), got '{polarity}'"
        )
    file_path, inside = split_inside(path)
    files = find_files(file_path)
    if len(files) != 1:
        raise ValueError(f"{path}: expected one mask, got {len(files)} files; name one of them")
    with _open(files[0], inside, mask=True) as frames:
        if frames.count != 1:
            raise ValueError(
                f"{path}: expected one mask (height, width), got shape {frames.values.shape}"
            )
        values = next(frames.chunks())[0]
    nonzero = values != 0
    valid = nonzero if polarity == "good" else ~nonzero
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    if not valid.any():
        other = "good" if polarity == "bad" else "bad"
        raise ValueError(
            f"{path}: every pixel is bad, read with nonzero = {polarity}; if nonzero means "
            f"{other}, "
            f"set the mask polarity to '{other}'"
        )
    return valid


@contextmanager
def _open(file: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    opener = opener_of(file)
    assert opener is not None, file  # find_files has refused it
    if not os.access(file, os.R_OK):
        raise ValueError(f"{file}: no permission to read this file; change its mode or copy it")
    with opener(file, inside, mask=mask) as frames:
        shape, dtype = tuple(frames.values.shape), np.dtype(frames.values.dtype)
        where = f"{file}{frames.inside}"
        if dtype.kind not in ("biuf" if mask else "iuf"):
            kinds = {"c": "complex numbers", "b": "booleans (a mask?)", "O": "Python objects"}
            kind = kinds.get(dtype.kind, "text or records")
            raise ValueError(f"{where}: holds {kind} ({dtype}); expected real numbers of counts")
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise ValueError(
                f"{where}: expected (height, width), (frames, height, width) or (rows, columns, "
                "height, width), "
                f"got shape {shape}; choose another dataset or reshape it"
            )
        yield frames


class _Assembly:
    """Frames of all files on their way into one scan: one float32 copy, however many files."""

    def __init__(self, files: int, saturation: float | None) -> None:
        self.files, self.saturation = files, saturation
        self.counts = np.empty((0, 0, 0), np.float32)
        self.blocks: list[tuple[int, np.ndarray]] = []  # frames, and what is valid in them
        self.first = ""
        self.filled = 0
        self.sources: list[str] = []
        self.exposures: list[float] | None = []
        self.causes = np.zeros(1 + len(CAUSES), np.int64)
        self.dtype, self.geometry = "", Geometry()
        self.raster_shape: tuple[int, int] | None = None

    def add(self, file: str, name: str, frames: Frames) -> None:
        """Take in all frames of one file."""
        self._start(file, frames) if not self.first else self._check(file, frames)
        if self.filled + frames.count > len(self.counts):  # files of unlike length
            more = max(frames.count, len(self.counts) // 2)
            room = np.empty((more, *self.counts.shape[1:]), np.float32)
            self.counts = np.concatenate([self.counts, room])
        cutoff = frames.header.count_cutoff if self.saturation is None else self.saturation
        mask = None if frames.pixel_mask is None else frames.pixel_mask != 0
        offset = 0
        for chunk in frames.chunks():
            bad = mask if mask is None or mask.ndim == 2 else mask[offset : offset + len(chunk)]
            self._take(chunk, cutoff, bad)
            offset += len(chunk)
        self.sources += frames.labels(name)
        exposure = frames.header.exposure_s
        if exposure is None:
            self.exposures = None
        elif self.exposures is not None:
            self.exposures += exposure if isinstance(exposure, tuple) else [exposure] * frames.count

    def scan(self, path: str) -> Scan:
        """Close the assembly and refuse what cannot be used.

        Raises:
          ValueError: if no pixel is valid, or all valid ones are 0.
        """
        counts = self.counts[: self.filled]
        total = self.causes.sum()
        if not self.causes[0]:
            shares = [
                f"{100 * n / total:.1f} % {c}"
                for n, c in zip(self.causes[1:], CAUSES, strict=True)
                if n
            ]
            raise ValueError(
                f"{path}: no usable pixel in any frame ({', '.join(shares)}); check file and "
                "saturation"
            )
        if not counts.any():
            raise ValueError(
                f"{path}: every valid pixel of all {len(counts)} frames is 0; was the shutter "
                "closed?"
            )
        masked_by = {c: float(n / total) for c, n in zip(CAUSES, self.causes[1:], strict=True)}
        exposure_s = None if self.exposures is None else tuple(self.exposures)
        metadata = Metadata(tuple(self.sources), self.dtype, exposure_s, self.raster_shape)
        return Scan(counts, self._valid(), self.geometry, metadata, masked_by)

    def _start(self, file: str, frames: Frames) -> None:
        shape = tuple(frames.values.shape)
        self.first, self.dtype = file, np.dtype(frames.values.dtype).name
        self.geometry = dataclasses.replace(frames.header.geometry)
        self.counts = np.empty((self.files * frames.count, *shape[-2:]), np.float32)
        if self.files == 1 and len(shape) == 4:
            self.raster_shape = (int(shape[0]), int(shape[1]))

    def _check(self, file: str, frames: Frames) -> None:
        here, first = tuple(frames.values.shape[-2:]), self.counts.shape[1:]
        if here != first:
            raise ValueError(
                f"frames differ in shape: {self.first} is {first}, {file} is {here} (height, "
                "width); "
                f"keep one shape per scan"
            )

    def _take(self, chunk: np.ndarray, cutoff: float | None, bad: np.ndarray | None) -> None:
        causes = causes_of(chunk, saturation=cutoff)
        if bad is not None:
            causes[np.broadcast_to(bad, causes.shape)] = 1
        self.causes += np.bincount(causes.ravel(), minlength=len(self.causes))
        valid = causes == 0
        end = self.filled + len(chunk)
        np.copyto(self.counts[self.filled : end], 0)
        np.copyto(self.counts[self.filled : end], chunk, where=valid, casting="unsafe")
        self.filled = end
        common = self.blocks[0][1][:1] if self.blocks else valid[:1].copy()
        self.blocks.append((len(chunk), common if (valid == common).all() else valid))

    def _valid(self) -> np.ndarray:
        common = self.blocks[0][1][:1]
        if all(len(block) == 1 and (block == common).all() for _, block in self.blocks):
            return common
        return np.concatenate([np.broadcast_to(v, (n, *v.shape[1:])) for n, v in self.blocks])

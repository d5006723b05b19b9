"""TIFF: single frames, multi-page stacks, and the header of Pilatus detectors."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tifffile

from smae_jax.errors import UserError
from smae_jax.io.pilatus import parse_pilatus_header
from smae_jax.io.raw_frames import Frames, Header, hushed, unreadable
from smae_jax.io.readable import refuse_inflated

# What tifffile only logs when pages are missing; the rest would pass for the whole scan.
_DAMAGE = ("invalid page offset", "corrupted", "failed to reshape")


class _Pages:
    """Pages of an open TIFF, unpacked when they are sliced."""

    def __init__(self, path: str, series: tifffile.TiffPageSeries, messages: list[str]) -> None:
        self._path, self._series, self._messages = path, series, messages
        self.shape, self.dtype = tuple(series.shape), np.dtype(series.dtype)

    def __getitem__(self, frames: slice) -> np.ndarray:
        chosen = range(*frames.indices(self.shape[0]))
        values = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for place, index in enumerate(chosen):
            values[place] = _unpack(self._path, self._series.pages[index], self._messages)
        return values


class _Bounded(io.FileIO):
    """A file that makes room for no more than it holds, whatever length a tag claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to the end of the file."""
        rest = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(rest if size is None or size < 0 else min(size, rest)) or b""


@contextmanager
def open_tiff(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open all pages of a TIFF; uncompressed ones are memory-mapped, others unpacked when they are read.

    A file may hold several series of pages of one shape each; `inside` is the number of one of them.

    Raises:
      UserError: if another name within the file is asked for, the file is no TIFF, is truncated or in
        colour, packed in a way that nothing here unpacks, or its pages differ in shape.
    """
    del mask
    with hushed("tifffile") as messages, _Bounded(path) as file:
        try:
            # No file that the metadata names is opened beside this one.
            tiff = tifffile.TiffFile(file, name=os.path.basename(path), _multifile=False)
        except Exception as error:  # damaged tags raise whatever they like
            raise unreadable(path, "a TIFF", error) from error
        with tiff:
            series = _series(path, tiff, inside)
            stacks = [_values(path, tiff, one, messages) for one in series]
            _refuse_damage(path, messages)
            yield Frames(
                stacks[0] if len(stacks) == 1 else _joined(stacks),
                inside=f"::{inside}" if inside else "",
                header=_header(tiff),
            )


def _series(path: str, tiff: tifffile.TiffFile, inside: str) -> Sequence[Any]:
    """Choose the series of pages that are frames."""
    try:
        series = tiff.series
    except Exception as error:  # damaged tags raise whatever they like
        raise unreadable(path, "a TIFF", error) from error
    if not series:
        raise unreadable(path, "a TIFF", "no pages")
    if inside:
        if not (inside.isdecimal() and inside.isascii() and int(inside) < len(series)):
            known = f", or name one of its series, 0 to {len(series) - 1}" if series[1:] else ""
            raise UserError(f"{path}: a TIFF has no named datasets; drop '::{inside}'{known}")
        series = [series[int(inside)]]
    for number, other in enumerate(series):
        if "S" in other.axes:
            raise UserError(
                f"{path}: a colour image; expected one number per pixel, as a detector writes"
            )
        if other.shape[-2:] != series[0].shape[-2:]:
            raise UserError(
                f"{path}: frames differ in shape: its series 0 is {series[0].shape}, series {number} "
                f"{other.shape}; name one as in {path}::0"
            )
    return series


def _values(
    path: str, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, messages: list[str]
) -> Any:
    keyframe, dtype = series.keyframe, series.dtype
    if dtype is None:
        raise unreadable(path, "a TIFF", "unknown type of number")
    size = math.prod(series.shape) * dtype.itemsize
    if series.dataoffset is not None and keyframe.is_memmappable:
        stored = np.dtype(f"{tiff.byteorder}{dtype.char}")
        needed = series.dataoffset + size
        if needed > os.path.getsize(path):
            raise unreadable(
                path, "a TIFF", f"expected {needed} bytes, has {os.path.getsize(path)}"
            )
        return np.memmap(path, stored, "r", series.dataoffset, tuple(series.shape))
    refuse_inflated(path, size)
    paged = len(series.shape) == 3 and tuple(keyframe.shape) == tuple(series.shape[1:])
    if paged and len(series.pages) == series.shape[0]:
        return _Pages(path, series, messages)
    return _unpack(path, series, messages)


def _unpack(path: str, pages: Any, messages: list[str]) -> np.ndarray:
    """Read a page or a series.

    Raises:
      UserError: if it is damaged, or packed in a way that nothing here unpacks.
    """
    if pages is None:
        raise unreadable(path, "a TIFF", "a page is missing")
    try:
        values = pages.asarray()
    except Exception as error:  # each codec raises whatever it likes
        reason, packed = str(error), pages.keyframe.compression
        if "imagecodecs' package" in reason or isinstance(error, ImportError):
            raise UserError(
                f"{path}: packed with {getattr(packed, 'name', packed)}, which the package imagecodecs "
                "reads; install it with 'pip install imagecodecs', or save the frames without compression"
            ) from error
        if "not supported" in reason or "unknown COMPRESSION" in reason:
            raise UserError(
                f"{path}: packed in a way that is not known here ({' '.join(reason.split())[:100]}); save "
                "the frames with another compression, or none"
            ) from error
        raise unreadable(path, "a TIFF", error) from error
    _refuse_damage(path, messages)
    return values


def _refuse_damage(path: str, messages: list[str]) -> None:
    damage = [m for m in messages if any(sign in m for sign in _DAMAGE)]
    if damage:
        raise unreadable(path, "a TIFF", damage[0])


def _joined(stacks: list[Any]) -> np.ndarray:
    """Read all series, which are as many as the times that the file was appended to."""
    return np.concatenate([np.asarray(one[:]).reshape(-1, *one.shape[-2:]) for one in stacks])


def _header(tiff: tifffile.TiffFile) -> Header:
    description = getattr(tiff.pages[0], "description", "")
    if "# Pixel_size" in description or "# Exposure_time" in description:
        return parse_pilatus_header(description)
    return Header(program=getattr(tiff.pages[0], "software", ""))

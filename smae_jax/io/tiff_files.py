"""TIFF: single frames, multi-page stacks, and the header of Pilatus detectors."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tifffile

from smae_jax.errors import UserError
from smae_jax.io.pilatus import parse_pilatus_header
from smae_jax.io.raw_frames import Frames, Header, hushed, unreadable

# What tifffile only logs when pages are missing; the rest would pass for the whole scan.
_DAMAGE = ("invalid page offset", "corrupted", "failed to reshape")


@contextmanager
def open_tiff(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open all pages of a TIFF; uncompressed ones are memory-mapped.

    Raises:
      UserError: if a name within the file is asked for, the file is no TIFF, is truncated or in
        colour, or its pages differ in shape.
    """
    del mask
    if inside:
        raise UserError(f"{path}: a TIFF has no named datasets; drop '::{inside}'")
    with hushed("tifffile") as messages:
        try:
            with tifffile.TiffFile(path) as tiff:
                values = _stack(path, tiff)
                header = _header(tiff)
        except (tifffile.TiffFileError, zlib.error, OSError, RuntimeError, IndexError) as error:
            raise unreadable(path, "a TIFF", error) from error
        damage = [m for m in messages if any(sign in m for sign in _DAMAGE)]
        if damage:
            raise unreadable(path, "a TIFF", damage[0])
    yield Frames(values, header=header)


def _stack(path: str, tiff: tifffile.TiffFile) -> np.ndarray:
    series = tiff.series
    if not series:
        raise unreadable(path, "a TIFF", "no pages")
    first = series[0]
    for other in series:
        if "S" in other.axes:
            raise UserError(
                f"{path}: a colour image; expected one number per pixel, as a detector writes"
            )
        if other.shape[-2:] != first.shape[-2:]:
            raise UserError(
                f"{path}: frames differ in shape: its first page is {first.shape[-2:]}, another "
                f"{other.shape[-2:]}; keep one shape per scan"
            )
    stacks = [_values(path, tiff, one) for one in series]
    if len(stacks) == 1:
        return stacks[0]
    return np.concatenate([stack.reshape(-1, *first.shape[-2:]) for stack in stacks])


def _values(path: str, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> np.ndarray:
    keyframe = series.keyframe
    dtype = series.dtype
    if dtype is None:
        raise unreadable(path, "a TIFF", "unknown type of number")
    if series.dataoffset is not None and keyframe.is_memmappable:
        stored = np.dtype(f"{tiff.byteorder}{dtype.char}")
        needed = series.dataoffset + int(np.prod(series.shape)) * stored.itemsize
        if needed > os.path.getsize(path):
            raise unreadable(
                path, "a TIFF", f"expected {needed} bytes, has {os.path.getsize(path)}"
            )
        return np.memmap(path, stored, "r", series.dataoffset, tuple(series.shape))
    try:
        return series.asarray()
    except ValueError as error:
        raise unreadable(path, "a TIFF", error) from error


def _header(tiff: tifffile.TiffFile) -> Header:
    description = getattr(tiff.pages[0], "description", "")
    if "# Pixel_size" in description or "# Exposure_time" in description:
        return parse_pilatus_header(description)
    return Header()

"""Whatever fabio reads: CBF, EDF, MAR and other detector formats, one or many frames per file."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fabio
import numpy as np

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.pilatus import parse_pilatus_header
from smae_jax.io.raw_frames import Frames, Header, hushed, unreadable
from smae_jax.io.readable import refuse_inflated

# What fabio only logs; it then fills the missing part of the frame with zeros.
_DAMAGE = ("incomplete", "unable to convert", "less data", "Cannot decompress", "truncated")
_CBF_SIZES = re.compile(
    rb"X-Binary-(Size|Size-Fastest-Dimension|Size-Second-Dimension|Number-of-Elements):[ \t]*([0-9]{1,18})"
)
_EXPOSURE_KEYS = ("count_time", "exposure_time", "exposuretime", "acq_expo_time", "dwell_time")


class _FrameList:
    """Frames of an open fabio image, read one by one when sliced."""

    def __init__(self, image: Any, path: str, messages: list[str]) -> None:
        self._image, self._path, self._messages = image, path, messages
        self._first = self._read(0)
        self.shape = (int(image.nframes), *self._first.shape)
        self.dtype = self._first.dtype
        refuse_inflated(path, self.shape[0] * self._first.nbytes)

    def __getitem__(self, frames: slice) -> np.ndarray:
        return np.stack([self._read(i) for i in range(*frames.indices(self.shape[0]))])

    def _read(self, index: int) -> np.ndarray:
        try:
            frame = self._image if index == 0 else self._image.getframe(index)
            told = _told_shape(frame.header)
            refuse_inflated(self._path, told[0] * told[1] if told else 0)
            data = frame.data
        except UserError:
            raise
        except Exception as error:  # fabio's formats raise whatever they like
            raise unreadable(self._path, "a detector image", error) from error
        damage = [m for m in self._messages if any(sign in m for sign in _DAMAGE)]
        if data is None or damage:
            raise unreadable(self._path, "a detector image", damage[0] if damage else "no data")
        if data.ndim != 2 or told not in (None, data.shape):
            reason = f"numbers of shape {data.shape} where the header says {told}"
            raise unreadable(self._path, "a detector image", reason)
        if index and data.shape != self.shape[1:]:
            raise UserError(
                f"{self._path}: frames differ in shape: frame 0 is {self.shape[1:]}, frame {index} "
                f"{data.shape}; keep one shape per scan"
            )
        return data


@contextmanager
def open_fabio(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open a file through fabio.

    Raises:
      UserError: if a name within the file is asked for, or fabio cannot read all of it.
    """
    del mask
    if inside:
        raise UserError(f"{path}: this format has no named datasets; drop '::{inside}'")
    with hushed("fabio") as messages:
        try:
            _refuse_endless(path)
            image = fabio.open(path)
        except UserError:
            raise
        except Exception as error:  # fabio's formats raise whatever they like
            raise unreadable(path, "a detector image", error) from error
        try:
            frames: Any = _FrameList(image, path, messages)
            if frames.shape[0] == 1:
                frames = frames[0:1][0]
            yield Frames(frames, header=_header(image.header))
        finally:
            image.close()


def _refuse_endless(path: str) -> None:
    """Refuse headers over which fabio would go on for ever, or make room for more than the file holds."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:3] == b"###" or os.path.splitext(path)[1].lower() == ".cbf":
            _refuse_cbf(path, content)
        elif b"{" in content[:2]:
            _refuse_edf(path, content)


def _refuse_cbf(path: str, content: mmap.mmap) -> None:
    """Refuse a CBF that ends before its numbers begin, or has fewer bytes than it claims numbers."""
    section = content.find(b"--CIF-BINARY-FORMAT-SECTION--")
    start = content.find(b"\x0c\x1a\x04\xd5", section)
    if section < 0 or start < 0:
        raise unreadable(path, "a detector image", "the binary section is missing")
    told = {key: int(number) for key, number in _CBF_SIZES.findall(content[section:start])}
    sides = told.get(b"Size-Fastest-Dimension", 0) * told.get(b"Size-Second-Dimension", 0)
    if max(sides, 0, *told.values()) > len(content):  # a number takes a byte or more
        raise unreadable(path, "a detector image", "its header claims more than the file holds")


def _refuse_edf(path: str, content: mmap.mmap) -> None:
    """Refuse an EDF with `Dim_2147483647`: fabio would go through all axes up to that one."""
    for name in (b"Dim_", b"DIM_", b"dim_"):
        place = content.find(name)
        while place >= 0:
            if re.match(rb"\d\d", content[place + 4 : place + 6]):
                raise unreadable(path, "a detector image", "its header tells of ten axes or more")
            place = content.find(name, place + 1)


def _told_shape(header: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return what the header of an EDF says: fabio takes what it finds for a negative side."""
    try:
        return int(header["Dim_2"]), int(header["Dim_1"])
    except (KeyError, TypeError, ValueError):
        return None


def _header(header: Mapping[str, Any]) -> Header:
    lower = {str(key).lower(): str(value) for key, value in header.items()}
    contents = lower.get("_array_data.header_contents", "")
    if "# Pixel_size" in contents or "# Exposure_time" in contents:
        return parse_pilatus_header(contents)

    def number(*keys: str) -> float | None:
        for key in keys:
            try:
                value = float(lower.get(key, "").split()[0])
            except (ValueError, IndexError):
                continue
            if value > 0:
                return value
        return None

    size = number("psize_2"), number("psize_1")
    return Header(
        exposure_s=number(*_EXPOSURE_KEYS),
        geometry=Geometry(
            pixel_size_m=(size[0], size[1]) if size[0] and size[1] else None,
            wavelength_m=number("wavelength"),
            distance_m=number("sampledistance"),
        ),
    )

"""MRC: images and stacks of electron microscopes and their detectors, memory-mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import Frames, hushed, unreadable


@contextmanager
def open_mrc(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Map the array of an MRC file.

    Raises:
      UserError: in one line, if the package mrcfile is missing, a name within the file is asked for, or it is
        no whole MRC file.
    """
    del mask
    if inside:
        raise UserError(f"{path}: an MRC file holds one array without a name; drop '::{inside}'")
    try:
        import mrcfile
    except ImportError:
        raise UserError(
            f"{path}: is MRC, which the package mrcfile reads; install it with 'pip install smae_jax[mrc]'"
        ) from None
    with hushed("mrcfile"):
        _refuse_claim(path)
        try:
            file = mrcfile.mmap(path, mode="r")
        except Exception as error:  # a damaged header raises whatever it likes
            raise unreadable(path, "an MRC file", error) from error
        with file:
            if file.data is None:
                raise unreadable(path, "an MRC file", "no data")
            yield Frames(file.data)


def _refuse_claim(path: str) -> None:
    """Refuse an extended header longer than the file, which mrcfile would make room for."""
    with open(path, "rb") as file:
        header = file.read(216)
    order = "big" if header[212:213] == b"\x11" else "little"
    if int.from_bytes(header[92:96], order) > os.path.getsize(path):
        raise unreadable(path, "an MRC file", "its extended header is longer than the file")

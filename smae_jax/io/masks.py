"""Mask files: which pixels may be used, by one mask or several."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.locations import find_files, split_inside
from smae_jax.io.scans import open_frames
from smae_jax.measurements import Measurements
from smae_jax.survey import masked

# What the bits of a NeXus pixel_mask stand for (NXdetector).
_BITS = {
    0: "gap",
    1: "dead",
    2: "under responding",
    3: "over responding",
    4: "noisy",
    6: "part of a cluster of problems",
    8: "masked by the user",
    31: "virtual",
}


def read_mask(path: str, *, polarity: Literal["bad", "good"] = "bad") -> np.ndarray:
    """Read a mask file.

    Args:
      path: one image, in any format that frames have, as a picture or as text; `file.npz::name` and
        `file.h5::/dataset` name it.
      polarity: what nonzero means: `bad` (the detectors' convention) or `good` (True = usable).

    Returns:
      valid, True = use, bool (height, width). A value that is not a number is never valid.

    Raises:
      UserError: in one line, if the file cannot be read, is not one image, or leaves no pixel.
    """
    return _valid(path, _values(path)[0], polarity)


def with_masks(
    data: Measurements, paths: Sequence[str], *, polarity: Literal["bad", "good"] = "bad"
) -> Measurements:
    """Mask patterns by all of several masks.

    Args:
      data: left as it is.
      paths: see `read_mask`; none leaves all as it is.
      polarity: of all of them.

    Returns:
      The measurements; `origin.masked_by` has the share that each mask took which none before it had taken,
      as `user`, of several as `user NAME`. Notes say which bits are set in a NeXus pixel_mask.

    Raises:
      UserError: in one line, if a mask cannot be read or does not fit, or no pixel is left.
    """
    often = Counter(os.path.basename(path) for path in paths)
    for path in paths:
        values, bits = _values(path)
        name = os.path.basename(path)
        cause = "user" if len(paths) == 1 else f"user {name if often[name] == 1 else path}"
        data = masked(data, _valid(path, values, polarity), cause=cause, path=path)
        if bits and polarity == "bad":
            notes = (*data.origin.notes, f"{path}: {_bits(values)}")
            data = dataclasses.replace(data, origin=dataclasses.replace(data.origin, notes=notes))
    return data


def _values(path: str) -> tuple[np.ndarray, bool]:
    """Read the image, and tell whether its values are the bits of a NeXus pixel_mask."""
    file_path, inside = split_inside(path)
    files = find_files(file_path, mask=True)
    if len(files) != 1:
        raise UserError(f"{path}: expected one mask, got {len(files)} files; name one of them")
    with open_frames(files[0], inside, mask=True) as frames:
        if frames.count != 1:
            raise UserError(
                f"{path}: expected one mask (height, width), got shape {frames.values.shape}"
            )
        values = np.array(frames.part(0, 1)[0])
    bits = values.dtype.kind in "iu" and frames.inside.endswith("pixel_mask")
    return values, bits and bool((values > 1).any())


def _valid(path: str, values: np.ndarray, polarity: str) -> np.ndarray:
    """Return where nonzero, or zero, is good."""
    if polarity not in ("bad", "good"):
        raise UserError(
            f"mask polarity: expected 'bad' or 'good' (what nonzero means), got '{polarity}'"
        )
    valid = (values != 0) == (polarity == "good")
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    if not valid.any():
        other = "good" if polarity == "bad" else "bad"
        raise UserError(
            f"{path}: every pixel is bad, read with nonzero = {polarity}; if nonzero means {other}, set the "
            f"mask polarity to '{other}'"
        )
    return valid


def _bits(values: np.ndarray) -> str:
    """Say which bits are set, in how many of the pixels.

    >>> _bits(np.array([[0, 1], [2, 3]]))
    'bits set in 50.00 % (0, gap), 50.00 % (1, dead) of the pixels'
    """
    shares = {bit: np.mean((values >> bit) & 1 != 0) for bit in range(8 * values.dtype.itemsize)}
    told = (
        f"{100 * share:.2f} % ({bit}{f', {_BITS[bit]}' if bit in _BITS else ''})"
        for bit, share in shares.items()
        if share
    )
    return f"bits set in {', '.join(told)} of the pixels"

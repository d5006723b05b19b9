"""Mask files: which pixels may be used."""

from __future__ import annotations

from typing import Literal

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.locations import find_files, split_inside
from smae_jax.io.scans import open_frames


def read_mask(path: str, *, polarity: Literal["bad", "good"] = "bad") -> np.ndarray:
    """Read a mask file.

    Args:
      path: one image, in any format that frames have; `file.npz::name` and `file.h5::/dataset` name it.
      polarity: what nonzero means: `bad` (the detectors' convention) or `good` (True = usable).

    Returns:
      valid, True = use, bool (height, width). A value that is not a number is never valid.

    Raises:
      UserError: in one line, if the file cannot be read, is not one image, or leaves no pixel.
    """
    if polarity not in ("bad", "good"):
        raise UserError(
            f"mask polarity: expected 'bad' or 'good' (what nonzero means), got '{polarity}'"
        )
    file_path, inside = split_inside(path)
    files = find_files(file_path)
    if len(files) != 1:
        raise UserError(f"{path}: expected one mask, got {len(files)} files; name one of them")
    with open_frames(files[0], inside, mask=True) as frames:
        if frames.count != 1:
            raise UserError(
                f"{path}: expected one mask (height, width), got shape {frames.values.shape}"
            )
        values = frames.part(0, 1)[0]
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

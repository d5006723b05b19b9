"""What a detector adds to a signal and makes of it: dark counts are taken off, a flat field is exposure.

Arrays in, arrays out: knows nothing of files.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.survey import masked

LARGEST = 10.0
"""Times that a pixel's response may lie above or below the usual one; beyond that the pixel is masked."""


def without_dark(data: Measurements, dark: np.ndarray) -> Measurements:
    """Take the dark counts of a detector off every frame.

    What is left is no photon count any more, but for dark counts that are 0 everywhere. So this is for
    detectors that integrate; of one that counts, what is there without a sample is taken off the answers.

    Args:
      data: as counted, masked or not.
      dark: mean of dark frames, (*spatial), NaN where unknown: there pixels are masked, with cause `dark`.

    Returns:
      The measurements as float32, with their `dark`; unchanged counts where it is 0 everywhere.

    Raises:
      UserError: if no pixel is left.
    """
    known = np.isfinite(dark)
    if not known.any():
        raise UserError("dark frames: expected counts of the pixels, found none; see the files")
    data = masked(data, known, cause="dark", path="dark frames")
    dark = np.where(known, dark, 0).astype(np.float32)
    kept = dataclasses.replace(data, dark=dark)
    if not dark.any():
        return kept
    off = np.where(data.valid, dark, np.float32(0))
    if data.channels:
        off = off[..., None]
    return dataclasses.replace(kept, counts=(data.counts - off).astype(np.float32))


def with_response(data: Measurements, response: np.ndarray) -> Measurements:
    """Take the response of each pixel for a part of its exposure: counts stay as they are, and Poisson.

    Answers, which are counts per full exposure, are thereby those of a detector whose pixels are all alike.

    Args:
      data: as counted, masked or not; without a response.
      response: of each pixel, as a flat field tells it, in any unit, (*spatial). Where it is NaN, not above
        0, or `LARGEST` times off the median, pixels are masked, with cause `flat`.

    Returns:
      The measurements with `response`, relative to the median, also in their exposure.

    Raises:
      UserError: if no pixel is left.
    """
    usable = np.isfinite(response) & (response > 0)
    if not usable.any():
        raise UserError("flat field: expected values above 0, found none; see the file")
    relative = np.where(usable, response, 0) / np.median(response[usable])
    usable &= (relative * LARGEST >= 1) & (relative <= LARGEST)
    data = masked(data, usable, cause="flat", path="flat field")
    relative = np.where(usable, relative, 0).astype(np.float32)
    return dataclasses.replace(data, exposure=data.exposure * relative, response=relative)

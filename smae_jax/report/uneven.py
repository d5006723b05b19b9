"""How far a mask takes the mean around a ring off that of all azimuths. Numpy only.

Counts over exposures are unbiased for the pixels that were measured. Where a ring is brighter at some
azimuths and a mask hides more of these, or of the others, they are not those of the whole ring.
"""

from __future__ import annotations

import numpy as np

from smae_jax.report.orientation import bridged, folded
from smae_jax.report.profiles import Profiles

SECTOR = 5
"""Azimuths of 2 degrees that are put together: a single one may have one pixel."""


def unevenness(ring: Profiles) -> np.ndarray:
    """Compare the mean of the measured pixels of a ring with that of all azimuths, each counted alike.

    Opposite azimuths scatter alike, so that one that is masked is known from the other side; where neither
    was measured, it is bridged by a straight line.

    Args:
      ring: I(chi); its answers tell how bright each azimuth is.

    Returns:
      Their ratio less 1, (frames,); NaN where too little of half a turn was measured.
    """
    halves = folded(ring.denoised, ring.norm)
    counts, norm = (a.reshape(len(a), -1, SECTOR).sum(axis=-1) for a in halves)
    around = bridged(counts, norm)[0].mean(axis=1)
    light = norm.sum(axis=1)
    use = (light > 0) & (around > 0)
    seen = counts.sum(axis=1) / np.where(use, light, 1)
    return np.where(use, seen / np.where(use, around, 1) - 1, np.nan)

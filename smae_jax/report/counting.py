"""Whether a detector counts photons: variance over mean of the differences of opposite pixels. numpy only."""

from __future__ import annotations

import numpy as np

from smae_jax.asymmetry import opposite
from smae_jax.measurements import Measurements

FEWEST_PAIRS = 100


def variance_over_mean(data: Measurements) -> float:
    """Return the variance over the mean of counts, from differences of opposite pixels.

    With counts a and b of partners, u = (a - b) / sqrt(a + b) has the variance 1 for photons. A pattern that
    is uneven shifts u of neighbouring pixels alike, so half the mean square of the difference of neighbours
    tells the noise alone.

    Args:
      data: patterns with a centre.

    Returns:
      1 for photon counts, about 0 for smoothed values; NaN where too few pixels have a partner.
    """
    if data.symmetry is None:
        return float("nan")
    total, number = 0.0, 0
    light = data.full_exposure
    for frame, exposure in zip(data.counts, light, strict=True):
        own, partner, both = opposite(frame, exposure > 0, data.symmetry.half_pixel, data.response)
        use = both & (own + partner > 0)
        pull = np.where(use, own - partner, 0) / np.sqrt(np.where(use, own + partner, 1))
        upper, lower = pull[:-1:2], pull[1::2]
        pairs = use[:-1:2] & use[1::2]
        total += float(((upper - lower)[pairs] ** 2).sum()) / 2
        number += int(pairs.sum())
    return total / number if number >= FEWEST_PAIRS else float("nan")

"""Whether a pixel's partner helps: the choice between two related measurements and two different things."""

from __future__ import annotations

import numpy as np

from smae_jax.asymmetry import opposite, relative_asymmetry, symmetry_chi_square
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements

UNRELATED = 0.5
"""Relative asymmetry from which a pixel and its partner are taken for two different things."""
SIGNIFICANT = 3.0
"""Standard deviations from which an asymmetry is taken for real."""


def choose_partner(data: Measurements) -> tuple[str, str]:
    """Choose by the symmetry of patterns whether a pixel's partner helps.

    Args:
      data: with its centre.

    Returns:
      ("channel" or "none", the reason in words).
    """
    if data.center is None:
        return "none", "no centre of symmetry is known"
    if not data.center.trusted:
        return "none", data.center.reason
    # Every pair is summed over the frames in which both its pixels are valid.
    pairs = data.valid & turn(data.valid, data.center.half_pixel, False)
    total = np.where(pairs, data.counts, 0).sum(axis=0, dtype=np.float64)
    center, valid = data.center.half_pixel, np.asarray(pairs.any(axis=0))
    own, partner, both = opposite(total, valid, center, data.response)
    if not both.any():
        return "none", "no pixel has a valid partner"
    found = relative_asymmetry(own, partner, both)
    chi_square = symmetry_chi_square(data.counts, data.valid, center, data.response)
    measured = (
        f"chi-square of opposite pixels {chi_square:.2f}, asymmetry {100 * found.relative:.1f} %"
    )
    if found.relative > UNRELATED and found.sigmas > SIGNIFICANT:
        return "none", f"{measured}: the pattern is not centro-symmetric"
    return "channel", f"{measured}: pixel and partner are related, and kept apart"

"""Borders between places measured in different ways: answers step there, and the counts tell by how much.

A network sees a pixel and its partner, or one of them alone beside a gap, beside the beamstop and where the
partner lies off the detector. What it gets wrong on either side of such a border it gets wrong all along it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from smae_jax.geometry import turn

DISTANCES = (1.5, 3.0, 6.0, 12.0, 24.0)
"""Pixels from a border: ends of the strips along it whose counts are added up."""


def factor_of_borders(
    expected: np.ndarray, found: np.ndarray, measured: np.ndarray, center: tuple[float, float]
) -> np.ndarray:
    """Return what expected sums have to be multiplied by to agree with the counts on both sides of borders.

    Pixels are put together that are measured in one way and are as far from the nearest border of one kind.
    Of the relative difference d of each such strip, whose Poisson noise has the variance v, as much is taken
    as exceeds the noise: d (1 - v / d^2), at least nothing. Far from all borders nothing is changed.

    Args:
      expected: sum of the answers, (height, width), float64, 0 where not measured.
      found: sum of the counts, as `expected`.
      measured: bool, (height, width).
      center: (y, x) in pixels, multiples of 0.5.

    Returns:
      (height, width) float64, 1 where not measured.
    """
    strip = strips(kinds_of_pixels(measured, center))
    near = measured & (strip > 0)
    if not near.any():
        return np.ones_like(expected)
    wanted, there = (np.bincount(strip[near], image[near]) for image in (expected, found))
    told = wanted > 0
    wanted = np.where(told, wanted, 1)
    difference = np.where(told, there / wanted - 1, 0)
    excess = difference**2 - 1 / wanted
    kept = np.where(excess > 0, excess / np.where(excess > 0, difference, 1) ** 2, 0) * difference
    factor = np.ones_like(expected)
    factor[near] += np.clip(kept, -0.5, 1.0)[strip[near]]
    return factor


def kinds_of_pixels(measured: np.ndarray, center: tuple[float, float]) -> np.ndarray:
    """Tell how pixels are measured, int, (height, width).

    0 = with the partner, 1 = the partner is masked, 2 = the partner is off the frame, 3 = the partner alone,
    4 = neither.
    """
    partner = turn(measured, center, False)
    on_frame = turn(np.ones_like(measured), center, False)
    alone = np.where(on_frame, 1, 2)
    return np.where(measured, np.where(partner, 0, alone), np.where(partner, 3, 4))


def strips(kinds: np.ndarray) -> np.ndarray:
    """Number strips along borders: pixels of a kind by the nearest other kind and its distance; 0 = far."""
    nearest, other = np.full(kinds.shape, np.inf), np.zeros(kinds.shape, int)
    for kind in np.unique(kinds):
        there = kinds == kind
        if there.all():
            continue
        distance = np.asarray(distance_transform_edt(~there))
        closer = ~there & (distance < nearest)
        nearest[closer], other[closer] = distance[closer], kind
    number = 1 + (kinds * 5 + other) * len(DISTANCES) + np.digitize(nearest, DISTANCES)
    return np.where(nearest < DISTANCES[-1], number, 0)

"""Whether values scatter as photons do: those of a detector that integrates, or interpolated ones, do not.

Whole numbers alone do not tell: many detectors that integrate write whole numbers. Arrays in, numbers out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from smae_jax.blocks import spread
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements, not_counted
from smae_jax.outliers import take_out

BLOCK = 32
"""Side in pixels of the squares that variance and mean are compared in."""
LEAST = 200.0
"""Photons in a square, at least: its ratio scatters by a tenth or so."""
SURE = 0.05
"""Relative error of variance over mean, at most, in all squares together: a few small frames do not tell."""
PAIRS, PIXELS = 8, 2**23
"""Pairs of successive frames that are looked at, and their pixels together, at most."""
USUAL = (0.8, 1.4)
"""Variance over mean of photons, with what sharp features add; detectors that count have 0.9 to 1.05."""
SMALL = 16
"""Pixels a side, at least, of patterns that are judged."""


def judged(data: Measurements, noise: Literal["auto", "photons", "integrated"]) -> Measurements:
    """Return measurements that know whether their whole numbers are photon counts.

    Args:
      data: masked, with its centre if it has one.
      noise: what the values are; auto = as they were judged before, else as they scatter. Without a centre
        that is trusted, sharp features could pass for noise, and nothing is judged.
    """
    if noise != "auto":
        return dataclasses.replace(data, integrated=noise == "integrated")
    if data.integrated is not None or data.symmetry is None:
        return data
    return dataclasses.replace(data, integrated=unlike_photons(data) is not None)


def unlike_photons(data: Measurements) -> tuple[float, float] | None:
    """Judge whether whole numbers scatter unlike photons: the one rule of all that asks.

    Args:
      data: masked, with its centre if it has one.

    Returns:
      Quartiles of variance over mean, where they are not `USUAL`; None where they are, where too little was
      counted to tell, and where values are not whole or no patterns.
    """
    patterns = len(data.spatial) == 2 and not data.channels and min(data.spatial) >= SMALL
    if not patterns or not_counted(data.counts) is not None:
        return None
    found = variance_over_mean(data)
    if found is not None and found[0] > USUAL[1] and data.taken_out is None:
        # A count that stands out is no noise, and does much in a small frame.
        number = max(2, min(2 * PAIRS, PIXELS // int(np.prod(data.spatial))))
        some = data.take(spread(data.frames, number))
        found = variance_over_mean(take_out(dataclasses.replace(some, integrated=None)))
    if found is None or (found[0] <= USUAL[1] and found[1] >= USUAL[0]):
        return None
    return found


def variance_over_mean(data: Measurements) -> tuple[float, float] | None:
    """Compare variance and mean of patterns by second differences, which smooth patterns hardly have.

    For values x of independent noise (x[j - 1] - 2 x[j] + x[j + 1])^2 is 6 times the variance on average, and
    less where neighbours share their noise. Over n values of N photons in all, the ratio varies by
    (2 (1 + 2 (4/6)^2 + 2 (1/6)^2) + n / N) / n = 3.9 / n + 1 / N. Successive frames are taken off each other
    first, where there are any: what is fixed in place, as uneven pixels are, goes. So does what has a
    partner, where there is one: sharp rings of many photons would pass for noise.

    Args:
      data: patterns of whole counts, masked.

    Returns:
      Quartiles, the lower and the upper one, over squares of `BLOCK` pixels; None where too little was
      counted.
    """
    pairs = max(1, min(PAIRS, PIXELS // int(np.prod(data.spatial))))
    first = spread(max(data.frames - 1, 1), pairs)
    center = None if data.symmetry is None else data.symmetry.half_pixel
    valid = np.asarray(data.valid.all(axis=0))
    if center is not None:
        valid = valid & turn(valid, center, False)
    use = np.asarray(_triples(valid).all(axis=0))
    squares, photons = 0.0, 0.0
    for frame in first:
        one = data.counts[frame].astype(np.float64)
        other = data.counts[frame + 1] if data.frames > 1 else np.zeros_like(one)
        difference, total = one - other, one + other
        if center is not None:
            difference, total = (
                difference - turn(difference, center, 0.0),
                total + turn(total, center, 0.0),
            )
        left, middle, right = _triples(difference)
        second = (left - 2 * middle + right) ** 2 / 6
        left, middle, right = _triples(total)
        squares += _in_squares(np.where(use, second, 0.0))
        photons += _in_squares(np.where(use, (left + 4 * middle + right) / 6, 0.0))
    enough = np.asarray(photons) >= LEAST
    # About a centre every difference stands twice.
    once = 1 if center is None else 2
    values = len(first) * _in_squares(use.astype(np.float64))[enough].sum() / once
    counted = np.asarray(photons)[enough].sum() / once
    if not enough.any() or 3.9 / values + 1 / counted > SURE**2:
        return None
    low, high = np.quantile(np.asarray(squares)[enough] / np.asarray(photons)[enough], (0.25, 0.75))
    return float(low), float(high)


def _triples(image: np.ndarray) -> np.ndarray:
    """Return every pixel's left neighbour, itself, and its right one: (3, height, width - 2)."""
    return np.stack([image[:, :-2], image[:, 1:-1], image[:, 2:]])


def _in_squares(image: np.ndarray) -> np.ndarray:
    """Add up squares of `BLOCK` pixels; what is left over at the far edges is not looked at."""
    high, wide = (min(BLOCK, size) for size in image.shape)
    rows, columns = image.shape[0] // high, image.shape[1] // wide
    inside = image[: rows * high, : columns * wide]
    return inside.reshape(rows, high, columns, wide).sum(axis=(1, 3))

"""Whether values scatter as photons do: those of a detector that integrates, or interpolated ones, do not.

Whole numbers alone do not tell: many detectors that integrate write whole numbers. Arrays in, numbers out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from smae_jax.blocks import spread
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements, not_counted
from smae_jax.outliers import take_out

BLOCK = 32
"""Side in pixels of the squares that variance and mean are compared in."""
LEAST = 200.0
"""Photons in a square, at least: its ratio scatters by a tenth or so."""
SURE = 4.0
"""Its own errors by which variance over mean must be outside: a few small frames scatter themselves."""
PAIRS, PIXELS = 8, 2**23
"""Pairs of successive frames that are looked at, and their pixels together, at most."""
USUAL = (0.8, 1.4)
"""Variance over mean of photons, with what sharp features add; detectors that count have 0.9 to 1.05."""
SMALL = 16
"""Pixels a side, at least, of patterns that are judged."""


class Scatter(NamedTuple):
    """How values scatter beside photons of their mean.

    Attributes:
      low: lower quartile of variance over mean, over squares of `BLOCK` pixels.
      high: the upper one.
      error: relative error of the two, of photons.
    """

    low: float
    high: float
    error: float

    @property
    def unlike(self) -> bool:
        """Whether they cannot be photons."""
        more, less = (1 + sign * SURE * self.error for sign in (-1, 1))
        return self.low * more > USUAL[1] or self.high * less < USUAL[0]


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


def unlike_photons(data: Measurements) -> Scatter | None:
    """Judge whether whole numbers scatter unlike photons: the one rule of training, inference and cautions.

    Args:
      data: masked, with its centre if it has one.

    Returns:
      How they scatter, where it is not `USUAL`; None where it is, where too little was counted to tell, and
      where values are not whole or no patterns.
    """
    patterns = len(data.spatial) == 2 and not data.channels and min(data.spatial) >= SMALL
    if not patterns or not_counted(data.counts) is not None:
        return None
    found = scatter_of(data)
    return found if found is not None and found.unlike else None


def scatter_of(data: Measurements) -> Scatter | None:
    """Return `variance_over_mean`; where it is too high, without counts that stand out.

    A count that stands out is no noise, and does much in a small frame.
    """
    found = variance_over_mean(data)
    if found is not None and found.low > USUAL[1] and data.taken_out is None:
        number = max(2, min(2 * PAIRS, PIXELS // int(np.prod(data.spatial))))
        some = data.take(spread(data.frames, number))
        found = variance_over_mean(take_out(dataclasses.replace(some, integrated=None)))
    return found


def variance_over_mean(data: Measurements) -> Scatter | None:
    """Compare variance and mean of patterns by second differences, which smooth patterns hardly have.

    For values x of independent noise (x[j - 1] - 2 x[j] + x[j + 1])^2 is 6 times the variance on average, and
    less where neighbours share their noise. Over n values of N photons in all, the ratio varies by
    (2 (1 + 2 (4/6)^2 + 2 (1/6)^2) + n / N) / n = 3.9 / n + 1 / N. Successive frames are taken off each other
    first, where there are any, at one total: what is fixed in place, as uneven pixels are, goes. So does what
    has a partner, where there is one: sharp rings of many photons would pass for noise.

    Args:
      data: patterns of whole counts, masked.

    Returns:
      Quartiles over squares of `BLOCK` pixels and their error; None where too little was counted.
    """
    pairs = max(1, min(PAIRS, PIXELS // int(np.prod(data.spatial))))
    first = spread(max(data.frames - 1, 1), pairs)
    center = None if data.symmetry is None else data.symmetry.half_pixel
    valid = np.asarray(data.valid.all(axis=0))
    if center is not None:
        valid = valid & turn(valid, center, False)
    use = np.logical_and.reduce(_triples(valid))
    squares, photons = 0.0, 0.0
    for frame in first:
        difference, total = _without_next(data, frame, valid)
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
    if not enough.any():
        return None
    # About a centre every difference stands twice.
    once = 1 if center is None else 2
    values = len(first) * _in_squares(use.astype(np.float64))[enough].sum() / once
    counted = np.asarray(photons)[enough].sum() / once
    low, high = np.quantile(np.asarray(squares)[enough] / np.asarray(photons)[enough], (0.25, 0.75))
    return Scatter(float(low), float(high), float(np.sqrt(3.9 / values + 1 / counted)))


def _without_next(
    data: Measurements, frame: int, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the next frame off a frame, where there is one, the brighter one at the other's total.

    Returns:
      (difference, its variance if both are photons).
    """
    one = np.where(valid, data.counts[frame], 0.0)
    if data.frames == 1:
        return one, one
    other = np.where(valid, data.counts[frame + 1], 0.0)
    sums = [max(float(image.sum()), 1e-9) for image in (one, other)]
    shares = [min(1.0, sums[1] / sums[0]), min(1.0, sums[0] / sums[1])]
    return shares[0] * one - shares[1] * other, shares[0] ** 2 * one + shares[1] ** 2 * other


def _triples(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every pixel's left neighbour, itself, and its right one, (height, width - 2) each, uncopied."""
    return image[:, :-2], image[:, 1:-1], image[:, 2:]


def _in_squares(image: np.ndarray) -> np.ndarray:
    """Add up squares of `BLOCK` pixels; what is left over at the far edges is not looked at."""
    high, wide = (min(BLOCK, size) for size in image.shape)
    rows, columns = image.shape[0] // high, image.shape[1] // wide
    inside = image[: rows * high, : columns * wide]
    return inside.reshape(rows, high, columns, wide).sum(axis=(1, 3))

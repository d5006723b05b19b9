"""How unlike two frames are, beyond photon noise: their counts in rings and wedges about the beam.

A run keeps the counts of its training frames in this coarse form, so that it can tell later which frames are
like none of them. numpy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from smae_jax import blocks
from smae_jax.measurements import Measurements

RINGS, WEDGES = 16, 8
"""Rings about the beam, and wedges of half a turn: opposite wedges are added up."""
KEPT = 128
"""Frames whose coarse counts a run keeps, at most, evenly spread."""


class Coarse(NamedTuple):
    """Frames in rings and wedges.

    Attributes:
      counts: photons, (frames, cells), float64.
      exposure: of the pixels of each cell added up, (frames, cells), float64; 0 where none is valid.
    """

    counts: np.ndarray
    exposure: np.ndarray


class Unlike(NamedTuple):
    """Distance of frames to the most similar of some others.

    Attributes:
      distance: rms difference relative to the rates, without the photons' share of it, (frames,); 0 = alike.
      sigmas: standard deviations by which it is more than noise, (frames,).
    """

    distance: np.ndarray
    sigmas: np.ndarray


def coarse(data: Measurements) -> Coarse:
    """Add up frames in rings and wedges about their centre.

    Args:
      data: patterns with a centre.

    Raises:
      TypeError: if they have none.
    """
    if data.center is None:
        raise TypeError("expected patterns with a centre")
    cell = cells(data.center.half_pixel, (data.spatial[0], data.spatial[1])).ravel()

    def added_up(images: np.ndarray) -> np.ndarray:
        each = [np.bincount(cell, one.ravel(), RINGS * WEDGES) for one in images]
        return np.asarray(each, np.float64)

    exposure = added_up(data.exposure)
    return Coarse(added_up(data.counts), np.broadcast_to(exposure, (data.frames, RINGS * WEDGES)))


def kept_of_training(data: Measurements) -> Coarse:
    """Return what a run keeps of its training frames: `KEPT` of them, evenly spread."""
    return coarse(data.take(blocks.spread(data.frames, KEPT)))


def cells(center: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Number the ring and wedge of every pixel.

    Args:
      center: (y, x) in pixels.
      shape: (height, width).

    Returns:
      Numbers in [0, RINGS * WEDGES), int, (height, width).
    """
    y, x = np.ogrid[: shape[0], : shape[1]]
    y, x = y - center[0], x - center[1]
    radius = np.hypot(y, x)
    ring = np.minimum(radius / max(radius.max(), 1.0) * RINGS, RINGS - 1).astype(int)
    half_turns = np.mod(np.arctan2(y, x) / np.pi, 1.0)
    return ring * WEDGES + np.minimum(half_turns * WEDGES, WEDGES - 1).astype(int)


def unlike(frames: Coarse, others: Coarse, *, but_itself: bool = False) -> Unlike:
    """Compare each frame with the most similar of some others, at the same total.

    With `n` counts of a cell and `e` of the other frame, brought to this one's exposure and total, the mean
    of (n - e)^2 / e is what photons make it, plus `e` times the squared relative difference.

    Args:
      frames: that are looked at.
      others: that they are compared with.
      but_itself: whether both are the same frames, each of which is compared with the rest.

    Returns:
      The distances; 0 for a frame that has nothing in common with any other.
    """
    found = [
        _to_nearest(
            frames.counts[k], frames.exposure[k], others, np.arange(len(others.counts)) != k
        )
        if but_itself
        else _to_nearest(frames.counts[k], frames.exposure[k], others, slice(None))
        for k in range(len(frames.counts))
    ]
    distance, sigmas = np.asarray(found, np.float64).reshape(-1, 2).T
    return Unlike(distance, sigmas)


def _to_nearest(
    counts: np.ndarray, exposure: np.ndarray, others: Coarse, which: np.ndarray | slice
) -> tuple[float, float]:
    there, light = others.counts[which], others.exposure[which]
    both = (light > 0) & (exposure > 0)
    ratio = np.where(both, exposure / np.where(both, light, 1), 0)
    expected = there * ratio
    totals = expected.sum(axis=1, keepdims=True)
    own = np.where(both, counts, 0)
    scale = own.sum(axis=1, keepdims=True) / np.where(totals > 0, totals, 1)
    expected, noise = scale * expected, scale**2 * ratio**2 * np.maximum(there, 1)
    use = both & (expected > 0)
    mean = np.where(use, expected, 1)
    by_chance = np.where(use, 1 + noise / mean, 0)
    excess = np.where(use, (own - expected) ** 2 / mean, 0).sum(axis=1) - by_chance.sum(axis=1)
    total = np.where(use, expected, 0).sum(axis=1)
    if not (total > 0).any():
        return 0.0, 0.0
    square = np.where(total > 0, excess / np.where(total > 0, total, 1), np.inf)
    nearest = int(np.argmin(square))
    error = np.sqrt(2 * (by_chance[nearest] ** 2).sum())
    return float(np.sqrt(max(0.0, square[nearest]))), float(excess[nearest] / error)

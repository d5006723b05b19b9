"""What frames answer in dark places, where others of the scan are bright, beside what they counted there.

A frame's own photons are unbiased. Light that an answer has from other frames is not in them: added up over
many pixels, they contradict it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, pdtr

SHARE = 0.5
"""A place of a frame is dark below this share of the scan's brightest answer there."""
WINDOW = 32
"""Side of the squares, in pixels, whose dark places are added up; a ghost is a part of a frame."""
GHOST = 0.1
"""Excess of an answer in dark places, over what was counted there, that is looked at."""
CHANCE = 1e-4
"""Probability that noise alone names a frame of a scan: one scan in ten thousand."""
_LEAST = 1e-300


class Dark(NamedTuple):
    """Photons of dark places, (frames, squares and the whole frame): expected of the answer, and counted."""

    expected: np.ndarray
    counted: np.ndarray


class Contradicted(NamedTuple):
    """How the counts of each frame speak against its answer in dark places, (frames,) each.

    Attributes:
      expected, counted: photons of the square that speaks loudest.
      sigmas: of the excess of the answer there, 0 or less where the counts do not contradict it.
      rings: whether the excess is above `GHOST`, and noise cannot be the cause, see `CHANCE`.
      can_tell: whether an answer to nothing at all would have been noticed.
    """

    expected: np.ndarray
    counted: np.ndarray
    sigmas: np.ndarray
    rings: np.ndarray
    can_tell: np.ndarray


def dark_places(expected: np.ndarray, counts: np.ndarray, exposure: np.ndarray) -> Dark:
    """Add up what is expected and counted of every frame where others are much brighter.

    Args:
      expected: counts of each frame, (frames, height, width); NaN where there is no answer.
      counts: photons, as `expected`.
      exposure: full frames behind each pixel, as `expected`; 0 = not measured.
    """
    shape = (expected.shape[1], expected.shape[2])
    brightest = np.zeros(shape)
    for frame, light in zip(expected, exposure, strict=True):
        brightest = np.fmax(brightest, _rate(frame, light))
    found = [
        [_added(np.where(dark, image, 0)) for image in (frame, photons)]
        for frame, photons, light in zip(expected, counts, exposure, strict=True)
        for dark in [_rate(frame, light) < SHARE * brightest]
    ]
    return Dark(*(np.stack(sums) for sums in zip(*found, strict=True)))


def contradicted(dark: Dark) -> Contradicted:
    """Tell how far the counts of dark places speak against the answers.

    Probabilities are those of a Poisson count as low as what was counted, of as many squares as were looked
    at. The photons' own part in the answers makes them rather too large.
    """
    looked = dark.expected > 0
    chance = np.where(looked, pdtr(np.round(dark.counted), dark.expected), 1.0)
    limit = CHANCE / max(int(looked.sum()), 1)
    worst = chance.argmin(axis=1)
    frames = np.arange(len(worst))
    sigmas = -ndtri(np.clip(chance[frames, worst], _LEAST, 0.5))
    expected, counted = (photons[frames, worst] for photons in dark)
    return Contradicted(
        expected,
        counted,
        sigmas,
        (chance[frames, worst] < limit) & (expected > (1 + GHOST) * counted),
        dark.expected.max(axis=1) > -np.log(limit),
    )


def _rate(frame: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return counts per unit of exposure; NaN where there are none."""
    seen = light > 0
    return np.where(seen, frame / np.where(seen, light, 1), np.nan)


def _added(image: np.ndarray) -> np.ndarray:
    """Add up the squares of an image, and then all of it."""
    rows, columns = (-(-size // WINDOW) for size in image.shape)
    filled = np.zeros((rows * WINDOW, columns * WINDOW))
    filled[: image.shape[0], : image.shape[1]] = image
    sums = filled.reshape(rows, WINDOW, columns, WINDOW).sum(axis=(1, 3)).ravel()
    return np.append(sums, sums.sum())

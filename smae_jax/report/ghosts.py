"""What frames answer in dark places, where others of the scan are bright, beside what they counted there.

A frame's own photons are unbiased. Light that an answer has from other frames is not in them: added up over
many pixels, they contradict it. Where a frame is dark, some of its photons tell, and the others are compared
with the answer: places that were chosen for few photons have few of the same photons by choice alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, pdtr

from smae_jax.smoothing import smooth_image

SHARE = 0.5
"""A place of a frame is dark below this share of what the scan's brightest frame counted about it."""
TELLING = 0.125
"""Share of a frame's photons that tell where it is dark; the others judge."""
SMOOTHING = 3.0
"""Pixels about a place, as a Gaussian's width, over which these are added up."""
WINDOW = 32
"""Side of the squares, in pixels, whose dark places are added up; a ghost is a part of a frame."""
GHOST = 0.1
"""Excess of an answer in dark places, over what was counted there, that is looked at."""
CHANCE = 1e-4
"""Probability that noise alone names a frame of a scan: one scan in ten thousand."""
_LEAST = 1e-300
_FAINTEST = 1e-3


class Dark(NamedTuple):
    """Photons of dark places, (frames, squares and the whole frame): expected of the answer, and counted.

    Both are of the photons that judge.
    """

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


def dark_places(
    expected: np.ndarray, counts: np.ndarray, exposure: np.ndarray, *, seed: int = 0
) -> Dark:
    """Add up what is expected and counted of every frame where others are much brighter.

    The photons of each frame are split at random: `TELLING` of them tell where it is dark, the others are
    compared. For the true rates the two are independent, so noise alone chooses no places where too few of
    the others were counted; answers that follow the counts follow both.

    Args:
      expected: counts of each frame, (frames, height, width); NaN where there is no answer.
      counts: photons, as `expected`, whole numbers.
      exposure: full frames behind each pixel, as `expected`; 0 = not measured.
      seed: of the splitting.

    Reference:
      Neufeld et al. 2024, "Data thinning for convolution-closed distributions", section 2 (Poisson).
    """
    brightest = np.zeros(expected.shape[1:])
    for frame in zip(expected, counts, exposure, strict=True):
        photons, light = _measured(*frame)
        about = _about(light)
        rate = np.where(about > _FAINTEST, _about(photons) / np.maximum(about, _FAINTEST), 0)
        brightest = np.maximum(brightest, rate)
    found, rng = [], np.random.default_rng(seed)
    for frame in zip(expected, counts, exposure, strict=True):
        photons, light = _measured(*frame)
        telling = rng.binomial(photons, TELLING)
        dark = _about(telling) / TELLING < SHARE * brightest * _about(light)
        dark &= light > 0
        judging = ((1 - TELLING) * frame[0], photons - telling)
        found.append([_added(np.where(dark, image, 0)) for image in judging])
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


def _measured(
    answer: np.ndarray, photons: np.ndarray, light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return photons and exposure of one frame; 0 where it was not measured, or has no answer."""
    use = (light > 0) & np.isfinite(answer)
    return np.where(use, photons, 0).astype(np.int64), np.where(use, light, 0)


def _about(image: np.ndarray) -> np.ndarray:
    """Add up what is about each pixel."""
    return smooth_image(image.astype(np.float64), SMOOTHING)


def _added(image: np.ndarray) -> np.ndarray:
    """Add up the squares of an image, and then all of it."""
    rows, columns = (-(-size // WINDOW) for size in image.shape)
    filled = np.zeros((rows * WINDOW, columns * WINDOW))
    filled[: image.shape[0], : image.shape[1]] = image
    sums = filled.reshape(rows, WINDOW, columns, WINDOW).sum(axis=(1, 3)).ravel()
    return np.append(sums, sums.sum())

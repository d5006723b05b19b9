"""Measures of what a beamline scientist sees first: seams, shadows, ghosts, halos, lost features.

Arrays in, numbers out. All arrays are counts, (frames, height, width), and answers NaN where there is none.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from smae_jax.finishing.borders import kinds_of_pixels
from smae_jax.geometry import turn

STRIP = 4
"""Pixels on each side of a border."""
FINE = 8.0
"""Sigma in pixels of the Gaussian that parts the fine part of a pattern from the smooth one."""


def sides_of_borders(measured: np.ndarray, center: tuple[float, float]) -> dict[str, np.ndarray]:
    """Return the strips on both sides of every kind of border, and what lies far from all: bool masks.

    Args:
      measured: bool, (height, width).
      center: (y, x), multiples of 0.5.
    """
    kinds = kinds_of_pixels(measured, center)
    both, masked, off, _, neither = (kinds == kind for kind in range(5))

    def near(where: np.ndarray) -> np.ndarray:
        return np.asarray(binary_dilation(where, iterations=STRIP))

    found = {
        "partner masked": masked,
        "beside partner masked": both & near(masked),
        "beside own mask": both & near(kinds == 3),
        "beside mask of both": both & near(neither),
        "partner off the frame, at the border": off & near(both),
        "overlap, at its border": both & near(off),
    }
    found["elsewhere"] = both & ~near(kinds != 0)
    return {name: mask for name, mask in found.items() if mask.sum() >= 100}


def step(
    answer: np.ndarray, reference: np.ndarray, counts: np.ndarray, where: np.ndarray
) -> tuple[float, float]:
    """Return the relative difference of answer and reference somewhere, and its noise.

    The noise is that of the photons that the answer was made of, and of the reference's if it is counted.

    Args:
      answer: expected counts.
      reference: the truth or held-out photons scaled to the same exposure.
      counts: that were shown.
      where: bool, (height, width).
    """
    total, shown = reference[:, where].sum(), max(float(counts[:, where].sum()), 1.0)
    return float(answer[:, where].sum() / total - 1), shown**-0.5


def mean_of(answer: np.ndarray, where: np.ndarray) -> float:
    """Return the mean counts per pixel somewhere, bool (height, width)."""
    return float(np.nanmean(answer[:, where]))


def ghosts(
    answer: np.ndarray, truth: np.ndarray, valid: np.ndarray, share: float = 0.1
) -> dict[str, float]:
    """Measure what frames show where they are far darker than the brightest frame of the scan there.

    Args:
      answer: expected counts.
      truth: as `answer`.
      valid: bool, (height, width).
      share: of the brightest frame, below which a place is looked at.

    Returns:
      `truth`, the mean there; `excess` of the answer, mean, in photons; `rms` of its errors.
    """
    where = valid[None] & (truth < share * truth.max(axis=0))
    errors = (answer - truth)[where]
    return {
        "truth": float(truth[where].mean()),
        "excess": float(errors.mean()),
        "rms": float(np.sqrt((errors**2).mean())),
    }


def influence(
    changed: np.ndarray,
    without: np.ndarray,
    place: tuple[int, int, int],
    center: tuple[float, float],
) -> dict[str, float]:
    """Measure what one pixel does to answers: the largest changes far off, at its partner, in other frames.

    Args:
      changed: answers with the pixel's count, without those that keep their counts.
      without: answers to what was counted else.
      place: (frame, y, x).
      center: (y, x), multiples of 0.5.
    """
    frame, y, x = place
    difference = np.nan_to_num(np.abs(changed - without))
    rows, columns = np.ogrid[: difference.shape[1], : difference.shape[2]]
    far = np.hypot(rows - y, columns - x) > 3
    partner = turn(~far, center, False)
    return {
        "beyond 3 pixels": float(difference[frame][far & ~partner].max()),
        "about the partner": float(difference[frame][partner].max(initial=0)),
        "in other frames": float(np.delete(difference, frame, axis=0).max(initial=0)),
    }


@dataclasses.dataclass(frozen=True)
class Features:
    """Weak features of patterns: where their fine part is some share of their smooth part.

    The fine part is an image less its Gaussian of `FINE` pixels. Arrays are (frames, height, width).

    Attributes:
      fine: part of the truth.
      smooth: the rest.
      valid: bool, (height, width).
      where: whether the contrast is the one that is asked for, bool.
    """

    fine: np.ndarray
    smooth: np.ndarray
    valid: np.ndarray
    where: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, valid: np.ndarray, low: float, high: float) -> Features:
        """Return those of contrast `low` to `high`."""
        smooth = np.stack([_smooth(one, valid) for one in truth])
        fine = truth - smooth
        contrast = np.abs(fine) / smooth
        return cls(fine, smooth, valid, valid & (contrast >= low) & (contrast < high))

    def determined(self, *, within: float = 0.1) -> np.ndarray:
        """Tell where the photons of all frames, which show the same, determine their amplitude, bool.

        Poisson noise leaves the amplitude the relative error (sum of fine^2 / smooth over pixels and
        frames)^-1/2; the pixels are those under a Gaussian of `FINE` pixels, 4 pi FINE^2 of them.
        """
        told = np.where(self.where, self.fine**2 / self.smooth, 0.0).sum(axis=0)
        about = 4 * np.pi * FINE**2 * gaussian_filter(told, FINE)
        return self.where & (about >= within**-2)

    def slope(self, answer: np.ndarray, where: np.ndarray) -> float:
        """Return how much comes back: the slope of the answers' fine part on the truth's, by 1 / smooth."""
        kept = answer - np.stack([_smooth(one, self.valid) for one in answer])
        weight, fine = 1 / self.smooth[where], self.fine[where]
        return float((weight * fine * kept[where]).sum() / (weight * fine**2).sum())


def _smooth(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    there = gaussian_filter(valid.astype(float), FINE)
    return gaussian_filter(np.where(valid, np.nan_to_num(image), 0.0), FINE) / np.maximum(
        there, 1e-6
    )


def ring(
    image: np.ndarray, center: tuple[float, float], radius: float, side: int, half: float = 4.0
) -> tuple[float, float]:
    """Return where a sharp ring lies along one side of the row of the centre, and its rms width, in pixels.

    Args:
      image: counts, (height, width).
      center: (y, x) of the ring.
      radius: of the ring.
      side: 1 = right of the centre, -1 = left.
      half: width that is looked at on either side of the ring; counts at its ends are the background.
    """
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    y, x = y - center[0], x - center[1]
    distance = np.hypot(y, x) - radius
    sector = (
        (np.abs(y) < 0.35 * np.abs(x))
        & (x * side > 0)
        & (np.abs(distance) <= half)
        & np.isfinite(image)
    )
    bins = np.round(distance[sector] * 2).astype(int) + round(2 * half)
    profile = np.bincount(bins, image[sector]) / np.maximum(np.bincount(bins), 1)
    place = np.arange(len(profile)) / 2 - half
    ends = np.polyfit(place[[0, 1, -2, -1]], profile[[0, 1, -2, -1]], 1)
    above = np.maximum(profile - np.polyval(ends, place), 0)
    middle = (above * place).sum() / above.sum()
    return float(middle), float(np.sqrt((above * (place - middle) ** 2).sum() / above.sum()))

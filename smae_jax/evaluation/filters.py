"""The simple filters that every denoiser is shown beside, in plain numpy.

Images are (..., height, width) and `valid` (True = use the pixel) broadcasts to them. Results hold
0 where they are not valid.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from smae_jax.metrics import rmse

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def rotated_average(
    counts: ArrayLike, valid: ArrayLike, center: tuple[float, float]
) -> tuple[Floats, Booleans]:
    """Average each frame with itself turned by 180 degrees about `center`.

    Nothing is interpolated, which would correlate the noise: the centre is taken at the nearest
    half pixel, so that pixels fall on pixels. A pixel of which only one of the two is valid takes
    that one.

    Args:
      counts: (..., height, width).
      valid: broadcastable to `counts`.
      center: (y, x) in pixels; an integer is the middle of a pixel.

    Returns:
      The averages and where they are valid, both shaped as `counts`.
    """
    counts = np.asarray(counts, dtype=np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), counts.shape)
    own = np.where(use, counts, 0)
    exposure = use + _turned(use.astype(np.float64), center)
    total = own + _turned(own, center)
    return np.divide(total, exposure, out=np.zeros_like(total), where=exposure > 0), exposure > 0


def _turned(image: Floats, center: tuple[float, float]) -> Floats:
    """Bring each pixel's partner in its place; 0 where that lies outside the image."""
    for axis, middle in zip((-2, -1), center, strict=True):
        size = image.shape[axis]
        partner = round(2 * middle) - np.arange(size)
        shape = [1] * image.ndim
        shape[axis] = size
        inside = ((partner >= 0) & (partner < size)).reshape(shape)
        image = np.where(inside, np.take(image, partner.clip(0, size - 1), axis=axis), 0)
    return image


def gaussian(counts: ArrayLike, valid: ArrayLike, sigma: float) -> Floats:
    """Smooth each frame by a Gaussian over its valid pixels, `G(valid * counts) / G(valid)`.

    Args:
      counts: (..., height, width).
      valid: broadcastable to `counts`.
      sigma: width in pixels; 0 leaves the counts as they are.

    Returns:
      Smoothed counts at the valid pixels, 0 elsewhere; shaped as `counts`.
    """
    counts = np.asarray(counts, dtype=np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), counts.shape)
    own = np.where(use, counts, 0)
    if sigma == 0:
        return own

    def smooth(image: Floats) -> Floats:
        return gaussian_filter(image, sigma, mode="constant", axes=(-2, -1))

    return np.divide(smooth(own), smooth(use * 1.0), out=np.zeros_like(own), where=use)


def best_gaussian(
    counts: ArrayLike,
    valid: ArrayLike,
    reference: ArrayLike,
    sigmas: Iterable[float] = (0.0, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
) -> tuple[float, Floats]:
    """Smooth by the one of several Gaussians that comes closest to the reference.

    This knows the answer, which no user does: it is the bar, not a method.

    Args:
      counts: (..., height, width).
      valid: broadcastable to `counts`.
      reference: shaped as `counts`.
      sigmas: widths to try, in pixels.

    Returns:
      The width of the smallest error over the valid pixels, and the counts smoothed with it.
    """
    smoothed = {sigma: gaussian(counts, valid, sigma) for sigma in sigmas}
    best = min(smoothed, key=lambda sigma: rmse(smoothed[sigma], reference, valid))
    return best, smoothed[best]

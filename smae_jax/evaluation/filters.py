"""The simple filters that every denoiser is shown beside: numpy, scipy and scikit-image.

Images are (..., height, width) and `valid` (True = use the pixel) broadcasts to them. Results hold
0 where they are not valid.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from smae_jax.geometry import turn
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
    middle = (round(2 * center[0]) / 2, round(2 * center[1]) / 2)
    exposure = use + turn(use.astype(np.float64), middle, 0)
    total = own + turn(own, middle, 0)
    return np.divide(total, exposure, out=np.zeros_like(total), where=exposure > 0), exposure > 0


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
    *,
    judged: ArrayLike | None = None,
) -> tuple[float, Floats]:
    """Smooth by the one of several Gaussians that comes closest to the reference.

    This knows the answer, which no user does: it is the bar, not a method.

    Args:
      counts: (..., height, width).
      valid: broadcastable to `counts`.
      reference: shaped as `counts`.
      sigmas: widths to try, in pixels.
      judged: where the error is taken, as `valid`; None = at the valid pixels.

    Returns:
      The width of the smallest error, and the counts smoothed with it.
    """
    where = valid if judged is None else judged
    smoothed = {sigma: gaussian(counts, valid, sigma) for sigma in sigmas}
    best = min(smoothed, key=lambda sigma: rmse(smoothed[sigma], reference, where))
    return best, smoothed[best]


def median(counts: ArrayLike, valid: ArrayLike, size: int) -> Floats:
    """Take the median over the valid pixels of a square about each pixel.

    The median of few photons is biased towards 0; `conserving_totals` mends the mean of that only.

    Args:
      counts: (..., height, width).
      valid: broadcastable to `counts`.
      size: side of the square in pixels, odd.

    Returns:
      Medians at the valid pixels, 0 elsewhere; shaped as `counts`. Of an even number of pixels the
      mean of the middle two.
    """
    counts = np.asarray(counts, dtype=np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), counts.shape)
    half = size // 2
    margins = [(0, 0)] * (counts.ndim - 2) + [(half, half)] * 2
    padded = np.pad(np.where(use, counts, np.inf), margins, constant_values=np.inf)
    height, width = counts.shape[-2:]
    squares = [padded[..., y : y + height, x : x + width] for y in range(size) for x in range(size)]
    ordered = np.sort(np.stack(squares), axis=0)  # what is not valid goes last
    number = np.isfinite(ordered).sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum(number - 1, 0) // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(number // 2, size**2 - 1), axis=0)[0]
    return np.where(use, (np.where(use, low, 0) + np.where(use, high, 0)) / 2, 0)


def filled(counts: ArrayLike, valid: ArrayLike, sigmas: Iterable[float] = (1.5, 4, 16)) -> Floats:
    """Fill what is not valid with its valid surroundings, smoothed; the frame's mean far away.

    For filters and transforms that know no mask; what is filled is not a measurement.
    """
    counts = np.asarray(counts, dtype=np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), counts.shape)
    out = np.where(use, counts, 0)
    pixels = np.maximum(use.sum(axis=(-2, -1), keepdims=True), 1)
    missing = ~use
    for sigma in sigmas:
        if not missing.any():
            return out
        light = gaussian_filter(use * 1.0, sigma, mode="constant", axes=(-2, -1))
        total = gaussian_filter(np.where(use, counts, 0), sigma, mode="constant", axes=(-2, -1))
        near = missing & (light > 0.05)
        out = np.where(near, total / np.where(near, light, 1), out)
        missing = missing & ~near
    mean = np.where(use, counts, 0).sum(axis=(-2, -1), keepdims=True) / pixels
    return np.where(missing, mean, out)


def stabilised(counts: ArrayLike, exposures: float = 1.0) -> Floats:
    """Take Anscombe's root, 2 sqrt(n + 3/8): the noise of photon counts becomes about 1.

    Args:
      counts: means over `exposures` counted frames, >= 0.
      exposures: frames behind each value; `n = counts * exposures`.

    Returns:
      The roots; below some four photons they are neither quite unbiased nor of variance 1.
    """
    return 2 * np.sqrt(np.maximum(np.asarray(counts, np.float64) * exposures, 0) + 3 / 8)


def unstabilised(roots: ArrayLike, exposures: float = 1.0) -> Floats:
    """Return the mean counts whose mean root is given.

    Reference:
      Makitalo and Foi 2011, eq. 5: closed form of the exact unbiased inverse of Anscombe's root.
    """
    d = np.maximum(np.asarray(roots, np.float64), 2 * np.sqrt(3 / 8))
    root = np.sqrt(1.5)
    n = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
    return np.maximum(n, 0) / exposures


def nonlocal_means(
    counts: ArrayLike,
    valid: ArrayLike,
    strength: float,
    *,
    exposures: float = 1.0,
    stabilise: bool = True,
    patch: int = 5,
    reach: int = 6,
) -> Floats:
    """Average pixels whose surroundings look alike (scikit-image's fast non-local means).

    Args:
      counts: (frames, height, width), means over `exposures` counted frames.
      valid: broadcastable to `counts`; the rest is filled before and 0 after.
      strength: cut-off distance `h` of patches in units of the noise.
      exposures: counted frames behind each value.
      stabilise: compare roots, whose noise is the same everywhere, instead of counts.
      patch: side of the patches in pixels.
      reach: largest distance of pixels averaged.

    Reference:
      Buades, Coll and Morel 2005; on Anscombe's root as in Boulanger et al. 2010.
    """

    def one(image: Floats, sigma: float) -> Floats:
        return denoise_nl_means(
            image,
            patch_size=patch,
            patch_distance=reach,
            h=strength * sigma,
            sigma=sigma,
            fast_mode=True,
        )

    return _frame_by_frame(one, counts, valid, exposures=exposures, stabilise=stabilise)


def total_variation(
    counts: ArrayLike,
    valid: ArrayLike,
    strength: float,
    *,
    exposures: float = 1.0,
    stabilise: bool = True,
) -> Floats:
    """Make the sum of gradients small (scikit-image's `denoise_tv_chambolle`).

    Args:
      counts: (frames, height, width), means over `exposures` counted frames.
      valid: broadcastable to `counts`; the rest is filled before and 0 after.
      strength: weight of the gradients in units of the noise.
      exposures: counted frames behind each value.
      stabilise: work on roots, whose noise is the same everywhere, instead of counts.

    Reference:
      Chambolle 2004.
    """

    def one(image: Floats, sigma: float) -> Floats:
        return denoise_tv_chambolle(image, weight=strength * sigma, max_num_iter=100)

    return _frame_by_frame(one, counts, valid, exposures=exposures, stabilise=stabilise)


def _frame_by_frame(
    one: Callable[[Floats, float], Floats],
    counts: ArrayLike,
    valid: ArrayLike,
    *,
    exposures: float,
    stabilise: bool,
) -> Floats:
    """Apply `one(image, noise)` to filled frames, on roots or on counts, and keep the valid pixels."""
    counts = np.asarray(counts, dtype=np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), counts.shape)
    out = np.zeros_like(counts)
    for frame, image in enumerate(filled(counts, use)):
        if stabilise:
            answer = unstabilised(one(stabilised(image, exposures), 1.0), exposures)
        else:
            noise = float(np.sqrt(max(image.mean(), 1e-12) / exposures))
            answer = np.maximum(one(image, noise), 0)
        out[frame] = np.where(use[frame], answer, 0)
    return out


def conserving_totals(image: ArrayLike, counts: ArrayLike, valid: ArrayLike) -> Floats:
    """Scale every frame to the counts measured on its valid pixels; a frame of zeros stays."""
    image = np.asarray(image, np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), image.shape)
    measured = np.where(use, counts, 0).sum(axis=(-2, -1), keepdims=True)
    total = np.where(use, image, 0).sum(axis=(-2, -1), keepdims=True)
    return image * np.divide(measured, total, out=np.ones_like(total), where=total > 0)

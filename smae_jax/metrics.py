"""How good an image is: plain numpy functions that look at valid pixels only.

Images are (..., height, width), real, in counts or rates; `valid` is boolean (True = use the pixel)
and broadcastable to them. What stands outside `valid`, NaN included, has no influence. Every
function gives one float over all valid pixels of all frames. Nothing here knows how the image was
made.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float64]


def _inside(valid: ArrayLike, *images: ArrayLike) -> tuple[Floats, ...]:
    """Return the values of each image at the valid pixels, as float64 vectors."""
    arrays = [np.asarray(image, dtype=np.float64) for image in images]
    shape = arrays[0].shape
    if any(a.shape != shape for a in arrays):
        raise ValueError(
            f"expected images of one shape, got {', '.join(str(a.shape) for a in arrays)}"
        )
    use = np.broadcast_to(np.asarray(valid, dtype=bool), shape)
    if not use.any():
        raise ValueError(
            f"expected at least one valid pixel in an image of shape {shape}, got none"
        )
    return tuple(a[use] for a in arrays)


def rmse(prediction: ArrayLike, reference: ArrayLike, valid: ArrayLike) -> float:
    """Compute the root of the mean squared difference, in the images' unit."""
    p, r = _inside(valid, prediction, reference)
    return float(np.sqrt(np.mean((p - r) ** 2)))


def psnr(prediction: ArrayLike, reference: ArrayLike, valid: ArrayLike, data_range: float) -> float:
    """Compute the peak signal-to-noise ratio `20 log10(data_range / rmse)` in decibels.

    `data_range` has the images' unit and is the caller's choice (often the largest valid reference
    value). Images that are equal give infinity.
    """
    error = rmse(prediction, reference, valid)
    return float("inf") if error == 0 else float(20 * np.log10(data_range / error))  # NaN stays NaN


def ssim(prediction: ArrayLike, reference: ArrayLike, valid: ArrayLike, data_range: float) -> float:
    """Compute the mean structural similarity, with local statistics over valid pixels only.

    Every local mean is a normalised convolution, `G(valid * x) / G(valid)`, with a Gaussian G of
    sigma 1.5 pixels cut at a radius of 5, nothing outside the image; variances and covariance
    follow from them without the correction for sample size. The mean runs over the valid pixels.
    With every pixel valid and away from the border this equals scikit-image with
    `gaussian_weights=True` and `use_sample_covariance=False`.

    Reference:
      Wang et al. 2004, eq. 13, with K1 = 0.01 and K2 = 0.03.
    """
    _inside(valid, prediction, reference)
    p, r = np.asarray(prediction, np.float64), np.asarray(reference, np.float64)
    use = np.broadcast_to(np.asarray(valid, dtype=bool), p.shape)
    p, r = np.where(use, p, 0), np.where(use, r, 0)

    def smooth(image: Floats) -> Floats:
        return gaussian_filter(image, 1.5, mode="constant", truncate=3.5, axes=(-2, -1))

    mass = smooth(use.astype(np.float64))
    mass = np.where(use, mass, 1)

    def local(image: Floats) -> Floats:
        return smooth(image) / mass

    mean_p, mean_r = local(p), local(r)
    var_p, var_r = local(p * p) - mean_p**2, local(r * r) - mean_r**2
    covariance = local(p * r) - mean_p * mean_r
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_p * mean_r + c1) * (2 * covariance + c2)) / (
        (mean_p**2 + mean_r**2 + c1) * (var_p + var_r + c2)
    )
    return float(similarity[use].mean())


def count_ratio(prediction: ArrayLike, reference: ArrayLike, valid: ArrayLike) -> float:
    """Divide the prediction's total by the reference's: 1 = counts conserved."""
    p, r = _inside(valid, prediction, reference)
    return float(p.sum() / r.sum())


def match_totals(prediction: ArrayLike, reference: ArrayLike, valid: ArrayLike) -> Floats:
    """Scale the prediction so that its total over the valid pixels is the reference's."""
    return np.asarray(prediction, np.float64) / count_ratio(prediction, reference, valid)


def poisson_deviance(
    prediction: ArrayLike, counts: ArrayLike, valid: ArrayLike, *, floor: float = 1e-6
) -> float:
    """Compute the mean of `2 (n log(n / p) - n + p)` for counts n against expectations p.

    About 1 for the true expectation and more than a few counts per pixel, smaller below.
    Predictions are raised to `floor` first, so that a count where nothing was expected costs much,
    but not infinity.
    """
    p, n = _inside(valid, prediction, counts)
    return float(np.mean(pixel_deviance(p, n, floor=floor)))


def pixel_deviance(prediction: ArrayLike, counts: ArrayLike, *, floor: float = 1e-6) -> Floats:
    """Compute `2 (n log(n / p) - n + p)` at every pixel, with predictions raised to `floor`."""
    p = np.maximum(np.asarray(prediction, np.float64), floor)
    n = np.asarray(counts, np.float64)
    log_ratio = np.log(np.where(n > 0, n, 1) / p)
    return 2 * (np.where(n > 0, n * log_ratio, 0) - n + p)


def noise_corrected_score(
    prediction: ArrayLike,
    reference: ArrayLike,
    reference_variance: ArrayLike,
    valid: ArrayLike,
    weight: ArrayLike | None = None,
) -> float:
    """Compute the squared error to a noisy reference in units of one exposure's photon noise.

    `mean(weight * ((prediction - reference)^2 - reference_variance))` over the valid pixels: the
    reference's own noise is subtracted, so 0 is a perfect prediction, and 1 a single exposure as it
    was counted, since the variance of counts is their mean.

    Args:
      prediction: expected counts, independent of the reference.
      reference: counts, the mean of repeats.
      reference_variance: variance of `reference`, broadcastable to it; for the mean of n photon
        counts `reference / n`.
      valid: True = use the pixel.
      weight: one over the counts expected at each pixel, so that weak pixels count as much as
        strong ones; by default one over the mean reference, everywhere.

    Returns:
      The score; below 0 only by chance.
    """
    p, r = _inside(valid, prediction, reference)
    shape = np.shape(reference)
    variance = _inside(valid, np.broadcast_to(np.asarray(reference_variance), shape))[0]
    excess = (p - r) ** 2 - variance
    if weight is None:
        return float(excess.mean() / r.mean())
    return float(np.mean(_inside(valid, np.broadcast_to(np.asarray(weight), shape))[0] * excess))

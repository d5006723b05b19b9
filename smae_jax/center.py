"""Beam centre from the pattern itself: the point about which it best equals its 180-degree turn.

The turn about a half-pixel point maps pixels to pixels, so nothing is interpolated: interpolation
would correlate the noise. numpy and scipy only.
"""

import itertools

import numpy as np
import scipy.fft
import scipy.ndimage

from smae_jax.center_guard import doubt
from smae_jax.errors import UserError
from smae_jax.geometry import Center, turn

_SMALLEST_OVERLAP = 0.3  # share of the valid pixels that must have a valid partner
_FIT_REACH = 3  # half pixels to each side of the peak that the sub-pixel estimate looks at
_EITHER = 0.35  # half pixels nearer to the estimate than this, in pixels, are tried
_BEAMSTOP_REACH = 0.1  # a beamstop is smaller than this share of the frame's shorter side
_SHADOW_RATIO = 2.0  # no asymmetry of a pattern makes many partners differ so much
_LARGEST_INFLUENCE = 5e-3  # share of the contrast that one pixel may have ...
_FEWEST_PIXELS = 20  # ... but so many pixels may always share it
_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.bool_)


def find_center(
    counts: np.ndarray,
    valid: np.ndarray,
    *,
    search: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Center:
    """Find the centre of 180-degree symmetry of a pattern.

    Partners are compared after the variance-stabilising root. A hot pixel correlates with itself: pixels
    that stand out alone are left out, and no other may have much of the contrast. What the first estimate
    shows to be a shadow or a hot spot (an unmasked beamstop, its arm) is left out of the second and third.

    Args:
      counts: summed over the scan, (height, width), >= 0; anything where invalid.
      valid: (height, width) bool, True = use.
      search: ((y low, y high), (x low, x high)) in pixels to look within; None: everywhere that
        leaves partners to 30 % of the valid pixels.

    Returns:
      The centre with the largest correlation of partners; not trusted where it is a guess, see `doubt`.

    Raises:
      UserError: if the shapes differ or no centre can be told: no valid pixel, a constant frame,
        or no partners anywhere within `search`.
    """
    if counts.ndim != 2 or counts.shape != valid.shape:
        raise UserError(
            f"finding the centre needs counts and a mask of one shape (height, width), "
            f"not {counts.shape} and {valid.shape}"
        )
    if not valid.any():
        raise UserError("no centre can be found: the mask leaves no valid pixel")
    counts = np.maximum(np.where(valid, counts, 0), 0).astype(np.float64)
    valid = valid & ~_stand_alone(counts)
    root = _winsorised(np.sqrt(counts + 0.375), valid)
    usable = valid
    for _ in range(3):
        correlation = turn_correlation(root, usable)
        allowed, peak = _peak(correlation, search)
        here = (peak[0] / 2, peak[1] / 2)
        used, usable = usable, valid & ~find_shadows(counts, valid, here)
        usable &= ~_dark_disc(counts, usable, here)
        if (used == usable).all():
            break

    # Noise makes the top of the peak rough: the fit sees a slightly smoothed frame.
    smooth = turn_correlation(_smooth(root, used, 1.0), used)
    around = tuple((k / 2 - 1, k / 2 + 1) for k in peak)
    subpixel = _fit_peak(smooth, _peak(smooth, around)[1])
    half_pixel = _nearest_half_pixel(counts, used, subpixel)
    row, column = (int(2 * c) for c in half_pixel)
    found = Center(half_pixel, subpixel, float(correlation[row, column]), "found by correlation")
    shadows = find_shadows(counts, valid, half_pixel, ratio=_SHADOW_RATIO)
    reason = doubt(allowed, peak, root, used, (valid, shadows))
    return found.doubted(reason) if reason else found


def turn_correlation(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Correlate a frame with its 180-degree turn about every half pixel.

    Args:
      values: (height, width) float64; anything where invalid.
      valid: (height, width) bool, True = use.

    Returns:
      (2 * height - 1, 2 * width - 1) float64: at [k, l] the Pearson correlation, within the pairs
      of valid partners, about the centre (k / 2, l / 2); -1 where too few pairs or no contrast.

    Reference:
      Masked normalised cross-correlation, Padfield 2012 (IEEE TIP 21, 2706). The partner of pixel
      p about k / 2 is k - p, so that here every sum over pairs is a self-convolution.
    """
    full = tuple(2 * n - 1 for n in values.shape)
    padded = [scipy.fft.next_fast_len(n, real=True) for n in full]
    mean = values[valid].mean()
    masked = np.where(valid, values - mean, 0.0)

    def transform(array: np.ndarray) -> np.ndarray:
        return np.asarray(scipy.fft.rfft2(array, padded))

    def back(spectrum: np.ndarray) -> np.ndarray:
        return np.asarray(scipy.fft.irfft2(spectrum, padded))[: full[0], : full[1]]

    ones, first, second = transform(valid.astype(float)), transform(masked), transform(masked**2)
    pairs = np.rint(back(ones * ones))
    sums, squares = back(first * ones), back(second * ones)
    means = sums**2 / np.maximum(pairs, 1)
    variance = squares - means
    enough = pairs >= _SMALLEST_OVERLAP * valid.sum()
    contrast = variance > 1e-9 * max(squares.max(), 1e-300)
    result = np.full(full, -1.0)
    np.divide(back(first * first) - means, variance, out=result, where=enough & contrast)
    return np.clip(result, -1.0, 1.0)


def _peak(
    correlation: np.ndarray, search: tuple[tuple[float, float], ...] | None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the correlation where it is searched, else -1, and the place (2 y, 2 x) of its largest value."""
    allowed = np.full(correlation.shape, -1.0)
    within = tuple(
        slice(max(0, int(np.ceil(2 * low))), max(0, int(np.floor(2 * high)) + 1))
        for low, high in search or ((0, np.iinfo(np.int32).max),) * 2
    )
    allowed[within] = correlation[within]
    if allowed.max() <= -1.0:
        where = "" if search is None else f" within {search}"
        raise UserError(
            f"no centre can be found{where}: the frame is constant or too few pixels have a "
            "partner; give the centre as y,x"
        )
    y, x = np.unravel_index(int(np.argmax(allowed)), allowed.shape)
    return allowed, (int(y), int(x))


def _stand_alone(counts: np.ndarray) -> np.ndarray:
    """Mark pixels far above the second brightest of their eight neighbours, as no reflection is; bool."""
    second = scipy.ndimage.rank_filter(counts, -2, footprint=_AROUND, mode="constant")
    return counts > 2 * second + 10 * np.sqrt(second + 1)


def _winsorised(root: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Bring values so near to the mean that no pixel has more than its share of the contrast."""
    if not valid.any():
        return root
    middle = root[valid].mean()
    squares = np.sort((root[valid] - middle) ** 2)
    number = len(squares)
    # The contrast that is left if all larger deviations are brought down to this one.
    left = squares.cumsum() + squares * np.arange(number - 1, -1, -1)
    share = max(_LARGEST_INFLUENCE, _FEWEST_PIXELS / number)
    within = squares[squares <= share * left]
    largest = np.sqrt(within[-1] if len(within) else squares[-1])
    return middle + np.clip(root - middle, -largest, largest)


def _fit_peak(correlation: np.ndarray, peak: tuple[int, int]) -> tuple[float, float]:
    """Fit a quadratic surface about the peak; returns its top (y, x) in pixels."""
    reach = min(
        _FIT_REACH, *peak, *(n - 1 - k for n, k in zip(correlation.shape, peak, strict=True))
    )
    center = (peak[0] / 2, peak[1] / 2)
    if reach < 1:
        return center
    y, x = (a.ravel() for a in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    window = correlation[
        peak[0] - reach : peak[0] + reach + 1, peak[1] - reach : peak[1] + reach + 1
    ]
    terms = np.stack([np.ones_like(y), y, x, y * y, x * x, y * x], axis=1).astype(float)
    _, by, bx, cyy, cxx, cyx = np.linalg.lstsq(terms, window.ravel(), rcond=None)[0]
    curvature = np.array([[2 * cyy, cyx], [cyx, 2 * cxx]])
    if np.linalg.eigvalsh(curvature).max() >= 0:  # no hilltop
        return center
    step = np.clip(np.linalg.solve(curvature, [-by, -bx]), -reach, reach)
    return float(center[0] + step[0] / 2), float(center[1] + step[1] / 2)


def _nearest_half_pixel(
    counts: np.ndarray, valid: np.ndarray, subpixel: tuple[float, float]
) -> tuple[float, float]:
    """Round to the half pixel; between two, take the one whose partners differ less."""
    near_y, near_x = (
        [k / 2 for k in range(int(2 * c) - 2, int(2 * c) + 4) if abs(k / 2 - c) <= _EITHER]
        for c in subpixel
    )

    def chi_square(center: tuple[float, float]) -> float:
        partner = turn(counts, center, 0.0)
        pairs = valid & turn(valid, center, False) & (counts + partner > 0)
        own, partner = counts[pairs], partner[pairs]
        return float(np.mean((own - partner) ** 2 / (own + partner))) if own.size else np.inf

    candidates = list(itertools.product(near_y, near_x))
    return candidates[0] if len(candidates) == 1 else min(candidates, key=chi_square)


def _smooth(values: np.ndarray, valid: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth within the mask by a Gaussian of `sigma` pixels; 0 where invalid."""
    weight = scipy.ndimage.gaussian_filter(valid.astype(float), sigma)
    smooth = scipy.ndimage.gaussian_filter(np.where(valid, values, 0.0), sigma)
    return np.where(valid, smooth / np.maximum(weight, 1e-9), 0.0)


def find_shadows(
    counts: np.ndarray,
    valid: np.ndarray,
    center: tuple[float, float],
    *,
    ratio: float = 1.5,
    sigmas: float = 6.0,
) -> np.ndarray:
    """Mark pixels that cannot be one measurement of the same rate as their partners.

    The shadow of an unmasked beamstop arm and hot spots, with the partners of both.

    Args:
      counts: summed over the scan, (height, width), >= 0.
      valid: (height, width) bool, True = use.
      center: (y, x) in pixels, multiples of 0.5.
      ratio: partners, smoothed over a few pixels, differ by more than this factor, > 1 ...
      sigmas: ... and by more than this number of standard deviations of photon noise.

    Returns:
      (height, width) bool, True = such a pixel, or one within three pixels of it.
    """
    sigma = 1.5
    pixels = 4 * np.pi * sigma**2  # how many a smoothed value stands for
    own = np.maximum(_smooth(counts, valid, sigma), 0.0)
    partner = turn(own, center, 0.0)
    both = valid & turn(valid, center, False)
    root, partner_root = (np.sqrt(c + 0.375 / pixels) for c in (own, partner))
    significant = np.sqrt(2 * pixels) * np.abs(root - partner_root) > sigmas
    unequal = both & significant & (np.maximum(own, partner) > ratio * np.minimum(own, partner))
    return scipy.ndimage.binary_dilation(unequal, iterations=3)


def _dark_disc(counts: np.ndarray, valid: np.ndarray, center: tuple[float, float]) -> np.ndarray:
    """Mark an unmasked beamstop's disc, out to where the pattern is brightest.

    Such a disc is its own partner, and its edge would draw the centre to its own middle.
    """
    y, x = np.ogrid[: counts.shape[0], : counts.shape[1]]
    radius = np.hypot(y - center[0], x - center[1])
    inside = valid & (radius < _BEAMSTOP_REACH * min(counts.shape))
    if not inside.any():
        return inside
    rings = np.rint(radius[inside]).astype(int)
    number = np.bincount(rings)
    seen = np.flatnonzero(number)
    profile = np.bincount(rings, counts[inside])[seen] / number[seen]
    brightest = int(np.argmax(profile))
    if profile[: brightest + 1].min() >= 0.5 * profile[brightest]:
        return np.zeros_like(inside)
    return radius <= seen[brightest] + 2

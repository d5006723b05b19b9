"""Scores of estimates made from repeats: by repeats that they have not seen, or by a reference.

Arrays are (repeats, channels, *spatial). Nothing here knows how an estimate was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from smae_jax.metrics import pixel_deviance

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(counts, exposure (repeats, *spatial)) -> counts per unit of exposure, (channels, *spatial)."""
SIGMAS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.6, 3.2, 4.0, 5.0, 6.4, 8.0)
"""Widths of the Gaussian filter that the best is chosen from, in points."""
WINDOWS, ORDERS = (5, 7, 9, 11, 15, 21, 31, 41, 51, 61, 71), (2, 4, 6)
"""Of the Savitzky-Golay filter."""
LEAST_LEVEL = 0.01
"""Photons below which no value's variance is taken to be."""
LEAST = 1e-3
"""Counts below which no estimate is taken to be when its likelihood is computed."""
WITHOUT = {
    "chi_square": ("chi-square", "{:.4f}"),
    "deviance": ("Poisson deviance", "{:.4f}"),
    "neighbours": ("neighbours", "{:+.3f}"),
    "total_percent": ("total / %", "{:+.2f}"),
}
WITH = {
    "psnr_db": ("PSNR / dB", "{:.2f}"),
    "rmse": ("RMSE", "{:.4g}"),
    "deviance_to_reference": ("deviance to reference", "{:.4f}"),
    "total_to_reference_percent": ("total / %", "{:+.2f}"),
    "negative": ("negative", "{:d}"),
}
WITHOUT_LEGEND = """Each repeat judges what was made of the others (the network has learned from all of them).
chi-square: mean of (counts - estimate)^2 / variance (of the smoothed mean), 1 + the estimate's own error.
Poisson deviance: per value. neighbours: correlation of (counts - estimate) / sigma with the next
value along the last axis, 0 for noise alone. total: estimate beside the judging repeat."""
WITH_LEGEND = """PSNR: 20 log10(largest value of the reference / RMSE). deviance to reference: mean
Poisson deviance per value of the reference's counts from the estimate. total: beside the reference."""


def mean_rate(counts: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Add repeats up: counts per unit of exposure, NaN where nothing was measured."""
    light = exposure.sum(axis=0)[None]
    return np.where(light > 0, counts.sum(axis=0) / np.where(light > 0, light, 1), np.nan)


def gaussian(sigma: float) -> Estimator:
    """Return the Gaussian filter of the mean; points that were not measured do not count."""

    def estimate(counts: np.ndarray, exposure: np.ndarray) -> np.ndarray:
        total, light = counts.sum(axis=0), exposure.sum(axis=0)[None]
        for axis in range(1, total.ndim):
            total = gaussian_filter1d(total, sigma, axis=axis)
            light = gaussian_filter1d(light, sigma, axis=axis)
        return np.where(light > 0, total / np.where(light > 0, light, 1), np.nan)

    return estimate


def savitzky_golay(window: int, order: int) -> Estimator:
    """Return the Savitzky-Golay filter of the mean, for one axis; gaps are bridged by straight lines."""

    def estimate(counts: np.ndarray, exposure: np.ndarray) -> np.ndarray:
        mean = mean_rate(counts, exposure)
        place = np.arange(mean.shape[-1])
        filled = [np.interp(place, place[np.isfinite(one)], one[np.isfinite(one)]) for one in mean]
        return np.asarray(savgol_filter(np.stack(filled), window, order, axis=-1))

    return estimate


def filters(spatial: tuple[int, ...]) -> dict[str, dict[str, Estimator]]:
    """Return the filters that are compared: kind -> setting -> estimator."""
    kinds = {"Gaussian": {f"sigma {sigma:g}": gaussian(sigma) for sigma in SIGMAS}}
    if len(spatial) == 1:
        kinds["Savitzky-Golay"] = {
            f"{window} points, order {order}": savitzky_golay(window, order)
            for window in WINDOWS
            for order in ORDERS
            if order < window <= spatial[0]
        }
    return kinds


def deviance(counts: np.ndarray, mean: np.ndarray) -> float:
    """Return the mean Poisson deviance of values, negative ones taken as 0, from their expectation."""
    return float(pixel_deviance(mean, np.maximum(counts, 0), floor=LEAST).mean())


def typical_variance(
    counts: np.ndarray, exposure: np.ndarray, *, gain: float, readout_variance: float
) -> np.ndarray:
    """Return the variance of a value at exposure 1, the same for all estimates: (channels, *spatial).

    That of the mean of all repeats, smoothed by three points, so that no estimate sets its own weights.
    """
    level = np.nan_to_num(gaussian(3.0)(counts, exposure))
    return gain * np.maximum(level, LEAST_LEVEL * gain) + readout_variance


def by_left_out(
    estimate: Estimator,
    counts: np.ndarray,
    exposure: np.ndarray,
    variance: np.ndarray,
    *,
    photons: bool,
) -> dict[str, Any]:
    """Score an estimator by the repeats that it is not shown, each in turn.

    Args:
      estimate: what is scored.
      counts: two repeats or more.
      exposure: behind every value, (repeats, *spatial).
      variance: of a value at exposure 1, from `typical_variance`.
      photons: whether the values are photon counts.

    Returns:
      The numbers of `WITHOUT`; the deviance only for photon counts.
    """
    squares, deviances, correlations, totals = [], [], [], []
    for out in range(len(counts)):
        kept = np.arange(len(counts)) != out
        rate = estimate(counts[kept], exposure[kept])
        light = np.broadcast_to(exposure[out], rate.shape)
        use = (light > 0) & np.isfinite(rate)
        expected = np.where(use, rate * light, 0)
        sigma = np.sqrt(variance * np.where(use, light, 1))
        off = np.where(use, (counts[out] - expected) / sigma, 0)
        squares.append((off[use] ** 2).mean())
        deviances.append(deviance(counts[out][use], expected[use]))
        correlations.append((off[..., 1:] * off[..., :-1]).sum() / max((off**2).sum(), 1e-12))
        totals.append(expected[use].sum() / counts[out][use].sum())
    found = {
        "chi_square": float(np.mean(squares)),
        "neighbours": float(np.mean(correlations)),
        "total_percent": float(100 * (np.mean(totals) - 1)),
    }
    if photons:
        found["deviance"] = float(np.mean(deviances))
    return found


def by_reference(
    answer: np.ndarray, high: np.ndarray, light: np.ndarray, *, photons: bool
) -> dict[str, Any]:
    """Score an estimate by a reference.

    Args:
      answer: counts per unit of exposure, (channels, *spatial).
      high: counts of the reference's repeats.
      light: exposure behind them, in units of the estimate's.
      photons: whether the reference counts photons.

    Returns:
      The numbers of `WITH`; the deviance only for photon counts.
    """
    truth = mean_rate(high, light)
    use = np.isfinite(truth) & np.isfinite(answer)
    rmse = float(np.sqrt(((answer - truth)[use] ** 2).mean()))
    found = {
        "psnr_db": float(20 * np.log10(truth[use].max() / rmse)) if rmse else float("inf"),
        "rmse": rmse,
        "total_to_reference_percent": float(100 * (answer[use].sum() / truth[use].sum() - 1)),
        "negative": int((answer[use] < 0).sum()),
    }
    if photons:
        known = use & (light[:, None] > 0)
        expected = np.broadcast_to(answer, high.shape) * light[:, None]
        found["deviance_to_reference"] = deviance(high[known], expected[known])
    return found


def best_of(
    kinds: Mapping[str, Mapping[str, Estimator]], judge: Callable[[Estimator], float]
) -> dict[str, Estimator]:
    """Choose the setting of each filter that `judge` finds smallest: name with setting -> estimator."""
    chosen = {}
    for kind, settings in kinds.items():
        setting = min(settings, key=lambda setting: judge(settings[setting]))
        chosen[f"{kind}, {setting}"] = settings[setting]
    return chosen

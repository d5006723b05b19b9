"""Scores of estimates made from repeats: by repeats that they have not seen, or by a reference.

Nothing here knows how an estimate was made. Estimators that answer each repeat are scored by the mean of
their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from smae_jax.evaluation.estimators import Estimator, Row
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.metrics import pixel_deviance
from smae_jax.noise import Noise

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


def mean_rate(data: Measurements) -> np.ndarray:
    """Add repeats up, an estimator: counts per unit of exposure, NaN where nothing was measured."""
    return mean_of_frames(data)[0][None]


def together(answers: np.ndarray, data: Measurements) -> np.ndarray:
    """Return one answer to all repeats, (*spatial[, channel]): that, or the mean of those to each."""
    if len(answers) == 1:
        return np.asarray(answers[0], np.float64)
    light = np.where(np.isfinite(answers), exposures(data), 0).astype(np.float64)
    total = (np.where(light > 0, answers, 0) * light).sum(axis=0)
    light = light.sum(axis=0)
    return np.where(light > 0, total / np.where(light > 0, light, 1), np.nan)


def exposures(data: Measurements) -> np.ndarray:
    """Return the exposure behind every value, broadcastable to the counts."""
    return data.exposure[..., None] if data.channels else data.exposure


def gaussian(sigma: float) -> Estimator:
    """Return the Gaussian filter of the mean; points that were not measured do not count."""

    def estimate(data: Measurements) -> np.ndarray:
        mean, light = mean_of_frames(data)
        total = np.nan_to_num(mean) * light
        for axis in range(len(data.spatial)):
            total = gaussian_filter1d(total, sigma, axis=axis)
            light = gaussian_filter1d(light, sigma, axis=axis)
        return np.where(light > 0, total / np.where(light > 0, light, 1), np.nan)[None]

    return estimate


def savitzky_golay(window: int, order: int) -> Estimator:
    """Return the Savitzky-Golay filter of the mean, for one axis; gaps are bridged by straight lines."""

    def estimate(data: Measurements) -> np.ndarray:
        mean = mean_of_frames(data)[0]
        spectra = mean.T if data.channels else mean[None]  # (channels, n)
        place = np.arange(spectra.shape[-1])
        filled = [
            np.interp(place, place[np.isfinite(one)], one[np.isfinite(one)]) for one in spectra
        ]
        smooth = np.asarray(savgol_filter(np.stack(filled), window, order, axis=-1))
        return smooth.T[None] if data.channels else smooth

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


def typical_variance(data: Measurements, noise: Noise) -> np.ndarray:
    """Return the variance of a value at exposure 1, the same for all estimates: (*spatial[, channel]).

    That of the mean of all repeats, smoothed by three points, so that no estimate sets its own weights.
    """
    level = np.nan_to_num(gaussian(3.0)(data)[0])
    return noise.gain * np.maximum(level, LEAST_LEVEL * noise.gain) + noise.readout_variance


def by_left_out(
    estimator: Estimator, data: Measurements, variance: np.ndarray, *, photons: bool
) -> Row:
    """Score an estimator by the repeats that it is not shown, each in turn.

    Args:
      estimator: what is scored.
      data: two repeats or more.
      variance: of a value at exposure 1, from `typical_variance`.
      photons: whether the values are photon counts.

    Returns:
      The numbers of `WITHOUT`; the deviance only for photon counts.
    """
    squares, deviances, correlations, totals = [], [], [], []
    last = len(data.spatial) - 1
    for out in range(data.frames):
        shown, judge = data.take(np.arange(data.frames) != out), data.take([out])
        rate, counts = together(estimator(shown), shown), judge.counts[0]
        light = np.broadcast_to(exposures(judge)[0], rate.shape)
        use = (light > 0) & np.isfinite(rate)
        expected = np.where(use, rate * light, 0)
        sigma = np.sqrt(variance * np.where(use, light, 1))
        off = np.moveaxis(np.where(use, (counts - expected) / sigma, 0), last, -1)
        squares.append((off**2).sum() / use.sum())
        deviances.append(deviance(counts[use], expected[use]))
        correlations.append((off[..., 1:] * off[..., :-1]).sum() / max((off**2).sum(), 1e-12))
        totals.append(expected[use].sum() / counts[use].sum(dtype=np.float64))
    found = {
        "chi_square": float(np.mean(squares)),
        "neighbours": float(np.mean(correlations)),
        "total_percent": float(100 * (np.mean(totals) - 1)),
    }
    if photons:
        found["deviance"] = float(np.mean(deviances))
    return found


def by_reference(answer: np.ndarray, reference: Measurements, *, photons: bool) -> Row:
    """Score an estimate by a reference.

    Args:
      answer: counts per unit of exposure, (*spatial[, channel]).
      reference: its exposure is in units of the estimate's.
      photons: whether the reference counts photons.

    Returns:
      The numbers of `WITH`; the deviance only for photon counts.
    """
    truth = mean_of_frames(reference)[0]
    use = np.isfinite(truth) & np.isfinite(answer)
    rmse = float(np.sqrt(((answer - truth)[use] ** 2).mean()))
    found: Row = {
        "psnr_db": float(20 * np.log10(truth[use].max() / rmse)) if rmse else float("inf"),
        "rmse": rmse,
        "total_to_reference_percent": float(100 * (answer[use].sum() / truth[use].sum() - 1)),
        "negative": int((answer[use] < 0).sum()),
    }
    if photons:
        light = np.broadcast_to(exposures(reference), reference.counts.shape)
        known = use & (light > 0)
        found["deviance_to_reference"] = deviance(reference.counts[known], (answer * light)[known])
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

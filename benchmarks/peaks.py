"""Areas and widths of the peaks of a spectrum, by a least-squares fit of all that lie close together.

Gaussians on a straight background, every peak of a group at once, so that a neighbour's counts are the
neighbour's: windows about single peaks count them for both. The weights and the errors are those of photon
noise about the reference, the same for every estimate that is compared.

Reference:
  Van Grieken & Markowicz 2002, "Handbook of X-ray spectrometry", chapter 4 (least-squares fitting).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares
from scipy.signal import find_peaks

REACH = 40
"""Channels beyond the outermost peaks of a group that are fitted with it; groups that overlap are one."""


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Fitted peaks.

    Attributes:
      centers: of all that were found, in channels, (peaks,).
      areas: counts, (peaks,).
      widths: standard deviations in channels, (peaks,).
      area_errors: of the areas, for one spectrum's photons, (peaks,).
      width_errors: of the widths, likewise.
    """

    centers: np.ndarray
    areas: np.ndarray
    widths: np.ndarray
    area_errors: np.ndarray
    width_errors: np.ndarray


def find(reference: np.ndarray, *, prominence: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return channels and prominences of the peaks of a reference, smoothed by three channels."""
    places, found = find_peaks(
        gaussian_filter1d(reference, 3.0), prominence=prominence, distance=10
    )
    return places, found["prominences"]


def groups(places: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the peaks that have to be fitted together.

    >>> [group.tolist() for group in groups(np.array([10, 80, 300]))]
    [[0, 1], [2]]
    """
    return np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 2 * REACH) + 1)


def model(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return peaks (area, center, width) and a straight line (level, slope) at channels `x`."""
    areas, centers, widths = parameters[:-2].reshape(-1, 3).T[..., None]
    height = areas / (np.sqrt(2 * np.pi) * widths)
    peaks = (height * np.exp(-0.5 * ((x - centers) / widths) ** 2)).sum(axis=0)
    return peaks + parameters[-2] + parameters[-1] * (x - x.mean()) / len(x)


def fit(spectrum: np.ndarray, reference: np.ndarray, places: np.ndarray) -> Peaks:
    """Fit all peaks of a spectrum, starting at `places`.

    Args:
      spectrum: counts, (channels,).
      reference: expected counts, for the weights.
      places: channels, ascending, (peaks,).
    """
    found = np.zeros((len(places), 3))
    errors = np.zeros((len(places), 2))
    variance = np.maximum(gaussian_filter1d(reference, 3.0), 0.05)
    for group in groups(places):
        first, last = int(places[group[0]]) - REACH, int(places[group[-1]]) + REACH + 1
        x = np.arange(max(first, 0), min(last, len(spectrum)))
        sigma = np.sqrt(variance[x])
        low, high, start = [], [], []
        floor = float(np.quantile(reference[x], 0.1))
        for place in places[group]:
            height = max(reference[place] - floor, 0.05)
            start += [height * 30.0, float(place), 12.0]
            low += [0.0, place - 8.0, 4.0]
            high += [np.inf, place + 8.0, 30.0]
        start, low, high = (
            np.array([*values, *ends])
            for values, ends in ((start, (floor, 0.0)), (low, (0, -np.inf)), (high, (np.inf,) * 2))
        )
        result = least_squares(
            lambda p, x=x, sigma=sigma: (model(p, x) - spectrum[x]) / sigma,
            start,
            bounds=(low, high),
            x_scale=np.maximum(np.abs(start), 1.0),
        )
        found[group] = result.x[:-2].reshape(-1, 3)
        covariance = np.linalg.pinv(result.jac.T @ result.jac)
        each = np.sqrt(np.maximum(np.diag(covariance)[:-2].reshape(-1, 3), 0))
        errors[group] = each[:, (0, 2)]
    return Peaks(found[:, 1], found[:, 0], found[:, 2], errors[:, 0], errors[:, 1])


def strongest(reference: np.ndarray, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return (channels of all peaks of a reference, indices of the most prominent of them)."""
    places, prominences = find(reference)
    return places, np.sort(np.argsort(-prominences)[:count])

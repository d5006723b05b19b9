"""Peaks of I(q): found on the counts of the whole scan, then fitted frame by frame, before and after.

A straight line and a Gaussian or pseudo-Voigt, by lmfit. Weights are what the scan's mean expects of a frame:
weights from a frame's own counts would favour bins that counted too little by chance.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks, peak_widths

from smae_jax.report.cake import Bins
from smae_jax.report.observable import Observable, observable_of
from smae_jax.report.profiles import Profiles
from smae_jax.report.response import moved

Shape = Literal["gaussian", "pseudo_voigt"]
MOST = 3
"""Peaks that are looked for."""
PROMINENT, CLEAR = 8.0, 0.03
"""Standard deviations by which a peak of the whole scan stands out, and share of its own height."""
REACH = 2.0
"""Widths at half height on either side of a peak that are fitted with it."""
FEWEST_BINS = 9
SEEN = 3.0
"""Standard deviations of the area from which a frame's peak has a position and a width."""
QUANTITIES = (("position", "center"), ("width", "fwhm"), ("area", "amplitude"))
"""What is reported, and what lmfit calls it; the width is the full one at half height."""


class Fits(NamedTuple):
    """Fits to every frame.

    Attributes:
      told: `raw`, `denoised`, and `reference` if it is there -> values and errors of some quantities,
        (frames, quantities, 2).
      moved: what those of replicas differ by from those of the answer, (replicas, frames, quantities); None =
        there are no replicas.
    """

    told: dict[str, np.ndarray]
    moved: np.ndarray | None

    def of(self, quantity: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Return both of one quantity, as `observable_of` takes them."""
        told = {name: values[:, quantity] for name, values in self.told.items()}
        return told, None if self.moved is None else self.moved[..., quantity]


@dataclasses.dataclass(frozen=True)
class Peak:
    """Where a peak lies, and its shape in the mean of the scan.

    Attributes:
      low, high: window of the profile, in units of its axis.
      shape: of the peak.
      values: parameters of the fit to the mean of the scan, by lmfit's names.
      area_sigmas: its area there over its error.
    """

    low: float
    high: float
    shape: Shape
    values: dict[str, float]
    area_sigmas: float

    @property
    def center(self) -> float:
        """Position in the mean of the scan."""
        return self.values["center"]


def windows_of(bins: Bins, profile: Profiles, *, most: int = MOST) -> list[tuple[float, float]]:
    """Find the strongest peaks of a scan, each with a window about it.

    Args:
      bins: of the profile.
      profile: of the scan; its frames are added up.
      most: number of peaks, at most.

    Returns:
      (low, high) of each peak, by ascending position.
    """
    whole = profile.of_scan()
    use = np.flatnonzero(whole.norm[0] > 0)
    if len(use) < FEWEST_BINS:
        return []
    axis, counts, norm = bins.values[use], whole.counts[0, use], whole.norm[0, use]
    rate = gaussian_filter1d(counts, 1.0) / gaussian_filter1d(norm, 1.0)
    sigma = np.sqrt(np.maximum(gaussian_filter1d(counts, 1.0), 1)) / gaussian_filter1d(norm, 1.0)
    places, found = find_peaks(rate, prominence=CLEAR * rate, distance=4)
    prominences = found["prominences"]
    clear = (prominences > PROMINENT * sigma[places]) & (places > 3) & (places < len(use) - 4)
    places, prominences = places[clear], prominences[clear]
    order = np.argsort(-prominences / sigma[places])[:most]
    widths = peak_widths(rate, places, rel_height=0.5)[0]
    middles = np.sort(places)
    windows = []
    for k in sorted(order, key=lambda k: places[k]):
        reach = max(FEWEST_BINS // 2, int(np.ceil(REACH * widths[k])))
        low, high = max(0, places[k] - reach), min(len(use) - 1, places[k] + reach)
        left, right = middles[middles < places[k]], middles[middles > places[k]]
        if left.size:
            low = max(low, int(left[-1] + np.argmin(rate[left[-1] : places[k] + 1])))
        if right.size:
            high = min(high, int(places[k] + np.argmin(rate[places[k] : right[0] + 1])))
        if high - low + 1 >= FEWEST_BINS:
            windows.append((float(axis[low]), float(axis[high])))
    return windows


def peaks_of(
    bins: Bins,
    profile: Profiles,
    windows: Sequence[tuple[float, float]],
    *,
    shape: Literal["auto", "gaussian", "pseudo_voigt"] = "auto",
) -> list[Peak]:
    """Fit the mean of a scan in windows of one peak each.

    Args:
      bins: of the profile.
      profile: of the scan; its frames are added up.
      windows: (low, high) each, in units of the axis.
      shape: of the peaks; auto = the one with the smaller Akaike information criterion.

    Returns:
      The peaks; a window of too few bins, or in which no fit ends well, has none.
    """
    whole = profile.of_scan()
    shapes: tuple[Shape, ...] = ("gaussian", "pseudo_voigt") if shape == "auto" else (shape,)
    peaks = []
    for low, high in windows:
        use = bins.inside(low, high) & (whole.norm[0] > 0)
        if use.sum() < FEWEST_BINS:
            continue
        x, y, sigma = bins.values[use], whole.raw[0, use], whole.raw_sigma[0, use]
        fits = []
        for one in shapes:
            model = _model(one)
            found = _fit(model, _start(model, x, y), x, y, sigma)
            if found is not None:
                fits.append((float(found.aic), one, found))
        if not fits:
            continue
        _, chosen, found = min(fits, key=lambda fit: fit[0])
        values = {name: float(one.value) for name, one in found.params.items()}
        error = float(found.params["amplitude"].stderr or math.inf)
        peaks.append(Peak(low, high, chosen, values, values["amplitude"] / error))
    return peaks


def fitted(
    bins: Bins,
    profile: Profiles,
    peak: Peak,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Observable]:
    """Fit a peak in every frame: position, width and area, raw and denoised, with errors.

    The shape of a pseudo-Voigt is that of the scan's mean. Raw fits have the errors of Poisson counts; the
    errors of denoised ones are the scatter of replicas.

    Args:
      bins: of the profiles.
      profile: of every frame.
      peak: where it is.
      progress: wraps the numbers of the frames.

    Returns:
      Position (also as a distance d where the axis is q), width and area.
    """
    return _observables(bins, peak, fits_of(bins, profile, peak, progress=progress))


def fits_of(
    bins: Bins,
    profile: Profiles,
    peak: Peak,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Fits:
    """Fit a peak in every frame, see `fitted`: values and errors of the `QUANTITIES`."""
    measured = profile.of_scan().norm[0] > 0  # not under a beamstop, nor in a gap between modules
    use = bins.inside(peak.low, peak.high) & measured
    cut, whole = profile.taken(use), profile.taken(use).of_scan()
    x, mean = bins.values[use], np.maximum(whole.raw[0], 1e-12)
    model = _model(peak.shape)
    series: dict[str, np.ndarray] = {"raw": cut.raw, "denoised": cut.answer}
    if cut.known is not None:
        series["reference"] = cut.known
    names = [name for _, name in QUANTITIES]
    found = {one: np.full((cut.frames, 3, 2), np.nan) for one in series}
    scatter, off = cut.replica_differences, None
    if scatter is not None:
        off = np.full((len(scatter), cut.frames, 3), np.nan)
    for frame in progress(range(cut.frames)):
        level = cut.counts[frame].sum() / max(float((mean * cut.norm[frame]).sum()), 1e-12)
        expected = np.maximum(mean * max(level, 1e-6) * cut.norm[frame], 1e-3)
        sigma = np.sqrt(expected) / np.where(cut.norm[frame] > 0, cut.norm[frame], np.nan)
        for one, values in series.items():
            fit = _fit(model, _frame_start(model, peak, level), x, values[frame], sigma)
            if fit is None:
                continue
            told = [(fit.params[n].value, fit.params[n].stderr or np.nan) for n in names]
            found[one][frame] = _unless_hidden(np.array(told, np.float64))
            if one == "denoised" and scatter is not None and off is not None:
                used = np.isfinite(values[frame]) & np.isfinite(sigma)
                off[:, frame] = _moved(fit, scatter[:, frame, used], 1 / sigma[used])
    if off is not None:
        off = np.where(np.isfinite(found["denoised"][..., 0]), off, np.nan)
    return Fits(found, off)


def _moved(fit: Any, changes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what the `QUANTITIES` of replicas differ by, (replicas, 3)."""
    off = moved(fit, changes, weights)
    ratio = fit.params["fwhm"].value / fit.params["sigma"].value
    return np.stack([off["center"], ratio * off["sigma"], off["amplitude"]], axis=-1)


def _unless_hidden(told: np.ndarray) -> np.ndarray:
    """Take position and width off a peak that is not seen; its area stays."""
    area, error = told[2]
    if not abs(area) > SEEN * error:
        told[:2] = np.nan
    return told


def _observables(bins: Bins, peak: Peak, found: Fits) -> list[Observable]:
    where = f"peak at {peak.center:.4g} {bins.unit}"
    observables = [
        observable_of(
            name,
            where,
            f"counts {bins.unit}" if name == "area" else bins.unit,
            *found.of(k),
        )
        for k, (name, _) in enumerate(QUANTITIES)
    ]
    if bins.name == "q":
        observables.insert(0, _distance(observables[0]))
    return observables


def _distance(position: Observable) -> Observable:
    """Turn a position in q into a distance d = 2 pi / q."""

    def of(q: np.ndarray | None) -> np.ndarray | None:
        return None if q is None else 2 * np.pi / np.where(q > 0, q, np.nan)

    def error(sigma: np.ndarray | None, q: np.ndarray) -> np.ndarray | None:
        return None if sigma is None else 2 * np.pi * sigma / np.where(q > 0, q, np.nan) ** 2

    return dataclasses.replace(
        position,
        name="d = 2 pi / q",
        unit="nm",
        raw=of(position.raw),
        raw_sigma=error(position.raw_sigma, position.raw),
        denoised=of(position.denoised),
        denoised_sigma=error(position.denoised_sigma, position.denoised),
        reference=of(position.reference),
    )


def _model(shape: Shape) -> Any:
    models: Any = importlib.import_module("lmfit.models")
    peak = models.GaussianModel() if shape == "gaussian" else models.PseudoVoigtModel()
    return peak + models.LinearModel()


def _start(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Guess the parameters of a peak on a line from the profile itself."""
    edge = max(1, len(x) // 6)
    left, right = y[:edge].mean(), y[-edge:].mean()
    line = left + (right - left) * (x - x[0]) / (x[-1] - x[0])
    step, rest = float(x[1] - x[0]), y - line
    top = int(np.argmax(gaussian_filter1d(rest, 1.0)))
    width = max(step, float(np.sum(rest > rest[top] / 2)) * step / 2.355)
    return _limited(
        model.make_params(
            amplitude=max(float(rest[top]), 1e-9) * width * math.sqrt(2 * math.pi),
            center=float(x[top]),
            sigma=width,
            slope=float((right - left) / (x[-1] - x[0])),
            intercept=float(left - (right - left) / (x[-1] - x[0]) * x[0]),
        ),
        x,
    )


def _limited(parameters: Any, x: np.ndarray) -> Any:
    step, reach = float(x[1] - x[0]), float(x[-1] - x[0])
    parameters["center"].set(min=float(x[0]), max=float(x[-1]))
    parameters["sigma"].set(min=0.3 * step, max=reach)
    if "fraction" in parameters:
        parameters["fraction"].set(value=0.3, min=0.0, max=1.0)
    return parameters


def _frame_start(model: Any, peak: Peak, level: float) -> Any:
    """Start a frame's fit where the scan's mean has the peak; the shape stays."""
    parameters = model.make_params()
    for name in ("amplitude", "center", "sigma", "slope", "intercept"):
        factor = level if name in ("amplitude", "slope", "intercept") else 1.0
        parameters[name].set(value=peak.values[name] * factor)
    parameters["center"].set(min=peak.low, max=peak.high)
    width = peak.values["sigma"]
    parameters["sigma"].set(min=width / 4, max=4 * width)
    if "fraction" in parameters:
        parameters["fraction"].set(value=peak.values["fraction"], vary=False)
    return parameters


def _fit(model: Any, start: Any, x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> Any | None:
    """Fit; None where too few bins are known or it does not end."""
    use = np.isfinite(y) & np.isfinite(sigma) & (sigma > 0)
    if use.sum() < FEWEST_BINS - 2:
        return None
    try:
        found = model.fit(y[use], start, x=x[use], weights=1 / sigma[use], scale_covar=False)
    except (ValueError, TypeError):
        return None
    return found if found.success else None

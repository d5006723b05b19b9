"""The peak of I(chi) in a ring, fitted frame by frame: its direction, width and area, before and after.

A level and one peak that comes again every 180 degrees, by lmfit; opposite azimuths are put together. Gaps
have no weight. Weights are those of the counts that a first fit expects: weights from a frame's own counts
would favour azimuths that counted too little by chance.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import ive

from smae_jax.report.observable import Observable, observable_of
from smae_jax.report.orientation import COVERED, folded
from smae_jax.report.peaks import SEEN, Fits
from smae_jax.report.profiles import Profiles
from smae_jax.report.response import moved
from smae_jax.truths import FWHM, axial_width

Shape = Literal["von_mises", "gaussian", "pseudo_voigt"]
QUANTITIES = (
    ("peak direction", "degrees", 180.0),
    ("peak width", "degrees", 0.0),
    ("peak area", "counts degrees", 0.0),
)
"""What is reported, its unit and its period."""
DARKEST = 0.1
"""Share of a frame's mean that an azimuth is expected to count at least, for its weight."""
_DIRECTIONS = np.arange(0.0, 180.0, 5.0)
_STARTS: dict[str, tuple[float, ...]] = {
    "von_mises": (0.5, 2.0, 8.0, 40.0),
    "gaussian": (5.0, 12.0, 25.0),
    "pseudo_voigt": (5.0, 12.0, 25.0),
}
"""Concentrations, or standard deviations in degrees, from which fits start."""
LIMITS = {"von_mises": (-3.0, 500.0), "gaussian": (1.0, 45.0), "pseudo_voigt": (1.0, 45.0)}
"""Concentrations, or standard deviations in degrees, that a fit may end at. Below 0 a von Mises peak is wider
than a cosine, with a flat top: noise takes fits to a wide peak there as often as above. At -3 it has 140
degrees; a still wider one would be a dip."""


def von_mises(x: np.ndarray, amplitude: float, center: float, spread: float) -> np.ndarray:
    """Compute exp(spread cos 2 (x - center)) above its lowest, with the area `amplitude` in half a turn.

    What is even all around is left to the level of the fit, so that neither is told at the cost of the other
    where the peak is wide. Its full width at half maximum has cos(width) = ln(cosh spread) / spread.

    Args:
      x: degrees.
      amplitude: area over 180 degrees.
      center: degrees.
      spread: concentration; towards 0 a cosine, below 0 a flat top.

    Reference:
      Mardia and Jupp, Directional Statistics, 2000, section 3.6.1: von Mises, of doubled angles for axes.
    """
    spread = spread if abs(spread) > 1e-6 else 1e-6
    size = abs(spread)
    # Both times exp(-size), which holds large concentrations.
    rise = np.exp(spread * np.cos(2 * np.deg2rad(x - center)) - size) - np.exp(-spread - size)
    return amplitude / 180 * rise / (ive(0, spread) - np.exp(-spread - size))


def gaussian(x: np.ndarray, amplitude: float, center: float, spread: float) -> np.ndarray:
    """Compute a Gaussian that comes again every 180 degrees; `spread` is its standard deviation."""
    return _again(_lineshapes().gaussian, x - center, amplitude, spread)


def pseudo_voigt(
    x: np.ndarray, amplitude: float, center: float, spread: float, fraction: float
) -> np.ndarray:
    """Compute a pseudo-Voigt that comes again every 180 degrees; `spread` is half of its full width."""
    return _again(_lineshapes().pvoigt, x - center, amplitude, spread, fraction)


SHAPES: dict[str, Callable[..., np.ndarray]] = {
    "von_mises": von_mises,
    "gaussian": gaussian,
    "pseudo_voigt": pseudo_voigt,
}


class Fitted(NamedTuple):
    """A fit.

    Attributes:
      told: value and one standard deviation of direction, width and area, (3, 2); NaN where it is not seen.
      expected: the profile that it expects, (azimuths,).
      moved: what the three of other values differ by, (number, 3); None where none were given.
    """

    told: np.ndarray
    expected: np.ndarray
    moved: np.ndarray | None = None


def fitted_around(
    profile: Profiles,
    azimuth: np.ndarray,
    where: str,
    *,
    shape: Shape = "von_mises",
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Observable]:
    """Fit the peak of a ring in every frame: direction, width and area, raw and denoised, with errors.

    Args:
      profile: I(chi) of the ring.
      azimuth: degrees from -180 on, (azimuths,).
      where: which ring, in words.
      shape: of the peak.
      progress: wraps the numbers of the frames.

    Returns:
      Direction (of its maximum, [0, 180) degrees), width (full, at half maximum) and area (above the level).
    """
    counts, norm = folded(profile.counts, profile.norm)
    angles = azimuth[len(azimuth) // 2 :]
    stacks = {"raw": (profile.counts, profile.norm), "denoised": (profile.denoised, profile.norm)}
    if profile.reference is not None and profile.reference_norm is not None:
        stacks["reference"] = profile.reference[0], profile.reference_norm
    series = {name: _per_exposure(*folded(*stack)) for name, stack in stacks.items()}
    found = {name: np.full((profile.frames, 3, 2), np.nan) for name in series}
    scatter, off = None, None
    if profile.replicas is not None:
        scatter = _per_exposure(*folded(profile.replicas, profile.norm))
        off = np.full((len(scatter), profile.frames, 3), np.nan)
    for frame in progress(range(profile.frames)):
        sigma = _sigma(series["raw"][frame], counts[frame], norm[frame], angles, shape)
        if sigma is None:
            continue
        for name, values in series.items():
            changes = scatter[:, frame] if name == "denoised" and scatter is not None else None
            fit = fit_around(values[frame], sigma, angles, shape=shape, changes=changes)
            if fit is not None:
                found[name][frame] = fit.told
                if off is not None and fit.moved is not None:
                    off[:, frame] = fit.moved
    fits = Fits(found, off)
    return [
        observable_of(name, where, unit, *fits.of(k), period=period)
        for k, (name, unit, period) in enumerate(QUANTITIES)
    ]


def fit_around(
    values: np.ndarray,
    sigma: np.ndarray,
    angles: np.ndarray,
    *,
    shape: Shape = "von_mises",
    changes: np.ndarray | None = None,
) -> Fitted | None:
    """Fit one profile.

    Args:
      values: I(chi), (azimuths,); NaN where nothing was measured.
      sigma: one standard deviation, alike.
      angles: degrees over half a turn, (azimuths,).
      shape: of the peak.
      changes: that tell how direction, width and area move, (number, azimuths).

    Returns:
      None where too little was measured, or no fit ends well.
    """
    use = np.isfinite(values) & np.isfinite(sigma) & (sigma > 0)
    if use.mean() < COVERED:
        return None
    x, y, weights = angles[use], values[use], 1 / sigma[use]
    lmfit: Any = importlib.import_module("lmfit")
    model = lmfit.Model(SHAPES[shape]) + lmfit.models.ConstantModel()
    start = _start(x, y, weights, shape)
    parameters = model.make_params(**start)
    parameters["amplitude"].set(min=0)
    parameters["spread"].set(min=LIMITS[shape][0], max=LIMITS[shape][1])
    if "fraction" in parameters:
        parameters["fraction"].set(min=0, max=1)
    try:
        found = model.fit(y, parameters, x=x, weights=weights, scale_covar=False)
    except (ValueError, TypeError):
        return None
    if not found.success:
        return None
    told = np.array([_value(found, n) for n in ("center", "spread", "amplitude")], np.float64)
    told[1] = _width(float(told[1, 0]), float(told[1, 1]), shape)
    told[0, 0] %= 180
    if not told[2, 0] > SEEN * told[2, 1]:
        told[:2] = np.nan
    off = None
    if changes is not None:
        by = moved(found, changes[:, use], weights)
        off = np.stack([by["center"], by["spread"], by["amplitude"]], axis=-1)
        off[:, 1] *= _width(found.params["spread"].value, 1.0, shape)[1]
        off = np.where(np.isfinite(told[:, 0]), off, np.nan)
    return Fitted(told, np.asarray(model.eval(found.params, x=angles), np.float64), off)


def _value(found: Any, name: str) -> tuple[float, float]:
    one = found.params[name]
    return one.value, one.stderr or np.nan


def _width(spread: float, error: float, shape: Shape) -> tuple[float, float]:
    """Return the full width at half maximum that a spread makes, and its error."""
    if shape != "von_mises":
        factor = FWHM if shape == "gaussian" else 2.0
        return factor * spread, factor * error
    step = 1e-3
    slope = (axial_width(spread + step) - axial_width(spread - step)) / (2 * step)
    return axial_width(spread), abs(slope) * error


def _sigma(
    raw: np.ndarray, counts: np.ndarray, norm: np.ndarray, angles: np.ndarray, shape: Shape
) -> np.ndarray | None:
    """Return one standard deviation of the raw profile, of the counts that a first fit to it expects."""
    light = np.where(norm > 0, norm, np.nan)
    if not counts.sum() > 0:
        return None
    mean = counts.sum() / norm.sum()
    even = np.sqrt(mean / light)
    first = fit_around(raw, even, angles, shape=shape)
    if first is None:
        return even
    return np.sqrt(np.maximum(first.expected, DARKEST * mean) / light)


def _start(x: np.ndarray, y: np.ndarray, weights: np.ndarray, shape: Shape) -> dict[str, float]:
    """Choose the best of a grid of directions and widths; area and level of each follow in one step."""
    made = [(center, width) for width in _STARTS[shape] for center in _DIRECTIONS]
    more = {"fraction": 0.5} if shape == "pseudo_voigt" else {}
    shapes = np.stack([SHAPES[shape](x, 1.0, c, w, **more) for c, w in made])
    square = weights**2
    whole = square.sum()
    rest = shapes - ((shapes * square).sum(axis=1) / whole)[:, None]
    level = (y * square).sum() / whole
    along = (rest * square * (y - level)).sum(axis=1)
    power = np.maximum((rest**2 * square).sum(axis=1), 1e-30)
    gain = np.where(along > 0, along**2 / power, -1)
    best = int(np.argmax(gain))
    area = max(float(along[best] / power[best]), 1e-9 * max(abs(float(level)), 1e-9) * 180)
    base = level - area * float((shapes[best] * square).sum() / whole)
    center, width = made[best]
    return {"amplitude": area, "center": center, "spread": width, "c": float(base), **more}


def _per_exposure(sums: np.ndarray, norm: np.ndarray) -> np.ndarray:
    return np.where(norm > 0, sums / np.where(norm > 0, norm, 1), np.nan)


def _again(shape: Callable[..., np.ndarray], off: np.ndarray, area: float, *more: float) -> Any:
    """Add up a shape and its like on either side, half a turn away."""
    near = (off + 90) % 180 - 90
    return sum(shape(near + turn, area, 0.0, *more) for turn in (-180.0, 0.0, 180.0))


def _lineshapes() -> Any:
    return importlib.import_module("lmfit.lineshapes")

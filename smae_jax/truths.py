"""What a fit to a simulated scan should find, from the parameters that its patterns were drawn with.

Reflections are the meridional orders of `saxs` and the rings of `waxd`. Both are Gaussians along the radius
and von Mises distributions of axes along the azimuth. Numpy and scipy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ive

from smae_jax.patterns import ORDERS, PATTERNS, RINGS, Parameters, order_spread_squared, order_width

FWHM = float(np.sqrt(8 * np.log(2)))
"""Full width at half maximum of a Gaussian of unit standard deviation."""
UNITS = {
    "direction": "degrees",
    "first_order": "pixel",
    "place": "pixel",
    "width": "pixel",
    "azimuthal_width": "degrees",
    "area": "counts pixel",
    "degree": "",
}
MEANINGS = {
    "direction": "azimuth of the maximum in [0, 180), from right (0) to down (90)",
    "first_order": "place of the first meridional order; the D-period is 2 pi over its q",
    "place": "distance from the beam centre",
    "width": "full width at half maximum along the radius",
    "azimuthal_width": "full width at half of its rise above its lowest, along the azimuth",
    "area": "of the mean over the azimuth, in counts of a perfect detector, times pixels of radius",
    "degree": "|sum I exp(2 i chi)| / sum I on the circle of its place, all scattering there counted",
}
_AZIMUTHS = 720


class _Reflection(NamedTuple):
    """One frame's, in shares of the frame's radius; `kappa` of exp(kappa cos 2 chi)."""

    place: float
    sigma: float
    kappa: float
    tilt_rad: float
    mean: float


def truths(kind: str, parameters: Parameters, radius: float, scale: float) -> dict[str, np.ndarray]:
    """Compute what is true of every frame of a simulated scan, asymmetry and detector left out.

    Args:
      kind: a key of `PATTERNS`.
      parameters: name -> (frames,), as drawn.
      radius: of the frame, in pixels: what the patterns' lengths are shares of.
      scale: expected counts per unit of the patterns' intensity.

    Returns:
      Name -> float64, in `UNITS`: `first_order` (frames,), of `saxs` only; the others of each reflection,
      (frames, reflections). Empty for patterns without reflections.
    """
    if kind not in ("saxs", "waxd"):
        return {}
    frames = len(parameters["intensity"])
    each = [{name: float(values[k]) for name, values in parameters.items()} for k in range(frames)]
    rows = [_of_frame(kind, one, radius, scale) for one in each]
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if kind == "saxs":
        found["first_order"] = parameters["d_order"] * radius
    return {name: found[name] for name in UNITS if name in found}


def _of_frame(
    kind: str, p: dict[str, float], radius: float, scale: float
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in UNITS if name != "first_order"}
    for one in _orders(p) if kind == "saxs" else _rings(p):
        turned = 90 - np.rad2deg(p["orientation_rad"] + one.tilt_rad)
        area = one.mean * p["intensity"] * scale * np.sqrt(2 * np.pi) * one.sigma * radius
        found["direction"].append(turned % 180)
        found["place"].append(one.place * radius)
        found["width"].append(FWHM * one.sigma * radius)
        found["azimuthal_width"].append(axial_width(one.kappa))
        found["area"].append(float(area))
        found["degree"].append(_degree(kind, one.place, p))
    return found


def _orders(p: dict[str, float]) -> list[_Reflection]:
    found = []
    for order, strength in enumerate(ORDERS, start=1):
        place = order * p["d_order"]
        # exp(-sin^2 / 2 s^2) = exp(kappa (cos 2 chi - 1)) with kappa = 1 / 4 s^2.
        kappa = 1 / (4 * order_spread_squared(place, p["spread_rad"]))
        mean = strength * p["order_strength"] * float(ive(0, kappa))
        found.append(_Reflection(place, order_width(order), kappa, 0.0, mean))
    return found


def _rings(p: dict[str, float]) -> list[_Reflection]:
    return [
        _Reflection(
            place / p["lattice"], width, texture * p["texture"], tilt, strength * p["ring_strength"]
        )
        for place, width, strength, tilt, texture in RINGS
    ]


def axial_width(kappa: float) -> float:
    """Return the full width of exp(kappa cos 2 chi) in degrees, at half of its rise above its lowest.

    cos(width) = ln(cosh kappa) / kappa: 90 degrees for kappa towards 0, narrow for a large one. Half of the
    rise, not of the height: an even part cannot be told from background.

    >>> round(axial_width(1e-4), 1), round(axial_width(100.0), 1)
    (90.0, 6.7)
    """
    if abs(kappa) < 1e-6:
        return 90.0
    # ln cosh without overflow: |kappa| + log1p(exp(-2 |kappa|)) - ln 2.
    size = abs(kappa)
    rise = size + np.log1p(np.exp(-2 * size)) - np.log(2)
    return float(np.rad2deg(np.arccos(rise / kappa)))


def _degree(kind: str, place: float, p: dict[str, float]) -> float:
    angles = 2 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS
    circle = PATTERNS[kind](place * np.sin(angles), place * np.cos(angles), p)
    return float(np.abs((circle * np.exp(2j * angles)).sum()) / circle.sum())

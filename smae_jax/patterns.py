"""Intensity models of scattering patterns, for simulated scans.

Every model is an even function of the position about the beam centre, so that the pattern is
exactly centro-symmetric; only `gisaxs` is not, on purpose. Lengths are shares of the radius of the
largest circle in the frame, so that a pattern looks alike at any frame size. This file knows
nothing of detectors, masks or noise.
"""

from collections.abc import Callable

import numpy as np

from smae_jax import glass as metallic_glass

Parameters = dict[str, np.ndarray]


def drift(
    rng: np.random.Generator, positions: np.ndarray, *, low: float, high: float
) -> np.ndarray:
    """Draw a parameter that varies smoothly over the raster.

    Args:
      rng: random generator.
      positions: (frames, 2), raster positions in [0, 1].
      low: smallest value.
      high: largest value.

    Returns:
      (frames,) float64 within [low, high].
    """
    frequencies = rng.uniform(-3.5, 3.5, size=(3, 2))
    phases = rng.uniform(0, 2 * np.pi, size=3)
    waves = np.tanh(np.sin(positions @ frequencies.T + phases).sum(axis=1))
    return low + (high - low) * (0.5 + 0.5 * waves)


def drifting_parameters(kind: str, rng: np.random.Generator, positions: np.ndarray) -> Parameters:
    """Draw the parameters of every frame of a scan.

    Args:
      kind: a key of `PATTERNS`.
      rng: random generator.
      positions: (frames, 2), raster positions in [0, 1].

    Returns:
      name -> (frames,) float64; angles in radians, lengths in shares of the frame's radius.
    """
    return {
        name: drift(rng, positions, low=low, high=high)
        for name, (low, high) in _RANGES[kind].items()
    }


def saxs(y: np.ndarray, x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Compute a fibre pattern: halo, meridional orders of a D-period and equatorial streak.

    Args:
      y: positions below the beam centre, (height, width), in shares of the frame's radius.
      x: positions to the right of it, alike.
      p: one frame's parameters.

    Returns:
      intensity, (height, width) float64, > 0, arbitrary units.
    """
    meridian, equator = _turn(y, x, p["orientation_rad"])
    radius = np.hypot(meridian, equator)
    # The halo stretches across the fibres: an ellipse, long along the equator.
    stretched = meridian**2 * p["anisotropy"] + equator**2 / p["anisotropy"]
    halo = 60 / (1 + (stretched / 0.10**2) ** 1.35) + 50 * np.exp(-stretched / (2 * 0.34**2))
    # Orders are arcs: the angle of a fibril smears each along its circle, its thickness across.
    angle_squared = (equator / np.maximum(radius, 1e-9)) ** 2
    orders = np.zeros_like(radius)
    for order, strength in enumerate(ORDERS, start=1):
        place = order * p["d_order"]
        along, spread_squared = order_width(order), order_spread_squared(place, p["spread_rad"])
        orders += (
            strength
            * np.exp(-((radius - place) ** 2) / (2 * along**2))
            * np.exp(-angle_squared / (2 * spread_squared))
        )
    thickness_squared = 0.025**2 + (p["spread_rad"] * 0.35 * equator) ** 2
    streak = np.exp(-(meridian**2) / (2 * thickness_squared)) * np.exp(-np.abs(equator) / 0.22)
    pattern = halo + p["order_strength"] * orders + p["streak_strength"] * streak + 0.5
    return p["intensity"] * pattern


def order_width(order: int) -> float:
    """Return the standard deviation of a meridional order along the radius, in shares of the frame's."""
    return 0.017 + 0.002 * order


def order_spread_squared(place: float, spread_rad: float) -> float:
    """Return the variance of the sine of the azimuth of an order at `place` about the meridian."""
    return spread_rad**2 + (0.035 / place) ** 2


def waxd(y: np.ndarray, x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Compute textured powder rings over a smooth background and a mild halo.

    Args:
      y: positions below the beam centre, (height, width), in shares of the frame's radius.
      x: positions to the right of it, alike.
      p: one frame's parameters.

    Returns:
      intensity, (height, width) float64, > 0, arbitrary units.
    """
    radius = np.hypot(y, x)
    smooth = 3 + 6 * np.exp(-((radius / 0.75) ** 2)) + 22 / (1 + (radius / 0.12) ** 2.5)
    amorphous = 5 * np.exp(-((radius - 0.42) ** 2) / (2 * 0.11**2))
    pattern = smooth + p["amorphous_strength"] * amorphous
    for place, width, strength, tilt, texture in RINGS:
        meridian, equator = _turn(y, x, p["orientation_rad"] + tilt)
        # cos 2(phi - phi0), the argument of a von Mises distribution of axes; even by construction.
        cosine = (meridian**2 - equator**2) / np.maximum(radius**2, 1e-18)
        kappa = texture * p["texture"]
        around = np.exp(kappa * cosine) / np.i0(kappa)
        scaled = place / p["lattice"]
        ring = np.exp(-((radius - scaled) ** 2) / (2 * width**2))
        pattern = pattern + p["ring_strength"] * strength * ring * around
    return p["intensity"] * pattern


def gisaxs(y: np.ndarray, x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Compute a grazing-incidence pattern, which has no 180-degree symmetry.

    Only the half above the sample's horizon scatters: a specular rod, the Yoneda line and side
    lobes. The control for every test of symmetry.

    Args:
      y: positions below the beam centre, (height, width), in shares of the frame's radius.
      x: positions to the right of it, alike.
      p: one frame's parameters.

    Returns:
      intensity, (height, width) float64, > 0, arbitrary units.
    """
    height = -y - 0.08  # above the horizon; row 0 is the top of the frame
    above = 1 / (1 + np.exp(-height / 0.015))
    lobes = np.exp(-((np.abs(x) - p["lobe_place"]) ** 2) / (2 * 0.05**2))
    yoneda = 60 * np.exp(-((height - p["yoneda_place"]) ** 2) / (2 * 0.03**2))
    profile = np.exp(-np.abs(height) / 0.35)
    scattering = yoneda * (0.3 + lobes + 1.5 * np.exp(-np.abs(x) / 0.1))
    scattering += 30 * lobes * profile + 150 * np.exp(-(x**2) / (2 * 0.022**2)) * profile
    return p["intensity"] * (above * (scattering + 6 * np.exp(-np.hypot(y, x) / 0.5)) + 0.6)


def glass(y: np.ndarray, x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Compute a metallic glass whose shells are known (see `smae_jax.glass`), at a given geometry.

    Args:
      y: positions below the beam centre, (height, width), in shares of the frame's radius.
      x: positions to the right of it, alike.
      p: one frame's parameters.

    Returns:
      intensity, (height, width) float64, > 0, arbitrary units.

    Raises:
      UserError: if xraylib, which knows form factors, is not installed.
    """
    shells = (p["shell_1_angstrom"], p["shell_2_angstrom"], p["shell_3_angstrom"])
    return p["intensity"] * metallic_glass.pattern(y, x, shells)


def flat(y: np.ndarray, x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Compute a constant pattern, (height, width) float64."""
    return np.full(np.broadcast_shapes(y.shape, x.shape), p["intensity"])


PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray, dict[str, float]], np.ndarray]] = {
    "saxs": saxs,
    "waxd": waxd,
    "gisaxs": gisaxs,
    "glass": glass,
    "flat": flat,
}

_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "saxs": {
        "orientation_rad": (-0.9, 0.9),  # of the fibre axis from the vertical
        "intensity": (0.75, 1.25),
        "anisotropy": (1.1, 2.2),
        "d_order": (0.150, 0.162),  # place of the first order, as 1 / D-period
        "spread_rad": (0.12, 0.40),
        "order_strength": (0.5, 1.5),
        "streak_strength": (10.0, 35.0),
    },
    "waxd": {
        "orientation_rad": (-0.9, 0.9),
        "intensity": (0.7, 1.3),
        "texture": (0.3, 1.6),
        "lattice": (0.985, 1.015),
        "ring_strength": (0.5, 1.5),
        "amorphous_strength": (0.5, 1.5),
    },
    "gisaxs": {
        "intensity": (0.7, 1.3),
        "lobe_place": (0.28, 0.36),
        "yoneda_place": (0.10, 0.14),
    },
    "glass": {
        "intensity": (0.8, 1.2),
        "shell_1_angstrom": (2.76, 2.84),
        "shell_2_angstrom": (4.74, 4.86),
        "shell_3_angstrom": (7.04, 7.16),
    },
    "flat": {"intensity": (1.0, 1.0)},
}

ORDERS = (60.0, 12.0, 34.0, 7.0, 14.0)
"""Strengths of the meridional orders: odd ones stand out, as in wet collagen."""

RINGS = (
    (0.33, 0.020, 22.0, 0.0, 1.5),
    (0.55, 0.017, 14.0, 1.2, 0.6),
    (0.63, 0.018, 30.0, 0.5, 0.9),
    (0.80, 0.019, 12.0, 0.0, 1.2),
    (0.93, 0.020, 9.0, -0.6, 0.4),
)
"""Place, width, strength, tilt of the texture (rad), texture relative to the frame's."""


def _turn(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Resolve positions along and across an axis tilted by `angle` from the vertical."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * y + sine * x, cosine * x - sine * y

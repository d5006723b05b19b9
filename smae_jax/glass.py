"""A metallic glass of known shells: pair distribution function, structure factor, and what it scatters.

Shells are Gaussians of G(r), so that its maxima lie where they were put. All pairs of elements are alike.
Knows nothing of detectors.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import ndtr

from smae_jax.form_factors import Scattering, composition_of, scattering_of

Shells = tuple[float, float, float]
"""Distances of the first three shells, angstrom."""
FORMULA, DENSITY = "Zr50Cu45Al5", 0.03
"""Composition, and atoms per cubic angstrom."""
WAVELENGTH = 0.2
"""Angstrom: 62 keV."""
LARGEST_Q = 15.0
"""1/angstrom, on the largest circle in the frame."""
POLARIZATION = 0.95
"""Share of the photons whose electric field is horizontal, less that of the others."""
EDGE = float(np.tan(2 * np.arcsin(LARGEST_Q * WAVELENGTH / (4 * np.pi))))
"""Radius of that circle over the distance of the detector."""
_FARTHEST = 14.0
"""Angstrom, beyond which the density is even."""


def pair_function(r: np.ndarray, shells: Shells) -> np.ndarray:
    """Return G(r) = 4 pi density r (g(r) - 1).

    Heights and widths were chosen by a search: with shells up to 0.06 angstrom off 2.80, 4.80 and 7.10,
    maxima lie within 0.005 angstrom of them, and the structure factor is above 0.06.

    Args:
      r: angstrom, (r,).
      shells: where they lie.

    Returns:
      1/angstrom^2, (r,).
    """
    first, second, third = shells
    found = -4 * np.pi * DENSITY * r * ndtr((3.46 - r) / 0.485)
    for height, position, width in (
        (2.75, first, 0.201),
        (1.19, second, 0.253),
        (-0.965, (second + third) / 2, 0.34),
        (0.784, third, 0.301),
        (-0.221, third + 1.2, 0.436),
    ):
        found = found + height * np.exp(-0.5 * ((r - position) / width) ** 2)
    return found


def structure_factor(q: np.ndarray, shells: Shells) -> np.ndarray:
    """Return S(q) = 1 + (1 / q) integral of G(r) sin(q r) dr.

    Args:
      q: 1/angstrom, (q,), > 0.
      shells: where they lie.
    """
    r = np.arange(0.02, _FARTHEST, 0.02)
    waves = np.sin(q[:, None] * r)
    return 1 + 0.02 * waves @ pair_function(r, shells) / q


def intensity(q: np.ndarray, shells: Shells) -> np.ndarray:
    """Return what an atom of the glass scatters, in electron units, without polarisation.

    Args:
      q: 1/angstrom, (q,), > 0.
      shells: where they lie.

    Reference:
      Faber and Ziman 1965, Phil. Mag. 11, 153: I = <f>^2 (S - 1) + <f^2> + Compton, where pairs are alike.
    """
    atoms = _atoms(tuple(q.tolist()))
    coherent = atoms.square_mean * (structure_factor(q, shells) - 1) + atoms.mean_square
    return coherent + atoms.compton


@functools.lru_cache(maxsize=2)
def _atoms(q: tuple[float, ...]) -> Scattering:
    """Look the atoms up once for all frames of a scan."""
    composition = composition_of(FORMULA, option="--kind glass: composition")
    return scattering_of(composition, np.array(q), WAVELENGTH)


def pattern(y: np.ndarray, x: np.ndarray, shells: Shells) -> np.ndarray:
    """Return what a flat detector counts: with polarisation, and solid angles that shrink outwards.

    Args:
      y: positions below the beam, in radii of the largest circle, broadcastable to (height, width).
      x: positions to the right of it, alike.
      shells: where they lie.

    Returns:
      Arbitrary units, (height, width) float64, > 0.
    """
    radius = np.hypot(y, x)
    angle = np.arctan(EDGE * radius)
    q = 4 * np.pi / WAVELENGTH * np.sin(angle / 2)
    table = np.linspace(0.02, float(q.max()) + 0.02, 800)
    square = np.maximum(radius**2, 1e-18)
    horizontal, vertical = (1 + POLARIZATION) / 2 * x**2, (1 - POLARIZATION) / 2 * y**2
    seen = 1 - np.sin(angle) ** 2 * (horizontal + vertical) / square
    return np.interp(q, table, intensity(table, shells)) * seen * np.cos(angle) ** 3

"""What free atoms scatter: form factors and Compton scattering, by xraylib (extra `physics`).

Neglected: anomalous terms f' and f'', so that the energy has to be away from absorption edges.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np

from smae_jax.errors import UserError

_ELECTRON = 0.02426310238
"""Compton wavelength of the electron, h / (m_e c), angstrom (CODATA 2018)."""
_SMALLEST = 0.005
"""sin(theta) / wavelength from which xraylib tabulates Compton scattering, 1/angstrom; it vanishes below."""


@dataclasses.dataclass(frozen=True)
class Composition:
    """Which atoms, and their shares.

    Attributes:
      formula: as it was given.
      numbers: atomic numbers, (elements,), int.
      shares: of the atoms, sum 1, (elements,).
      mass: of a mean atom, in units of the atomic mass constant.
    """

    formula: str
    numbers: np.ndarray
    shares: np.ndarray
    mass: float

    def atoms_per_volume(self, density: float) -> float:
        """Turn g/cm^3 into atoms per cubic angstrom."""
        return 0.602214076 * density / self.mass


class Scattering(NamedTuple):
    """Of a mean atom in electron units (Thomson scattering of one electron = 1), (q,) each.

    Attributes:
      mean_square: <f^2>.
      square_mean: <f>^2.
      compton: incoherent scattering, with its Klein-Nishina and recoil factor.
    """

    mean_square: np.ndarray
    square_mean: np.ndarray
    compton: np.ndarray


def missing() -> bool:
    """Say whether xraylib is not installed."""
    return importlib.util.find_spec("xraylib") is None


def composition_of(formula: str, *, option: str = "--composition") -> Composition:
    """Read a formula such as Zr50Cu45Al5 or SiO2.

    Args:
      formula: symbols with their numbers of atoms, brackets allowed.
      option: that messages name.

    Raises:
      UserError: if it is none, or xraylib is not installed.
    """
    if missing():
        raise UserError(
            f"{option} {formula}: needs xraylib, not installed here; pip install 'smae_jax[physics]', or "
            "leave the option out"
        )
    xraylib: Any = importlib.import_module("xraylib")
    try:
        found = xraylib.CompoundParser(formula)
    except ValueError as error:
        reason = str(error).removeprefix("Invalid chemical formula: ")
        raise UserError(
            f"{option}: expected symbols with numbers of atoms such as Zr50Cu45Al5, got '{formula}': {reason}"
        ) from None
    atoms = np.array(found["nAtoms"], np.float64)
    return Composition(
        formula,
        np.array(found["Elements"], np.int64),
        atoms / atoms.sum(),
        float(found["molarMass"] / found["nAtomsAll"]),
    )


def scattering_of(composition: Composition, q: np.ndarray, wavelength: float) -> Scattering:
    """Return what independent atoms scatter.

    Args:
      composition: which atoms.
      q: 4 pi sin(theta) / wavelength, 1/angstrom, (q,), >= 0.
      wavelength: angstrom.

    Reference:
      xraylib (Schoonjans et al. 2011, Spectrochim. Acta B 66, 776): form factors and incoherent scattering
      functions of Hubbell et al. 1975 and their extensions. Compton photons are as many as Klein and Nishina
      (1929) have them over Thomson scattering, both averaged over the polarisation.
    """
    tables: Any = importlib.import_module("xraylib_np")
    s = np.ascontiguousarray(q / (4 * np.pi), np.float64)
    factors = np.asarray(tables.FF_Rayl(composition.numbers, s))
    electrons = np.asarray(tables.SF_Compt(composition.numbers, np.maximum(s, _SMALLEST)))
    shares = composition.shares
    compton = np.where(s < _SMALLEST, 0, shares @ electrons)
    return Scattering(
        shares @ factors**2,
        (shares @ factors) ** 2,
        compton * klein_nishina(q, wavelength),
    )


def klein_nishina(q: np.ndarray, wavelength: float) -> np.ndarray:
    """Return photons that a free electron scatters over those of Thomson scattering; 1 at q = 0.

    Args:
      q: 1/angstrom, up to 4 pi / wavelength.
      wavelength: angstrom.
    """
    cosine = np.clip(1 - 2 * (q * wavelength / (4 * np.pi)) ** 2, -1, 1)
    kept = 1 / (1 + _ELECTRON / wavelength * (1 - cosine))
    return kept**2 * (kept + 1 / kept - (1 - cosine**2)) / (1 + cosine**2)

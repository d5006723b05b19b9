"""Structure factor S(Q) and reduced pair distribution function G(r) of a profile I(Q): arrays in, arrays out.

Everything is linear in the intensity but for one number, the scale that turns counts into electron units. So
the errors of counts are carried on exactly to first order, and any stack of profiles is turned at once.

Neglected: absorption, multiple scattering, fluorescence, and how the detector responds to angle and energy.
What changes slowly with Q shows below r = 1 angstrom.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.form_factors import Scattering

DAMPED = 2.0
"""The convergence factor of the normalisation, exp(-DAMPED (Q / Qmax)^2)."""


@dataclasses.dataclass(frozen=True)
class Transform:
    """From I(Q) in bins to S(Q) and G(r).

    Attributes:
      bins: which bins of a profile are used, (used,), int, ascending.
      q: of these, 1/angstrom, (used,).
      r: where G is wanted, angstrom, (r,).
      polarization: of these bins; counts are divided by it, (used,).
      square_mean: <f>^2, electron units, (used,).
      independent: what independent atoms scatter, <f^2> + Compton, electron units, (used,).
      level: weights whose sum with S - 1 is `total`, whatever the structure, (used,).
      total: -2 pi^2 atoms per volume, 1/angstrom^3; 0 where that is not known.
      kernel: G = kernel @ (S - 1), (r, used).
    """

    bins: np.ndarray
    q: np.ndarray
    r: np.ndarray
    polarization: np.ndarray
    square_mean: np.ndarray
    independent: np.ndarray
    level: np.ndarray
    total: float
    kernel: np.ndarray

    def _reduced(self, intensity: np.ndarray) -> np.ndarray:
        return intensity / (self.polarization * self.square_mean)

    def scale(self, intensity: np.ndarray) -> np.ndarray:
        """Return what intensities are multiplied by to be in electron units.

        Args:
          intensity: counts per pixel and exposure, without background, (..., used).

        Returns:
          (...); NaN where the weighted sum of the intensities is not above 0.

        Reference:
          Krogh-Moe 1956, Acta Cryst. 9, 951; Norman 1957, Acta Cryst. 10, 370: the integral of Q^2 (S - 1)
          is -2 pi^2 times the density, as two atoms do not lie at one place. The convergence factor makes
          it that of a G(r) smeared by 2 / Qmax, which is a straight line there.
        """
        wanted = self.level @ (self.independent / self.square_mean) + self.total
        measured = self._reduced(intensity) @ self.level
        return np.where(measured > 0, wanted / np.where(measured > 0, measured, 1), np.nan)

    def structure_factor(self, intensity: np.ndarray) -> np.ndarray:
        """Return S(Q) = 1 + (scale I / P - <f^2> - Compton) / <f>^2, (..., used).

        Args:
          intensity: as for `scale`.

        Reference:
          Faber and Ziman 1965, Phil. Mag. 11, 153.
        """
        scaled = self.scale(intensity)[..., None] * self._reduced(intensity)
        return 1 + scaled - self.independent / self.square_mean

    def pair_function(self, structure: np.ndarray) -> np.ndarray:
        """Return G(r) = (2 / pi) integral of Q (S - 1) sin(Q r) dQ, 1/angstrom^2, (..., r).

        Args:
          structure: S(Q), (..., used).
        """
        return (structure - 1) @ self.kernel.T

    def sigma(
        self, intensity: np.ndarray, variance: np.ndarray, functionals: np.ndarray
    ) -> np.ndarray:
        """Return one standard deviation of sums over S - 1, from that of independent bins.

        With x = I / (P <f>^2), `n` the scale and `a` the level, a sum u (S - 1) changes with x_j by
        n (u_j - a_j (u x) / (a x)): the second term is that of the scale.

        Args:
          intensity: as for `scale`, (frames, used).
          variance: of it, (frames, used).
          functionals: weights u, (sums, used), or of each frame, (frames, sums, used).

        Returns:
          (frames, sums).
        """
        reduced, scale = self._reduced(intensity), self.scale(intensity)
        noise = variance / (self.polarization * self.square_mean) ** 2
        along = reduced @ self.level
        share = functionals @ reduced[..., None] / np.where(along > 0, along, np.nan)[:, None, None]
        share = share[..., 0]
        own = (functionals**2 @ noise[..., None])[..., 0]
        mixed = (functionals * self.level @ noise[..., None])[..., 0]
        both = (noise @ self.level**2)[:, None]
        return scale[:, None] * np.sqrt(np.maximum(own - 2 * share * mixed + share**2 * both, 0))


def polarization(q: np.ndarray, wavelength: float) -> np.ndarray:
    """Return (1 + cos^2 2theta) / 2: the mean over a whole ring, however the beam is polarised.

    Args:
      q: 1/angstrom.
      wavelength: angstrom.
    """
    cosine = 1 - 2 * (q * wavelength / (4 * np.pi)) ** 2
    return (1 + cosine**2) / 2


def lorch(q: np.ndarray, q_max: float) -> np.ndarray:
    """Return the window sin(x) / x with x = pi Q / Qmax, which takes away ripples of the end of the data.

    Reference:
      Lorch 1969, J. Phys. C 2, 229.
    """
    return np.sinc(q / q_max)


def make_transform(
    axis: np.ndarray,
    measured: np.ndarray,
    r: np.ndarray,
    atoms: Scattering,
    seen: np.ndarray,
    *,
    window: bool = True,
    density: float = 0.0,
) -> Transform:
    """Prepare the way from I(Q) to G(r).

    Where no bin was measured, Q (S - 1) is taken for a straight line between its neighbours, from Q = 0 on.

    Args:
      axis: middles of the bins from the first to the last that counts, evenly spaced, 1/angstrom, (bins,).
      measured: which of them were, bool, (bins,).
      r: where G is wanted, angstrom, (r,).
      atoms: what they scatter at these bins.
      seen: polarisation factor of these bins, (bins,).
      window: whether the data are multiplied by Lorch's window.
      density: atoms per cubic angstrom; 0 = not known, and its small part of the normalisation left out.
    """
    used = np.flatnonzero(measured)
    q, step = axis[used], float(axis[1] - axis[0])
    below = axis[0] - step * np.arange(int((axis[0] - 1e-9) // step), 0, -1)
    whole = np.concatenate([below, axis])
    filled = np.zeros((len(whole), len(used)))
    for k, bins in enumerate(np.eye(len(used))):
        filled[:, k] = np.interp(whole, np.concatenate([[0], q]), np.concatenate([[0], bins]))
    q_max = float(axis[-1]) + step / 2
    weight = lorch(whole, q_max) if window else np.ones(len(whole))
    to_g = 2 / np.pi * step * weight
    level = step * whole * np.exp(-DAMPED * (whole / q_max) ** 2)
    return Transform(
        used,
        q,
        r,
        seen[used],
        atoms.square_mean[used],
        (atoms.mean_square + atoms.compton)[used],
        (level @ filled) * q,
        -2 * np.pi**2 * density,
        (to_g * np.sin(whole * r[:, None])) @ filled * q,
    )

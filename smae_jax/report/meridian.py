"""The direction of a fibre in every frame, and the sector about its meridian. Numpy and scipy only.

Halo and streak outshine weak orders in a ring, but they have no maxima along the radius. So the meridian is
where the logarithm of I(q) ripples most.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from smae_jax.report.observable import Observable, strays
from smae_jax.report.orientation import folded
from smae_jax.report.profiles import Profiles, apart, rms

WIDE = 9
"""Azimuths of 2 degrees that are added up, an odd number."""
FINE, COARSE = 1.2, 1 / 16
"""Standard deviations of the smooth lines that a ripple lies between: in bins, and in shares of them all."""


@dataclasses.dataclass(frozen=True)
class Along:
    """What was summed along the meridian.

    Attributes:
      profile: in the sector about it, whose direction is that of the answer for all that is compared: its
        noise is smallest.
      directions: degrees in [0, 180), of `raw`, `denoised` and, as far as they are there, `reference`,
        and of counts that are drawn `again`, (frames,) each, and of `replicas`, (replicas, frames).
    """

    profile: Profiles
    directions: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Meridian:
    """How the meridian of a frame is found.

    Attributes:
      turned: from the azimuth of most ripple to the meridian, degrees.
      sector: half of its width, degrees.
    """

    turned: float = 0.0
    sector: float = 20.0

    def direction(self, sums: np.ndarray, norm: np.ndarray, azimuth: np.ndarray) -> float:
        """Return the azimuth of the meridian of a frame, degrees in [0, 180).

        Args:
          sums: expected counts, (bins, azimuths).
          norm: exposures behind them, likewise.
          azimuth: degrees from -180 on, (azimuths,).
        """
        half = np.deg2rad(azimuth[len(azimuth) // 2 :])
        power = ripple(*folded(sums, norm))
        angle = np.angle((power * np.exp(2j * half)).sum())
        return float((np.rad2deg(angle) / 2 + self.turned) % 180)

    def within(self, direction: float, azimuth: np.ndarray) -> np.ndarray:
        """Return the azimuths of the sector on both sides of the centre, bool, (azimuths,)."""
        return np.abs((azimuth - direction + 90) % 180 - 90) <= self.sector

    def along(
        self, sums: dict[str, np.ndarray], azimuth: np.ndarray, *, seed: int = 0
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Sum one frame in the sector.

        Args:
          sums: fields of `Profiles`, (..., bins, azimuths).
          azimuth: degrees from -180 on, (azimuths,).
          seed: draws counts anew.

        Returns:
          (the fields of `Profiles` in the sector, the directions), see `Along`.
        """
        norm = sums["norm"]

        def directions(*stacks: np.ndarray) -> np.ndarray:
            return np.array([self.direction(one, norm, azimuth) for one in stacks])

        answer = sums["denoised"]
        raw, denoised = directions(sums["counts"], answer)
        found = {"raw": raw, "denoised": denoised}
        if "replicas" in sums:
            again = np.random.default_rng(seed).poisson(sums["counts"]).astype(np.float64)
            found["again"] = directions(again)[0]
            found["replicas"] = directions(*(answer + sums["replicas"]))
        if "reference" in sums:
            known = self.direction(sums["reference"][0], sums["reference_norm"], azimuth)
            found["reference"] = np.asarray(known)
        use = self.within(float(denoised), azimuth)
        return {name: values[..., use].sum(axis=-1) for name, values in sums.items()}, found


def directed(along: Along) -> Observable:
    """Return the direction of the meridian in every frame.

    No formula tells its error. That of raw is the scatter of counts drawn anew from the raw ones, the same
    for all frames; that of denoised is the scatter of replicas.
    """
    found, raw_sigma, sigma = along.directions, np.full_like(along.directions["raw"], np.nan), None
    if "replicas" in found:
        sigma = rms(apart(found["replicas"], found["denoised"], 180.0))
        off = apart(found["again"], found["raw"], 180.0)
        raw_sigma[:] = rms(off[~strays(off**2)])
    return Observable(
        "direction",
        "meridian",
        "degrees",
        raw=found["raw"],
        raw_sigma=raw_sigma,
        denoised=found["denoised"],
        denoised_sigma=sigma,
        reference=found.get("reference"),
        period=180.0,
    ).widened()


def ripple(sums: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Return how much the logarithm of I(q) ripples at each azimuth, weighted by counts.

    Args:
      sums: expected counts over half a turn, (bins, azimuths / 2).
      norm: exposures behind them, likewise; 0 where nothing was measured.

    Returns:
      Weighted mean squares, (azimuths / 2,).
    """
    sums, norm = (uniform_filter1d(a, WIDE, axis=1, mode="wrap") for a in (sums, norm))
    use = norm > 1e-9 * norm.max(initial=0)

    def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
        return gaussian_filter1d(np.where(use, values, 0), sigma, axis=0)

    light = smooth(norm, FINE)
    rate = smooth(sums, FINE) / np.where(use, light, 1)
    use &= rate > 0
    line = np.log(np.where(use, rate, 1))
    known = smooth(np.ones_like(line), COARSE * len(line))
    off = line - smooth(line, COARSE * len(line)) / np.where(use, known, 1)
    weight = np.where(use, sums, 0)
    total = weight.sum(axis=0)
    return (weight * off**2).sum(axis=0) / np.where(total > 0, total, 1)

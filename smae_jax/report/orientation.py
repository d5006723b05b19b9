"""Direction and degree of orientation from I(chi) of a ring, before and after denoising.

Opposite azimuths scatter alike, so they are put together: a gap is then known from the other side. Numpy
only.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from smae_jax.report.observable import Observable
from smae_jax.report.profiles import Profiles, apart, rms

COVERED = 0.7
"""Share of half a turn that has to be measured."""


class Orientation(NamedTuple):
    """Moments of I(chi), (frames,) each.

    Attributes:
      direction: azimuth of the maximum, degrees in [0, 180).
      degree: |sum I exp(2 i chi)| / sum I, from 0 (a ring) to 1 (two spots); the background counts.
      hermans: (3 <cos^2 phi> - 1) / 2 about that direction, with I weighted by |sin phi|.
    """

    direction: np.ndarray
    degree: np.ndarray
    hermans: np.ndarray


def folded(values: np.ndarray, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put opposite azimuths together.

    Args:
      values: summed counts or variances, (..., azimuths) from -180 degrees on, an even number.
      norm: exposures, likewise.

    Returns:
      Both over the azimuths of half a turn from 0 degrees on, (..., azimuths / 2).
    """
    half = values.shape[-1] // 2
    return values[..., half:] + values[..., :half], norm[..., half:] + norm[..., :half]


def orientation_of(
    sums: np.ndarray, norm: np.ndarray, azimuth: np.ndarray, about: np.ndarray | None = None
) -> Orientation:
    """Find the orientation of frames; gaps that no side tells are bridged by a straight line.

    Args:
      sums: counts, (frames, azimuths).
      norm: exposures behind them, likewise; 0 where nothing was measured.
      azimuth: degrees from -180 on, (azimuths,).
      about: directions that degree and Hermans' factor are taken about, degrees, (frames,); None = their own.
        About a direction that does not follow the noise, noise makes neither larger in the mean; a degree is
        then cos 2 (direction - about) times its own.

    Returns:
      NaN where too little of half a turn was measured, or nothing was counted.

    Reference:
      Hermans and Platzek 1939; the average with |sin phi| is that over a sphere about the direction, as for
      fibres (Alexander, X-Ray Diffraction Methods in Polymer Science, 1969, section 4-3).
    """
    intensity, _ = bridged(*folded(sums, norm))
    angles = np.deg2rad(azimuth[len(azimuth) // 2 :])
    _, second = _moment(intensity, angles)
    direction = np.angle(second) / 2
    axis = direction if about is None else np.deg2rad(about)
    off = angles[None] - axis[:, None]
    weight = intensity * np.abs(np.sin(off))
    whole = weight.sum(axis=1)
    mean = (weight * np.cos(off) ** 2).sum(axis=1) / np.where(whole > 0, whole, np.nan)
    degree = np.real(second * np.exp(-2j * axis))
    return Orientation(np.rad2deg(direction) % 180, degree, (3 * mean - 1) / 2)


def errors_of(sums: np.ndarray, norm: np.ndarray, azimuth: np.ndarray) -> Orientation:
    """Return one standard deviation of `orientation_of` for Poisson counts, to first order.

    The error of Hermans' factor is that at a fixed direction.
    """
    counts, light = folded(sums, norm)
    intensity, measured = bridged(counts, light)
    safe = np.where(measured, light, 1)
    variance = np.where(measured, np.maximum(counts, 1) / safe**2, 0)
    angles = np.deg2rad(azimuth[len(azimuth) // 2 :])
    total, second = _moment(intensity, angles)
    direction, degree = np.angle(second) / 2, np.abs(second)
    off = angles[None] - direction[:, None]

    def propagated(slope: np.ndarray) -> np.ndarray:
        return np.sqrt((slope**2 * variance).sum(axis=1))

    along = propagated((np.cos(2 * off) - degree[:, None]) / total[:, None])
    across = propagated(np.sin(2 * off) / total[:, None])
    spread = np.abs(np.sin(off))
    whole = np.maximum((intensity * spread).sum(axis=1), 1e-30)
    mean = (intensity * spread * np.cos(off) ** 2).sum(axis=1) / whole
    hermans = 1.5 * propagated(spread * (np.cos(off) ** 2 - mean[:, None]) / whole[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        turned = np.rad2deg(across / (2 * degree))
    return Orientation(np.minimum(turned, 52.0), along, hermans)


def observed(profile: Profiles, azimuth: np.ndarray, where: str) -> list[Observable]:
    """Return direction, degree and Hermans' factor of a ring, of every frame.

    Noise makes degree and factor of raw counts too large, as their direction follows it. Those about the
    direction of the answer judge what denoising changed.

    Args:
      profile: I(chi) of the ring.
      azimuth: degrees from -180 on, (azimuths,).
      where: which ring, in words.
    """
    raw = orientation_of(profile.counts, profile.norm, azimuth)
    error = errors_of(profile.counts, profile.norm, azimuth)
    denoised = orientation_of(profile.denoised, profile.norm, azimuth)
    fair = orientation_of(profile.counts, profile.norm, azimuth, denoised.direction)
    known = None
    if profile.reference is not None and profile.reference_norm is not None:
        known = orientation_of(profile.reference[0], profile.reference_norm, azimuth)
    others = None
    if profile.replicas is not None:
        sums = profile.denoised + profile.replicas
        others = [orientation_of(one, profile.norm, azimuth) for one in sums]
    kinds = (("direction", "degrees", 180.0), ("degree", "", 0.0), ("hermans", "", 0.0))
    names = {
        "direction": "direction",
        "degree": "degree of orientation",
        "hermans": "Hermans factor",
    }
    found = []
    for kind, unit, period in kinds:
        one = Observable(
            names[kind],
            where,
            unit,
            raw=getattr(raw, kind),
            raw_sigma=getattr(error, kind),
            denoised=getattr(denoised, kind),
            reference=None if known is None else getattr(known, kind),
            period=period,
            fair=getattr(fair, kind),
        )
        if others is not None:
            values = np.stack([getattr(other, kind) for other in others])
            off = apart(values, one.denoised, period)
            one = dataclasses.replace(one, denoised_sigma=rms(off)).widened()
        found.append(one)
    return found


def _moment(intensity: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum I, and sum I exp(2 i chi) / sum I; NaN where nothing was counted."""
    total = intensity.sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    with np.errstate(invalid="ignore"):
        return total, (intensity * np.exp(2j * angles)).sum(axis=1) / total


def bridged(counts: np.ndarray, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (intensity without gaps, where it was measured); all NaN where too little was."""
    measured = norm > 0
    intensity = np.where(measured, counts / np.where(measured, norm, 1), np.nan)
    for row, known in zip(intensity, measured, strict=True):
        if known.mean() < COVERED:
            row[:] = np.nan
        elif not known.all():
            places = np.flatnonzero(known)
            row[~known] = np.interp(
                np.flatnonzero(~known), places, row[places], period=known.shape[0]
            )
    return intensity, measured

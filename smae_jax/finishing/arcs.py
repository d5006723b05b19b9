"""Rings and arcs in the sums of a scan: what is alike along the azimuth is compared along it.

Scattering is long along the azimuth and short along the radius. A round neighbourhood sees a ring with few
photons, the whole ring has all of them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.fft import irfft, rfft
from scipy.ndimage import gaussian_filter1d

RING = float("inf")
"""An arc as long as the ring."""
ARCS = (RING, 64.0, 16.0)
"""Sigma, in pixels along the azimuth, of the arcs under which counts and answers are compared."""
BESIDE = 1.5
"""Where an excess over the noise is looked for: rings to either side, sigma of a Gaussian."""
ALONG = 4.0
"""The same along the azimuth, as a multiple of the arc."""
MARGIN = 1.5
"""Standard errors by which such an excess must pass what noise alone would show."""
FEWEST = 9.0
"""Photons behind a value that is compared, at least: their noise is nearly normal then."""


def factor_of_arcs(
    expected: np.ndarray,
    found: np.ndarray,
    measured: np.ndarray,
    center: tuple[float, float],
    *,
    arcs: tuple[float, ...] = ARCS,
) -> np.ndarray:
    """Return what expected sums have to be multiplied by to agree with the counts along arcs, but for noise.

    Counts are added up in rings one pixel wide and sectors four pixels long, a pixel with its partner, and
    smoothed along the azimuth, by one arc after the other. Of the relative difference d of counts and
    answers, whose Poisson noise has the variance v, as much is taken as exceeds the noise in the
    neighbourhood: d s / (1 + s), where s is the mean of d^2 / v - 1 there (Efron and Morris 1973, JASA 68,
    117). Between rings it is interpolated.

    Args:
      expected: sum of the answers, (height, width), float64, 0 where not measured.
      found: sum of the counts, as `expected`.
      measured: bool, (height, width).
      center: (y, x) in pixels; where it lies off the frame nothing is changed.
      arcs: sigma of the Gaussian along the azimuth, in pixels; `RING` = the mean of the ring.

    Returns:
      (height, width) float64, 1 where not measured.
    """
    factor = np.ones_like(expected)
    if not all(0 <= c <= n - 1 for c, n in zip(center, expected.shape, strict=True)):
        return factor
    rings = Rings.about(center, expected.shape)
    there = rings.sums(found, measured)
    for arc in arcs:
        wanted = rings.sums(expected * factor, measured)
        factor *= 1 + rings.onto(_change(rings, wanted, there, arc))
    return np.where(measured, factor, 1.0)


def _change(rings: Rings, wanted: np.ndarray, there: np.ndarray, arc: float) -> np.ndarray:
    """Return the relative change of sums (ring, sector) that is no noise along an arc."""
    mean, counted = rings.along(np.stack([wanted, there]), arc)
    noise = rings.along(wanted, arc, power=2)
    use = (mean > 1e-6) & (noise > 1e-9) & (mean**2 >= FEWEST * noise)
    mean, noise = np.where(use, mean, 1.0), np.where(use, noise, 1.0)
    difference = np.where(use, counted / mean - 1, 0.0)
    over = np.where(use, difference**2 * mean**2 / noise - 1, 0.0)
    about = rings.along(np.stack([over, use.astype(np.float64)]), ALONG * arc)
    excess, share = gaussian_filter1d(about, BESIDE, axis=1, mode="constant")
    # So many values of the neighbourhood have noise of their own.
    apart = 2 * np.sqrt(np.pi) * BESIDE * (1.0 if arc == RING else ALONG)
    signal = np.maximum(excess / np.maximum(share, 1e-9) - MARGIN * np.sqrt(2 / apart), 0.0)
    change = np.where(use, signal / (1 + signal) * difference, 0.0)
    return np.clip(change, -0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Rings:
    """Rings of a frame one pixel wide, each in as many sectors of half a turn.

    Attributes:
      radius: of every pixel, (height, width).
      sector: that every pixel lies in, as `radius`, int32; its partner lies in the same.
      sectors: their number; the outermost are four pixels long.
    """

    radius: np.ndarray
    sector: np.ndarray
    sectors: int

    @classmethod
    def about(cls, center: tuple[float, float], shape: tuple[int, ...]) -> Rings:
        """Return those about a centre (y, x)."""
        y, x = (np.arange(n) - c for n, c in zip(shape, center, strict=True))
        radius = np.hypot(y[:, None], x)
        sectors = max(1, int(np.pi * radius.max() / 4))
        turn = np.mod(np.arctan2(y[:, None], x[None]), np.pi) / np.pi
        return cls(radius, (turn * sectors).astype(np.int32) % sectors, sectors)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rings and of sectors."""
        return int(np.rint(self.radius.max())) + 1, self.sectors

    def sums(self, image: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Add up the measured pixels of every ring and sector, (ring, sector)."""
        size = int(np.prod(self.shape))
        return np.bincount(self._place[measured], image[measured], size).reshape(self.shape)

    @functools.cached_property
    def _place(self) -> np.ndarray:
        """Number of every pixel's ring and sector among all."""
        return np.rint(self.radius).astype(np.int32) * self.sectors + self.sector

    def along(self, images: np.ndarray, arc: float, *, power: int = 1) -> np.ndarray:
        """Smooth sums (..., ring, sector) along the azimuth, by a Gaussian of `arc` pixels to a power."""
        if arc == RING:
            mean = images.mean(axis=-1, keepdims=True) * self.sectors ** (1.0 - power)
            return np.repeat(mean, self.sectors, axis=-1)
        far = np.minimum(np.arange(self.sectors), self.sectors - np.arange(self.sectors))
        wide = arc / np.maximum(np.arange(self.shape[0]), 1) * self.sectors / np.pi
        weights = np.exp(-0.5 * (far / wide[:, None]) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        of_images, of_weights = (np.asarray(rfft(a, workers=-1)) for a in (images, weights**power))
        return np.asarray(irfft(of_images * of_weights, self.sectors, workers=-1))

    def onto(self, values: np.ndarray) -> np.ndarray:
        """Interpolate values (ring, sector) between rings at every pixel, (height, width)."""
        inner = np.minimum(self.radius.astype(np.int32), len(values) - 1)
        outer, share = np.minimum(inner + 1, len(values) - 1), self.radius - inner
        return (1 - share) * values[inner, self.sector] + share * values[outer, self.sector]

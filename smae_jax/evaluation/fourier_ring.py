"""Fourier ring correlation: down to which size two independent images agree. numpy and scipy."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal.windows import tukey

from smae_jax.evaluation.filters import Floats, filled

THRESHOLD = 1 / 7
"""Of two independent halves: there the whole data set has an amplitude signal-to-noise of about 1/2."""


@dataclasses.dataclass
class RingSums:
    """Sums over frames of cross and own power in rings of spatial frequency.

    Attributes:
      cross: real part of F1 conj(F2), summed over the ring and the frames, (rings,).
      power: |F1|^2 and |F2|^2 likewise, (2, rings).
    """

    cross: Floats
    power: Floats

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> RingSums:
        """Return empty sums for frames (height, width)."""
        rings = min(shape) // 2
        return cls(np.zeros(rings), np.zeros((2, rings)))

    def add(self, first: ArrayLike, second: ArrayLike, valid: ArrayLike) -> None:
        """Add pairs of frames, (frames, height, width); what is not valid is filled in each by itself."""
        ring, inside = _ring_of(np.shape(first)[-2:], len(self.cross))
        spectra = [spectrum(image, valid)[..., inside] for image in (first, second)]
        number = ring[inside]

        def summed(values: Floats) -> Floats:
            total = values.reshape(-1, values.shape[-1]).sum(axis=0)
            return np.bincount(number, total, minlength=len(self.cross)).astype(np.float64)

        self.cross += summed(np.real(spectra[0] * np.conj(spectra[1])))
        for k in range(2):
            self.power[k] += summed(np.abs(spectra[k]) ** 2)

    @property
    def frequency(self) -> Floats:
        """Middle of each ring in cycles per pixel."""
        return (np.arange(len(self.cross)) + 0.5) * 0.5 / len(self.cross)

    @property
    def correlation(self) -> Floats:
        """The Fourier ring correlation, (rings,), in [-1, 1]; 0 in ring 0 and where there is no power."""
        norm = np.sqrt(self.power.prod(axis=0))
        return np.divide(self.cross, norm, out=np.zeros_like(norm), where=norm > 0)

    def period(self, threshold: float = THRESHOLD) -> float:
        """Return the size in pixels per cycle where the correlation falls below `threshold`.

        The correlation is averaged over three rings first. 2 where it never falls below, infinity
        where it is below everywhere.
        """
        padded = np.pad(self.correlation[1:], 1, mode="edge")
        smooth = np.convolve(padded, np.ones(3) / 3, "valid")
        below = np.nonzero(smooth < threshold)[0]
        if not below.size:
            return 2.0
        k = int(below[0])
        if k == 0:
            return float("inf")
        above = smooth[k - 1]
        part = (above - threshold) / (above - smooth[k])
        frequency = self.frequency[1:]
        return float(1 / (frequency[k - 1] + part * (frequency[k] - frequency[k - 1])))


def spectrum(image: ArrayLike, valid: ArrayLike) -> np.ndarray:
    """Transform frames: gaps filled from their surroundings, mean removed, borders faded out.

    A mask that is the same in two images would correlate at all frequencies.
    """
    smooth = filled(image, valid)
    height, width = smooth.shape[-2:]
    window = np.outer(tukey(height + 2, 0.25)[1:-1], tukey(width + 2, 0.25)[1:-1])
    mean = (window * smooth).sum(axis=(-2, -1), keepdims=True) / window.sum()
    return np.fft.fft2(window * (smooth - mean))


def _ring_of(shape: tuple[int, int], rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Number every frequency by its ring; and say which are below the highest, 1/2 per pixel."""
    y, x = np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1])
    ring = np.floor(np.hypot(y[:, None], x[None]) * 2 * rings).astype(int)
    return ring, (ring > 0) & (ring < rings)  # ring 0 holds the mean alone, which was removed

"""Shells of neighbours in G(r): their maximum, centroid and area. Arrays in, arrays out."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

NEAREST = 1.2
"""Angstrom; atoms do not come closer, so that what G(r) shows below is left of the normalisation."""
MOST = 4
"""Shells that are looked for."""
PROMINENT, CLEAR = 5.0, 0.1
"""Standard deviations by which a shell of the whole scan stands out of 0 and of what is beside it, and share
of the highest."""


class Below(NamedTuple):
    """What G(r) shows where there are no atoms.

    Attributes:
      off: rms deviation from a straight line through 0, 1/angstrom^2.
      noise: one standard deviation of G(r) there, rms; NaN where it is not known.
      height: largest G(r) beyond.
      q_max: 1/angstrom, of the data.
    """

    off: float
    noise: float
    height: float
    q_max: float


@dataclasses.dataclass(frozen=True)
class Shell:
    """Where a shell is looked for.

    Attributes:
      low, high: its edges, angstrom: the minima of G(r) of the whole scan on either side.
      position: its maximum in the whole scan, angstrom.
      start, end: where G(r) of the whole scan is above 0 about the maximum, angstrom.
      upper: where it is above half of the maximum, angstrom.
    """

    low: float
    high: float
    position: float
    start: float
    end: float
    upper: tuple[float, float]

    @property
    def where(self) -> str:
        """Name of the shell."""
        return f"shell at {self.position:.3g} angstrom"

    def inside(self, r: np.ndarray) -> np.ndarray:
        """Return which places lie in the shell, bool, (r,)."""
        return (r >= self.low) & (r <= self.high)


def shells_of(r: np.ndarray, pairs: np.ndarray, sigma: np.ndarray, *, apart: float) -> list[Shell]:
    """Find the shells of a whole scan.

    Args:
      r: evenly spaced, angstrom, (r,).
      pairs: G(r), (r,).
      sigma: one standard deviation of it, (r,).
      apart: angstrom that two maxima are apart, at least: what the range of Q resolves.

    Returns:
      The first `MOST`, by ascending position.
    """
    step = float(r[1] - r[0])
    looked = np.where(r >= NEAREST, pairs, np.minimum(pairs, 0))
    found, told = find_peaks(looked, prominence=0, distance=max(1, round(apart / step)))
    clear = np.minimum(told["prominences"], looked[found])
    peaks = found[(clear > PROMINENT * sigma[found]) & (clear > CLEAR * looked.max())]
    shells = []
    for k, peak in enumerate(peaks[:MOST].tolist()):
        left = peaks[k - 1] if k else int(np.searchsorted(r, NEAREST / 2))
        right = peaks[k + 1] if k + 1 < len(peaks) else len(r) - 1
        low, high = _edge(pairs, peak, int(left)), _edge(pairs, peak, int(right))
        shells.append(shell_in(r, pairs, float(r[low]), float(r[high])))
    return shells


def _edge(pairs: np.ndarray, peak: int, limit: int) -> int:
    """Go from a maximum to the first minimum below 0, else to the least value before `limit`."""
    way = np.arange(peak, limit + 1) if limit > peak else np.arange(peak, limit - 1, -1)
    below = np.flatnonzero(pairs[way] <= 0)
    if not below.size:
        return int(way[np.argmin(pairs[way])])
    rising = np.flatnonzero(np.diff(pairs[way[below[0] :]]) > 0)
    return int(way[below[0] + rising[0]] if rising.size else way[-1])


def below_shells(
    r: np.ndarray, pairs: np.ndarray, sigma: np.ndarray, *, q_max: float, density: float = 0.0
) -> Below:
    """Compare G(r) below the first shell with -4 pi density r, as no two atoms are so near.

    What changes slowly with Q, such as form factors of other atoms, a wrong level or a background that is
    left, bends it.

    Args:
      r: evenly spaced from 0, angstrom, (r,).
      pairs: G(r), (r,).
      sigma: one standard deviation of it, (r,).
      q_max: of the data; shells are broadened by pi / q_max, and looked at is what is nearer than that.
      density: atoms per cubic angstrom; 0 = not known, and the slope is the one that fits best.

    Reference:
      Kaplow, Strong and Averbach 1965, Phys. Rev. 138, A1336; as a measure of quality Peterson et al. 2003,
      J. Appl. Cryst. 36, 53.
    """
    low, beyond = r < NEAREST - np.pi / q_max, r > NEAREST
    fitted = (r[low] @ pairs[low]) / (r[low] @ r[low])
    slope = -4 * np.pi * density if density else fitted
    off, noise = (float(np.sqrt(np.mean(a**2))) for a in (pairs[low] - slope * r[low], sigma[low]))
    return Below(off, noise, float(pairs[beyond].max()), q_max)


def shell_in(r: np.ndarray, pairs: np.ndarray, low: float, high: float) -> Shell:
    """Return the shell of a given range, in G(r) of the whole scan, (r,)."""
    inside = np.flatnonzero((r >= low) & (r <= high))
    top = inside[np.argmax(pairs[inside])]

    def ends(level: float) -> tuple[float, float]:
        above = np.flatnonzero(_about_maximum(pairs - level, (r >= low) & (r <= high)))
        first, last = r[above[[0, -1]]] if above.size else (low, high)
        return float(first), float(last)

    return Shell(low, high, float(r[top]), *ends(0.0), ends(max(0.0, float(pairs[top]) / 2)))


def maxima(r: np.ndarray, pairs: np.ndarray, shell: Shell) -> np.ndarray:
    """Return where G(r) has its maximum in a shell: that of a parabola through its upper half.

    The largest of many noisy values would lie anywhere on a broad shell.

    Args:
      r: evenly spaced, angstrom, (r,).
      pairs: G(r), (..., r).
      shell: where.

    Returns:
      Angstrom, (...); NaN where there is no maximum, or it lies off the shell.
    """
    slope, bend = np.moveaxis(pairs @ parabola(r, shell).T, -1, 0)
    off = np.where(bend < 0, -0.5 * slope / np.where(bend < 0, bend, -1), np.nan)
    found = shell.position + off
    return np.where((found > shell.low) & (found < shell.high), found, np.nan)


def parabola(r: np.ndarray, shell: Shell) -> np.ndarray:
    """Return the weights that give slope and bend of G(r) = a + slope x + bend x^2 about a shell's position.

    By least squares over the places where G(r) of the whole scan is above half of its maximum.

    Returns:
      (2, r).
    """
    upper = (r >= shell.upper[0]) & (r <= shell.upper[1])
    design = np.vander(r[upper] - shell.position, 3, increasing=True)
    weights = np.zeros((2, len(r)))
    weights[:, upper] = np.linalg.pinv(design)[1:]
    return weights


def centroids(r: np.ndarray, pairs: np.ndarray, shell: Shell) -> np.ndarray:
    """Return the mean distance in a shell, weighted by G(r) where it is above 0 about its maximum.

    As G(r) is 0 at these ends, it does not matter to first order where exactly they lie.

    Args:
      r: evenly spaced, angstrom, (r,).
      pairs: G(r), (..., r).
      shell: where.

    Returns:
      Angstrom, (...); NaN where G(r) is nowhere above 0.
    """
    weight = np.where(about_maximum(r, pairs, shell), pairs, 0)
    area = weight.sum(axis=-1)
    return np.where(area > 0, weight @ r / np.where(area > 0, area, 1), np.nan)


def about_maximum(r: np.ndarray, pairs: np.ndarray, shell: Shell) -> np.ndarray:
    """Return where G(r) is above 0 without a break about its maximum in a shell, bool, (..., r)."""
    return _about_maximum(pairs, shell.inside(r))


def _about_maximum(pairs: np.ndarray, inside: np.ndarray) -> np.ndarray:
    above = (np.nan_to_num(pairs) > 0) & inside
    top = np.argmax(np.where(above, np.nan_to_num(pairs), -np.inf), axis=-1)[..., None]
    breaks = np.cumsum(~above, axis=-1)
    return above & (breaks == np.take_along_axis(breaks, top, axis=-1))


def areas(r: np.ndarray, pairs: np.ndarray, shell: Shell) -> np.ndarray:
    """Return the integral of G(r) from `start` to `end`, 1/angstrom, (...).

    It is a sum of counts, so that the raw one is unbiased: what denoising takes away shows here.

    Args:
      r: evenly spaced, angstrom, (r,).
      pairs: G(r), (..., r).
      shell: where.
    """
    return pairs @ core(r, shell)


def core(r: np.ndarray, shell: Shell) -> np.ndarray:
    """Return the weights of `areas`, (r,)."""
    return ((r >= shell.start) & (r <= shell.end)) * float(r[1] - r[0])

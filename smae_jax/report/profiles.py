"""Profiles of a scan before and after denoising: I(q) or I(radius), and I(chi) in rings.

A raw profile is a sum of photons over a sum of exposures, so it is unbiased and its errors are exact. Errors
of denoised pixels are correlated, and bars that are added up as if they were not are too small. So the error
of a denoised profile is the scatter of replicas, see `finishing.replicas`. Knows nothing of files and pyFAI.
"""

from __future__ import annotations

import dataclasses

import numpy as np

FEWEST = 9.0
"""Counts of a bin, at least, where counts are compared with answers: their noise is nearly normal then."""


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Sums in bins, of every frame.

    Attributes:
      counts: photons, (frames, bins), float64.
      norm: exposure times relative solid angle of their pixels, (frames, bins); 0 where none is valid.
      denoised: expected counts of the same pixels, (frames, bins).
      replicas: what plausible answers differ by from `denoised`, (replicas, frames, bins); None = there are
        none.
      reference: expected counts as the reference has them, and their variance, (2, frames, bins), on its
        own pixels: over `reference_norm`; None = there is none.
      reference_norm: as `norm`, of the pixels that are valid in the reference.
      photons: whether these are photon counts, so that their noise is known.
    """

    counts: np.ndarray
    norm: np.ndarray
    denoised: np.ndarray
    replicas: np.ndarray | None = None
    reference: np.ndarray | None = None
    reference_norm: np.ndarray | None = None
    photons: bool = True

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.counts)

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """The sums that there are, by their names."""
        each = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in each.items() if isinstance(value, np.ndarray)}

    def of_scan(self) -> Profiles:
        """Add up all frames to one."""
        sums = {name: a.sum(axis=-2, keepdims=True) for name, a in self.sums.items()}
        return dataclasses.replace(self, **sums)

    def _per_norm(self, sums: np.ndarray) -> np.ndarray:
        return np.where(self.norm > 0, sums / np.where(self.norm > 0, self.norm, 1), np.nan)

    @property
    def raw(self) -> np.ndarray:
        """Counts per pixel and unit of exposure, (frames, bins); NaN where no pixel is valid."""
        return self._per_norm(self.counts)

    @property
    def raw_sigma(self) -> np.ndarray:
        """Standard deviation of `raw`: of Poisson counts, 1 where none was counted; NaN of other values."""
        if not self.photons:
            return np.full(self.counts.shape, np.nan)
        return self._per_norm(np.sqrt(np.maximum(self.counts, 1)))

    @property
    def answer(self) -> np.ndarray:
        """The denoised profile in units of `raw`, (frames, bins)."""
        return self._per_norm(self.denoised)

    @property
    def replica_differences(self) -> np.ndarray | None:
        """What plausible profiles differ by from `answer`, (replicas, frames, bins)."""
        return None if self.replicas is None else self._per_norm(self.replicas)

    @property
    def replica_answers(self) -> np.ndarray | None:
        """Plausible profiles in units of `answer`, (replicas, frames, bins)."""
        return None if self.replicas is None else self._per_norm(self.denoised + self.replicas)

    @property
    def answer_sigma(self) -> np.ndarray | None:
        """Standard deviation of `answer`: the scatter of replicas, which denoised pixels share."""
        return None if self.replicas is None else self._per_norm(rms(self.replicas))

    @property
    def known(self) -> np.ndarray | None:
        """The reference in units of `raw`, (frames, bins); NaN where none of its pixels is valid."""
        return self._of_reference(0)

    @property
    def known_sigma(self) -> np.ndarray | None:
        """Standard deviation of `known`; 0 for a reference without noise."""
        variance = self._of_reference(1, power=2)
        return None if variance is None else np.sqrt(variance)

    def _of_reference(self, which: int, power: int = 1) -> np.ndarray | None:
        if self.reference is None or self.reference_norm is None:
            return None
        norm = self.reference_norm
        safe = np.where(norm > 0, norm, 1)
        return np.where(norm > 0, self.reference[which] / safe**power, np.nan)

    @property
    def sigmas(self) -> np.ndarray:
        """Denoised less raw in standard deviations of the raw counts, (frames, bins).

        The variance of the counts is what the answer expects. NaN where fewer than `FEWEST` are expected, or
        these are no photon counts.
        """
        enough = (self.norm > 0) & (self.denoised >= FEWEST) & self.photons
        expected = np.where(enough, self.denoised, np.nan)
        return (expected - self.counts) / np.sqrt(expected)

    @property
    def chi_square(self) -> np.ndarray:
        """Mean of `sigmas`^2 over the bins of each frame, (frames,); NaN where no bin has counts enough.

        1 for the true rates; below 1 where the answer follows the noise of its own photons; above 1 where
        bins moved by more than photon noise.
        """
        squares = self.sigmas**2
        use = np.isfinite(squares)
        number = use.sum(axis=1)
        total = np.where(use, squares, 0).sum(axis=1)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def taken(self, bins: np.ndarray) -> Profiles:
        """Return the profiles of some bins."""
        return dataclasses.replace(self, **{name: a[..., bins] for name, a in self.sums.items()})


def over_ring(name: str, sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum a field of `Profiles` over the radial bins of a ring, exposures by their weights.

    Args:
      name: of the field.
      sums: (..., bins, azimuths).
      weights: of the radial bins, (bins,); 0 outside.

    Returns:
      (..., azimuths).
    """
    return np.einsum("r,...ra->...a", weights if "norm" in name else weights > 0, sums)


def apart(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    """Return `one - other`, of angles the shorter way round; `period` 0 = they are none."""
    off = one - other
    return (off + period / 2) % period - period / 2 if period else off


def rms(differences: np.ndarray) -> np.ndarray:
    """Return the root of the mean square over replicas, (replicas, ...) -> (...).

    NaN are left out; NaN where fewer than half of the replicas tell anything.
    """
    told = np.isfinite(differences)
    number = told.sum(axis=0)
    square = (np.where(told, differences, 0) ** 2).sum(axis=0) / np.maximum(number, 1)
    return np.where(2 * number >= len(differences), np.sqrt(square), np.nan)


@dataclasses.dataclass(frozen=True)
class Ring:
    """A part of the profile that is looked at together.

    Attributes:
      low, high: its edges, in units of the axis.
      percent: denoised over raw, less 1, in per cent.
      sigmas: the same in standard deviations of the raw counts.
    """

    low: float
    high: float
    percent: float
    sigmas: float


def in_rings(axis: np.ndarray, profile: Profiles, *, rings: int = 24) -> list[Ring]:
    """Compare denoised and raw totals of a scan in rings of as many bins each.

    Args:
      axis: middles of the bins, (bins,).
      profile: of a scan; its frames are added up.
      rings: how many.
    """
    whole = profile.of_scan()
    counts, expected, use = whole.counts[0], whole.denoised[0], whole.norm[0] > 0
    step = float(axis[1] - axis[0]) if len(axis) > 1 else 0.0
    found = []
    for bins in np.array_split(np.arange(len(axis)), min(rings, len(axis))):
        own = bins[use[bins]]
        mean, number = float(expected[own].sum()), float(counts[own].sum())
        if mean < FEWEST or number <= 0:
            continue
        low, high = float(axis[bins[0]]) - step / 2, float(axis[bins[-1]]) + step / 2
        found.append(
            Ring(low, high, 100 * (mean / number - 1), float((mean - number) / np.sqrt(mean)))
        )
    return found

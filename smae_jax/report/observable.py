"""What is measured of every frame, before and after denoising: a position, a width, an area, a direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from smae_jax.report.profiles import apart, rms

STRAY = 10.0
"""Times what nine in ten of the values stay below: beyond it a fit went astray."""


FEW = 8
"""Frames, at least, that tell a motion."""
SURE = 3.0
"""Errors from which a motion is there."""


class Motion(NamedTuple):
    """Variances of a quantity over the frames.

    Attributes:
      raw: of the truths, as raw values tell: their variance less that of their errors.
      error: one standard deviation of that.
      denoised: of the denoised values, their errors included.
    """

    raw: float
    error: float
    denoised: float

    @property
    def kept(self) -> float:
        """Share of the motion that is left after denoising, at most; NaN where raw values tell none."""
        if not self.raw > SURE * self.error:
            return float("nan")
        return float(np.sqrt(self.denoised / self.raw))


@dataclasses.dataclass(frozen=True)
class Observable:
    """A quantity over the frames of a scan.

    Attributes:
      name: such as `position`.
      where: of which peak or ring, in words.
      unit: "" = a pure number.
      raw: of the counts, (frames,), NaN where it could not be told.
      raw_sigma: one standard deviation, from the counts' Poisson noise.
      denoised: of the answers, (frames,).
      denoised_sigma: one standard deviation: the scatter of replicas, see also `widened`; None = not known.
      reference: of the reference, (frames,); None = there is none.
      period: of an angle; 0 = it is none.
      fair: raw values that noise makes neither larger nor smaller in the mean, (frames,), where `raw` are not
        such; they judge the denoised ones. None = `raw` are.
    """

    name: str
    where: str
    unit: str
    raw: np.ndarray
    raw_sigma: np.ndarray
    denoised: np.ndarray
    denoised_sigma: np.ndarray | None = None
    reference: np.ndarray | None = None
    period: float = 0.0
    fair: np.ndarray | None = None

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} / {self.unit}" if self.unit else self.name

    @property
    def title(self) -> str:
        """Name and place."""
        return f"{self.name}, {self.where}"

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return `one - other`, of angles the shorter way round."""
        return apart(one, other, self.period)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is known of every frame, by name: `raw`, `raw_sigma`, ..., (frames,) each."""
        names = ("raw", "raw_sigma", "denoised", "denoised_sigma", "reference")
        each = {name: getattr(self, name) for name in names}
        return {name: values for name, values in each.items() if values is not None}

    @property
    def sigmas(self) -> np.ndarray:
        """Denoised less raw in standard deviations of the raw, (frames,)."""
        sigma = np.where(self.raw_sigma > 0, self.raw_sigma, np.nan)
        return self.difference(self.denoised, self.raw) / sigma

    @property
    def judging(self) -> np.ndarray:
        """Raw values without bias, (frames,)."""
        return self.raw if self.fair is None else self.fair

    @property
    def shift(self) -> tuple[float, float]:
        """Median difference of denoised and raw over the scan, and its error.

        Raw values scatter about the truth, so their middle tells what denoising changed in all frames alike.
        A mean weighted by errors would not: a fit that went astray may have the smallest error, and errors of
        areas grow with the areas, so that those too small by chance would weigh most. The variance of the
        median of normal values is pi / 2 that of their mean. NaN where no frame has both; the error is NaN
        where no raw value has one.
        """
        off = self.difference(self.denoised, self.judging)
        use = np.isfinite(off) & (self.raw_sigma > 0)
        if not use.any():
            return _typical(off), float("nan")
        error = np.sqrt(np.pi / 2 / use.sum()) * np.median(self.raw_sigma[use])
        return float(np.median(off[use])), float(error)

    @property
    def motion(self) -> Motion:
        """How much the quantity changes from frame to frame, see `Motion`; NaN of fewer than `FEW` frames."""
        raw = self.judging
        off = self.difference(raw, np.full_like(raw, self.middle(raw)))
        use = np.isfinite(off) & np.isfinite(self.denoised) & (self.raw_sigma > 0)
        use &= ~strays(np.where(use, off, np.nan))
        if use.sum() < FEW:
            return Motion(*[float("nan")] * 3)
        excess = off[use] ** 2 - self.raw_sigma[use] ** 2
        error = float(excess.std() / np.sqrt(use.sum()))
        here = self.denoised[use]
        moved = self.difference(here, np.full_like(here, self.middle(here)))
        return Motion(float(excess.mean()), error, float((moved**2).mean()))

    def widened(self) -> Observable:
        """Return the same with errors that hold what only raw values show, as these are unbiased.

        Replicas scatter about the answer, and tell little of what the network takes away from every frame.
        Added are the square of `shift` and that of the motion that is missing in the denoised frames, where
        raw ones clearly move more, each less that of its own error.
        """
        if self.denoised_sigma is None:
            return self
        shift, error = self.shift
        missed = max(0.0, shift**2 - error**2) if np.isfinite(shift) else 0.0
        motion = self.motion
        if motion.raw > SURE * motion.error:
            gap = max(0.0, np.sqrt(motion.raw) - np.sqrt(motion.denoised))
            missed += max(0.0, gap**2 - motion.error**2 / (4 * motion.raw))
        return dataclasses.replace(self, denoised_sigma=np.sqrt(self.denoised_sigma**2 + missed))

    def without_noise(self) -> Observable:
        """Return the same of values whose noise is not known, as they are no photon counts."""
        return dataclasses.replace(self, raw_sigma=np.full_like(self.raw, np.nan))

    def summary(self) -> dict[str, float | str]:
        """Return the numbers that a table shows."""
        shift, error = self.shift
        denoised_sigma = np.nan if self.denoised_sigma is None else _typical(self.denoised_sigma)
        row: dict[str, float | str] = {
            "name": self.title,
            "unit": self.unit,
            "raw": self.middle(self.raw),
            "raw_sigma": _typical(self.raw_sigma),
            "denoised": self.middle(self.denoised),
            "denoised_sigma": denoised_sigma,
            "shift": shift,
            "shift_error": error,
            "shift_sigmas": shift / error if error > 0 else np.nan,
            "told": float(np.isfinite(self.raw).mean() * 100),
        }
        if self.reference is not None:
            row["reference"] = self.middle(self.reference)
            for name, values in (("raw_error", self.raw), ("denoised_error", self.denoised)):
                off = self.difference(values, self.reference)
                row[name] = float(np.sqrt(np.nanmean(off**2))) if np.isfinite(off).any() else np.nan
        return row

    def middle(self, values: np.ndarray) -> float:
        """Return the median over the frames, of angles the mean direction."""
        known = values[np.isfinite(values)]
        if not known.size:
            return float("nan")
        if not self.period:
            return float(np.median(known))
        turned = np.exp(2j * np.pi * known / self.period).mean()
        return float(np.angle(turned) * self.period / (2 * np.pi) % self.period)


def _typical(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def strays(values: np.ndarray) -> np.ndarray:
    """Return what is far beyond nine in ten of the others, bool, as `values`; of fewer than 10 none is."""
    known = values[np.isfinite(values)]
    if known.size < 10:
        return np.zeros(values.shape, bool)
    return np.abs(np.nan_to_num(values)) > STRAY * np.quantile(np.abs(known), 0.9)


def observable_of(
    name: str,
    where: str,
    unit: str,
    found: Mapping[str, np.ndarray],
    moved: np.ndarray | None = None,
    *,
    period: float = 0.0,
) -> Observable:
    """Put together what was fitted to frames, with the errors that replicas and raw values tell.

    Args:
      name: such as `position`.
      where: of which peak or ring, in words.
      unit: "" = a pure number.
      found: value and error of every frame, (frames, 2), of `raw`, `denoised`, and `reference`, if there.
      moved: what the quantity of replicas differs by from that of the answer, (replicas, frames); None =
        there are no replicas.
      period: of an angle; 0 = it is none.
    """
    one = Observable(
        name,
        where,
        unit,
        raw=found["raw"][:, 0],
        raw_sigma=found["raw"][:, 1],
        denoised=found["denoised"][:, 0],
        denoised_sigma=None if moved is None else rms(moved),
        reference=found["reference"][:, 0] if "reference" in found else None,
        period=period,
    )
    return one.widened()

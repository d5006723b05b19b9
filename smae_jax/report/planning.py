"""How short one may expose: the error of a quantity against exposure, and the exposure that suffices.

A pilot scan is thinned: each photon is kept with a probability of `exposure`. What is kept is a scan of that
exposure, and the photons left are independent of it. They stand for the truth: split evenly they give two raw
values r1, r2 of the quantity, so that (x - r1) (x - r2) is in the mean the squared error of a value x of the
thinned scan, whatever the noise of r1 and r2. What x gets wrong systematically counts. Numpy only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from smae_jax.report.observable import strays
from smae_jax.report.profiles import apart

TOLD = 0.9
"""Share of the frames in which a quantity has to be found where an exposure suffices."""


@dataclasses.dataclass(frozen=True)
class Thinned:
    """A quantity of scans of one exposure, made of a pilot by several thinnings.

    Attributes:
      exposure: as a share of the pilot's.
      values: of the quantity, raw or denoised, (thinnings, frames, bins); one bin unless it is a profile; NaN
        where it could not be told.
      first, second: raw, of either half of the photons that the thinning left, likewise.
    """

    exposure: float
    values: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclasses.dataclass(frozen=True)
class Rung:
    """The error at one exposure.

    Attributes:
      exposure: as a share of the pilot's.
      square: mean squared error; by chance it can be below 0.
      square_sigma: one standard deviation of it.
      told: share of the frames in which the quantity was found.
      from_halves: whether it was derived from scans of half the exposure, see `twice`.
    """

    exposure: float
    square: float
    square_sigma: float
    told: float
    from_halves: bool = False

    @property
    def error(self) -> float:
        """Root of the mean squared error; 0 where the pilot is too short to see it."""
        return math.sqrt(max(self.square, 0.0))

    @property
    def low(self) -> float:
        """Lower end of the band of one standard deviation."""
        return math.sqrt(max(self.square - self.square_sigma, 0.0))

    @property
    def high(self) -> float:
        """Upper end of the band; above 0 even where the squared error is below it by chance."""
        return math.sqrt(max(self.square, 0.0) + self.square_sigma)

    def suffices(self, tolerance: float) -> bool:
        """Say whether the upper end is within the tolerance, and the quantity is found in most frames."""
        return self.told >= TOLD and self.high <= tolerance


@dataclasses.dataclass(frozen=True)
class Sufficient:
    """An exposure that suffices.

    Attributes:
      exposure: as a share of the pilot's.
      how: within = between two rungs; at most = the shortest that was looked at; extrapolated = above the
        pilot's own.
    """

    exposure: float
    how: Literal["within", "at most", "extrapolated"]

    @property
    def in_words(self) -> str:
        """Say how long."""
        ending = {"within": "", "at most": " or less", "extrapolated": " times the pilot's"}[
            self.how
        ]
        return f"{self.exposure:.2g}{ending}"


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Average what is known; NaN where nothing is."""
    known = np.isfinite(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def squares_of(scans: Thinned, *, period: float = 0.0) -> tuple[np.ndarray, float]:
    """Return the squared errors of frames.

    Args:
      scans: of one exposure.
      period: of an angle; 0 = it is none.

    Returns:
      (averaged over bins, (thinnings, frames), NaN where not known; share of the frames that have one). Fits
      that went astray count as not found.

    Reference:
      Data thinning for Poisson counts (Neufeld et al. 2024, section 2): the parts are independent.
    """
    product = apart(scans.values, scans.first, period) * apart(scans.values, scans.second, period)
    square = _mean(product, axis=-1)
    told = float(np.isfinite(scans.values).any(axis=-1).mean())
    known, stray = np.isfinite(square), strays(square)
    told *= 1 - float(stray.sum() / max(1, known.sum()))
    return np.where(stray, np.nan, square), told


def rung_of(scans: Thinned, *, period: float = 0.0, unit: float = 1.0) -> Rung:
    """Return the error of a quantity at one exposure.

    Args:
      scans: of that exposure.
      period: of an angle; 0 = it is none.
      unit: that errors are expressed in.
    """
    squares, told = squares_of(scans, period=period)
    return _rung(scans.exposure, squares, told, unit)


def twice(scans: Thinned, others: np.ndarray, *, period: float = 0.0, unit: float = 1.0) -> Rung:
    """Return the error at the pilot's own exposure, of which no photon is left to judge by.

    With x1, x2 the values of two halves of the photons, (x1 - x2)^2 / 4 is the part of a half's squared error
    that noise makes and twice the photons take away; what is systematic is taken over.

    Args:
      scans: of half the exposure.
      others: the same quantity of the other half of the photons of each, shaped as `scans.values`.
      period: of an angle; 0 = it is none.
      unit: that errors are expressed in.
    """
    squares, told = squares_of(scans, period=period)
    noise = _mean(apart(scans.values, others, period) ** 2, axis=-1) / 4
    rung = _rung(2 * scans.exposure, squares - noise, told, unit)
    return dataclasses.replace(rung, from_halves=True)


def _rung(exposure: float, squares: np.ndarray, told: float, unit: float) -> Rung:
    """Average over thinnings, then over frames, whose scatter tells the error: frames share no photons."""
    each = _mean(squares, axis=0)
    each = each[np.isfinite(each)] / unit**2
    if len(each) < 2:
        return Rung(exposure, math.nan, math.nan, told)
    return Rung(exposure, float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))), told)


def sufficient(
    rungs: Sequence[Rung], tolerance: float, *, extrapolate: bool = False
) -> Sufficient | None:
    """Return the shortest exposure down to which all rungs suffice, by straight lines between logarithms.

    Args:
      rungs: in any order.
      tolerance: largest error, in units of the rungs.
      extrapolate: whether errors above the longest exposure fall with its root, as those of raw counts do.

    Returns:
      None where the longest does not suffice and nothing tells what would.
    """
    down = sorted(rungs, key=lambda rung: -rung.exposure)
    good = 0
    while good < len(down) and down[good].suffices(tolerance):
        good += 1
    if good == 0:
        longest = down[0]
        if not extrapolate or not (longest.told >= TOLD and math.isfinite(longest.high)):
            return None
        factor = (longest.high / tolerance) ** 2
        return Sufficient(longest.exposure * factor, "extrapolated")
    last = down[good - 1]
    if good == len(down):
        return Sufficient(last.exposure, "at most")
    next_one = down[good]
    if next_one.told < TOLD or not math.isfinite(next_one.high):
        return Sufficient(last.exposure, "within")
    logs = np.log([last.high, next_one.high])
    place = np.interp(np.log(tolerance), logs, np.log([last.exposure, next_one.exposure]))
    return Sufficient(float(np.exp(place)), "within")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What suffices for one quantity.

    Attributes:
      title: the quantity and its place, in words.
      unit: of the errors; "" = they are shares of `typical`, or a pure number.
      relative: whether errors are shares of `typical`.
      typical: value of the quantity.
      tolerance: largest error, in the unit of the rungs.
      asked: the same as it was given.
      raw, denoised: errors, by falling exposure.
    """

    title: str
    unit: str
    relative: bool
    typical: float
    tolerance: float
    asked: str
    raw: tuple[Rung, ...]
    denoised: tuple[Rung, ...]

    @property
    def needed_raw(self) -> Sufficient | None:
        """Exposure that suffices raw."""
        return sufficient(self.raw, self.tolerance, extrapolate=True)

    @property
    def needed_denoised(self) -> Sufficient | None:
        """Exposure that suffices denoised; within the pilot's: what a network gets wrong need not shrink."""
        return sufficient(self.denoised, self.tolerance)

    @property
    def factor(self) -> float | None:
        """Raw over denoised exposure; None where one is not known."""
        raw, denoised = self.needed_raw, self.needed_denoised
        return None if raw is None or denoised is None else raw.exposure / denoised.exposure

    def said(self, error: float) -> str:
        """Write an error as the tolerance is written."""
        return f"{100 * error:.2g} %" if self.relative else f"{error:.2g} {self.unit}".strip()

    @property
    def sentence(self) -> str:
        """Say what suffices, in one line."""
        raw, denoised, factor = self.needed_raw, self.needed_denoised, self.factor
        head = f"{self.title}: {self.asked}"
        if denoised is not None and raw is not None and factor is not None:
            needs = f"{head} needs {_of_pilot(denoised)} when denoised, {_raw_in_words(raw)}"
            if "at most" in (raw.how, denoised.how) and factor <= 1:
                return f"{needs}; look at shorter ones with --halvings {len(self.raw) + 1}"
            if factor <= 1:
                return f"{needs}: denoising saves nothing"
            more = " or more" if denoised.how == "at most" else ""
            return f"{needs}: {factor:.2g} times shorter{more}"
        if raw is None and denoised is None:
            return f"{head} cannot be told from this pilot: {self._why(self.raw[0])}"
        if raw is None:
            needs = _of_pilot(denoised) if denoised is not None else ""
            return f"{head} needs {needs} when denoised; raw it cannot be told: {self._why(self.raw[0])}"
        return (
            f"{head} is not certain to be reached by denoising within the pilot's exposure "
            f"({self._why(self.denoised[0])}); it needs {_raw_in_words(raw)}"
        )

    def _why(self, rung: Rung) -> str:
        if rung.told < TOLD:
            return f"the quantity is found in {100 * rung.told:.0f} % of the frames"
        if not math.isfinite(rung.square):
            return "too few frames have it"
        if rung.square <= 0:
            return f"no error is seen there, but up to {self.said(rung.high)} is not excluded"
        return f"error there {self.said(rung.error)}, up to {self.said(rung.high)}"


def _of_pilot(needed: Sufficient) -> str:
    return f"{needed.in_words} of the pilot's exposure"


def _raw_in_words(needed: Sufficient) -> str:
    said = f"{needed.in_words} raw"
    return f"{said} (extrapolated)" if needed.how == "extrapolated" else said

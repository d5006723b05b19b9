"""A pilot scan thinned to lower and lower exposures, answered at each, and a quantity of every frame.

Each thinned scan is answered as `infer` answers a scan that was measured at this exposure: its frames stand
for full exposures of their own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from smae_jax.evaluation.without_reference import split
from smae_jax.measurements import Measurements
from smae_jax.report.observable import Observable
from smae_jax.report.orientation import observed
from smae_jax.report.peaks import fitted
from smae_jax.report.physics import Layout
from smae_jax.report.planning import Rung, Thinned, rung_of, twice
from smae_jax.report.profiles import FEWEST, Profiles, over_ring
from smae_jax.run.restore import Opened
from smae_jax.survey import frame_scales

Quantity = Literal["d_spacing", "area", "direction", "degree", "profile"]
NAMES: dict[Quantity, tuple[str, ...]] = {
    "d_spacing": ("d = 2 pi / q", "position"),
    "area": ("area",),
    "direction": ("direction",),
    "degree": ("degree of orientation",),
}
"""What the observables are called, the first that there is."""


class Values(NamedTuple):
    """A quantity at one place, of two stacks of frames.

    Attributes:
      title: quantity and place, in words.
      unit: of the values.
      period: of an angle; 0 = it is none.
      first, second: (frames, bins); one bin unless it is a profile.
    """

    title: str
    unit: str
    period: float
    first: np.ndarray
    second: np.ndarray


@dataclasses.dataclass(frozen=True)
class Place:
    """A quantity at one place, of all thinned scans.

    Attributes:
      title, unit, period: as of `Values`.
      raw, denoised: one for each exposure, falling.
      raw_others, denoised_others: the same of the photons that the first of them left, which is half of all:
        as its `values`.
    """

    title: str
    unit: str
    period: float
    raw: tuple[Thinned, ...]
    denoised: tuple[Thinned, ...]
    raw_others: np.ndarray
    denoised_others: np.ndarray

    def rungs(self, *, unit: float = 1.0) -> tuple[tuple[Rung, ...], tuple[Rung, ...]]:
        """Return the errors raw and denoised, from the pilot's exposure down.

        Args:
          unit: that errors are expressed in.
        """
        both = ((self.raw, self.raw_others), (self.denoised, self.denoised_others))
        raw, denoised = (
            (
                twice(scans[0], others, period=self.period, unit=unit),
                *(rung_of(one, period=self.period, unit=unit) for one in scans),
            )
            for scans, others in both
        )
        return raw, denoised

    @property
    def typical(self) -> float:
        """Median of the raw values that stand for the truth."""
        known = np.concatenate([a.ravel() for one in self.raw for a in (one.first, one.second)])
        known = known[np.isfinite(known)]
        return float(np.median(known)) if known.size else float("nan")


class Thinning(NamedTuple):
    """Values of one thinned scan, a list over places each.

    Attributes:
      shown: raw and denoised of the photons kept.
      judges: raw of either half of the photons left.
      others: raw and denoised of the photons left, where they are half of all; else ().
    """

    shown: list[Values]
    judges: list[Values]
    others: list[Values]


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Thins a scan and looks at quantities.

    Attributes:
      opened: a run with the pilot scan, all of it in memory.
      layout: where profiles, peaks and rings are.
      quantities: that are looked at.
      scale: "input" = thinned scans are answered in units of their own mean, "run" = in those of the run.
      seed: of the thinnings.
    """

    opened: Opened
    layout: Layout
    quantities: tuple[Quantity, ...]
    scale: Literal["run", "input"] = "input"
    seed: int = 0

    def climb(
        self,
        *,
        halvings: int,
        thinnings: int,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> tuple[Place, ...]:
        """Look at scans of 1/2, 1/4, ... of the pilot's exposure.

        Args:
          halvings: how many exposures.
          thinnings: scans of each.
          progress: wraps the numbers of exposure and thinning of each scan.
        """
        numbers = [(rung, which) for rung in range(1, halvings + 1) for which in range(thinnings)]
        done = [self._thinned(*number) for number in progress(numbers)]
        rungs = [done[k * thinnings : (k + 1) * thinnings] for k in range(halvings)]
        return tuple(self._place(rungs, k) for k in range(len(done[0].shown)))

    def _thinned(self, rung: int, which: int) -> Thinning:
        """Thin the pilot once; every thinning of every exposure draws random numbers of its own."""
        share, seed = 0.5**rung, (self.seed, 2, rung, which)
        kept, left = split(self.opened.data, share=share, seed=seed)
        first, second = split(left, share=0.5, seed=(*seed, 1))
        judges = self.values(first.counts, second.counts, (1 - share) / 2)
        others = self.before_and_after(left, 1 - share) if rung == 1 else []
        return Thinning(self.before_and_after(kept, share), judges, others)

    def before_and_after(self, part: Measurements, share: float) -> list[Values]:
        """Return values of a scan of that share of the exposure, raw and denoised."""
        pilot = self.opened
        short = dataclasses.replace(part, exposure=pilot.data.exposure)
        rule, scale = pilot.config.data.scale, pilot.scale
        if self.scale == "input" or not rule.startswith("scan"):
            scale = frame_scales(short, rule=rule)
        answers = dataclasses.replace(pilot, data=short, scale=scale).answers()
        return self.values(short.counts, np.asarray(answers.counts) * short.full_exposure, share)

    def values(self, first: np.ndarray, second: np.ndarray, share: float) -> list[Values]:
        """Return the quantities of two stacks of (expected) counts of one exposure, at every place."""
        sums = self._sums(first), self._sums(second), self._norm * share
        return [one for name in self.quantities for one in values_of(name, self.layout, *sums)]

    def _sums(self, counts: np.ndarray) -> np.ndarray:
        """Sum frames in bins, (frames, bins, azimuths)."""
        light = self.opened.data.full_exposure
        return np.stack([self.layout.cake(*frame)[0] for frame in zip(counts, light, strict=True)])

    @functools.cached_property
    def _norm(self) -> np.ndarray:
        """Exposures and solid angles of the pilot, (frames, bins, azimuths)."""
        exposure = self.opened.data.exposure
        norms = np.stack([self.layout.cake(light, light)[1] for light in exposure])
        return np.broadcast_to(norms, (self.opened.data.frames, *norms.shape[1:]))

    def _place(self, rungs: list[list[Thinning]], place: int) -> Place:
        def stacked(number: int, which: Literal["shown", "others"], column: str) -> np.ndarray:
            return np.stack([getattr(getattr(o, which)[place], column) for o in rungs[number]])

        def scans(column: str) -> tuple[Thinned, ...]:
            return tuple(
                Thinned(
                    0.5 ** (k + 1),
                    stacked(k, "shown", column),
                    np.stack([one.judges[place].first for one in rung]),
                    np.stack([one.judges[place].second for one in rung]),
                )
                for k, rung in enumerate(rungs)
            )

        about = rungs[0][0].shown[place]
        return Place(
            about.title,
            about.unit,
            about.period,
            scans("first"),
            scans("second"),
            stacked(0, "others", "first"),
            stacked(0, "others", "second"),
        )


def values_of(
    quantity: Quantity, layout: Layout, first: np.ndarray, second: np.ndarray, norm: np.ndarray
) -> list[Values]:
    """Return a quantity of two stacks of frames of one exposure, at every peak or ring.

    Args:
      quantity: that is looked at.
      layout: where peaks and rings are.
      first: sums in bins, (frames, bins, azimuths).
      second: likewise.
      norm: exposures and solid angles behind both, likewise.

    Returns:
      One for each place; of a profile each bin relative to the scan's mean, where a frame has counts.
    """
    profile = Profiles(first.sum(axis=-1), norm.sum(axis=-1), second.sum(axis=-1))
    if quantity == "profile":
        use, mean = with_counts(layout, len(first)), layout.profile.raw[0]
        raw, answer = (a[:, use] / mean[use] for a in (profile.raw, profile.answer))
        return [Values(f"I({layout.bins.name})", "", 0.0, raw, answer)]
    if quantity in ("d_spacing", "area"):
        found = [fitted(layout.bins, profile, peak) for peak in layout.peaks]
    else:
        found = [
            observed(
                in_ring(first, second, norm, weights), layout.bins.azimuth, layout.name_of(ring)
            )
            for ring, weights in zip(layout.rings, layout.weights, strict=True)
        ]
    chosen = [_named(quantity, each) for each in found]
    return [
        Values(one.title, one.unit, one.period, one.raw[:, None], one.denoised[:, None])
        for one in chosen
    ]


def with_counts(layout: Layout, frames: int) -> np.ndarray:
    """Return which bins have `FEWEST` counts in a usual one of the pilot's frames, bool, (bins,)."""
    return layout.profile.counts[0] >= FEWEST * frames


def in_ring(
    first: np.ndarray, second: np.ndarray, norm: np.ndarray, weights: np.ndarray
) -> Profiles:
    """Sum the bins of a ring over the radius, exposures by their weights: I(chi) of every frame."""
    fields = {"counts": first, "norm": norm, "denoised": second}
    summed: dict[str, Any] = {n: over_ring(n, sums, weights) for n, sums in fields.items()}
    return Profiles(**summed)


def _named(quantity: Quantity, observables: list[Observable]) -> Observable:
    """Return the observable that a quantity is, by the first of its names that there is."""
    by_name = {one.name: one for one in observables}
    return next(by_name[name] for name in NAMES[quantity] if name in by_name)

"""What is compared: functions from measurements to expected counts, and each simple filter at its best.

An estimator sees measurements, or a part of their photons at a part of the exposure, and answers with the
counts expected of a unit of exposure. How it does that nothing here asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from smae_jax.evaluation.filters import (
    conserving_totals,
    gaussian,
    median,
    nonlocal_means,
    rotated_average,
    total_variation,
)
from smae_jax.measurements import Measurements

Estimator = Callable[[Measurements], np.ndarray]
"""Measurements -> expected counts per unit of exposure, (frames or 1, *spatial[, channel])."""
Progress = Callable[[Iterable[tuple[str, Estimator]]], Iterable[tuple[str, Estimator]]]
Row = dict[str, Any]

SIGMAS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
SIZES = (3, 5, 7, 9)
STRENGTHS_NLM = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
STRENGTHS_TV = (0.3, 0.6, 1.0, 1.6, 2.5, 4.0, 6.0)


def raw(data: Measurements) -> np.ndarray:
    """Return the counts themselves, per unit of exposure; 0 where invalid."""
    rate = np.zeros(data.counts.shape, np.float32)
    return np.divide(data.counts, data.exposure, out=rate, where=data.valid)


def averaged(data: Measurements) -> np.ndarray:
    """Return the average with the frames turned by 180 degrees about their centre."""

    def average(counts: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return rotated_average(counts, valid, half_pixel(data))[0]

    return by_chunks(average, data)


@dataclasses.dataclass(frozen=True)
class Filter:
    """A simple filter with its setting, an estimator.

    Attributes:
      name: "Gaussian", "median", "non-local means" or "total variation".
      setting: sigma, side of the square, strength, strength.
      turned: filter the average with the frame turned by 180 degrees instead of the frame.
      stabilise: non-local means and total variation work on roots instead of counts.
    """

    name: str
    setting: float
    turned: bool = False
    stabilise: bool = True

    @property
    def label(self) -> str:
        """The filter in words."""
        what = {
            "Gaussian": f"sigma {self.setting:g}",
            "median": f"{self.setting:g} x {self.setting:g}",
        }.get(self.name, f"strength {self.setting:g}" + ("" if self.stabilise else " on counts"))
        return f"{self.name}, {what}" + (", on rotated average" if self.turned else "")

    def __call__(self, data: Measurements) -> np.ndarray:
        """Filter frames; it keeps their totals, but for the Gaussian, which is linear and needs no help."""

        def filtered(counts: np.ndarray, valid: np.ndarray) -> np.ndarray:
            image, known, exposures = counts, valid, 1.0
            if self.turned:
                image, known = rotated_average(counts, valid, half_pixel(data))
                exposures = 2.0
            if self.name == "Gaussian":
                return gaussian(image, known, self.setting)
            if self.name == "median":
                return conserving_totals(median(image, known, int(self.setting)), counts, valid)
            chosen = nonlocal_means if self.name == "non-local means" else total_variation
            options = {"exposures": exposures, "stabilise": self.stabilise}
            return conserving_totals(chosen(image, known, self.setting, **options), counts, valid)

        return by_chunks(filtered, data)


def by_chunks(
    answer: Callable[[np.ndarray, np.ndarray], np.ndarray], data: Measurements
) -> np.ndarray:
    """Apply `answer(counts, valid)`, which takes every frame by itself, to some frames at a time.

    It compares neighbours and partners, so it sees the counts of a detector whose pixels respond alike.

    Returns:
      The answers per unit of exposure, float32; 0 where invalid.
    """
    rate, light = np.zeros(data.counts.shape, np.float32), data.full_exposure
    for chunk in in_chunks(data):
        valid, counts, alike = light[chunk] > 0, data.counts[chunk], light[chunk]
        if data.response is not None:
            usable = data.response > 0
            counts, alike = (
                np.divide(a, data.response, out=np.zeros(a.shape, np.float32), where=usable)
                for a in (counts, alike)
            )
        np.divide(
            answer(counts, valid),
            alike,
            out=rate[chunk],
            where=valid,
            casting="same_kind",
        )
    return rate


def best_filters(
    error: Callable[[Filter], float], *, advance: Callable[[], object] = bool
) -> list[Filter]:
    """Choose each simple filter's setting by the smallest error.

    The Gaussian is there twice, on the frames and on their average with the turned frame; of the
    others the better of the two is taken. Strengths are searched on roots first, then the best and
    its neighbours on counts.

    Args:
      error: what to make small; not finite counts as infinite.
      advance: called whenever a filter has been tried.

    Returns:
      Two Gaussians, median, non-local means and total variation, each at its best.
    """

    def best(tried: list[Filter]) -> Filter:
        return _best(tried, error, advance)

    chosen = best_gaussians(error, advance=advance)
    chosen.append(best([Filter("median", s, turned) for turned in (False, True) for s in SIZES]))
    for kind, strengths in (("non-local means", STRENGTHS_NLM), ("total variation", STRENGTHS_TV)):
        first = best([Filter(kind, s, turned) for turned in (False, True) for s in strengths])
        k = strengths.index(first.setting)
        near = strengths[max(0, k - 1) : k + 2]
        chosen.append(best([first, *(Filter(kind, s, first.turned, False) for s in near)]))
    return chosen


def best_gaussians(
    error: Callable[[Filter], float], *, advance: Callable[[], object] = bool
) -> list[Filter]:
    """Choose the widths of two Gaussians by the smallest error: on the frames, and on their rotated average.

    Args:
      error: what to make small; not finite counts as infinite.
      advance: called whenever a filter has been tried.
    """
    tried = [[Filter("Gaussian", s, turned) for s in SIGMAS] for turned in (False, True)]
    return [_best(one, error, advance) for one in tried]


def _best(
    tried: list[Filter], error: Callable[[Filter], float], advance: Callable[[], object]
) -> Filter:
    errors = []
    for one in tried:
        value = error(one)
        errors.append(value if np.isfinite(value) else np.inf)
        advance()
    return tried[int(np.argmin(errors))]


def trials() -> int:
    """Return how often `best_filters` calls its error at most, for a progress bar."""
    return 2 * (len(SIGMAS) + len(SIZES) + len(STRENGTHS_NLM) + len(STRENGTHS_TV)) + 8


def crop_about(
    shape: tuple[int, ...], center: tuple[float, float], side: int
) -> tuple[slice, slice]:
    """Return a window of at most `side` pixels about the centre, within the frame."""

    def along(middle: float, size: int) -> slice:
        length = min(side, size)
        start = int(np.clip(round(middle - (length - 1) / 2), 0, size - length))
        return slice(start, start + length)

    return along(center[0], shape[0]), along(center[1], shape[1])


def cut(data: Measurements, window: tuple[slice, slice]) -> Measurements:
    """Cut patterns with a centre to a window (rows, columns)."""
    (y, x), center = half_pixel(data), data.center
    top, left = (side.start for side in window)
    return dataclasses.replace(
        data,
        counts=data.counts[:, *window],
        exposure=data.exposure[:, *window],
        response=None if data.response is None else data.response[window],
        dark=None if data.dark is None else data.dark[window],
        center=dataclasses.replace(
            center,
            half_pixel=(y - top, x - left),
            subpixel=(center.subpixel[0] - top, center.subpixel[1] - left),
        )
        if center
        else None,
    )


def half_pixel(data: Measurements) -> tuple[float, float]:
    """Return the centre (y, x) of patterns that have one, a multiple of 0.5."""
    if data.center is None:
        raise TypeError("expected patterns with a centre")
    return data.center.half_pixel


def in_chunks(data: Measurements, *, largest: int = 8_000_000) -> Iterator[slice]:
    """Cut frames into runs of at most about `largest` pixels, so that float64 fits in memory."""
    step = max(1, largest // data.counts[0].size)
    return (slice(start, start + step) for start in range(0, data.frames, step))


def subset(frames: int, wanted: int) -> tuple[int, ...]:
    """Return `wanted` frame indices spread evenly over the stack; all of them for 0 or fewer."""
    if wanted <= 0 or wanted >= frames:
        return tuple(range(frames))
    return tuple(int(i) for i in np.linspace(0, frames - 1, wanted).round())

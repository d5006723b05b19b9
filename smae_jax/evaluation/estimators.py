"""What is compared: functions from counts to expected counts, and each simple filter at its best.

An estimator sees counts that are a share of the exposure (1, or less after counts were split) and
answers with the counts expected of a full exposure. How it does that nothing here asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from smae_jax.evaluation.filters import (
    conserving_totals,
    gaussian,
    median,
    nonlocal_means,
    rotated_average,
    total_variation,
)


class Estimator(Protocol):
    """A denoiser as the evaluation sees it."""

    def __call__(self, counts: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
        """Return the counts expected of a full exposure, (frames, height, width).

        Args:
          counts: counted in `share` of the exposure, (frames, height, width); 0 where invalid.
          valid: True = use the pixel, bool, shaped as `counts`.
          share: of a full exposure, in (0, 1].
        """
        ...


SIGMAS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
SIZES = (3, 5, 7, 9)
STRENGTHS_NLM = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
STRENGTHS_TV = (0.3, 0.6, 1.0, 1.6, 2.5, 4.0, 6.0)


def raw(counts: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
    """Return the counts themselves, scaled to a full exposure."""
    return counts / share


def averaged(center: tuple[float, float]) -> Estimator:
    """Return the average with the frame turned by 180 degrees about `center`."""

    def estimate(counts: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
        return np.where(valid, rotated_average(counts, valid, center)[0], 0) / share

    return estimate


@dataclasses.dataclass(frozen=True)
class Filter:
    """A simple filter with its setting.

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

    def estimator(self, center: tuple[float, float]) -> Estimator:
        """Return the estimator, for frames whose beam centre is `center`, (y, x), half pixels.

        It keeps the totals of frames, but for the Gaussian, which is linear and needs no help.
        """

        def estimate(counts: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
            image, known, exposures = counts, valid, 1.0
            if self.turned:
                image, known = rotated_average(counts, valid, center)
                exposures = 2.0
            if self.name == "Gaussian":
                return np.where(valid, gaussian(image, known, self.setting), 0) / share
            if self.name == "median":
                answer = median(image, known, int(self.setting))
            else:
                chosen = nonlocal_means if self.name == "non-local means" else total_variation
                answer = chosen(
                    image, known, self.setting, exposures=exposures, stabilise=self.stabilise
                )
            return np.where(valid, conserving_totals(answer, counts, valid), 0) / share

        return estimate


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
        errors = []
        for one in tried:
            value = error(one)
            errors.append(value if np.isfinite(value) else np.inf)
            advance()
        return tried[int(np.argmin(errors))]

    chosen = [best([Filter("Gaussian", s, turned) for s in SIGMAS]) for turned in (False, True)]
    chosen.append(best([Filter("median", s, turned) for turned in (False, True) for s in SIZES]))
    for kind, strengths in (("non-local means", STRENGTHS_NLM), ("total variation", STRENGTHS_TV)):
        first = best([Filter(kind, s, turned) for turned in (False, True) for s in strengths])
        k = strengths.index(first.setting)
        near = strengths[max(0, k - 1) : k + 2]
        chosen.append(best([first, *(Filter(kind, s, first.turned, False) for s in near)]))
    return chosen


def trials() -> int:
    """Return how often `best_filters` calls its error at most, for a progress bar."""
    return 2 * (len(SIGMAS) + len(SIZES) + len(STRENGTHS_NLM) + len(STRENGTHS_TV)) + 8


def crop_about(
    shape: tuple[int, int], center: tuple[float, float], side: int
) -> tuple[slice, slice]:
    """Return a window of at most `side` pixels about the centre, within the frame."""

    def along(middle: float, size: int) -> slice:
        length = min(side, size)
        start = int(np.clip(round(middle - (length - 1) / 2), 0, size - length))
        return slice(start, start + length)

    return along(center[0], shape[0]), along(center[1], shape[1])


def in_chunks(frames: int, pixels: int, *, largest: int = 8_000_000) -> Iterator[slice]:
    """Cut a stack into runs of frames of at most about `largest` pixels, so that memory is bounded."""
    step = max(1, largest // pixels)
    return (slice(start, min(frames, start + step)) for start in range(0, frames, step))


def subset(frames: int, wanted: int) -> tuple[int, ...]:
    """Return `wanted` frame indices spread evenly over the stack; all of them for 0 or fewer."""
    if wanted <= 0 or wanted >= frames:
        return tuple(range(frames))
    return tuple(int(i) for i in np.linspace(0, frames - 1, wanted).round())

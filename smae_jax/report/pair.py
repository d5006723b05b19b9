"""Shells of a scan, frame by frame: position, centroid and area, before and after denoising."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from smae_jax.report.observable import Observable
from smae_jax.report.pair_curves import Curves, PairLayout, curves_of, raw_of
from smae_jax.report.profiles import Profiles, rms
from smae_jax.report.shells import (
    Below,
    Shell,
    about_maximum,
    areas,
    below_shells,
    centroids,
    core,
    maxima,
    parabola,
)

SEEN = 3.0
"""Standard deviations of its area from which a shell is seen in the raw counts of a frame."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """What was found.

    Attributes:
      layout: how.
      structure: S(Q) of every frame.
      functions: G(r) of every frame.
      whole_structure: S(Q) of all frames added up, as one.
      whole_functions: G(r) of these.
      observables: position, centroid and area of every shell.
      below: what the raw G(r) of all frames shows below the first shell.
    """

    layout: PairLayout
    structure: Curves
    functions: Curves
    whole_structure: Curves
    whole_functions: Curves
    observables: tuple[Observable, ...]
    below: Below

    def without_noise(self) -> Pair:
        """Return the same of values that are no photon counts: raw ones have no errors then."""
        names = ("structure", "functions", "whole_structure", "whole_functions")
        curves = {name: getattr(self, name).without_noise() for name in names}
        observables = tuple(one.without_noise() for one in self.observables)
        below = self.below._replace(noise=math.nan)
        return dataclasses.replace(self, **curves, observables=observables, below=below)


def pair_of(layout: PairLayout, profile: Profiles) -> Pair:
    """Make S(Q) and G(r) of every frame, and follow the shells.

    Args:
      layout: how.
      profile: I(q) of every frame.
    """
    structure, functions = curves_of(layout, profile)
    whole_structure, whole_functions = curves_of(layout, profile.of_scan())
    observables = [
        one for shell in layout.shells for one in _observed(layout, profile, functions, shell)
    ]
    raw, sigma = whole_functions.raw[0], whole_functions.raw_sigma[0]
    transform = layout.transform
    density, q_max = -transform.total / (2 * np.pi**2), float(transform.q[-1])
    below = below_shells(transform.r, raw, sigma, q_max=q_max, density=density)
    curves = structure, functions, whole_structure, whole_functions
    return Pair(layout, *curves, tuple(observables), below)


def _observed(
    layout: PairLayout, profile: Profiles, functions: Curves, shell: Shell
) -> list[Observable]:
    """Return position, centroid and area of a shell in every frame."""
    transform, r = layout.transform, layout.transform.r

    def pairs(kind: np.ndarray) -> np.ndarray:
        return transform.pair_function(transform.structure_factor(layout.intensity(kind)))

    others = profile.replica_answers
    of_replicas = None if others is None else pairs(others)
    seen, sigmas = _errors(layout, profile, functions.raw, shell)
    found = []
    ways: tuple[tuple[str, str, Callable[..., np.ndarray]], ...] = (
        ("position", "angstrom", maxima),
        ("centroid", "angstrom", centroids),
        ("area", "1/angstrom", areas),
    )
    for (name, unit, way), error in zip(ways, sigmas, strict=True):
        denoised = way(r, functions.denoised, shell)
        sigma = None if of_replicas is None else rms(way(r, of_replicas, shell) - denoised)
        reference = functions.reference
        raw = np.where(seen | (way is areas), way(r, functions.raw, shell), np.nan)
        one = Observable(
            name,
            shell.where,
            unit,
            raw=raw,
            raw_sigma=np.where(np.isfinite(raw), error, np.nan),
            denoised=denoised,
            denoised_sigma=sigma,
            reference=None if reference is None else way(r, reference, shell),
        )
        found.append(one.widened())
    return found


def _errors(
    layout: PairLayout, profile: Profiles, pairs: np.ndarray, shell: Shell
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return whether raw counts show the shell, and the errors of its position, centroid and area.

    The maximum moves by -G'/G'' where noise adds a slope G' to the parabola; the centroid by the sum of
    (r - centroid) times what noise adds, over the area.

    Returns:
      (bool (frames,), (position, centroid, area), (frames,) each).
    """
    transform, r = layout.transform, layout.transform.r
    raw, variance = raw_of(layout, profile)
    around = about_maximum(r, pairs, shell).astype(np.float64)
    area = (around * pairs).sum(axis=1)
    of_area = transform.sigma(raw, variance, (around @ transform.kernel)[:, None])[:, 0]
    slope, bend = weights = parabola(r, shell)
    aside = maxima(r, pairs, shell)[:, None] - shell.position
    steep = transform.sigma(
        raw, variance, ((slope + 2 * aside * bend) @ transform.kernel)[:, None]
    )[:, 0]
    curved = 2 * (pairs @ weights.T)[:, 1]
    off = around * (r - centroids(r, pairs, shell)[:, None])
    moment = transform.sigma(raw, variance, (off @ transform.kernel)[:, None])[:, 0]
    whole = transform.sigma(raw, variance, (core(r, shell) @ transform.kernel)[None])[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return area > SEEN * of_area, (steep / np.abs(curved), moment / np.abs(area), whole)

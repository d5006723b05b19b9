"""A second network that looks at frames in polar coordinates: how much of its answer is taken.

One network sees pixels, the other bins of (r, chi), see `smae_jax.polar`. The second errs less where
scattering is long along the azimuth, and more where it is not. How much of it is taken is chosen by held-out
photons, for bright and dark pixels apart.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import isotonic_regression

from smae_jax.finishing.combine import combine
from smae_jax.finishing.evidence import Evidence, Half
from smae_jax.finishing.sums import keep_sums
from smae_jax.finishing.totals import conserve_totals
from smae_jax.measurements import Measurements, mean_rate
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise

OCTAVES, MIDDLE = 16, 8
"""Octaves of the rate that have a share each, and that of the mean rate among them."""
CAUTION = 1.0
"""Standard errors by which a share is less than what held-out photons show: few bright pixels tell little."""
DARK = 1e-3
"""Rates below this multiple of the mean weigh no more than that."""

Beside = Callable[[Measurements], Array]
"""Frames, or a part of their photons -> the second network's answers, counts per full frame, (frames, height,
width); NaN where it has none."""


def with_polar(
    answers: Answers,
    parts: Sequence[tuple[Measurements, Answers]],
    data: Measurements,
    held_out: np.ndarray,
    polar: Beside,
    *,
    sums: bool = True,
) -> tuple[Answers, list[Answers]]:
    """Mix the answers of two networks.

    Each adds up to the counts of the scan first (`keep_sums`, where that is a stage), and is combined before
    it is judged: what is mended later anyway must not count for or against a network here.

    Args:
      answers: of the first network to all photons, (frames, height, width).
      parts: photons of one half, or of both, and what the first network answered to them.
      data: all photons.
      held_out: photons that the first of `parts` lacks, counts, (frames, height, width).
      polar: the second network.
      sums: whether answers shall add up to the counts of the scan.

    Returns:
      The mixed answers: to all photons, and to each of the parts.
    """
    mean = mean_rate(data.channels_first, data.exposure)
    if not mean > 0:
        return answers, [one for _, one in parts]
    pairs = [_both(one, part, polar, sums) for part, one in ((data, answers), *parts)]
    exposure = np.broadcast_to(parts[0][0].exposure, held_out.shape)
    part, half = parts[0]

    def judged(one: Array) -> Array:
        told = dataclasses.replace(half, counts=one)
        evidence = Evidence(data, (Half(part, told),), (part.counts, held_out))
        return combine(told, evidence).counts

    first, second = map(judged, pairs[1])
    shares = shares_of_octaves(first, second, held_out, exposure, mean=mean)
    mix = functools.partial(_mixed, jnp.asarray(shares, jnp.float32), jnp.float32(mean))
    counts, taken = zip(*(piecewise(mix, *pair) for pair in pairs), strict=True)
    mixed = [
        dataclasses.replace(one, counts=some)
        for one, some in zip([answers, *(one for _, one in parts)], counts, strict=True)
    ]
    percent = 100 * float(np.mean(np.asarray(taken[0])))
    what = f"held-out photons give the second network, in polar coordinates, {percent:.3g} %"
    return mixed[0].after("polar", what), mixed[1:]


def _both(answers: Answers, data: Measurements, polar: Beside, sums: bool) -> tuple[Array, Array]:
    """Return what both networks answer to photons; where the second has no answer, that of the first."""
    evidence = Evidence(data)

    def mended(counts: Array) -> Array:
        told = dataclasses.replace(answers, counts=counts)
        told = keep_sums(told, evidence) if sums else told
        return jnp.asarray(conserve_totals(told, evidence).counts)

    first = jnp.asarray(answers.counts)
    return mended(first), mended(_either(polar(data), first))


@jax.jit
def _either(second: Array, first: Array) -> Array:
    return jnp.where(jnp.isfinite(second) & jnp.isfinite(first), second, first)


def shares_of_octaves(
    first: Array, second: Array, held_out: np.ndarray, exposure: np.ndarray, *, mean: float
) -> np.ndarray:
    """Choose by held-out photons how much of a second answer is taken, octave by octave of the rate.

    Least squares of the photons, weighted by one over the mean of both, less `CAUTION` standard errors.
    Shares may only fall from dark to bright (isotonic regression, weighted by what each can tell).

    Args:
      first: answers made without the photons, counts per full frame, (frames, height, width); NaN where
        there is none.
      second: as `first`.
      held_out: photons, as `first`.
      exposure: full frames behind them, as `first`; 0 = not measured.
      mean: rate in the middle of the octaves.

    Returns:
      (OCTAVES,) float64, 0 to 1.
    """
    change, precision = np.zeros(OCTAVES), np.zeros(OCTAVES)
    noise = np.zeros(OCTAVES)
    for frame, photons in enumerate(held_out):
        own, other, light = np.asarray(first[frame]), np.asarray(second[frame]), exposure[frame]
        use = (light > 0) & np.isfinite(own)
        own, other, light = (a[use].astype(np.float64) for a in (own, other, light))
        rate, apart = photons[use] / light, other - own
        weight = light / np.maximum((own + other) / 2, DARK * mean)
        octave = _octave(own, other, mean)
        for total, values in (
            (change, weight * apart * (rate - own)),
            (precision, weight * apart**2),
            (noise, (weight * apart) ** 2 * rate / light),
        ):
            total += np.bincount(octave, weights=values, minlength=OCTAVES)
    told = np.flatnonzero((precision > 0) & (noise > 0))
    if not len(told):
        return np.zeros(OCTAVES)
    slopes, weights = change[told] / precision[told], precision[told] ** 2 / noise[told]
    sure = slopes - CAUTION / np.sqrt(weights)
    falling = isotonic_regression(sure, weights=weights, increasing=False).x
    return np.interp(np.arange(OCTAVES), told, np.clip(falling, 0.0, 1.0))


def _octave(first: Any, second: Any, mean: Any) -> Any:
    """Return the octave of the larger of two rates, of NumPy or JAX."""
    array: Any = np if isinstance(first, np.ndarray) else jnp
    rate = array.maximum(array.maximum(first, second) / mean, 1e-9)
    return array.clip(array.round(array.log2(rate)).astype(np.int32) + MIDDLE, 0, OCTAVES - 1)


@jax.jit
def _mixed(shares: Array, mean: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Return mixed answers to some frames, and how much of the second was taken, (frames,)."""
    known = jnp.isfinite(first)
    share = shares[_octave(jnp.where(known, first, 0.0), jnp.where(known, second, 0.0), mean)]
    taken = jnp.sum(jnp.where(known, share, 0.0), (1, 2)) / jnp.maximum(jnp.sum(known, (1, 2)), 1)
    return first + share * (second - first), taken

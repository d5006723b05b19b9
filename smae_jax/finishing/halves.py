"""Halves of the photons: each is answered too, and tells what the other's answer misses."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.evidence import Evidence, Half
from smae_jax.finishing.polar import Beside, with_polar
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.methods.thinning import largest_count
from smae_jax.piecewise import piecewise
from smae_jax.smoothing import smooth
from smae_jax.splitting import WORD, split_halves, split_many

STREAM = 2**31 - 3
"""Part of the random stream that no other use of a key reaches."""
SMOOTHING = 3.0
"""Pixels over which a variance is averaged, as a multiple of the rate: of two halves it is itself noisy."""
AT_ONCE = 2**20
"""Pixels of many photons that are split at once, at most."""


def with_halves(
    key: Array,
    answers: Answers,
    data: Measurements,
    *,
    wanted: int,
    variance: bool,
    polar: Beside | None = None,
    sums: bool = True,
) -> tuple[Answers, Evidence]:
    """Answer one half of the photons, or both, and say what their difference tells.

    Args:
      key: typed random key that splits the photons.
      answers: to all photons, from `inference.predict`.
      data: what was answered.
      wanted: halves to be answered, 1 or 2.
      variance: whether that of the answers is wanted; it takes two.
      polar: a second network, whose answers are mixed in; see `with_polar`.
      sums: whether these shall add up to the counts of the scan.

    Returns:
      The answers, with their variance, and the evidence.
    """
    if answers.again is None:
        raise TypeError("only answers that can be asked again have halves")
    split = split_photons(key, data)
    parts = [half_of(data, counts) for counts in split[:wanted]]
    asked = [answers.again(part) for part in parts]
    if polar is not None:
        pairs = list(zip(parts, asked, strict=True))
        answers, asked = with_polar(answers, pairs, data, split[1], polar, sums=sums)
    if variance:
        of_whole = piecewise(_variance, *(one.counts for one in asked), answers.known)
        answers = dataclasses.replace(answers, variance=of_whole)
        # Half of the photons have twice the variance of all, per full frame.
        asked = [dataclasses.replace(one, variance=2 * of_whole) for one in asked]
    halves = tuple(Half(part, one) for part, one in zip(parts, asked, strict=True))
    return answers, Evidence(data, halves, split)


def half_of(data: Measurements, counts: np.ndarray) -> Measurements:
    """Return one half of the photons as measurements of half the exposure; what stands out is in neither."""
    return dataclasses.replace(data, counts=counts, exposure=data.exposure / 2, taken_out=None)


def split_photons(key: Array, data: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Split the photons of every frame evenly, each frame in a way of its own: two arrays of int32."""
    keys = jax.random.split(jax.random.fold_in(key, STREAM), data.frames)
    salts = jax.vmap(lambda one: jax.random.bits(one, dtype=jnp.uint32))(keys)
    most = largest_count(data)
    if most < WORD:
        first = np.asarray(piecewise(_split_few, salts, data.counts))
    else:
        first, left = (np.asarray(part) for part in piecewise(_split, salts, data.counts))
        where = np.nonzero(left)
        first = first.copy()
        first[where] += _half_of_many(np.asarray(salts), left, where, most=most)
    return first, np.subtract(data.counts, first, dtype=np.int32, casting="unsafe")


def _half_of_many(
    salts: np.ndarray, left: np.ndarray, where: tuple[np.ndarray, ...], *, most: int
) -> np.ndarray:
    """Split pixels of many photons, `AT_ONCE` at a time; filled up, so that few numbers compile."""
    number = len(where[0])
    size = min(2 ** max(10, (number - 1).bit_length()), AT_ONCE)
    pixels = np.ravel_multi_index(where[1:], left.shape[1:]).astype(np.int32)
    given = (salts[where[0]], pixels, left[where].astype(np.float32))
    drawn = np.empty(number, np.int32)
    for start in range(0, number, size):
        part = slice(start, min(start + size, number))
        full = (np.pad(values[part], (0, size - part.stop + start)) for values in given)
        drawn[part] = np.asarray(_split_many(*full, most=most))[: part.stop - start]
    return drawn


def variance_of_halves(first: Array, second: Array, known: Array) -> Array:
    """Return the variance of the answer to all photons, given those to either half of them.

    The halves' noise is independent, and that of all photons is the noise of their mean: a jackknife with two
    groups. Photons that a network would treat otherwise, were they twice as many, are left out of account;
    held-out photons tell of that, see `error_bars`.

    Args:
      first: answer to one half, counts per full frame, (batch, *spatial).
      second: to the other.
      known: where there is an answer, bool, as `first`.

    Returns:
      As `first`: of each pixel that has an answer the multiple of its rate that those about it have, by a
      Gaussian of `SMOOTHING`; NaN where there is none.

    Reference:
      Efron & Stein 1981, eq. 1.2 (the delete-a-group form, of two groups).
    """
    rate = jnp.maximum((first + second) / 2, 0.0)
    square = _about((first - second) ** 2 / 4, known)
    about = _about(rate, known)
    return jnp.where(known, rate * square / jnp.where(about > 0, about, 1.0), jnp.nan)


def _about(image: Array, known: Array) -> Array:
    return smooth(jnp.where(known, image, 0.0)[..., None], sigma=SMOOTHING)[..., 0]


_split = jax.jit(split_halves)
_split_few = jax.jit(lambda salts, counts: split_halves(salts, counts)[0])
_split_many = jax.jit(split_many, static_argnames="most")
_variance = jax.jit(variance_of_halves)

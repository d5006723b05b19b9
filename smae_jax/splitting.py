"""Split counts in two: exactly for photons, nearly exactly for Gaussian noise of known variance.

A Poisson count divided binomially gives two independent Poisson counts; that is all that methods need to
make source and target of one measurement. `jax.random.binomial` rejects samples in a loop, which takes as
long as the rest of a training step on a CPU; here a count is a sum of powers of two, and the share of each
is looked up in a table of its distribution function.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from smae_jax.errors import UserError
from smae_jax.smoothing import smooth

LARGEST = 2**24
"""Largest count that float32 holds exactly, with all below it."""
WORD = 32
"""Bits of a random number: so many photons are dealt by one."""
TAIL = 1e-9
"""Probability on either side of a table that is left out; a float32 uniform number does not reach it."""


def check_splittable(counts: np.ndarray, source: str) -> None:
    """Refuse counts that are too large for float32 to hold exactly.

    Args:
      counts: of any shape.
      source: what holds them, for the message.

    Raises:
      UserError: if one of them is larger than `LARGEST`.
    """
    most = counts.max(initial=0)
    if most > LARGEST:
        raise UserError(
            f"{source}: holds {most:,} counts in a pixel, and more than {LARGEST:,} cannot be "
            "split exactly; is it a mark? mask it, or train with --data.saturation"
        )


@functools.lru_cache(maxsize=64)
def share_tables(shares: tuple[float, ...], most: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Tabulate Binomial(2**b, share) for every bit b of counts up to `most`.

    Args:
      shares: each in [0, 1].
      most: largest count that will be split.

    Returns:
      For every bit (first, table): the smallest outcome, int32 (shares,), and the distribution function from
      there on, float32 (shares, n), filled up with 2.
    """
    tables = []
    for bit in range(max(1, int(most).bit_length())):
        outcomes = [_outcomes(2**bit, share) for share in shares]
        table = np.full((len(shares), max(1, *(len(steps) for _, steps in outcomes))), 2.0)
        for row, (_, steps) in zip(table, outcomes, strict=True):
            row[: len(steps)] = steps
        first = np.array([low for low, _ in outcomes], np.int32)
        tables.append((first, table.astype(np.float32)))
    return tuple(tables)


def _outcomes(trials: int, share: float) -> tuple[int, np.ndarray]:
    """Return the first outcome of Binomial(trials, share) beyond `TAIL`, and the steps up from there."""
    spread = 8 * np.sqrt(trials * share * (1 - share)) + 8  # standard deviations beyond both tails
    low = max(0, int(trials * share - spread))
    counts = np.arange(low, min(trials, int(trials * share + spread)) + 1)
    below = special.bdtr(counts.astype(float), trials, share)
    first, last = np.searchsorted(below, TAIL), np.searchsorted(below, 1 - TAIL)
    return int(counts[first]), below[first:last]


@jax.jit
def pixel_identity(frame: Array, pixel: Array) -> Array:
    """Return a number of its own for a pixel of a frame, uint32, of int32 indices that broadcast."""
    return _mixed(_mixed(frame.astype(jnp.uint32)) + pixel.astype(jnp.uint32))


def _mixed(x: Array) -> Array:
    """Mix the bits of uint32 numbers; one to one.

    Reference:
      C. Wellons 2018, "Prospecting for hash functions" (the two-round hash of least bias, 0.17).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def thin_counts(
    key: Array,
    counts: Array,
    chosen: Array,
    *,
    shares: Sequence[float],
    most: int,
    identity: Array | None = None,
    salts: Array | None = None,
) -> Array:
    """Draw how many of the photons of each pixel go to the first part.

    Args:
      key: typed random key.
      counts: photons, (batch, *spatial), float32 holding integers >= 0.
      chosen: which of the shares each example has, int32, (batch,).
      shares: that may be chosen, each in [0, 1].
      most: largest count that occurs, all bits of it set; a pixel with more has no split: NaN.
      identity: of every pixel, uint32, as `counts`: split each the same way wherever it is met again. None =
        split with fresh random numbers of `key`.
      salts: with `identity`, uint32 (batch,): which of the many ways; `key` is not looked at then.

    Returns:
      Binomial(counts, share), shaped as `counts`; the rest is the other part, and the two are independent
      Poisson counts if `counts` are Poisson.

    Reference:
      Neufeld et al. 2024, "Data thinning for convolution-closed distributions", section 2 (Poisson).
    """
    chex.assert_type(counts, jnp.float32)
    chex.assert_shape(chosen, (len(counts),))
    whole = counts.astype(jnp.int32)
    kept = jnp.zeros_like(whole)
    like = (-1,) + (1,) * (counts.ndim - 1)
    for bit, (first, table) in enumerate(share_tables(tuple(map(float, shares)), most)):
        if identity is None:
            uniform = jax.random.uniform(jax.random.fold_in(key, bit), counts.shape)
        else:
            assert salts is not None, "identity and salts come together"
            salt = _mixed(salts + jnp.uint32(bit)).reshape(like)
            uniform = (_mixed(identity ^ salt) >> 8).astype(jnp.float32) * 2.0**-24
        # One share has one table, which serves all examples.
        low, rows = (
            jnp.asarray(x) if len(x) == 1 else jnp.asarray(x)[chosen] for x in (first, table)
        )
        drawn = low.reshape(like) + _above(rows, uniform)
        kept += jnp.where((whole >> bit) & 1, drawn, 0)
    within = whole < 2 ** max(1, int(most).bit_length())
    return jnp.where(within, kept.astype(counts.dtype), jnp.nan)


def split_halves(salts: Array, counts: Array) -> tuple[Array, Array]:
    """Split the photons of frames evenly, each frame in a way of its own whatever stands beside it.

    A photon goes to either half as one bit of a random number says. Those of a pixel beyond a multiple of 32
    are dealt here, and the others are left: `split_many` deals them, in the few pixels that have so many.

    Args:
      salts: one per frame, uint32, (batch,).
      counts: photons, (batch, *spatial), integers >= 0.

    Returns:
      (half, left), int32, shaped as `counts`: what goes to the first half of `counts` % 32 photons, and the
      photons that are not dealt yet.
    """
    chex.assert_shape(salts, (len(counts),))
    whole = counts.astype(jnp.int32)
    pixel = jnp.arange(whole[0].size, dtype=jnp.uint32).reshape(whole.shape[1:])
    salt = _mixed(salts).reshape((-1,) + (1,) * (whole.ndim - 1))
    bits = _mixed(_mixed(pixel)[None] ^ salt)
    few = whole % WORD
    drawn = bits & ((jnp.uint32(1) << few.astype(jnp.uint32)) - jnp.uint32(1))
    return jax.lax.population_count(drawn).astype(jnp.int32), whole - few


def split_many(salts: Array, pixels: Array, counts: Array, *, most: int) -> Array:
    """Draw the first half of the photons of single pixels, multiples of 32 each.

    Args:
      salts: of the frame of each pixel, uint32, (pixels,).
      pixels: index of each within its frame, int32, (pixels,).
      counts: photons, (pixels,), float32 holding integers >= 0.
      most: largest count that occurs.
    """
    drawn = thin_counts(
        jax.random.key(0),
        counts[:, None],
        jnp.zeros(len(counts), jnp.int32),
        shares=(0.5,),
        most=most,
        identity=pixel_identity(pixels[:, None], jnp.zeros((1, 1), jnp.int32)),
        salts=salts,
    )
    return drawn[:, 0]


def _above(rows: Array, uniform: Array) -> Array:
    """Count the entries of each example's row, (batch or 1, n), that lie at or below its numbers."""
    if rows.shape[1] <= 16:
        like = (-1,) + (1,) * (uniform.ndim - 1)
        return sum(
            ((uniform >= rows[:, k].reshape(like)).astype(jnp.int32) for k in range(rows.shape[1])),
            start=jnp.zeros(uniform.shape, jnp.int32),
        )
    if len(rows) == 1:
        return jnp.searchsorted(rows[0], uniform, side="right").astype(jnp.int32)
    search = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))
    return search(rows, uniform).astype(jnp.int32)


def fission(key: Array, values: Array, variance: Array, share: Array) -> Array:
    """Draw the first part of measurements with Gaussian noise of known variance.

    With n ~ N(m, v), first = share * n + sqrt(share * (1 - share) * v) * noise and rest = n - first are
    independent, with means in the ratio share : 1 - share, as the parts of a split count are.

    Args:
      key: typed random key.
      values: measured, any shape, float32.
      variance: of their noise, as `values`.
      share: of the first part, in [0, 1], broadcastable to `values`.

    Returns:
      The first part, shaped as `values`.

    Reference:
      Neufeld et al. 2024, table 2 (Gaussian with known variance); Rasines & Young 2023, section 2.
    """
    noise = jax.random.normal(key, values.shape, values.dtype)
    spread = jnp.sqrt(jnp.maximum(share * (1 - share) * variance, 0.0))
    return share * values + spread * noise


def local_variance(
    values: Array, exposure: Array, *, gain: float, readout_noise: float, sigma: float = 2.0
) -> Array:
    """Estimate the variance of an integrating detector's values from their surroundings.

    Args:
      values: gain * photons with Gaussian noise beside theirs, (batch, *spatial), float32.
      exposure: full frames behind each pixel, as `values`.
      gain: values per photon.
      readout_noise: rms of the Gaussian noise, in values.
      sigma: of the surroundings, in pixels.

    Returns:
      gain * local mean (not below 0) + readout_noise**2, shaped as `values`. It takes no account of what is
      sharper than `sigma`, and the pixel itself is part of its surroundings: the parts are independent up to
      that.
    """
    light = smooth(exposure[..., None], sigma=sigma)[..., 0]
    seen = jnp.where(exposure > 0, values, 0.0)
    mean = smooth(seen[..., None], sigma=sigma)[..., 0] / jnp.maximum(light, 1e-3)
    return gain * jnp.maximum(mean * exposure, 0.0) + readout_noise**2

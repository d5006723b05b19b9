"""Error bars: how much an answer would change had other photons been counted, set right by held-out ones.

Leaving out one fold of the photons at a time and predicting again gives the jackknife's estimate of what
photon noise does to an answer. It knows nothing of what the network smooths away; so it is compared with
photons that the prediction did not see, and the error bar is made as large as they ask for.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import nnls

from smae_jax.smoothing import smooth
from smae_jax.splitting import thin_counts

SMOOTHING = 1.5
"""Pixels over which the jackknife's variance is averaged: of few folds it is itself noisy."""


def without_each_fold(key: Array, counts: Array, *, folds: int, most: int) -> list[Array]:
    """Deal the photons of every pixel to folds, and leave out one fold at a time.

    The same random numbers serve every example, so that an answer does not depend on its place in a batch.

    Args:
      key: typed random key.
      counts: photons, (batch, *spatial), float32 holding integers >= 0.
      folds: how many, >= 2.
      most: largest count that occurs.

    Returns:
      `folds` arrays shaped as `counts`, each with (folds - 1) / folds of the photons.
    """

    def deal(one: Array) -> list[Array]:
        rest, dealt = one[None], []
        for fold in range(folds):
            share = 1 / (folds - fold)
            fold_key = jax.random.fold_in(key, fold)
            nobody = jnp.zeros(1, jnp.int32)
            taken = thin_counts(fold_key, rest, nobody, shares=(share,), most=most)
            rest = rest - taken
            dealt.append(one - taken[0])
        return dealt

    return jax.vmap(deal)(counts)


def jackknife_variance(estimates: Sequence[Array]) -> Array:
    """Return the variance of the estimate from all folds, given those without each one.

    Reference:
      Efron & Stein 1981, eq. 1.2 (the delete-a-group form).
    """
    stacked = jnp.stack(list(estimates))
    folds = len(estimates)
    return (folds - 1) * jnp.mean((stacked - jnp.mean(stacked, axis=0)) ** 2, axis=0)


def averaged(variance: Array, known: Array) -> Array:
    """Smooth a variance over neighbouring pixels that have an answer; both (batch, *spatial)."""
    weight = known.astype(jnp.float32)
    value = smooth(jnp.where(known, variance, 0.0)[..., None], sigma=SMOOTHING)[..., 0]
    light = smooth(weight[..., None], sigma=SMOOTHING)[..., 0]
    return jnp.where(known, value / jnp.where(light > 0, light, 1.0), jnp.nan)


def terms(counts: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return what an error bar's square is made of: the jackknife's variance, the rate, its square."""
    return np.stack([variance, counts, counts**2])


def calibrate(
    counts: np.ndarray,
    variance: np.ndarray,
    held_out: np.ndarray,
    *,
    exposure: float,
    use: np.ndarray,
) -> np.ndarray:
    """Fit error bars to photons that the answer did not see.

    With t held-out counts behind an exposure h, (t / h - answer)^2 - t / h^2 has the mean of the answer's
    squared error, whatever the rate. It is fitted, weighted by its own noise, as a sum with factors >= 0 of
    the jackknife's variance (photon noise), the rate and its square (what the network misses).

    Args:
      counts: answers, counts per full frame, any shape.
      variance: the jackknife's, as `counts`.
      held_out: photons, independent of the answers, as `counts`.
      exposure: h, in full frames.
      use: where all three are known, bool.

    Returns:
      Factors of `terms`, float64 (3,).
    """
    rate = np.maximum(counts[use].astype(np.float64), 1e-9)
    parts = terms(rate, variance[use].astype(np.float64))
    photons = held_out[use].astype(np.float64)
    squares = (photons / exposure - rate) ** 2 - photons / exposure**2
    weight = 1 / (rate / exposure * np.sqrt(2 + exposure / np.maximum(rate, 1e-3)))
    size = np.array([np.sqrt(np.mean((part * weight) ** 2)) for part in parts])
    size = np.where(size > 0, size, 1.0)
    factors, _ = nnls((parts / size[:, None] * weight).T, squares * weight)
    return factors / size


def error_bars(counts: np.ndarray, variance: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return one standard deviation of each answer, float32, in its units; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        square = np.tensordot(factors, terms(np.maximum(counts, 0), variance), axes=1)
    return np.sqrt(square).astype(np.float32)

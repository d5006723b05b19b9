"""Error bars: how much an answer would change had other photons been counted, and what held-out ones miss.

Leaving out one fold of the photons at a time and predicting again gives the jackknife's estimate of what
photon noise does to an answer. It knows nothing of what the network smooths away; that is measured on
photons that the prediction did not see, and added.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.smoothing import smooth
from smae_jax.splitting import thin_counts

SMOOTHING = 1.5
"""Pixels over which the jackknife's variance is averaged: of few folds it is itself noisy."""
LEAST_RATE = 0.01
"""Least rate that held-out photons are compared with, in units of the mean."""


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


def missed(
    counts: np.ndarray,
    variance: np.ndarray,
    held_out: np.ndarray,
    *,
    exposure: float,
    use: np.ndarray,
) -> float:
    """Measure, on photons that the answer did not see, what its variance leaves out.

    With t held-out counts behind an exposure h, (t / h - answer)^2 - t / h^2 has the mean of the answer's
    squared error, whatever the rate. What it is more than the variance is taken for a share of the rate
    squared (peaks and edges that a network smooths away grow with the rate), averaged with the weight
    rate^1.5: between equal pixels, whose noise is too much, and the least noise, which sees peaks only.
    A factor for the variance beside it was tried: the two are too much alike to be told apart.

    Args:
      counts: answers, counts per full frame, any shape.
      variance: the jackknife's, as `counts`.
      held_out: photons, independent of the answers, as `counts`.
      exposure: h, in full frames.
      use: where all three are known, bool.

    Returns:
      The share of the rate squared, >= 0.
    """
    rate = counts[use].astype(np.float64)
    rate = np.maximum(rate, LEAST_RATE * rate.mean())
    photons = held_out[use].astype(np.float64)
    squares = (photons / exposure - rate) ** 2 - photons / exposure**2
    return max(float(((squares - variance[use]) / rate**0.5).sum() / (rate**1.5).sum()), 0.0)


def error_bars(counts: np.ndarray, variance: np.ndarray, share: float) -> np.ndarray:
    """Return one standard deviation of each answer, float32, in its units; NaN where there is none.

    Args:
      counts: answers.
      variance: the jackknife's, as `counts`.
      share: from `missed`.
    """
    with np.errstate(invalid="ignore"):
        return np.sqrt(variance + share * np.maximum(counts, 0) ** 2).astype(np.float32)

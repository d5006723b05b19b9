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

from smae_jax.smoothing import smooth, smooth_image, variance_of_smoothed
from smae_jax.splitting import thin_counts

SMOOTHING = 1.5
"""Pixels over which the jackknife's variance is averaged: of few folds it is itself noisy."""
RESIDUALS = 1.0
"""Sigma, in pixels, of the Gaussian under which answers are compared with held-out photons."""
GROWTH = 1.65
"""Power of the rate that the missed variance grows with. Over that power it is the same within a factor of
two from the darkest pixels to the brightest, on simulated scans of one photon per pixel."""


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
    squared error, whatever the rate. It is taken of residuals that were smoothed before, which have less
    photon noise; how much of an error smoothing leaves is seen on the difference of the two answers. Sharper
    errors are seen pixel by pixel, so far as they pass the noise there by two standard errors. What the
    errors are more than the variance is taken for a share of rate^GROWTH: noise grows as the rate, what a
    network smooths away as its square.

    Args:
      counts: answers made of either half of the photons, counts per full frame, (2, frames, height, width).
      variance: the jackknife's, as `counts`.
      held_out: photons of the other half, as `counts`.
      exposure: h, in full frames.
      use: where all three are known, bool, as `counts`.

    Returns:
      The share of rate^GROWTH that is missed in full frames, >= 0.
    """
    smooth_squares, squares, scatter, left, alike, variances, growth = np.zeros(7)
    for frame in range(counts.shape[1]):
        both = np.asarray(use[:, frame].all(axis=0))
        light = np.clip(smooth_image(both.astype(np.float64), RESIDUALS), 1e-9, None)
        half, other, own = (
            np.where(both, a[:, frame], 0.0).astype(np.float64)
            for a in (counts, held_out, variance)
        )
        difference = half[0] - half[1]
        left += ((smooth_image(difference, RESIDUALS) / light)[both] ** 2).sum()
        alike += (difference**2).sum()
        variances += own.sum()
        growth += (np.maximum(half, 0.0) ** GROWTH).sum()
        for answer, photons in zip(half, other, strict=True):
            residual, noise = photons / exposure - answer, photons / exposure**2
            squares += (residual**2 - noise).sum()
            scatter += (2 * (np.maximum(answer, 0.0) / exposure) ** 2).sum()
            noise = variance_of_smoothed(noise, RESIDUALS)
            residual = smooth_image(residual, RESIDUALS)
            smooth_squares += ((residual**2 - noise) / light**2)[both].sum()
    if left <= 0 or growth <= 0:
        return 0.0
    found = max(smooth_squares * alike / left, squares - 2 * np.sqrt(scatter))
    return max(float((found - variances) / growth), 0.0) * exposure ** (2 - GROWTH)


def error_bars(counts: np.ndarray, variance: np.ndarray, share: float) -> np.ndarray:
    """Return one standard deviation of each answer, float32, in its units; NaN where there is none.

    Args:
      counts: answers.
      variance: the jackknife's, as `counts`.
      share: from `missed`.
    """
    with np.errstate(invalid="ignore"):
        return np.sqrt(variance + share * np.maximum(counts, 0) ** GROWTH).astype(np.float32)

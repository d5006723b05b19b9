"""From counted views to a rate: what stands between a method's source and a plain network.

Photon noise grows with the root of the rate, so the network sees roots and answers with a correction to the
root of a smoothed rate: the square of the sum cannot be negative, is unbiased under the Poisson likelihood,
and bright and weak pixels bring gradient noise of one size (the Fisher information of the root is constant).
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

FLOOR = 0.05
"""Added to a rate, in units of the scale, before its root is taken: keeps the slope finite at zero."""
LEAST_RATE = 1e-4
"""No rate is predicted below this, in units of the scale, so that its logarithm is finite."""
FIRST_LOGIT = 2.0
"""Head start of the finest smoothing among the mixing weights."""


def smooth(x: Array, *, sigma: float) -> Array:
    """Blur (batch, *spatial, channel) with a Gaussian of `sigma` pixels, zero outside."""
    radius = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        padded = jnp.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)])
        moved = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(len(kernel)))
        x = functools.reduce(jnp.add, (float(k) * m for k, m in zip(kernel, moved, strict=True)))
    return x


def smooth_rate(rate: Array, exposure: Array, *, sigma: float) -> Array:
    """Blur a rate with its exposure as weight; 1, the scan's mean, where nothing was measured nearby.

    Args:
      rate: in units of the scale, (batch, *spatial, 1); 0 where the exposure is 0.
      exposure: full frames behind each pixel, as `rate`.
      sigma: in pixels.

    Returns:
      The smoothed rate, as `rate`.
    """
    light = smooth(exposure, sigma=sigma)
    known = light > 1e-3
    return jnp.where(
        known, smooth(rate * exposure, sigma=sigma) / jnp.where(known, light, 1.0), 1.0
    )


class RootRate(nn.Module):
    """A network that works on roots of rates, and mixes the counted rate with smoothed ones.

    With the views r_k of the first rate (itself, and smoothed by each of `sigmas`), the network answers with
    mixing weights w_k >= 0 of sum 1 and a correction d, at every pixel:

        rate = (sqrt(sum_k w_k r_k + FLOOR) + d)^2 + LEAST_RATE

    Where photons abound the measured rate passes through, so that sharp reflections are not blurred; where
    they are few, a smoothed one is the start. At the start of training w prefers the finest smoothing and d
    is 0.

    Attributes:
      network: (batch, *spatial, channel) -> (batch, *spatial, 2 + len(sigmas)).
      sigmas: widths in pixels of the smoothed views, finest first.
    """

    network: nn.Module
    sigmas: Sequence[float] = (1.0, 3.0)

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map rates and exposures (batch, *spatial, 2 * views) to rates (batch, *spatial, 1)."""
        features, first = [], []
        for view in range(source.shape[-1] // 2):
            rate, exposure = source[..., 2 * view, None], source[..., 2 * view + 1, None]
            seen = exposure > 0
            smoothed = [smooth_rate(rate, exposure, sigma=sigma) for sigma in self.sigmas]
            features += [jnp.where(seen, root(rate), 0.0), exposure, *map(root, smoothed)]
            first = first or [jnp.where(seen, rate, smoothed[0]), *smoothed]
        answer = self.network(jnp.concatenate(features, axis=-1))
        finest = jnp.eye(len(first))[1] * FIRST_LOGIT
        mixing = jax.nn.softmax(answer[..., 1:] + finest)
        mixed = jnp.sum(mixing * jnp.concatenate(first, axis=-1), axis=-1, keepdims=True)
        return jnp.square(root(mixed) + answer[..., :1]) + LEAST_RATE


def root(rate: Array) -> Array:
    """Return sqrt(rate + FLOOR), with negative rates (readout noise) taken as 0."""
    return jnp.sqrt(jnp.maximum(rate, 0.0) + FLOOR)


class PlainRate(nn.Module):
    """A network that maps the first view's rate straight to a rate, as the published program does.

    Attributes:
      network: (batch, *spatial, 1) -> (batch, *spatial, outputs).
    """

    network: nn.Module

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map (batch, *spatial, 2 * views) to rates (batch, *spatial, outputs); exposures are not seen."""
        return self.network(source[..., :1])

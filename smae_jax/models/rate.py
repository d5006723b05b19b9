"""From counted views to a rate: what stands between a method's source and a plain network.

Photon noise grows with the root of the rate, so the network sees roots and answers with a correction to the
root of a smoothed rate: the square of the sum cannot be negative, is unbiased under the Poisson likelihood,
and bright and weak pixels bring gradient noise of one size (the Fisher information of the root is constant).
"""

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


def smooth(x: Array, *, sigma: float) -> Array:
    """Blur (batch, *spatial, channel) with a Gaussian of `sigma` pixels, zero outside."""
    radius = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        padded = jnp.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)])
        x = sum(
            float(k) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, k in enumerate(kernel)
        )
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
    """A network that works on roots of rates.

    Attributes:
      network: (batch, *spatial, channel) -> (batch, *spatial, outputs).
      sigmas: widths in pixels of the smoothed views that the network sees beside the counted one.
      base: which of `sigmas` the network's answer corrects.
    """

    network: nn.Module
    sigmas: Sequence[float] = (1.0, 3.0)
    base: float = 1.0

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map rates and exposures (batch, *spatial, 2 * views) to rates (batch, *spatial, outputs)."""
        features, bases = [], []
        for view in range(source.shape[-1] // 2):
            rate, exposure = source[..., 2 * view, None], source[..., 2 * view + 1, None]
            features += [
                jnp.where(exposure > 0, jnp.sqrt(jnp.maximum(rate, 0) + FLOOR), 0),
                exposure,
            ]
            for sigma in self.sigmas:
                smoothed = jnp.maximum(smooth_rate(rate, exposure, sigma=sigma), 0)
                features.append(jnp.sqrt(smoothed + FLOOR))
                if sigma == self.base:
                    bases.append(smoothed)
        root = jnp.sqrt(bases[0] + FLOOR) + self.network(jnp.concatenate(features, axis=-1))
        return jnp.square(root) + LEAST_RATE


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

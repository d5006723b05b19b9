"""Gaussian smoothing of arrays in any number of dimensions, as sums of shifted copies.

A convolution of one channel with a long window is slow in XLA on a CPU; a few additions are not.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


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

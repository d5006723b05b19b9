"""Gaussian smoothing: of JAX arrays in any number of dimensions, and of single images on the host.

A convolution of one channel with a long window is slow in XLA on a CPU; a few additions are not.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import gaussian_filter


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


def smooth_image(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur one image, (height, width), with a Gaussian of `sigma` pixels, zero outside; numpy."""
    return np.asarray(gaussian_filter(image, sigma, mode="constant"))


def variance_of_smoothed(variance: np.ndarray, sigma: float) -> np.ndarray:
    """Return the variance of an image that `smooth_image` blurred, given that of its independent pixels.

    That is the sum of the squared weights times the variances, and a Gaussian squared is a narrower one.
    """
    return smooth_image(variance, sigma / np.sqrt(2)) / (4 * np.pi * sigma**2)

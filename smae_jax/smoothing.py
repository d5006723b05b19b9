"""Smoothing by Gaussians and boxes: of JAX arrays in any number of dimensions, of images on the host.

A convolution of one channel with a long window is slow in XLA on a CPU; a few additions are not, and many are
quicker as products of matrices. On the host an image is smoothed in strips, one for each thread: scipy's
filters work without the interpreter's lock.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from smae_jax.overlap import in_threads, threads_of

STRIP = 2**16
"""Values of an image that are worth a thread of their own."""
BAND = 128
"""Pixels along an axis that are smoothed by one matrix."""


def smooth(x: Array, *, sigma: float) -> Array:
    """Blur (batch, *spatial, channel) with a Gaussian of `sigma` pixels, zero outside."""
    radius = int(np.ceil(2.5 * sigma))
    kernel = gaussian(sigma, radius).astype(np.float32)
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        padded = jnp.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)])
        moved = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(len(kernel)))
        x = functools.reduce(jnp.add, (float(k) * m for k, m in zip(kernel, moved, strict=True)))
    return x


def gaussian(sigma: float, radius: int = 0) -> np.ndarray:
    """Return the weights of a Gaussian out to a radius, 0 = four sigma, which add up to 1."""
    radius = radius or int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def three_boxes(radius: int) -> np.ndarray:
    """Return the weights of three means of 2 radius + 1 pixels, one after the other: nearly a Gaussian.

    It ends at 3 radius, and its sigma is about radius + 1/2.
    """
    box = np.full(2 * radius + 1, 1 / (2 * radius + 1))
    return np.convolve(np.convolve(box, box), box)


def as_long(kernel: np.ndarray, length: int) -> np.ndarray:
    """Return weights with as many nothings at both ends as make up a length: few lengths compile."""
    return np.pad(kernel, (length - len(kernel)) // 2).astype(np.float32)


def blur(images: Array, kernel: Array) -> Array:
    """Blur images (image, height, width) by the same weights along both axes, zero outside, float32.

    A band of pixels is the product of a matrix of the weights with the band and its surroundings.

    Args:
      images: float32.
      kernel: an odd number of weights, float32.
    """
    radius, kernel = len(kernel) // 2, jnp.asarray(kernel)
    for axis in (1, 2):
        size = images.shape[axis]
        band = min(BAND, size)
        number = -(-size // band)
        place = np.arange(band + 2 * radius) - np.arange(band)[:, None]
        within = (place >= 0) & (place < len(kernel))
        weights = jnp.where(within, kernel[np.where(within, place, 0)], 0.0)
        after = number * band - size + radius
        padded = jnp.pad(images, [(radius, after) if a == axis else (0, 0) for a in range(3)])
        around = functools.partial(
            jax.lax.dynamic_slice_in_dim, padded, slice_size=band + 2 * radius, axis=axis
        )
        product = "bk,nkw->nbw" if axis == 1 else "bk,nhk->nhb"
        bands = jax.lax.map(
            lambda start: jnp.einsum(product, weights, around(start), precision="highest"),  # noqa: B023
            band * jnp.arange(number),
        )
        joined = jnp.moveaxis(bands, 0, axis)
        whole = [number * n if a == axis else n for a, n in enumerate(bands.shape[1:])]
        images = jax.lax.slice_in_dim(joined.reshape(whole), 0, size, axis=axis)
    return images


def smooth_image(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur one image, (height, width), with a Gaussian of `sigma` pixels, zero outside; numpy."""
    return _along_both(
        image, lambda part, axis: gaussian_filter1d(part, sigma, axis=axis, mode="constant")
    )


def boxes(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mean of the box of (height, width) about every pixel of one image, zero outside; numpy."""
    return _along_both(
        image, lambda part, axis: uniform_filter1d(part, size[axis], axis=axis, mode="constant")
    )


def _along_both(image: np.ndarray, work: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Filter an image along one axis after the other, in strips that reach from end to end."""
    number = max(1, min(threads_of(image.nbytes), image.size // STRIP))
    for axis in (0, 1):
        if number == 1:
            image = np.asarray(work(image, axis))
            continue
        strips = np.array_split(image, number, axis=1 - axis)
        works = (functools.partial(work, strip, axis) for strip in strips)
        image = np.concatenate([*in_threads(works, number)], axis=1 - axis)
    return image


def variance_of_smoothed(variance: np.ndarray, sigma: float) -> np.ndarray:
    """Return the variance of an image that `smooth_image` blurred, given that of its independent pixels.

    That is the sum of the squared weights times the variances, and a Gaussian squared is a narrower one.
    """
    return smooth_image(variance, sigma / np.sqrt(2)) / (4 * np.pi * sigma**2)

"""Displace a prediction by a fraction of a pixel.

Partners are counted from the half pixel nearest to the beam, because interpolating counts would correlate
their noise. What is left of the centre, up to half a pixel between the two views, is made up for here: on
predictions, which have no pixel noise to correlate.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def keys_kernel(distance: Array) -> Array:
    """Return the cubic convolution kernel at `distance` pixels; zero from 2 pixels on.

    Reference:
      Keys 1981, IEEE Trans. ASSP 29, 1153, eq. 15 (a = -1/2): exact for quadratic signals.
    """
    d = jnp.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return jnp.where(d < 1, near, jnp.where(d < 2, far, 0.0))


def displace(image: Array, shift: Array) -> Array:
    """Move images by less than a pixel: the value at p is the image's at p - shift.

    Args:
      image: (batch, *spatial) or (batch, *spatial, channel), float32; its border's values hold beyond it.
      shift: (batch, number of spatial axes), pixels, each within (-1, 1).

    Returns:
      The moved images, shaped as `image`.
    """
    for axis in range(1, shift.shape[1] + 1):
        weights = keys_kernel(jnp.arange(-2, 3)[None] + shift[:, axis - 1, None])  # (batch, 5)
        weights = jnp.reshape(weights, (*weights.shape, *(1,) * (image.ndim - 1)))
        size = image.shape[axis]
        border = [(2, 2) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = jnp.pad(image, border, mode="edge")
        image = sum(
            (
                jax.lax.slice_in_dim(padded, k, k + size, axis=axis) * weights[:, k]
                for k in range(1, 5)
            ),
            start=jax.lax.slice_in_dim(padded, 0, size, axis=axis) * weights[:, 0],
        )
    return image

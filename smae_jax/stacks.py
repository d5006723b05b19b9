"""Stacks of frames on the device: what windows of their pixels hold, and whole frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.geometry import with_partner
from smae_jax.piecewise import piecewise


def over_windows(
    images: Array,
    reach: tuple[int, int],
    *,
    step: int = 1,
    joined: Callable[[Array, Array], Array] = jnp.add,
) -> Array:
    """Join the pixels about every pixel; there is nothing outside.

    Args:
      images: (frames, height, width).
      reach: how many to each side, along rows and columns.
      step: pixels from one to the next that is joined.
      joined: how two are.
    """
    for axis, number in zip((1, 2), reach, strict=True):
        size = images.shape[axis]
        ends = [(number * step, number * step) if a == axis else (0, 0) for a in range(3)]
        # Without barriers XLA adds a window up anew for everything that is made of it.
        padded = jax.lax.optimization_barrier(jnp.pad(images, ends))
        moved = (
            jax.lax.slice_in_dim(padded, k * step, k * step + size, axis=axis)
            for k in range(2 * number + 1)
        )
        images = jax.lax.optimization_barrier(functools.reduce(joined, moved))
    return images


def turned_about(images: Array, center: tuple[float, float], fill: float) -> Array:
    """Turn images (..., height, width) as `geometry.turn` does; the centre is known when it is compiled."""
    rows, columns = with_partner(images.shape, center)
    turned = images[..., rows, columns][..., ::-1, ::-1]
    return jnp.full_like(images, fill).at[..., rows, columns].set(turned)


def total_of_frames(images: Array) -> Array:
    """Add up every frame (frames, *spatial), row by row first, so that float32 keeps its digits.

    Returns:
      (frames, 1, ..., 1).
    """
    rows = jnp.sum(images, axis=-1, keepdims=True)
    return jnp.sum(rows, axis=tuple(range(1, images.ndim)), keepdims=True)


def factor_of_totals(counted: Array, answered: Array) -> Array:
    """Return what brings the totals of answers to those that were counted.

    Returns:
      1 where nothing was answered, or where values add up to less than nothing, as an offset that drifts can
      make them: a negative factor would turn answers upside down.
    """
    scaled = (answered > 0) & (counted >= 0)
    return jnp.where(scaled, counted / jnp.where(scaled, answered, 1.0), 1.0)


def mean_over_frames(images: Any) -> Array:
    """Return the mean of all frames (frames, height, width), as one, some rows after the other."""
    return piecewise(_mean, images, axis=1)


@jax.jit
def _mean(images: Array) -> Array:
    return jnp.mean(images, axis=0, keepdims=True)

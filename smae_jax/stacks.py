"""Stacks of frames on the device: what windows of their pixels hold, and whole frames."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


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
        padded = jnp.pad(images, ends)
        moved = (
            jax.lax.slice_in_dim(padded, k * step, k * step + size, axis=axis)
            for k in range(2 * number + 1)
        )
        images = functools.reduce(joined, moved)
    return images


def total_of_frames(images: Array) -> Array:
    """Add up every frame (frames, *spatial), row by row first, so that float32 keeps its digits.

    Returns:
      (frames, 1, ..., 1).
    """
    rows = jnp.sum(images, axis=-1, keepdims=True)
    return jnp.sum(rows, axis=tuple(range(1, images.ndim)), keepdims=True)

"""A jitted function over the frames or rows of a block, some at a time: one compilation, bounded memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

VALUES = {"cpu": 2**20}
"""Of an array that are worked on at once, by platform: what a processor's caches hold."""
MANY_VALUES = 2**26
"""The same on other platforms."""


def resident(array: np.ndarray) -> Any:
    """Put an array that is asked for often on the device, where it takes a quarter of its room at most.

    A processor works on the array itself.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":
        return array
    told = device.memory_stats() or {}
    room = told.get("bytes_limit", 0) - told.get("bytes_in_use", 0)
    return jnp.asarray(array) if 4 * array.nbytes <= room else array


def piecewise(function: Callable[..., Any], *arrays: Any, axis: int = 0, values: int = 0) -> Any:
    """Call a function with some frames after the other, and put what it returns together.

    Every call has as many frames, so that the function compiles once for a shape of frames: the last ones
    begin earlier, and what they repeat is left out.

    Args:
      function: jitted; takes a part of each array along the axis, and returns a pytree of arrays that are as
        long along it. What it returns for a frame must not depend on the frames beside it.
      arrays: (frames, height, width) each, on the host or a device; those of length 1 along the axis serve
        all, None is none.
      axis: 0 for frames, 1 for rows.
      values: of an array in a call; 0 = as `VALUES` has it.

    Returns:
      The pytree of arrays on the device.
    """
    shapes = [array.shape for array in arrays if array is not None]
    length = max(shape[axis] for shape in shapes)
    values = values or VALUES.get(jax.devices()[0].platform, MANY_VALUES)
    largest = max(int(np.prod(shape)) for shape in shapes if shape[axis] == length)
    size = min(length, max(1, values * length // max(1, largest)))
    # What serves all goes to the device once.
    whole = [a is None or a.shape[axis] != length or size == length for a in arrays]
    arrays = tuple(
        jnp.asarray(a) if a is not None and w else a for a, w in zip(arrays, whole, strict=True)
    )
    parts = []
    for start in range(0, length, size):
        first = min(start, length - size)
        given = (
            a if w else part_of(a, first, size, axis) for a, w in zip(arrays, whole, strict=True)
        )
        found = function(*given)
        parts.append(found if first == start else _without(found, start - first, axis))
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *found: jnp.concatenate(found, axis=axis), *parts)


def part_of(array: Any, first: int, size: int, axis: int) -> Any:
    """Return so many frames or rows of an array; of one on the device without compiling for every place."""
    if isinstance(array, np.ndarray):
        return array[(slice(None),) * axis + (slice(first, first + size),)]
    return _cut(array, first, size, axis)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _cut(array: jax.Array, first: int, size: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, first, size, axis)


def _without(found: Any, begun: int, axis: int) -> Any:
    """Leave out what the call before has returned."""
    return jax.tree.map(lambda x: jax.lax.slice_in_dim(x, begun, None, axis=axis), found)

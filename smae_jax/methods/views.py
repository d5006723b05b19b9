"""What every method makes its pairs of: rates with their exposures, moved by one random group element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.geometry import Center
from smae_jax.methods.protocol import Pair

Tree = TypeVar("Tree")
LEAST_SHIFT = 0.2
"""Pixels between two views below which they are not registered: centres are found to about 0.1 pixel."""


def rate_of(counts: Array, exposure: Array, scale: Array) -> Array:
    """Return counts / exposure in units of the scale, 0 where the exposure is 0.

    Args:
      counts: photons, (batch, *spatial), float32.
      exposure: full frames behind each pixel, (batch, *spatial).
      scale: counts per full frame of one unit of rate, (batch,).

    Returns:
      Rate, (batch, *spatial), float32, finite everywhere.
    """
    seen = exposure > 0
    return jnp.where(seen, counts / (jnp.where(seen, exposure, 1.0) * like(scale, counts)), 0.0)


def like(scale: Array, array: Array) -> Array:
    """Give one number per example, (batch,), the axes of `array`, (batch, *spatial)."""
    return jnp.reshape(scale, (-1,) + (1,) * (array.ndim - 1))


def moved(keys: Array, arrays: Tree, *, group: symmetry.GroupName) -> Tree:
    """Move every example by a group element of its own.

    Args:
      keys: typed random keys, (batch,).
      arrays: pytree of (batch, *spatial); the last two axes are moved, or the one there is.
      group: "none", "flips" or "d4"; a single axis is mirrored in half of the examples.

    Returns:
      The moved arrays; all of one example by the same element.
    """
    first = jax.tree.leaves(arrays)[0]
    if first.ndim == 2:
        if group == "none":
            return arrays
        mirrored = jax.vmap(jax.random.bernoulli)(keys)[:, None]
        return jax.tree.map(lambda x: jnp.where(mirrored, jnp.flip(x, axis=-1), x), arrays)
    move = jax.vmap(lambda key, example: symmetry.apply_random(key, example, group=group))
    return move(keys, arrays)


def ramp_of(shift: tuple[float, float]) -> Array:
    """Return a 3 x 3 ramp that rises by `shift` per pixel (y, x): it turns and flips as images do."""
    y, x = jnp.mgrid[-1:2, -1:2]
    return shift[0] * y + shift[1] * x


def slope_of(ramp: Array) -> Array:
    """Read the slope (..., 2) off ramps (..., 3, 3): the inverse of `ramp_of`."""
    down = (ramp[..., 2, 1] - ramp[..., 0, 1]) / 2
    right = (ramp[..., 1, 2] - ramp[..., 1, 0]) / 2
    return jnp.stack([down, right], axis=-1)


def moved_pair(
    key: Array,
    source: Sequence[Array],
    target: Sequence[Array],
    weight: Sequence[Array],
    *,
    group: symmetry.GroupName,
) -> Pair:
    """Put a pair together, every example moved by a group element of its own.

    Args:
      key: typed random key.
      source: what the network sees, (batch, *spatial) each: of each measurement its rate and its exposure.
      target: rates to be predicted.
      weight: exposures behind them.
      group: "none", "flips" or "d4".

    Returns:
      The pair; channels in the order given.
    """
    return registered_pair(key, source, target, weight, group=group, shift=(0.0, 0.0))[0]


def registered_pair(
    key: Array,
    source: Sequence[Array],
    target: Sequence[Array],
    weight: Sequence[Array],
    *,
    group: symmetry.GroupName,
    shift: tuple[float, float],
) -> tuple[Pair, Array | None]:
    """Do what `moved_pair` does where the partner's view lies beside the pixel's own by `shift`.

    The outermost pixels of a displaced patch would be made up: their weight is 0.

    Returns:
      (pair, displacement (y, x) moved as each example was, (batch, 2) pixels; None without a shift).
    """
    arrays = (list(source), list(target), bordered(weight, shift))
    arrays, displaced = moved_with(key, arrays, group=group, shift=shift)
    return stacked(*arrays), displaced


def moved_with(
    key: Array, arrays: Tree, *, group: symmetry.GroupName, shift: tuple[float, float]
) -> tuple[Tree, Array | None]:
    """Move every example by a group element of its own, and a displacement with it.

    Args:
      key: typed random key.
      arrays: pytree of (batch, *spatial).
      group: "none", "flips" or "d4".
      shift: displacement (y, x) in pixels.

    Returns:
      (arrays, displacement of each example, (batch, 2); None where there is none).
    """
    chex.assert_equal_shape(jax.tree.leaves(arrays))
    keys = jax.random.split(key, len(jax.tree.leaves(arrays)[0]))
    if not any(shift):
        return moved(keys, arrays, group=group), None
    ramps = jnp.broadcast_to(ramp_of(shift), (len(keys), 3, 3))
    arrays, ramps = moved(keys, (arrays, ramps), group=group)
    return arrays, slope_of(ramps)


def stacked(source: Sequence[Array], target: Sequence[Array], weight: Sequence[Array]) -> Pair:
    """Put the images of a pair, (batch, *spatial) each, beside each other as channels."""
    chex.assert_equal_shape([*source, *target, *weight])
    return Pair(*(jnp.stack(part, axis=-1) for part in (source, target, weight)))


def bordered(weight: Sequence[Array], shift: tuple[float, float]) -> list[Array]:
    """Return weights that are 0 at the border where views are displaced."""
    return [without_border(one) if any(shift) else one for one in weight]


def without_border(weight: Array) -> Array:
    """Set the outermost pixels, (batch, *spatial), to 0."""
    inner = (slice(None), *(slice(1, -1),) * (weight.ndim - 1))
    return jnp.zeros_like(weight).at[inner].set(weight[inner])


def view_shift(center: Center | None) -> tuple[float, float]:
    """Return how far apart (y, x) two views lie that are turned about the half pixel, in pixels."""
    if center is None:
        return (0.0, 0.0)
    y, x = (2 * (c - h) for c, h in zip(center.subpixel, center.half_pixel, strict=True))
    return (y, x) if LEAST_SHIFT <= max(abs(y), abs(x)) < 1 else (0.0, 0.0)

"""What every method makes its pairs of: rates with their exposures, moved by one random group element."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Pair

Tree = TypeVar("Tree")


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
    unit = jnp.reshape(scale, (-1,) + (1,) * (counts.ndim - 1))
    return jnp.where(seen, counts / (jnp.where(seen, exposure, 1.0) * unit), 0.0)


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


def moved_shift(keys: Array, shift: tuple[float, float], *, group: symmetry.GroupName) -> Array:
    """Move a displacement (y, x) as `moved` moves the examples: (batch, 2) pixels."""
    ramps = jnp.broadcast_to(ramp_of(shift), (len(keys), 3, 3))
    return slope_of(moved(keys, ramps, group=group))


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
    source: Array,
    source_exposure: Array,
    target: Array,
    weight: Array,
    *,
    group: symmetry.GroupName,
) -> Pair:
    """Put a pair together, every example moved by a group element of its own.

    Args:
      key: typed random key.
      source: rate that the network sees, (batch, height, width).
      source_exposure: exposure behind it, as `source`.
      target: rate to be predicted, as `source`.
      weight: exposure behind the target, as `source`.
      group: "none", "flips" or "d4".

    Returns:
      The pair: source (batch, height, width, 2), target and weight (batch, height, width, 1).
    """
    keys = jax.random.split(key, source.shape[0])
    arrays = (source, source_exposure, target, weight)
    source, source_exposure, target, weight = moved(keys, arrays, group=group)
    return Pair(
        source=jnp.stack([source, source_exposure], axis=-1),
        target=target[..., None],
        weight=weight[..., None],
    )

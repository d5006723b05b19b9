"""What every method makes its pairs of: rates with their exposures, moved by one random group element."""

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Pair


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
    move = jax.vmap(lambda k, f: symmetry.apply_random(k, f, group=group))
    source, source_exposure, target, weight = move(keys, (source, source_exposure, target, weight))
    return Pair(
        source=jnp.stack([source, source_exposure], axis=-1),
        target=target[..., None],
        weight=weight[..., None],
    )

"""Noise2Void: a few points are hidden behind a neighbour's value; their counts are predicted from the rest.

Noise that is independent from point to point cannot be predicted, the signal can. No second measurement and
no symmetry is needed; that is also why it stays below the methods that have one.

Reference:
  Krull et al. 2019, "Noise2Void: learning denoising from single noisy images"; the structured mask is
  Broaddus et al. 2020, "Removing structured noise with self-supervised blind-spot networks". Deviations: the
  neighbour comes with its exposure, so that gaps stay gaps; the loss is the trainer's own, weighted by
  exposure.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict
from smae_jax.methods.views import like, moved_pair, rate_of


@dataclass(frozen=True)
class Noise2Void(Method):
    """Hidden points from what is around them.

    Attributes:
      share: of the points that are targets at a time, in (0, 1).
      radius: how far the neighbour lies at most along each axis, in points, >= 1.
      structure: how far along each of the last axes the noise is correlated: these points about a target
        are hidden as well; () = the noise is independent from point to point.
      augment: group from which one element per example is drawn in `pair`.
    """

    share: float = 0.05
    radius: int = 3
    structure: tuple[int, ...] = ()
    augment: symmetry.GroupName = "flips"

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Put a neighbour's value in the place of random points; their own counts are the target.

        Args:
          key: typed random key.
          batch: (batch, *spatial); partners are not looked at.

        Returns:
          Source (batch, *spatial, 2) with rate and exposure; target and weight (..., 1), weight 0 where a
          point keeps its value.
        """
        point_key, from_key, move_key = jax.random.split(key, 3)
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        targets = jax.random.bernoulli(point_key, self.share, rate.shape)
        hidden = widened(targets, self.structure)
        places = neighbours(from_key, rate.shape, radius=self.radius, beyond=self.structure)

        def masked(values: Array) -> Array:
            return jnp.where(hidden, jax.vmap(lambda v, p: v[p])(values, places), values)

        return moved_pair(
            move_key,
            [masked(rate), masked(batch.exposure)],
            [rate],
            [batch.exposure * targets * batch.eligible],
            group=self.augment,
        )

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict every point once; the network has learned to rely on what is around it.

        Args:
          predict: (batch, *spatial, 2) -> (batch, *spatial, 1).
          batch: whole measurements.

        Returns:
          Expected counts per unit of exposure where there is a measurement.
        """
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        answer = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0]
        known = batch.exposure > 0
        counts = jnp.where(known, answer * like(batch.scale, answer), jnp.nan)
        return Answers(counts=counts, known=known, filled=jnp.zeros_like(known))


def widened(points: Array, reach: tuple[int, ...]) -> Array:
    """Widen points, bool (batch, *spatial), by `reach` to both sides along each of the last axes."""
    for axis, distance in zip(range(-len(reach), 0), reach, strict=True):
        wide, size = points, points.shape[axis]
        for step in range(1, min(distance, size - 1) + 1):
            near = jax.lax.slice_in_dim(points, 0, size - step, axis=axis % points.ndim)
            far = jax.lax.slice_in_dim(points, step, size, axis=axis % points.ndim)
            pad = [(0, 0)] * points.ndim
            pad[axis] = (step, 0)
            wide = wide | jnp.pad(near, pad)
            pad[axis] = (0, step)
            wide = wide | jnp.pad(far, pad)
        points = wide
    return points


def neighbours(
    key: Array, shape: tuple[int, ...], *, radius: int, beyond: tuple[int, ...] = ()
) -> tuple[Array, ...]:
    """Draw a neighbour of every point, never the point itself.

    Args:
      key: typed random key.
      shape: (batch, *spatial).
      radius: largest distance along each axis, >= 1.
      beyond: distances along the last axes that are not enough: where one is above 0, the neighbour lies
        further than that along this axis, up to `radius` more.

    Returns:
      Indices for every spatial axis, int32, `shape` each; beyond an edge it is the one on the other side.
    """
    spatial = shape[1:]
    beyond = (0,) * (len(spatial) - len(beyond)) + tuple(beyond)
    keys = jax.random.split(key, len(spatial) + 1)
    offsets = []
    for axis_key, least in zip(keys[1:], beyond, strict=True):
        value_key, sign_key = jax.random.split(axis_key)
        if least:
            away = jax.random.randint(value_key, shape, least + 1, least + radius + 1)
            offsets.append(jnp.where(jax.random.bernoulli(sign_key, shape=shape), away, -away))
        else:
            offsets.append(jax.random.randint(value_key, shape, -radius, radius + 1))
    still = jnp.all(jnp.stack([offset == 0 for offset in offsets]), axis=0)
    side = jnp.where(jax.random.bernoulli(keys[0], shape=shape), 1, -1)
    offsets[-1] = jnp.where(still, side, offsets[-1])
    places = []
    for axis, (offset, size) in enumerate(zip(offsets, spatial, strict=True)):
        along = (1,) * (1 + axis) + (-1,) + (1,) * (len(spatial) - 1 - axis)
        here = jnp.arange(size).reshape(along)
        there = here + offset
        inside = (there >= 0) & (there < size)
        places.append(jnp.where(inside, there, jnp.clip(here - offset, 0, size - 1)))
    return tuple(places)

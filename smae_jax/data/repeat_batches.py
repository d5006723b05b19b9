"""Draw batches of repeats, in any number of dimensions: the counterpart of `batches` for repeats.

Which repeat, which channel and which place are a pure function of a key; nothing random is ever stored.
Beside `batches` the only file of `data` that uses JAX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from smae_jax.methods.protocol import Batch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack:
    """Repeats of one thing, or several things of one kind, as training reads them.

    Attributes:
      counts: photons, (repeats, channels, *spatial), float32; 0 where invalid.
      exposure: behind each value, (repeats, *spatial), float32; 0 where invalid.
      scale: counts per unit of rate at exposure 1, (repeats,), float32.
      held_out: points kept from training, bool, (*spatial).
      others: whether the other repeats are a repeat's reference: (sum over repeats (channels, *spatial), sum
        of exposures (*spatial)), or None.
      reference: of a paired measurement: (counts as `counts`, exposure as `exposure`), or None.
      beside: whether the mean over channels is shown beside each: 0 = the repeat's, 1 = the others', float32
        scalar; None = it is not shown.
    """

    counts: Array
    exposure: Array
    scale: Array
    held_out: Array
    others: tuple[Array, Array] | None = None
    reference: tuple[Array, Array] | None = None
    beside: Array | None = None


def held_out_points(shape: Sequence[int], *, share: float, seed: int) -> np.ndarray:
    """Choose points that are never targets, without replacement: bool, `shape`, round(share * size) True."""
    size = int(np.prod(shape))
    chosen = np.random.default_rng(seed).permutation(size) < round(share * size)
    return chosen.reshape(shape)


def patch_shape_of(spatial: Sequence[int], *, patch: int, square: bool) -> tuple[int, ...]:
    """Return the largest patch of at most `patch` a side (0 = no limit), `square` in the last two axes."""
    shape = [min(size, patch) if patch else size for size in spatial]
    if square and len(shape) > 1:
        shape[-2:] = [min(shape[-2:])] * 2
    return tuple(shape)


def draw(
    key: Array,
    stack: Stack,
    *,
    batch_size: int,
    patch_shape: tuple[int, ...],
    held_out: bool = False,
) -> Batch:
    """Draw examples: every repeat and channel comes equally often, at a place of its own.

    Args:
      key: typed random key.
      stack: on the device.
      batch_size: examples.
      patch_shape: of an example in pixels.
      held_out: make the held-out points the eligible ones instead of all others.

    Returns:
      The batch, (batch, *patch_shape).
    """
    order_key, origin_key = jax.random.split(key)
    repeats, channels = stack.counts.shape[:2]
    order = jax.random.permutation(order_key, repeats * channels)
    chosen = order[jnp.arange(batch_size) % (repeats * channels)]
    free = [n - p + 1 for n, p in zip(stack.held_out.shape, patch_shape, strict=True)]
    origins = jax.random.randint(origin_key, (batch_size, len(free)), 0, jnp.asarray(free))
    return gather(stack, chosen, origins, patch_shape=patch_shape, held_out=held_out)


def gather(
    stack: Stack,
    chosen: ArrayLike,
    origins: ArrayLike,
    *,
    patch_shape: tuple[int, ...],
    held_out: bool = False,
) -> Batch:
    """Cut examples out of the stack.

    Args:
      stack: on the device.
      chosen: repeat * channels + channel of each example, int32, (batch,).
      origins: corner of each example, int32, (batch, spatial axes).
      patch_shape: of an example in pixels.
      held_out: as in `draw`.

    Returns:
      The batch, (batch, *patch_shape).
    """
    channels = stack.counts.shape[1]

    def one(index: Array, origin: Array) -> Batch:
        repeat, channel = index // channels, index % channels

        def cut(array: Array, *leading: Array) -> Array:
            starts = (*leading, *origin)
            sizes = (1,) * len(leading) + patch_shape
            return jax.lax.dynamic_slice(array, starts, sizes).reshape(patch_shape)

        counts, exposure = cut(stack.counts, repeat, channel), cut(stack.exposure, repeat)
        reference = (None, None)
        if stack.others is not None:
            total, light = cut(stack.others[0], channel), cut(stack.others[1])
            reference = total - counts, light - exposure
        elif stack.reference is not None:
            reference = (
                cut(stack.reference[0], repeat, channel),
                cut(stack.reference[1], repeat),
            )
        partner = jnp.zeros_like(counts), jnp.zeros_like(exposure)
        if stack.beside is not None:
            own = cut(stack.counts.sum(axis=1), repeat) / channels, exposure
            rest = own
            if stack.others is not None:
                rest = (
                    cut(stack.others[0].sum(axis=0)) / channels - own[0],
                    cut(stack.others[1]) - exposure,
                )
            partner = tuple(
                jnp.where(stack.beside > 0, b, a) for a, b in zip(own, rest, strict=True)
            )
        return Batch(
            counts=counts,
            exposure=exposure,
            partner_counts=partner[0],
            partner_exposure=partner[1],
            scale=stack.scale[repeat],
            eligible=(cut(stack.held_out) == held_out).astype(jnp.float32),
            reference_counts=reference[0],
            reference_exposure=reference[1],
        )

    return jax.vmap(one)(jnp.asarray(chosen), jnp.asarray(origins))


def whole_repeats(stack: Stack, channel: ArrayLike) -> Batch:
    """Make the batch of all repeats of one channel, (repeats, *spatial), for prediction."""
    counts = jnp.take(stack.counts, jnp.asarray(channel), axis=1)
    beside = stack.counts.mean(axis=1)
    return Batch(
        counts=counts,
        exposure=stack.exposure,
        partner_counts=beside,
        partner_exposure=stack.exposure,
        scale=stack.scale,
        eligible=jnp.ones_like(counts),
    )

"""How much of its own answer a frame keeps where it is far darker or brighter than the scan.

Weak components are missed most there: light of other frames shows as a ghost, or too little as a shadow.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.piecewise import piecewise
from smae_jax.stacks import mean_over_frames

OCTAVES = np.arange(-5, 6)
"""Binary logarithms of a frame's brightness over that of the scan at a place, between which what it keeps of
its own answer is interpolated."""


def shares_of_own(
    own: Any,
    together: Any,
    held_out: np.ndarray,
    *,
    exposure: np.ndarray,
    use: Any,
) -> np.ndarray:
    """Measure how much of its own answer a frame should keep, by how its brightness differs from the scan's.

    It is the slope of held-out photons less the combined answer on own less combined answer (least squares,
    weighted by 1 / combined), of all frames and places of about one ratio. Of a slope as much is taken as
    exceeds its noise: s (1 - variance / s^2), at least 0 and at most 1. The more a frame differs from the
    scan the more it keeps: where no photons tell, as much as at a smaller difference.

    Args:
      own: answers of each frame alone, made without the held-out photons, (frames, height, width).
      together: the same combined.
      held_out: photons, as `own`.
      exposure: of the held-out photons, (1 or frames, height, width), above 0.
      use: where photons were counted, bool, (height, width).

    Returns:
      For each of `OCTAVES` a share in [0, 1].
    """
    mean = mean_over_frames(together)
    sums = piecewise(_sums, own, together, held_out, exposure, jnp.asarray(use)[None], mean)
    information, needed, noise = np.asarray(sums).sum(axis=0, dtype=np.float64)
    told = (information > 0) & (needed > 0)
    slope = np.where(told, needed / np.where(told, information, 1), 0)
    relative = np.where(told, noise / np.where(told, needed, 1) ** 2, 1)
    found = np.clip(slope * np.maximum(1 - relative, 0), 0, 1)
    middle = len(OCTAVES) // 2
    darker, brighter = found[middle::-1], found[middle:]
    return np.concatenate([np.maximum.accumulate(darker)[:0:-1], np.maximum.accumulate(brighter)])


def with_own(
    together: Any, own: Any, variances: tuple[Any, Any] | None, shares: np.ndarray
) -> tuple[Array, Array | None]:
    """Return combined answers with as much of each frame's own as it keeps, and their variance.

    Args:
      together: combined answers, (frames, height, width).
      own: those of each frame alone.
      variances: of both; None = they are not known.
      shares: from `shares_of_own`.
    """
    mean = mean_over_frames(together)
    wanted = jnp.asarray(shares, jnp.float32)[None, None]
    of_all, of_own = (None, None) if variances is None else variances
    return piecewise(_mixed, together, own, of_all, of_own, mean, wanted)


@jax.jit
def _sums(
    own: Array, together: Array, held_out: Array, exposure: Array, use: Array, mean: Array
) -> Array:
    """Add up information, score and its variance of some frames by octave: (frames, 3, octaves)."""
    some = use & (mean > 0) & (together > 0) & jnp.isfinite(own)
    expected = jnp.where(some, together, 1.0)
    change = jnp.where(some, own - expected, 0.0)
    rest = jnp.where(some, held_out.astype(jnp.float32) / exposure - expected, 0.0)
    information = change**2 / expected
    values = (information, change * rest / expected, information / exposure)
    # Row by row, so that float32 keeps its digits; XLA would make octaves and values anew for every sum.
    values, octave = jax.lax.optimization_barrier((values, _octave(expected, mean)))

    def add(row: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        of_row = functools.partial(jax.lax.dynamic_index_in_dim, index=row, axis=1)
        near = _near(of_row(octave), jnp.asarray(OCTAVES, jnp.float32)[None, :, None])
        return tuple(
            total + of_row(value) * near for total, value in zip(totals, values, strict=True)
        )

    nothing = tuple(jnp.zeros((len(own), len(OCTAVES), own.shape[2])) for _ in values)
    totals = jax.lax.fori_loop(0, own.shape[1], add, nothing)
    return jnp.stack([jnp.sum(total, axis=-1) for total in totals], axis=1)


@jax.jit
def _mixed(
    together: Array,
    own: Array,
    of_all: Array | None,
    of_own: Array | None,
    mean: Array,
    shares: Array,
) -> tuple[Array, Array | None]:
    octave = jax.lax.optimization_barrier(_octave(together, mean))
    parts = (_near(octave, float(n)) * shares[..., k, None] for k, n in enumerate(OCTAVES))
    share = sum(parts, start=jnp.zeros_like(together))
    variance = None
    if of_all is not None and of_own is not None:  # as if their errors were the same
        variance = ((1 - share) * jnp.sqrt(of_all) + share * jnp.sqrt(of_own)) ** 2
    return together + share * (own - together), variance


def _octave(frame: Array, mean: Array) -> Array:
    """Return the binary logarithm of a frame's brightness over the scan's, within `OCTAVES`; 0 = unknown."""
    known = (mean > 0) & jnp.isfinite(frame)
    ratio = jnp.where(known, frame / jnp.where(mean > 0, mean, 1.0), 1.0)
    return jnp.clip(jnp.log2(jnp.maximum(ratio, 1e-9)), OCTAVES[0], OCTAVES[-1])


def _near(octave: Array, node: float | Array) -> Array:
    """Return what an octave counts for between two places of the interpolation."""
    return jnp.maximum(1 - jnp.abs(octave - node), 0.0)

"""What the counts say too clearly to be noise: such pixels keep their counts.

A network answers with what it has learnt to expect. A spot that looks like nothing else in the scan is then
taken for noise, however bright it is. Here the answer is held against the counts that it was made of: where
they cannot be noise about the answer, the counts are the better answer.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

WINDOW = 3
"""Side of the square, in pixels, whose counts are compared: the size of a sharp spot."""


def significance(expected: Array, counts: Array) -> Array:
    """Return by how many standard deviations counts lie from what is expected of them, >= 0.

    The root of the Poisson deviance, which is nearly normal also for few counts:
    sqrt(2 (n log(n / m) - (n - m))) (McCullagh and Nelder 1989, section 2.4).

    Args:
      expected: mean counts m, any shape, float32; 0 takes nothing for impossible but counts.
      counts: n, as `expected`.
    """
    mean = jnp.maximum(expected, 1e-6)
    some = jnp.maximum(counts, 1e-6)
    deviance = 2 * (jnp.where(counts > 0, some * jnp.log(some / mean), 0.0) - (counts - mean))
    return jnp.sqrt(jnp.maximum(deviance, 0.0))


def keep_significant(
    answer: Array, counts: Array, valid: Array, *, sigmas: float
) -> tuple[Array, Array]:
    """Answer with the counts wherever they lie too far from the answer to be noise about it.

    Every pixel of a window of `WINDOW` x `WINDOW` pixels whose counts deviate by more than `sigmas` answers
    with its own counts. Of right answers, one window in 1.7 million deviates by 5 standard deviations.

    Args:
      answer: expected counts of full frames, (batch, height, width), float32; NaN where there is none.
      counts: photons, as `answer`.
      valid: bool, as `answer`; where False the answer stays.
      sigmas: standard deviations, > 0.

    Returns:
      (answer, kept): float32, and bool where it is the counts.
    """
    seen = valid & jnp.isfinite(answer)
    expected = _around(jnp.where(seen, answer, 0.0), lax.add)
    found = _around(jnp.where(seen, counts, 0.0), lax.add)
    far = (significance(expected, found) > sigmas).astype(jnp.float32)
    kept = (_around(far, lax.max) > 0) & seen
    return jnp.where(kept, counts, answer), kept


def _around(x: Array, join: Callable[[Array, Array], Array]) -> Array:
    """Join the values in the window about every pixel of (batch, height, width), 0 outside."""
    window = (1, *(WINDOW,) * (x.ndim - 1))
    return lax.reduce_window(x, 0.0, join, window, (1,) * x.ndim, "SAME")

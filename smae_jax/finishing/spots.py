"""What the counts say too clearly to be noise: such pixels keep their counts.

A network answers with what it has learnt to expect. A spot that looks like nothing else in the scan is then
taken for noise, however bright it is. Here the answer is held against the counts that it was made of: where
they cannot be noise about the answer, the counts are the better answer.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise
from smae_jax.stacks import over_windows

SIGMAS = 5.0
"""Standard deviations from the answer from which counts are no noise about it."""

WINDOW = 3
"""Side of the square, in pixels, whose counts are compared: the size of a sharp spot."""


def keep_spots(answers: Answers, evidence: Evidence, *, sigmas: float = SIGMAS) -> Answers:
    """Answer with the counts where they cannot be noise about the answer; see `keep_significant`.

    The variance there is that of the counts.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
      sigmas: standard deviations, > 0.
    """
    data = evidence.data
    if data.center is None or len(answers.counts) != data.frames:
        return answers
    counts, variance, kept = piecewise(
        partial(_of_frames, sigmas=sigmas),
        answers.counts,
        answers.variance,
        evidence.counts,
        data.exposure,
    )
    each = np.asarray(jnp.sum(kept, axis=(1, 2)))
    what = (
        f"{each.sum()} pixels in {np.count_nonzero(each)} frames keep their counts, which are more than "
        f"{sigmas:g} sigma from the answer"
    )
    return answers.after("keep_spots", what, counts=counts, variance=variance, kept=kept)


@partial(jax.jit, static_argnames="sigmas")
def _of_frames(
    counts: Array, variance: Array | None, photons: Array, exposure: Array, *, sigmas: float
) -> tuple[Array, Array | None, Array]:
    """Return counts, variance and where counts were kept, of some frames."""
    valid = jnp.broadcast_to(exposure > 0, counts.shape)
    light = jnp.where(valid, exposure, 1.0)
    photons = photons.astype(jnp.float32)
    found, kept = keep_significant(counts * light, photons, valid, sigmas=sigmas)
    counts = jnp.where(kept, found / light, counts)
    if variance is not None:  # no counts are not known without error either
        variance = jnp.where(kept, jnp.maximum(photons, 1.0) / light**2, variance)
    return counts, variance, kept


def keep_significant(
    answer: Array, counts: Array, valid: Array, *, sigmas: float
) -> tuple[Array, Array]:
    """Answer with the counts wherever they lie too far from the answer to be noise about it.

    Counts of every window of `WINDOW` x `WINDOW` pixels are compared with what the answer expects of them, by
    the root of the Poisson deviance, which is nearly a normal deviate also for few counts (McCullagh and
    Nelder 1989, section 2.4). All pixels of a window that deviates by more than `sigmas` answer with their
    own counts. Of right answers, one window in 1.7 million deviates by 5 standard deviations.

    Args:
      answer: expected counts of a full frame, (frames, height, width), float32; NaN where there is none.
      counts: photons, as `answer`.
      valid: bool, as `answer`; where False the answer stays.
      sigmas: standard deviations, > 0.

    Returns:
      (answer, kept): as `answer`, and bool where it is the counts.
    """
    seen = valid & jnp.isfinite(answer)
    about = (WINDOW // 2, WINDOW // 2)
    expected, found = (over_windows(jnp.where(seen, x, 0.0), about) for x in (answer, counts))
    far = deviance(jnp.maximum(expected, 0.0), found) > sigmas**2
    kept = over_windows(far, about, joined=jnp.logical_or) & seen
    return jnp.where(kept, counts, answer), kept


def deviance(expected: Array, found: Array) -> Array:
    """Return the Poisson deviance of counts; infinite where some were found and none expected.

    2 (k log(k / m) - k + m) is written with x = k / m - 1, and loses no digits of large counts.
    """
    some = expected > 0
    mean = jnp.where(some, expected, 1.0)
    excess = found / mean - 1
    # Few differ by more than a few sigma; where x is small its series has the digits that a logarithm loses.
    exact = (1 + excess) * jnp.log1p(jnp.maximum(excess, -1 + 1e-7)) - excess
    series = excess**2 * (0.5 - excess * (1 / 6 - excess / 12))
    each = 2 * mean * jnp.where(jnp.abs(excess) < 0.03, series, exact)
    return jnp.where(some, each, jnp.where(found > 0, jnp.inf, 0.0))

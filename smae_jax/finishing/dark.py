"""What a scan counted where a frame is dark and others are bright: answers there are compared by themselves.

A network spreads some light into dark places, and combining frames brings some from other frames: a ghost.
The counts of one frame cannot tell, and in the sums of a scan bright frames outweigh dark ones. So the counts
of all frames that are dark at a place are added up, and compared with what their answers add up to.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.evidence import Evidence
from smae_jax.finishing.sums import (
    FEWEST_FRAMES,
    center_of_partners,
    compared,
    factor_of_sums,
    multiplied,
)
from smae_jax.geometry import turn
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise

DARK = 8.0
"""A frame is dark where the scan's brightest frame has so many times its light, or more."""
LIT = 4.0
"""It is not where that has only so many times its light; between them it is so in part."""


def keep_dark(answers: Answers, evidence: Evidence) -> Answers:
    """Correct answers where frames are far darker than others, so that they add up to the counts there.

    Pixels that keep their counts stay, and are not compared. A single frame stays as it is, and so do
    patterns without a centre.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
    """
    data, counts, kept = evidence.data, answers.counts, answers.kept
    if len(counts) < FEWEST_FRAMES or data.center is None:
        return answers
    brightest = piecewise(_brightest, counts, axis=1)
    sums = piecewise(_sums, counts, evidence.counts, data.exposure, kept, brightest, axis=1)
    expected, found, measured = (np.asarray(image)[0] for image in sums)
    if not measured.any():
        return answers.after("keep_dark", "no frame is far darker than others anywhere")
    center = center_of_partners(data)
    factor = factor_of_sums(expected.astype(np.float64), found.astype(np.float64), measured, center)
    factor = np.where(measured, factor, turn(factor, center, 1.0))
    logarithm = np.log(factor)[None].astype(np.float32)
    corrected, variance = piecewise(
        _multiplied, counts, answers.variance, kept, brightest, logarithm
    )
    change = np.sqrt((expected * (factor - 1) ** 2).sum() / max(expected.sum(), 1e-30))
    what = f"answers of frames far darker than others changed by {100 * change:.2g} % rms"
    return answers.after("keep_dark", what, counts=corrected, variance=variance)


def darkness(answer: Array, brightest: Array) -> Array:
    """Return how far frames are dark: 1 from `DARK` times less light than the brightest, 0 to `LIT` times.

    Args:
      answer: expected counts per full frame, (frames, height, width).
      brightest: of all frames, (1, height, width).
    """
    octaves = np.log2(DARK / LIT)
    some = (brightest > 0) & jnp.isfinite(answer)
    ratio = jnp.where(some, answer, 1.0) / jnp.where(some, brightest, 1.0)
    below = -jnp.log2(jnp.maximum(ratio * np.float32(LIT), 1e-9)) / np.float32(octaves)
    return jnp.where(some, jnp.clip(below, 0.0, 1.0), 0.0)


@jax.jit
def _brightest(answer: Array) -> Array:
    """Return the brightest answer of all frames in some rows, (1, rows, width)."""
    return jnp.max(jnp.where(jnp.isfinite(answer), answer, 0.0), axis=0, keepdims=True)


@jax.jit
def _sums(
    answer: Array, counts: Array, exposure: Array, kept: Array | None, brightest: Array
) -> tuple[Array, ...]:
    """Add up what dark frames expect and count in some rows, and say where there were any."""
    use, expected, found = compared(answer, counts, exposure, kept)
    share = jnp.where(use, darkness(answer, brightest), 0.0)
    add = functools.partial(jnp.sum, axis=0, keepdims=True)
    return (
        add(share * expected),
        add(share * found),
        jnp.any(share > 0, axis=0, keepdims=True),
    )


@jax.jit
def _multiplied(
    counts: Array, variance: Array | None, kept: Array | None, brightest: Array, logarithm: Array
) -> tuple[Array, Array | None]:
    """Return counts and variance of some frames, multiplied by the factor as far as they are dark."""
    return multiplied(counts, variance, kept, darkness(counts, brightest) * logarithm)

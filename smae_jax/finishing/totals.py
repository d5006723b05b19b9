"""Every frame has the total that it counted."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise
from smae_jax.stacks import factor_of_totals, total_of_frames


def conserve_totals(answers: Answers, evidence: Evidence) -> Answers:
    """Scale every frame to what its valid pixels counted; pixels that keep their counts stay.

    A frame whose values add up to less than nothing, as an offset that drifts can make them, stays as it is.

    Frames that were combined share their noise; each has the noise of its own total again, which is added.

    Args:
      answers: (frames, *spatial) each; one answer to all repeats stays as it is.
      evidence: the counts.
    """
    data = evidence.data
    if len(answers.counts) != data.frames or data.channels:
        return answers
    combined = any(stage == "combine" for stage, _ in answers.done)
    counts, variance, below = piecewise(
        functools.partial(_of_frames, combined=combined),
        answers.counts,
        answers.variance,
        answers.kept,
        evidence.counts,
        data.exposure,
    )
    what = "every frame has the total that it counted"
    if number := int(np.count_nonzero(np.asarray(below))):
        what += f" but {number}, whose values add up to less than nothing"
    return answers.after("conserve_totals", what, counts=counts, variance=variance)


@functools.partial(jax.jit, static_argnames="combined")
def _of_frames(
    found: Array,
    variance: Array | None,
    kept: Array | None,
    photons: Array,
    exposure: Array,
    *,
    combined: bool,
) -> tuple[Array, Array | None, Array]:
    """Return counts and variance of some frames, and whose total is below 0, (frames, ...)."""
    photons = photons.astype(jnp.float32)
    own = jnp.ones(found.shape, bool) if kept is None else ~kept
    others = (exposure > 0) & own & jnp.isfinite(found)
    left = total_of_frames(jnp.where(others, found * exposure, 0.0))
    total = total_of_frames(jnp.where(others, photons, 0.0))
    found = jnp.where(own, found * factor_of_totals(total, left), found)
    if variance is not None and combined:
        of_total = found**2 / jnp.maximum(total_of_frames(photons), 1.0)
        variance = variance + jnp.where(own, of_total, 0.0)
    return found, variance, total < 0

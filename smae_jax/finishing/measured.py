"""Values of unknown noise: of an answer no more is taken than makes it better than what was measured.

Where values are no photon counts, no held-out photons can judge. A pixel's partner across the beam can: its
noise is independent of the pixel's, whatever its kind.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.blocks import spread
from smae_jax.finishing.error_bars import MANY
from smae_jax.finishing.evidence import Evidence
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise
from smae_jax.smoothing import smooth
from smae_jax.stacks import total_of_frames

LEVELS = np.arange(-6.0, 10.5, 0.5)
"""Binary logarithms of brightness over the mean, between which the share of the answer is interpolated."""
ABOUT = 1.0
"""Sigma, in pixels, of the Gaussian that brightness is smoothed with: noise must not choose its own class."""
FEWEST = 500.0
"""Pixels that tell a share, at least: fewer are taken together with those of similar brightness."""
LEAST = 2.0**-20
"""Brightness over the mean that is told from none."""


def keep_measured(answers: Answers, evidence: Evidence, *, alone: bool = False) -> Answers:
    """Mix in what was measured, so far as the answers are worse.

    The frames are answered twice more, each time without one half about the centre. The answer d to a kept
    pixel of value x then has not seen its partner's value y, which is as large on average, with noise of its
    own. Of all pixels of similar brightness

        w = sum((x - y) (x - d)) / sum((x - d)^2), clipped to [0, 1],

    is the share of the answer for which w d + (1 - w) x has the least squared error, see Reference. What is
    taken of a frame's answer has the total of what it replaces: light that an answer smears over dark places
    would else be missing in the bright ones, once the frame has its total again.

    Args:
      answers: (frames, height, width) each. Those to repeats, and about a centre that is not trusted, stay.
      evidence: the values.
      alone: whether shares are told of each frame by that frame only.

    Reference:
      With the truth m, x - y has the mean of x - m beside anything that has not seen y; the minimum over w of
      the mean of (m - x + w (x - d))^2 is where w = <(x - m) (x - d)> / <(x - d)^2>.
    """
    data = evidence.data
    each = len(answers.counts) == data.frames and not data.channels
    if data.symmetry is None or answers.again is None or not each:
        return answers
    some = np.arange(data.frames)
    if not alone:
        some = spread(data.frames, max(1, MANY // int(np.prod(data.spatial))))
    means = _means(data, alone=alone)
    sums = _sums(answers, data, some, means)
    if not alone:
        sums = sums.sum(axis=0, keepdims=True)
    shares = np.stack([shares_of(one) for one in sums])
    counts, taken = piecewise(
        _mixed,
        answers.counts,
        evidence.counts,
        data.exposure,
        means[:, None, None],
        shares[:, None].astype(np.float32),
    )
    number = float(np.count_nonzero(evidence.valid))
    mean = 100 * float(np.asarray(taken).sum(dtype=np.float64)) / max(number, 1.0)
    seen = sums[:, 0].sum(axis=0) > 0
    lowest = 100 * float(shares[:, seen].min(initial=1.0))
    what = (
        f"opposite pixels tell to take {mean:.0f} % of the answers, where they are worst {lowest:.0f} %, and "
        "the rest of what was measured"
    )
    return answers.after("keep_measured", what, counts=counts)


def shares_of(sums: np.ndarray) -> np.ndarray:
    """Return the share of the answer at each of `LEVELS`, in [0, 1]; 1 where nothing tells.

    Args:
      sums: number of pixels, sum of (x - y) (x - d), that of its squares, and sum of (x - d)^2 about each
        level, (4, levels). As much of a share is taken as exceeds its noise.
    """
    shares = np.ones(len(LEVELS))
    for level in range(len(LEVELS)):
        near = np.zeros(4)
        for reach in range(len(LEVELS)):
            near = sums[:, max(0, level - reach) : level + reach + 1].sum(axis=1)
            if near[0] >= FEWEST:
                break
        _, needed, noise, square = near
        if square > 0:
            told = max(1 - noise / needed**2, 0) if needed > 0 else 0
            shares[level] = np.clip(needed / square, 0, 1) * told
    return shares


def sides(shape: tuple[int, int], center: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return both halves of a frame about a centre, bool: each holds one of a pixel and its partner.

    The pixel that is its own partner is in neither.
    """
    y, x = np.ogrid[: shape[0], : shape[1]]
    middle_y, middle_x = center
    left = (x < middle_x) | ((x == middle_x) & (y < middle_y))
    right = (x > middle_x) | ((x == middle_x) & (y > middle_y))
    return left, right


def _means(data: Measurements, *, alone: bool) -> np.ndarray:
    """Return mean values per unit of exposure, float32: of all frames (1,), or of each (frames,); above 0."""
    total = data.counts.sum(axis=(1, 2), dtype=np.float64)
    light = data.exposure.sum(axis=(1, 2), dtype=np.float64) * np.ones(data.frames)
    if not alone:
        total, light = total.sum(keepdims=True), light.sum(keepdims=True)
    means = np.where(light > 0, total / np.where(light > 0, light, 1), 0)
    return np.where(means > 0, means, 1).astype(np.float32)


def _sums(answers: Answers, data: Measurements, some: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Add up what `shares_of` asks for, of each of some frames: (frames, 4, levels)."""
    if data.symmetry is None or answers.again is None:
        raise TypeError("expected a centre, and answers that can be asked again")
    part, center = data.take(some), data.symmetry.half_pixel
    light, means = part.full_exposure, np.broadcast_to(means, (data.frames,))[some]
    valid = light > 0
    values = np.where(valid, part.counts / np.where(valid, light, 1), 0).astype(np.float32)
    partner, pairs = turn(values, center, 0.0), valid & turn(valid, center, False)
    found = np.zeros((len(some), 4, len(LEVELS)))
    for side in sides((values.shape[1], values.shape[2]), center):
        kept = dataclasses.replace(
            part,
            counts=np.where(side, part.counts, np.zeros((), part.counts.dtype)),
            exposure=np.where(side, part.exposure, np.float32(0)),
        )
        answer = answers.again(kept, frames=some).counts
        level = np.asarray(piecewise(_level, answer, means[:, None, None], kept.exposure))
        answer = np.asarray(answer)
        use = side & pairs & np.isfinite(answer)
        for frame in range(len(some)):
            x, y, d = (image[frame][use[frame]] for image in (values, partner, answer))
            off = x.astype(np.float64) - d
            needed = (x - y) * off
            summed = np.ones(len(x)), needed, needed**2, off**2
            found[frame] += _by_level(level[frame][use[frame]], *summed)
    return found


def _by_level(level: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """Add values up at the two of `LEVELS` on both sides, by how near these are: (values, levels)."""
    place = (level.astype(np.float64) - LEVELS[0]) / (LEVELS[1] - LEVELS[0])
    below = np.minimum(place.astype(np.int64), len(LEVELS) - 2)
    above = place - below
    size = len(LEVELS)
    return np.stack(
        [
            np.bincount(below, weights=one * (1 - above), minlength=size)
            + np.bincount(below + 1, weights=one * above, minlength=size)
            for one in values
        ]
    )


@jax.jit
def _level(answer: Array, mean: Array, exposure: Array) -> Array:
    """Return the binary logarithm of an answer's smoothed brightness over the mean, within `LEVELS`."""
    seen = (exposure > 0) & jnp.isfinite(answer)
    light = smooth(seen.astype(jnp.float32)[..., None], sigma=ABOUT)[..., 0]
    total = smooth(jnp.where(seen, answer, 0.0)[..., None], sigma=ABOUT)[..., 0]
    about = total / jnp.where(light > 0, light, 1.0) / mean
    return jnp.clip(jnp.log2(jnp.maximum(about, LEAST)), LEVELS[0], LEVELS[-1])


@jax.jit
def _mixed(
    answer: Array, counts: Array, exposure: Array, mean: Array, shares: Array
) -> tuple[Any, Any]:
    """Return some frames with what was measured mixed in, and the answer's share; 0 where none was."""
    seen = (exposure > 0) & jnp.isfinite(answer)
    measured = counts.astype(jnp.float32) / jnp.where(seen, exposure, 1.0)
    level = _level(answer, mean, exposure)
    levels = jnp.asarray(LEVELS, jnp.float32)
    shares = jnp.broadcast_to(shares[:, 0], (len(answer), len(levels)))
    share = jax.vmap(lambda at, known: jnp.interp(at, levels, known))(level, shares)
    share = jnp.where(seen, share, 0.0)
    replaced, instead = (
        total_of_frames(jnp.where(seen, share * image * exposure, 0.0))
        for image in (measured, answer)
    )
    taken = answer * jnp.where((replaced > 0) & (instead > 0), replaced / instead, 1.0)
    return jnp.where(seen, share * taken + (1 - share) * measured, answer), share

"""What a scan counted in all: where its answers add up to something else, they can be corrected.

A network errs in much the same way in every frame of a scan: it takes a little off a sharp peak, and half of
a faint asymmetry. One frame's counts cannot tell, but the counts of all frames added up can.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.arcs import FEWEST, MARGIN, factor_of_arcs
from smae_jax.finishing.borders import factor_of_borders
from smae_jax.finishing.evidence import Evidence
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise
from smae_jax.smoothing import as_long, blur, gaussian, three_boxes
from smae_jax.stacks import total_of_frames, turned_about

SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Sigma, in pixels, of the Gaussian under which counts and answers are compared, one after the other."""
NEIGHBOURHOOD = 4.0
"""Where an excess over the noise is looked for: sigma of a Gaussian, as a multiple of the scale."""
MODES = (0, 1, 2)
"""Powers of the radius of an asymmetry of the whole image, each times sine and cosine of the azimuth."""
ROWS = 128
"""Of an image whose asymmetry is looked at together."""
LARGEST = 0.5
"""Change of the sums by more than that is not taken for an asymmetry of the whole image."""
FEWEST_FRAMES = 2
"""One frame says nothing that the network did not see."""
ROUNDS = 8
"""In which weights and variance of the frames' shares are found from each other."""


def keep_sums(answers: Answers, evidence: Evidence) -> Answers:
    """Correct what the network gets wrong in all frames alike, so that answers add up to the counts.

    Pixels that keep their counts stay, and are not compared. A single frame stays as it is, and so do
    patterns without a centre.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
    """
    data, counts = evidence.data, answers.counts
    if len(counts) < FEWEST_FRAMES or data.center is None:
        return answers
    center = center_of_partners(data)
    correction = correct_sums(
        counts, evidence.counts, data.exposure, center=center, kept=answers.kept
    )
    logarithm = np.log(correction.factor)[None]
    shares = correction.shares[:, None, None]
    found, variance = piecewise(
        _multiplied, counts, answers.variance, answers.kept, shares, logarithm
    )
    seen = evidence.valid.any(axis=0)
    change = np.sqrt(np.mean((correction.factor[seen] - 1) ** 2, dtype=np.float64))
    what = f"answers changed by {100 * change:.2g} % rms, to add up to the counts of the scan"
    return answers.after("keep_sums", what, counts=found, variance=variance)


@jax.jit
def _multiplied(
    counts: Array, variance: Array | None, kept: Array | None, shares: Array, logarithm: Array
) -> tuple[Array, Array | None]:
    """Return counts and variance of some frames, multiplied by the factor to the power of their shares."""
    return multiplied(counts, variance, kept, shares * logarithm)


def multiplied(
    counts: Array, variance: Array | None, kept: Array | None, logarithm: Array
) -> tuple[Array, Array | None]:
    """Return counts and variance multiplied by a factor, given its logarithm; what is kept stays."""
    factor = jnp.exp(logarithm)
    factor = factor if kept is None else jnp.where(kept, 1.0, factor)
    return counts * factor, None if variance is None else variance * factor**2


def center_of_partners(data: Measurements) -> tuple[float, float]:
    """Return the centre (y, x) that partners lie about; one far off where no pixel has a partner."""
    height, width = data.spatial
    return (-float(height), -float(width)) if data.symmetry is None else data.symmetry.half_pixel


@dataclasses.dataclass(frozen=True)
class Correction:
    """What the answers of a scan are multiplied by, so that they add up to its counts.

    Attributes:
      factor: of a frame that needs as much as the others, (height, width), float32.
      shares: power of the factor that each frame gets, (frames,), float32.
    """

    factor: np.ndarray
    shares: np.ndarray


def correct_sums(
    answer: Any,
    counts: Any,
    exposure: np.ndarray,
    *,
    center: tuple[float, float],
    kept: Any = None,
) -> Correction:
    """Find factors with which the answers of a scan add up to what it counted, but for its noise.

    The relative difference of added-up counts and added-up answers is smoothed, at one scale after the other,
    and parted into what a pixel and its partner share and what tells them apart. Of each as much is taken as
    exceeds Poisson noise in the neighbourhood (of an asymmetry also everywhere): the shrinkage of empirical
    Bayes (Efron and Morris 1973, JASA 68, 117). An asymmetry of the whole image, as absorption in a tilted
    sample makes it, comes first, rings and arcs come last (see `arcs`). Frames that need more or less of the
    correction than noise explains get more or less of it.

    Args:
      answer: expected counts per full frame, (frames, height, width), float32; NaN where there is none.
      counts: photons, as `answer`.
      exposure: full frames behind each pixel, (1 or frames, height, width); 0 = not compared.
      center: (y, x) in pixels, multiples of 0.5.
      kept: where the answer is the counts, which are not compared, bool, as `answer`; None = nowhere.

    Returns:
      The correction. Pixels that were measured in no frame are multiplied as their partners are, but for the
      asymmetry of the whole image; a single frame stays as it is.
    """
    shape = answer.shape[1:]
    if len(answer) < FEWEST_FRAMES:
        return Correction(np.ones(shape, np.float32), np.ones(len(answer), np.float32))

    expected, found, measured = added_up(answer, counts, exposure, kept)
    asymmetry = asymmetry_of_sums(expected, found, measured, center)
    expected = expected * asymmetry
    factor = factor_of_sums(expected, found, measured, center)
    factor *= factor_of_arcs(expected * factor, found, measured, center)
    factor *= factor_of_borders(expected * factor, found, measured, center)
    change = (asymmetry * factor - 1).astype(np.float32)[None]
    needed, told = piecewise(_needs, answer, counts, exposure, kept, change)
    shares = shares_of_frames(np.asarray(needed), np.asarray(told))
    factor = asymmetry * np.where(measured, factor, turn(factor, center, 1.0))
    return Correction(factor.astype(np.float32), shares.astype(np.float32))


def asymmetry_of_sums(
    expected: np.ndarray, found: np.ndarray, measured: np.ndarray, center: tuple[float, float]
) -> np.ndarray:
    """Return 1 + what tells the two sides of the whole image apart, fitted where both were measured.

    The fit is a sum of sine and cosine of the azimuth times powers of the radius, by weighted least squares;
    of each independent part as much is taken as exceeds its noise, with the same shrinkage as elsewhere. The
    arguments are those of `factor_of_sums`.

    Returns:
      (height, width) float64, also where not measured; all 1 where no pixel and its partner were measured.
    """
    light = np.where(measured & turn(measured, center, False), expected, 0.0)
    difference = np.where(light > 0, found - expected, 0.0)
    information, score = np.zeros((2 * len(MODES),) * 2), np.zeros(2 * len(MODES))
    strips = [slice(row, row + ROWS) for row in range(0, len(expected), ROWS)]
    for rows in strips:
        modes = _modes(expected.shape, center, rows)
        information += (modes * light[rows].ravel()) @ modes.T
        score += modes @ difference[rows].ravel()
    each, directions = np.linalg.eigh(information)
    told = each > 1e-9 * each[-1]
    each, directions = np.sqrt(each[told]), directions[:, told]
    seen = directions.T @ score / each  # with a noise of 1
    signal = np.maximum(seen**2 - 1 - MARGIN * np.sqrt(2), 0.0)
    kept = directions @ (signal / (1 + signal) * seen / each)
    relative = np.concatenate([kept @ _modes(expected.shape, center, rows) for rows in strips])
    return 1 + np.clip(relative.reshape(expected.shape), -LARGEST, LARGEST)


def _modes(shape: tuple[int, int], center: tuple[float, float], rows: slice) -> np.ndarray:
    """Return sine and cosine of the azimuth times powers of the radius in some rows, (mode, pixel)."""
    y, x = (np.arange(n) - c for n, c in zip(shape, center, strict=True))
    largest = max(np.hypot(abs(y).max(), abs(x).max()), 0.5)
    y, x = np.broadcast_arrays(y[rows, None], x)
    radius = np.hypot(y, x)
    azimuth = np.stack([y, x]) / np.maximum(radius, 0.5)
    modes = np.concatenate([azimuth * (radius / largest) ** power for power in MODES])
    return modes.reshape(len(modes), -1)


def factor_of_sums(
    expected: np.ndarray, found: np.ndarray, measured: np.ndarray, center: tuple[float, float]
) -> np.ndarray:
    """Return what the expected sum has to be multiplied by to agree with the counts but for their noise.

    Args:
      expected: sum of the answers, (height, width), float64, 0 where not measured.
      found: sum of the counts, as `expected`.
      measured: bool, (height, width).
      center: (y, x) in pixels, multiples of 0.5.

    Returns:
      (height, width) float64, 1 where not measured.
    """
    sums = [jnp.asarray(image, jnp.float32)[None] for image in (expected, found)]
    use, factor = jnp.asarray(measured)[None], jnp.ones((1, *expected.shape))
    for scale in SCALES:
        kernels = _kernels(scale)
        for side in (1.0, -1.0):
            factor = _changed(
                *sums, use, factor, kernels, jnp.float32(side), jnp.float32(scale), center=center
            )
    return np.asarray(factor[0], np.float64)


def _kernels(scale: float) -> tuple[np.ndarray, ...]:
    """Return what means, their variance and their neighbourhood are smoothed by, as long for every scale."""
    largest = SCALES[-1]
    wide, widest = (three_boxes(round(NEIGHBOURHOOD * s)) for s in (scale, largest))
    narrow, longest = gaussian(scale / np.sqrt(2)), len(gaussian(largest))
    lengths = (longest, len(gaussian(largest / np.sqrt(2))), len(widest))
    return tuple(map(as_long, (gaussian(scale), narrow, wide), lengths))


def added_up(
    answer: Any, counts: Any, exposure: np.ndarray, kept: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up what all frames expect and count, where they are compared; arguments as of `correct_sums`.

    Returns:
      (expected, found, measured), (height, width) each: float64, and whether a frame was compared there.
    """
    sums = piecewise(_sums, answer, counts, exposure, kept, axis=1)
    expected, found, measured = (np.asarray(image)[0] for image in sums)
    return expected.astype(np.float64), found.astype(np.float64), measured


@jax.jit
def _sums(answer: Array, counts: Array, exposure: Array, kept: Array | None) -> tuple[Array, ...]:
    """Add up what all frames expect and count in some rows, and say where that was compared."""
    use, expected, found = compared(answer, counts, exposure, kept)
    return (
        jnp.sum(expected, axis=0, keepdims=True),
        jnp.sum(found, axis=0, keepdims=True),
        jnp.any(use, axis=0, keepdims=True),
    )


@jax.jit
def _needs(
    answer: Array, counts: Array, exposure: Array, kept: Array | None, change: Array
) -> tuple[Array, Array]:
    """Return score and information of the share of the change that each frame needs, (frames,) each."""
    _, expected, found = compared(answer, counts, exposure, kept)
    score, told = (found - expected) * change, expected * change**2
    return total_of_frames(score).ravel(), total_of_frames(told).ravel()


def compared(
    answer: Array, counts: Array, exposure: Array, kept: Array | None
) -> tuple[Array, Array, Array]:
    """Return where answers and counts are compared, and both of them, 0 elsewhere."""
    use = (exposure > 0) & jnp.isfinite(answer)
    use = use if kept is None else use & ~kept
    return (
        use,
        jnp.where(use, answer * exposure, 0.0),
        jnp.where(use, counts.astype(jnp.float32), 0.0),
    )


def shares_of_frames(needed: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Return how much of the correction each frame needs: 1 for all if they differ by their noise only.

    A frame's share is the slope of counts minus answer on answer times (factor - 1), by weighted least
    squares. It is shrunk towards the mean of all, so far as noise alone explains that they differ.

    Args:
      needed: sum of (counts - answer) * (factor - 1) of each frame, (frames,).
      information: sum of answer * (factor - 1)^2 of each frame, as `needed`.

    Returns:
      (frames,) float64, 0 or more.
    """
    needed, information = needed.astype(np.float64), information.astype(np.float64)
    if information.sum() <= 0 or needed.sum() <= 0:
        return np.ones(len(needed))
    mean = needed.sum() / information.sum()
    slope = np.divide(needed, information, out=np.full(len(needed), mean), where=information > 0)
    noise = 1 / np.maximum(information, 1e-12)
    spread = 0.0  # variance of the slopes beyond their noise, weighted by what each can tell
    for _ in range(ROUNDS):
        weight = (spread + noise) ** -2
        spread = max(float((weight * ((slope - mean) ** 2 - noise)).sum() / weight.sum()), 0.0)
    return np.clip(1 + spread / (spread + noise) * (slope / mean - 1), 0.0, 2.0)


@functools.partial(jax.jit, static_argnames=("center",))
def _changed(
    expected: Array,
    found: Array,
    measured: Array,
    factor: Array,
    kernels: tuple[Array, Array, Array],
    side: Array,
    scale: Array,
    *,
    center: tuple[float, float],
) -> Array:
    """Return the factor, (1, height, width), changed by what sums that are smoothed at one scale tell.

    Args:
      expected: sum of the answers, as all images (1, height, width).
      found: sum of the counts.
      measured: bool.
      factor: of the expected sum, so far.
      kernels: of means, of their variance and of the neighbourhood.
      side: 1 = what a pixel and its partner share, -1 = what tells them apart.
      scale: sigma, in pixels.
      center: (y, x), multiples of 0.5.
    """
    of_mean, of_variance, of_neighbours = kernels
    expected = expected * factor
    mean = blur(expected, of_mean)
    variance = blur(expected, of_variance) / (4 * np.float32(np.pi) * scale**2)
    use = measured & (mean > 0) & (variance > 0) & (mean**2 >= FEWEST * variance)
    both, shared = use & turned_about(use, center, False), side > 0
    mean = jnp.where(use, mean, 1.0)
    difference = jnp.where(use, blur(found, of_mean) / mean - 1, 0.0)
    noise = jnp.where(use, variance / mean**2, 0.0)
    # Without a partner all of a difference is taken for shared.
    alone = shared & ~both
    halves = (difference + side * turned_about(difference, center, 0.0)) / 2
    halves = jnp.where(alone, difference, halves)
    noise = jnp.where(alone, noise, (noise + turned_about(noise, center, 0.0)) / 4)
    use = jnp.where(shared, use, both)
    noise = jnp.where(use, noise, 1.0)
    over = jnp.where(use, halves**2 / noise - 1, 0.0)
    sums = blur(jnp.concatenate([use.astype(jnp.float32), over]), of_neighbours)
    excess = sums[1:] / jnp.maximum(sums[:1], 1e-9)
    # The mean square of noise that was smoothed by `scale`, over the neighbourhood, scatters by so much.
    excess -= MARGIN / np.sqrt(NEIGHBOURHOOD**2 + 0.5)
    # An asymmetry is small and everywhere: no neighbourhood can tell, but the whole image can.
    information = jnp.where(use, 1 / noise, 0.0)
    needed, told = (
        total_of_frames(part) for part in (information * (halves**2 - noise), information)
    )
    everywhere = jnp.where(shared, 0.0, jnp.maximum(needed / jnp.maximum(told, 1e-9), 0.0))
    signal = jnp.maximum(jnp.maximum(excess, 0.0), everywhere / noise)
    change = jnp.where(use, signal / (1 + signal) * halves, 0.0)
    return factor * (1 + jnp.clip(change, -0.5, 1.0))

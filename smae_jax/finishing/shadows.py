"""Where hardly anything was counted: an answer keeps no light that the counts say too clearly is not there.

A network does not answer with nothing: it has seen few dark places, spreads light from beside them, and
combining brings some from other frames. A row of pixels that counts nothing, the shadow of an aperture, or a
corner that one frame leaves dark then glow faintly. A pixel alone cannot tell, but many together can.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import maximum_filter
from scipy.special import pdtr

from smae_jax.blocks import borders
from smae_jax.finishing.evidence import Evidence
from smae_jax.finishing.spots import deviance
from smae_jax.finishing.sums import added_up, compared
from smae_jax.methods.protocol import Answers
from smae_jax.overlap import in_threads, threads_of
from smae_jax.piecewise import piecewise
from smae_jax.smoothing import boxes
from smae_jax.stacks import over_windows

WINDOWS = ((3, 3), (1, 9), (9, 1), (9, 9), (1, 33), (33, 1), (17, 17), (33, 33), (1, 129), (129, 1))
"""Height and width, in pixels, of the windows whose counts are added up, one after the other: shadows are
wide, and rows or columns of a detector long and thin."""
IN_A_FRAME = ((9, 9), (33, 33))
"""Those that are looked at in every frame alone, after the whole scan."""
SHARE = 0.5
"""A window is dark if it counted less than this share of what its answers expect."""
CHANCE = 1e-7
"""Probability below which so few photons are no noise: one window in ten megapixels."""
NEAR = (((3, 3), (9, 9)), ((1, 5), (1, 17), (1, 65)), ((5, 1), (17, 1), (65, 1)))
"""Squares, parts of a row and of a column that tell whether a pixel is dark itself: the smallest that can."""
FAR = 17
"""Pixels: longer windows may tell that a pixel is dark, but not that it is lit."""
FEWEST = 10.0
"""Photons that have to be expected of a window about a pixel for it to tell."""
AGAIN = ((9, 9), (33, 33))
"""Windows in which all that is dark is compared once more, and nothing beside it."""
BLOCK = 256
"""Side, in pixels, of the blocks of a frame that are looked at closely, those of them that may be dark."""
Part = tuple[slice, slice]
"""Some rows and columns of an image."""
STAND_IN = 0.5
"""Photons added to what a dark window counted and to what it expects: no answer is exactly nothing."""


def keep_shadows(answers: Answers, evidence: Evidence, *, alone: bool = False) -> Answers:
    """Lower answers where windows of pixels counted far less than they expect, in the scan or in a frame.

    Pixels that keep their counts stay. Patterns without a centre stay as they are.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
      alone: whether frames are looked at one by one only, whatever stands beside them.
    """
    data, counts, kept = evidence.data, answers.counts, answers.kept
    if data.center is None or len(counts) != data.frames:
        return answers
    factor, dark = np.ones(data.spatial), np.zeros(data.spatial, bool)
    if data.frames > 1 and not alone:
        expected, found, measured = added_up(counts, evidence.counts, data.exposure, kept)
        factor = darkening(expected, found, measured)
        dark = (factor < 1) & measured
    of_scan = jnp.asarray(factor[None], jnp.float32)
    asked = piecewise(_may_be_dark, counts, evidence.counts, data.exposure, kept, of_scan)
    found, variance = piecewise(_multiplied, counts, answers.variance, kept, of_scan)
    frames = np.flatnonzero(np.asarray(asked))
    if len(frames):
        # Filled up, so that few numbers of frames compile.
        own = np.ones((2 ** (len(frames) - 1).bit_length(), *data.spatial), np.float32)
        for place, frame in enumerate(frames.tolist()):
            own[place] = _of_frame(evidence, found, kept, frame)
        frames = np.concatenate([frames, np.zeros(len(own) - len(frames), frames.dtype)])
        found = found.at[frames].multiply(own)
        # As that of photons, a variance falls as the answer does.
        variance = None if variance is None else variance.at[frames].multiply(own)
        dark = dark | (own < 1).any(axis=0)
    what = f"{100 * dark.mean():.2g} % of the pixels counted far less than was answered, and are darker now"
    return answers.after("keep_shadows", what, counts=found, variance=variance)


@jax.jit
def _multiplied(
    counts: Array, variance: Array | None, kept: Array | None, factor: Array
) -> tuple[Array, Array | None]:
    factor = factor if kept is None else jnp.where(kept, 1.0, factor)
    return counts * factor, None if variance is None else variance * factor


@jax.jit
def _may_be_dark(
    counts: Array, photons: Array, exposure: Array, kept: Array | None, factor: Array
) -> Array:
    """Find quickly which frames may have a dark window of `IN_A_FRAME`, bool, (frames,)."""
    use, expected, found = compared(counts * factor, photons, exposure, kept)
    dark = jnp.zeros(use.shape, bool)
    threes = [over_windows(image, (1, 1)) for image in (expected, found)]
    for height, width in IN_A_FRAME:  # multiples of 3
        wanted, there = (over_windows(image, (height // 6, width // 6), step=3) for image in threes)
        # So few have at least the probability of just so many, which Stirling's formula tells.
        least = -2 * np.log(CHANCE) - jnp.log(2 * np.pi * jnp.maximum(there, 1.0)) - 0.2
        dark |= (there < (SHARE + 0.01) * wanted) & (deviance(wanted, there) > least)
    return dark.any(axis=(1, 2))


def _of_frame(evidence: Evidence, counts: Any, kept: Any, frame: int) -> np.ndarray:
    """Return the factors of one frame alone, float32."""
    data, answer = evidence.data, np.asarray(counts[frame])
    use = evidence.valid[frame] & np.isfinite(answer)
    use = use if kept is None else use & ~np.asarray(kept[frame])
    expected = np.where(use, answer * data.full_exposure[frame], 0)
    return darkening(expected, data.counts[frame], use, windows=IN_A_FRAME).astype(np.float32)


def darkening(
    expected: np.ndarray,
    counted: np.ndarray,
    use: np.ndarray,
    *,
    windows: tuple[tuple[int, int], ...] = WINDOWS,
) -> np.ndarray:
    """Return what expected counts have to be multiplied by where windows of pixels counted far less.

    A window is dark if it counted less than `SHARE` of what is expected, and Poisson noise leaves so little
    with a probability below `CHANCE`. Those of its pixels that are dark themselves, see `_dark_about`, are
    multiplied by what they counted over what they expect, added up over a window of that size about each.
    Windows come from narrow to wide.

    Args:
      expected: counts, (height, width).
      counted: photons, as `expected`.
      use: where both are compared, bool, as `expected`.
      windows: (height, width) of each in pixels, odd.

    Returns:
      (height, width) float64 in (0, 1]; 1 outside `use`.
    """
    factor, shadow = np.ones(expected.shape), np.zeros(expected.shape, bool)
    photons = np.where(use, counted, 0.0)
    for window in windows:
        remains = np.where(use, expected * factor, 0.0)
        wanted, there = (_sums(image, window) for image in (remains, photons))
        dark = (there < SHARE * wanted) & (wanted > -np.log(CHANCE))
        dark[dark] = pdtr(np.round(there[dark]), wanted[dark]) < CHANCE
        if dark.any():
            inside = np.asarray(maximum_filter(dark, window, mode="constant")) & use
            inside &= _dark_about(remains, photons, where=inside)
            _compare(factor, inside, expected, photons, window)
            shadow |= inside
    for window in AGAIN:
        _compare(factor, shadow, expected, photons, window)
    return np.minimum(factor, 1.0)


def _dark_about(expected: np.ndarray, photons: np.ndarray, *, where: np.ndarray) -> np.ndarray:
    """Tell where the smallest square, row or column that expects enough counted too little, or none does.

    It is told `where` that is True, and False elsewhere.
    """

    def of_part(part: Part) -> np.ndarray:
        return _dark_of_part(expected[part], photons[part])

    reach = max(max(window) for shapes in NEAR for window in shapes) // 2
    return _only_where(where, of_part, reach=reach, dtype=bool)


def _dark_of_part(expected: np.ndarray, photons: np.ndarray) -> np.ndarray:
    dark, can_tell = np.zeros((2, *expected.shape), bool)
    for shapes in NEAR:
        told = np.zeros_like(dark)
        for window in shapes:
            wanted, there = (_sums(image, window) for image in (expected, photons))
            enough = ~told & (wanted >= FEWEST)
            dark |= enough & (there < SHARE * wanted)
            told |= enough
            if max(window) <= FAR:
                can_tell |= enough
    return np.asarray(dark | ~can_tell)


def _compare(
    factor: np.ndarray,
    inside: np.ndarray,
    expected: np.ndarray,
    photons: np.ndarray,
    window: tuple[int, int],
) -> None:
    """Multiply factors `inside` by counted over expected photons, both added up there over a window."""

    def of_part(part: Part) -> np.ndarray:
        images = expected[part] * factor[part], photons[part]
        wanted, there = (_sums(np.where(inside[part], image, 0.0), window) for image in images)
        return (there + STAND_IN) / (wanted + STAND_IN)

    changed = _only_where(inside, of_part, reach=max(window) // 2, dtype=np.float32)
    factor[inside] *= changed[inside]


def _only_where(
    where: np.ndarray, of_part: Callable[[Part], np.ndarray], *, reach: int, dtype: type
) -> np.ndarray:
    """Work out an image `where` that is True, 0 elsewhere: of blocks of pixels that hold none, nothing.

    Args:
      where: bool, (height, width).
      of_part: works out some rows and columns of the image.
      reach: pixels beside a pixel that it looks at.
      dtype: of the image.
    """
    found = np.zeros(where.shape, dtype)

    def fill(block: Part) -> None:
        top, left = (max(s.start - reach, 0) for s in block)
        rows, columns = block
        part = of_part((slice(top, rows.stop + reach), slice(left, columns.stop + reach)))
        inner = part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        found[block] = np.where(where[block], inner, 0)

    height, width = where.shape
    blocks = itertools.product(borders(height, BLOCK), borders(width, BLOCK))
    works = [functools.partial(fill, block) for block in blocks if where[block].any()]
    for _ in in_threads(works, threads_of(8 * (BLOCK + 2 * reach) ** 2)):
        pass
    return found


def _sums(image: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Add up the window about every pixel, nothing outside; never below 0."""
    mean = boxes(image.astype(np.float32), window)
    return np.maximum(mean * np.float32(window[0] * window[1]), 0.0)

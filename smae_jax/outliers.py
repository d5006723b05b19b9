"""Counts that cannot be noise about anything near them: zingers, cosmic rays, a pixel that flashes up.

A network spreads such a count over its neighbours, its partner and, where frames are combined, over other
frames. It is therefore taken out before anything sees it, and a value that is usual there stands in. At the
end it is put back into the answer of its own pixel. Whether it is signal or fault, it does no harm elsewhere.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import pdtrc

from smae_jax.measurements import Measurements, Outliers
from smae_jax.neighbours import FAR_RING, RING, SQUARE, around, partner_of, upper_median
from smae_jax.piecewise import piecewise
from smae_jax.stacks import over_windows

CHANCE = 1e-12
"""Probability below which a count is no noise: one in a million frames of a megapixel."""
CONTRAST = 4.0
"""Times that it must exceed what is expected: a sharp spot has more than a quarter of its peak beside it."""
REACH = 4
"""Pixels to each side in which neighbours are looked at."""
_GOLDEN = 0.6180339887498949
_LEAST = next(count for count in range(100) if pdtrc(count, 1.0) <= CHANCE)  # that can stand out


def take_out(data: Measurements, *, alone: bool = False) -> Measurements:
    """Replace the counts that stand out by what is usual about them, and remember them.

    A count stands out if Poisson noise reaches it with a probability below `CHANCE`, and if it exceeds
    `CONTRAST` times what is expected there, which is the largest of

    - the median of the valid pixels three and four pixels away, which a streak or a spot does not fill;
    - the brightest of the 3 x 3 pixels about its partner, where there is one: a reflection has one;
    - the brightest of the 3 x 3 pixels in the median over the other frames: what stands out in all of them is
      a hot pixel, see `survey.find_hot_pixels`, or signal.

    All are rates, times the pixel's own exposure. Where there is neither a partner nor two other frames, it
    is the median of the neighbours in 5 x 5 pixels, or the second brightest of the eight nearest: a spot is
    blurred over several pixels. A spot that stands in one frame alone is taken out too: its counts come back
    as they are.

    Args:
      data: patterns, masked, with their centre if they have one.
      alone: whether each frame is looked at as if there were no other.

    Returns:
      The same with `outliers`; unchanged where nothing stands out, where they were taken out before, and
      where values are no photon counts.
    """
    looked_at = data.taken_out is not None
    if looked_at or len(data.spatial) != 2 or data.channels or not data.are_counts:
        return data
    found, counted = list[np.ndarray](), list[np.ndarray]()
    counts = data.counts
    each, y, x = np.nonzero(np.asarray(piecewise(_candidates, data.counts, data.exposure)))
    for frame in np.unique(each):
        one, place = (data.take([frame]), 0) if alone else (data, int(frame))
        places, stand_in = _of_frame(one, place, y[each == frame], x[each == frame])
        if len(places):
            if counts is data.counts:
                counts = data.counts.copy()
            found.append(np.column_stack([np.full(len(places), frame), places]))
            counted.append(data.counts[frame, places[:, 0], places[:, 1]])
            counts[frame, places[:, 0], places[:, 1]] = stand_in
    places = np.concatenate([np.empty((0, 3), np.int64), *found])
    outliers = Outliers(places, np.concatenate([counts[0, 0, :0], *counted]))
    return dataclasses.replace(data, counts=counts, taken_out=outliers)


def with_outliers(data: Measurements) -> Measurements:
    """Return the measurements as they were counted."""
    if data.outliers is None:
        return data
    counts = data.counts.copy()
    counts[tuple(data.outliers.places.T)] = data.outliers.counts
    return dataclasses.replace(data, counts=counts, taken_out=None)


def mask_outliers(data: Measurements) -> Measurements:
    """Take the pixels that stand out for not measured, each in its own frame."""
    if data.outliers is None:
        return data
    exposure, counts = data.full_exposure.copy(), data.counts.copy()
    places = tuple(data.outliers.places.T)
    exposure[places], counts[places] = 0, 0
    share = len(data.outliers.counts) / counts.size
    masked_by = {**data.origin.masked_by, "outlier": share}
    origin = dataclasses.replace(data.origin, masked_by=masked_by)
    return dataclasses.replace(
        data, counts=counts, exposure=exposure, origin=origin, taken_out=None
    )


def _of_frame(
    data: Measurements, frame: int, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) of those pixels of a frame that stand out, and the counts that stand in for them."""
    image, light = data.counts[frame], data.exposure[frame % len(data.exposure)]
    valid = light > 0
    known = np.where(valid, image / np.where(valid, light, 1), np.nan)
    partner = np.full((1, len(y)), np.nan)
    if data.symmetry is not None:
        partner = around(known, *partner_of(data.symmetry.half_pixel, y, x), SQUARE)
    others = _in_other_frames(data, frame, y, x)
    told = np.nan_to_num(np.vstack([partner, others])).max(axis=0)
    # Where neither partner nor other frames can tell, a spot is told by its neighbours. The brightest of
    # the 3 x 3 pixels is the pixel itself, or it does not stand out.
    beside = np.sort(np.nan_to_num(around(known, y, x, SQUARE)), axis=0)[-3]
    near = np.fmax(upper_median(around(known, y, x, RING)), beside)
    far = np.fmax(upper_median(around(known, y, x, FAR_RING)), told)
    seen = np.isfinite(partner).any(axis=0) | np.isfinite(others)
    expected, own = np.where(seen, far, near) * light[y, x], image[y, x]
    out = (own > CONTRAST * expected) & (pdtrc(own - 1, expected + 1) < CHANCE)
    y, x = y[out], x[out]
    known[y, x] = np.nan  # neighbours that stand out themselves are no measure of what is usual
    about = around(known, y, x, RING)
    number = np.isfinite(about).sum(axis=0)
    mean = np.nansum(about, axis=0) / np.maximum(number, 1) * light[y, x]
    # Dithered by place, so that whole counts keep the mean, without a random number.
    dither = (y * 7919 + x) * _GOLDEN % 1
    return np.column_stack([y, x]), np.floor(mean + dither).astype(image.dtype)


def _in_other_frames(data: Measurements, frame: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the brightest rate of 3 x 3 pixels in the median over other frames; NaN of fewer than two."""
    if data.frames < 3:
        return np.full(len(y), np.nan)
    found = np.full(len(y), np.nan)
    height, width = data.spatial
    light = np.broadcast_to(data.exposure, data.counts.shape)
    for dy, dx in SQUARE:
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        at_y, at_x = y[inside] + dy, x[inside] + dx
        own = light[:, at_y, at_x]
        each = np.where(own > 0, data.counts[:, at_y, at_x] / np.where(own > 0, own, 1), np.nan)
        each[frame] = np.nan
        found[inside] = np.fmax(found[inside], upper_median(each))
    return found


@jax.jit
def _candidates(counts: Array, exposure: Array) -> Array:
    """Find quickly what may stand out in some frames: far above the mean of the other pixels about it."""
    valid = jnp.broadcast_to(exposure > 0, counts.shape)
    rate = jnp.where(valid, counts.astype(jnp.float32) / jnp.where(valid, exposure, 1.0), 0.0)
    number, total = (
        over_windows(image, (REACH, REACH)) for image in (valid.astype(jnp.float32), rate)
    )
    others = jnp.maximum(number - 1, 1.0)
    # A neighbour that stands out too has a part in the mean: half of the contrast is asked for here.
    far = rate * others > CONTRAST / 2 * (total - rate)
    return valid & (counts >= _LEAST) & far

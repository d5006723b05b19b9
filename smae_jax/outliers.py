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

from smae_jax.measurements import Measurements, Outliers, whole_numbers
from smae_jax.piecewise import piecewise
from smae_jax.stacks import over_windows
from smae_jax.standing_out import CHANCE, CONTRAST, Pixels, standing_out, usual_about

REACH = 4
"""Pixels to each side in which neighbours are looked at."""
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
    packed = np.asarray(piecewise(_candidates, _in_32_bits(data.counts), data.exposure))
    pixels = Pixels(data, *_places(packed))
    pixels = pixels.take(standing_out(pixels, alone=alone))
    outliers = Outliers(np.column_stack([pixels.frame, pixels.y, pixels.x]), pixels.counts)
    counts = data.counts
    if len(outliers.counts):
        counts = counts.copy()
        counts[pixels.frame, pixels.y, pixels.x] = usual_about(pixels)
        counts = whole_numbers(counts)
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


def _in_32_bits(counts: np.ndarray) -> np.ndarray:
    """Return counts as a device holds them; what is larger stands out as well as the largest of these."""
    if counts.dtype != np.int64:
        return counts
    return np.minimum(counts, np.iinfo(np.int32).max).astype(np.int32)


def _places(packed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return frame, y and x of the bits that are set in (frames, height, bytes), in ascending order."""
    some = np.flatnonzero(packed)
    byte, bit = np.nonzero(np.unpackbits(packed.reshape(-1)[some][:, None], axis=1))
    frame, y, x = np.unravel_index(some[byte], packed.shape)
    return frame, y, 8 * x + bit


@jax.jit
def _candidates(counts: Array, exposure: Array) -> Array:
    """Find quickly what may stand out in some frames: far above the mean of the other pixels about it.

    Returns:
      (frames, height, ceil(width / 8)), uint8, a bit for a pixel: an eighth of what has to leave the device.
    """
    valid = exposure > 0
    rate = jnp.where(valid, counts.astype(jnp.float32) / jnp.where(valid, exposure, 1.0), 0.0)
    number, total = (
        over_windows(image, (REACH, REACH)) for image in (valid.astype(jnp.float32), rate)
    )
    others = jnp.maximum(number - 1, 1.0)
    # A neighbour that stands out too has a part in the mean: half of the contrast is asked for here.
    far = rate * others > CONTRAST / 2 * (total - rate)
    return jnp.packbits(valid & (counts >= _LEAST) & far, axis=-1)

"""A network applied to an image that is too large for it, tile by tile, with the same answer.

Tiles overlap by as far as a network looks, and what its edges would change is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from smae_jax.one_heap import hand_back, large_in_heap

UNIT = 32
"""Tiles begin at multiples of it: networks that shrink an image see the same blocks of pixels in each."""
CORE = 1024
"""Side of what is kept of a tile amid an image, at most; at its ends as far as the network looks more."""
_SIDE = 512  # of the image that is looked at for how far a network looks


def reach_of(predict: Callable[[Array], Array], *, channels: int) -> int:
    """Measure how far a network looks: where its answer changes when one pixel does, and all about it.

    Args:
      predict: (batch, height, width, channel) -> (batch, height, width, outputs).
      channels: of its source.

    Returns:
      Pixels, a multiple of `UNIT`; at least half of the image that was tried where it looks at all of it.
    """
    rng = np.random.default_rng(0)
    source = rng.uniform(0.5, 1.5, (1, _SIDE, _SIDE, channels)).astype(np.float32)
    other, middle = source.copy(), _SIDE // 2
    other[:, middle : middle + UNIT, middle : middle + UNIT] += 3
    changed = np.asarray(predict(jax.numpy.asarray(source)) != predict(jax.numpy.asarray(other)))
    rows, columns = (np.flatnonzero(changed.any(axis=axes)) for axes in ((0, 2, 3), (0, 1, 3)))
    ends = [end for line in (rows, columns) if len(line) for end in (line[0], line[-1])]
    far = max((max(middle - end, end - middle - UNIT + 1) for end in ends), default=0)
    return -(-max(far, 1) // UNIT) * UNIT


def tiled(
    predict: Callable[[Array], Array], *, reach: int, core: int = CORE
) -> Callable[[Array], np.ndarray]:
    """Return a prediction that answers an image tile by tile, all of one shape.

    Whatever `predict` does to its image, turn it or mirror it, a tile's blocks of pixels are the image's.

    Args:
      predict: (batch, height, width, channel) -> (batch, height, width, outputs).
      reach: pixels that it looks at beside a pixel, a multiple of `UNIT`.
      core: side of what is kept of a tile amid the image, at most.
    """

    def over(source: Array) -> np.ndarray:
        image = np.asarray(source)
        rows, columns = (_windows(size, reach, core) for size in image.shape[1:3])
        found: np.ndarray | None = None
        for top, bottom, here in rows:
            for left, right, there in columns:
                with large_in_heap():
                    answer = np.asarray(
                        predict(jax.numpy.asarray(image[:, top:bottom, left:right]))
                    )
                if found is None:
                    found = np.empty((*image.shape[:3], answer.shape[-1]), answer.dtype)
                kept = answer[:, here.start - top : here.stop - top]
                found[:, here, there] = kept[:, :, there.start - left : there.stop - left]
        hand_back()
        assert found is not None, "an image has a tile"
        return found

    return over


def _windows(size: int, reach: int, core: int) -> list[tuple[int, int, slice]]:
    """Return (first pixel, last pixel + 1) of every tile along an axis, and what is kept of it.

    Tiles are as large as each other, and overlap no more than they must. From either end of the image they
    begin at multiples of `UNIT`.
    """
    over = size % UNIT
    inner = max(size - over - 2 * reach, 1)
    number = -(-inner // core)
    step = -(-inner // (number * UNIT)) * UNIT
    side = min(step + 2 * reach + over, size)
    windows, done = [], 0
    while done < size:
        start = min(len(windows) * step, size - side)
        stop = start + side
        end = size if stop == size else stop - reach
        windows.append((start, stop, slice(done, end)))
        done = end
    return windows

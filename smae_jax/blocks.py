"""Blocks of frames that are worked on together, and how many fit into a budget of memory.

The borders of blocks follow from the number of frames and the size of a block alone: a block's answers do not
depend on where the work was interrupted, or on who does which part of it.
"""

from __future__ import annotations

import itertools

import numpy as np

FRAMES = 512
"""Most frames of a block: more have nothing more in common that would help."""
FEWEST = 8
"""Fewest frames of a block, however small the budget: frames that are combined judge each other."""
TO_DENOISE, TO_DENOISE_BINS, TO_TRAIN = 140, 60, 40
"""Bytes that a pixel of a frame takes while a block is denoised, that a bin of a second network takes beside
it, and that a pixel takes while frames are trained on. Error bars ask for so many; blocks are as large
without them, so that answers are the same."""


def frames_that_fit(pixels: int, memory: int, *, each: int) -> int:
    """Return how many frames fit into memory.

    Args:
      pixels: of a frame.
      memory: budget in bytes.
      each: bytes that a pixel takes.
    """
    return max(FEWEST, memory // (each * max(1, pixels)))


def borders(frames: int, size: int) -> list[slice]:
    """Cut frames into blocks of nearly the same size, at most `size` frames.

    >>> borders(10, 4)
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    ends = np.arange(-(-frames // size) + 1) * frames // -(-frames // size)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def spread(frames: int, wanted: int) -> np.ndarray:
    """Choose so many of the frames, evenly from the first to the last, ascending; all where there are fewer.

    >>> spread(10, 4)
    array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, frames - 1, min(frames, wanted)).round().astype(np.int64))

"""What other frames of a scan tell of each: those beside it, or what all have in common. numpy only."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from smae_jax.data.components import Components, amounts, expected_counts, find_components

Look = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Frames, int (n,) -> counts and exposure that others measured there, float32 (n, height, width)."""


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Which other frames a frame is denoised with.

    Attributes:
      kind: "frames" and "raster" = those that lie beside it; "scan" = what all others have in common.
      beside: from `frames_beside`; None with kind "scan".
      components: of the whole scan, where a part of it is looked at; None = of what is looked at.
      first: index of that part's first frame in the whole scan.
    """

    kind: Literal["frames", "raster", "scan"]
    beside: np.ndarray | None = None
    components: Components | None = None
    first: int = 0

    def of_part(self, first: int, frames: int) -> Neighbours:
        """Return what is left of them in so many consecutive frames of the scan."""
        if self.beside is None:
            return dataclasses.replace(self, first=first)
        if len(self.beside) == frames:
            return self
        if self.kind == "frames":
            return Neighbours("frames", frames_beside(frames, kind="frames"))
        return Neighbours("raster", np.full((frames, self.beside.shape[1]), -1, np.int32))

    def looking_at(self, counts: np.ndarray, valid: np.ndarray) -> Look:
        """Return the function that tells what others measured at frames of a scan.

        Args:
          counts: (frames, height, width), 0 where invalid.
          valid: bool, (1 or frames, height, width).
        """
        if self.beside is not None:
            return functools.partial(sum_beside, counts, valid, self.beside)
        components = self.components or find_components(counts, valid)
        return functools.partial(in_common, counts, valid, components, self.first)


def frames_beside(
    frames: int,
    *,
    kind: Literal["frames", "raster"],
    raster_shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """List the neighbours of every frame.

    Args:
      frames: number of frames, in acquisition order (rows of the raster one after the other).
      kind: "frames" = the one before and the one after; "raster" = up, down, left and right.
      raster_shape: (rows, columns) of the raster.

    Returns:
      Indices, int32, (frames, 2 or 4); -1 where there is no neighbour.

    Raises:
      ValueError: if there is no raster, or it does not hold the frames.

    >>> frames_beside(3, kind="frames").tolist()
    [[-1, 1], [0, 2], [1, -1]]
    """
    index = np.arange(frames)
    if kind == "frames":
        after = np.where(index + 1 < frames, index + 1, -1)
        return np.stack([index - 1, after], axis=1).astype(np.int32)
    if raster_shape is None or raster_shape[0] * raster_shape[1] != frames:
        raise ValueError(
            f"--thinning.neighbours raster: expected rows x columns = {frames} frames, got "
            f"{raster_shape or 'no raster in the file'}; give --thinning.raster rows,columns"
        )
    grid = np.pad(index.reshape(raster_shape), 1, constant_values=-1)
    sides = grid[:-2, 1:-1], grid[2:, 1:-1], grid[1:-1, :-2], grid[1:-1, 2:]
    return np.stack([side.ravel() for side in sides], axis=1).astype(np.int32)


def sum_beside(
    counts: np.ndarray, valid: np.ndarray, neighbours: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the frames beside the chosen ones.

    Args:
      counts: (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      neighbours: from `frames_beside`.
      chosen: frames whose neighbours are asked for, int, (n,).

    Returns:
      (counts, exposure), float32, (n, height, width).
    """
    total = np.zeros((len(chosen), *counts.shape[1:]), np.float32)
    exposure = np.zeros_like(total)
    for place, frame in enumerate(chosen):
        for other in neighbours[frame]:
            if other >= 0:
                total[place] += counts[other]
                exposure[place] += valid[min(other, len(valid) - 1)]
    return total, exposure


def in_common(
    counts: np.ndarray,
    valid: np.ndarray,
    components: Components | None,
    first: int,
    chosen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell what the components of other frames expect of the chosen ones.

    It is said to be the measurement of one exposure: many stand behind it, but it knows nothing of what is in
    one frame only.

    Args:
      counts: (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      components: of the scan; None = there are none.
      first: index in the scan of the first of these frames.
      chosen: frames, int, (n,).

    Returns:
      (expected counts, exposure), float32, (n, height, width).
    """
    if components is None:
        nothing = np.zeros((len(chosen), *counts.shape[1:]), np.float32)
        return nothing, nothing
    seen = valid if len(valid) == 1 else valid[chosen]
    amount = amounts(components, counts[chosen], seen, first + chosen)
    known = components.known[components.group[first + chosen]]
    return expected_counts(components, amount, first + chosen), known.astype(np.float32)

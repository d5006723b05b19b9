"""Which frames of a scan lie beside each other: in time, or in the raster. numpy only."""

from __future__ import annotations

from typing import Literal

import numpy as np


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

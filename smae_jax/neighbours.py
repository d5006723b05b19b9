"""Pixels about a pixel: what its neighbours counted; numpy, images with NaN where nothing was measured."""

from __future__ import annotations

import numpy as np

RING = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
"""The 24 pixels about a pixel in 5 x 5."""
SQUARE = [(dy, dx) for dy in range(-1, 2) for dx in range(-1, 2)]
"""The 3 x 3 pixels about a pixel, itself among them."""

CROSS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
"""The four nearest pixels."""
FAR_RING = [
    (dy, dx) for dy in range(-4, 5) for dx in range(-4, 5) if max(abs(dy), abs(dx)) in (3, 4)
]
"""The 56 pixels three and four pixels away, which a streak or a small spot does not fill."""


def around(
    image: np.ndarray, y: np.ndarray, x: np.ndarray, offsets: list[tuple[int, int]]
) -> np.ndarray:
    """Gather the neighbours of some pixels, (offsets, pixels); NaN outside the image."""
    height, width = image.shape
    gathered = np.full((len(offsets), len(y)), np.nan)
    for row, (dy, dx) in zip(gathered, offsets, strict=True):
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        row[inside] = image[y[inside] + dy, x[inside] + dx]
    return gathered


def upper_median(values: np.ndarray) -> np.ndarray:
    """Upper median along the first axis, NaN left out; NaN where nothing is left."""
    ordered = np.sort(values, axis=0)  # NaN last
    middle = np.isfinite(ordered).sum(axis=0) // 2
    return ordered[np.minimum(middle, len(ordered) - 1), np.arange(ordered.shape[1])]


def partner_of(
    center: tuple[float, float], y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixels lie after a half turn about a centre, in pixels, a multiple of 0.5."""
    return round(2 * center[0]) - y, round(2 * center[1]) - x

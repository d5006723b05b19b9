"""Masks: the user's, hot pixels found by statistics, and a line that says what is masked and why.

A mask only ever takes pixels away. Knows nothing of files.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.data.scan import Scan

_RING = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
_ADJACENT = [(dy, dx) for dy in range(-1, 2) for dx in range(-1, 2)]


def apply_mask(scan: Scan, valid: np.ndarray, *, cause: str = "user", path: str = "mask") -> Scan:
    """Take pixels out of a scan.

    Args:
      scan: left as it is.
      valid: True = use, bool, (height, width), (1, height, width) or (frames, height, width).
      cause: under which name `masked_by` counts the pixels that no earlier cause had masked.
      path: what to call the mask in a message.

    Returns:
      The scan with these pixels invalid and 0.

    Raises:
      ValueError: if the mask has another shape than the frames, or leaves no pixel.
    """
    height, width = scan.counts.shape[1:]
    shape = valid.shape
    valid = valid[None] if valid.ndim == 2 else valid
    if (
        valid.ndim != 3
        or valid.shape[1:] != (height, width)
        or len(valid) not in (1, len(scan.counts))
    ):
        hint = "; it looks transposed" if shape[-2:] == (width, height) else ""
        raise ValueError(
            f"{path}: the mask has shape {shape}, the frames of {scan.metadata.sources[0]} have "
            f"({height}, {width}){hint}; give a mask of the whole detector frame"
        )
    both = scan.valid & valid
    if not both.any():
        raise ValueError(
            f"{path}: no usable pixel is left after this mask; check its polarity (nonzero = bad, "
            "unless set to good)"
        )
    share = float(scan.valid.mean() - both.mean())
    masked_by = scan.masked_by | {cause: scan.masked_by.get(cause, 0.0) + share}
    counts = np.where(both, scan.counts, np.float32(0))
    return dataclasses.replace(scan, counts=counts, valid=both, masked_by=masked_by)


def describe(scan: Scan) -> str:
    """Say what is masked, as in `7.2 % of pixels masked: 7.19 % detector, 0.00 % user`."""
    asked = ("detector", "user", "hot")  # said even where they found nothing
    parts = [
        f"{100 * s:.2f} % {cause}" for cause, s in scan.masked_by.items() if s or cause in asked
    ]
    return (
        f"{100 * (1 - scan.valid.mean()):.1f} % of pixels masked: {', '.join(parts) or 'nothing'}"
    )


def find_hot_pixels(
    scan: Scan,
    *,
    center: tuple[float, float] | None = None,
    threshold: float = 8.0,
    margin: float = 1.0,
) -> np.ndarray:
    """Find pixels that count too much, frame after frame, without touching sharp reflections.

    A pixel is hot if its counts, summed over the frames in which it is valid, exceed what is
    expected there by more than `threshold` Poisson standard deviations and by more than `margin`
    times. Expected is the largest of

    - the median of its valid neighbours in 5 x 5 pixels, itself left out;
    - with a centre, the brightest of the 3 x 3 pixels about its partner: a reflection has one
      there, a hot pixel has not;
    - where there is no centre or no valid partner, the second brightest of its eight neighbours: a
      reflection is blurred over several pixels, so that there a cluster of three hot pixels or more
      is kept.

    It must stand out in this way also after the brightest quarter of its frames, at least one, is
    left out: a Bragg spot that flashes up in few frames is not hot. A single frame cannot tell:
    there the neighbours and the partner decide alone, and without a centre a one-pixel Bragg spot
    is taken for a hot pixel.

    Args:
      scan: counts and what is valid.
      center: (y, x) in pixels, to the nearest half pixel.
      threshold: in standard deviations, above 0.
      margin: 1 = at least twice what is expected; above or equal to 0.

    Returns:
      valid, True = not hot, bool (height, width); to be given to `apply_mask` with `cause="hot"`.

    Raises:
      ValueError: if `threshold` or `margin` is out of range.
    """
    if not threshold > 0:
        raise ValueError(
            f"hot-pixel threshold: expected standard deviations above 0, got {threshold}"
        )
    if not margin >= 0:
        raise ValueError(f"hot-pixel margin: expected 0 or more, got {margin}")
    counts = scan.counts
    frames = np.broadcast_to(
        scan.valid.sum(axis=0) * (len(counts) // len(scan.valid)), counts.shape[1:]
    )
    with np.errstate(invalid="ignore"):
        rate = np.where(frames > 0, counts.sum(axis=0, dtype=np.float64) / frames, np.nan)

    y, x = _above_mean_of_neighbours(rate, 1 + min(margin, 0.5))
    expected = _median(_around(rate, y, x, _RING))
    adjacent = np.sort(np.nan_to_num(_around(rate, y, x, _ADJACENT)), axis=0)
    second = adjacent[-3]  # of the 3 x 3 pixels the brightest is the pixel itself, or it is not hot
    if center is None:
        expected = np.fmax(expected, second)
    else:
        partner = _around(rate, *_partner(center, y, x), _ADJACENT)
        known = np.isfinite(partner).any(axis=0)
        brightest = np.where(known, np.nan_to_num(partner).max(axis=0), second)
        expected = np.fmax(expected, brightest)

    own = np.where(
        scan.valid[:, y, x], counts[:, y, x], np.nan
    )  # (frames, candidates), NaN sorts last
    seen = np.isfinite(own).sum(axis=0)
    steady = np.where(seen > 1, np.minimum(seen - 1, np.ceil(0.75 * seen)), seen).astype(int)
    own = np.where(np.arange(len(own))[:, None] < steady, np.sort(own, axis=0), 0)
    hot = np.isfinite(expected)
    for total, number in ((rate[y, x] * seen, seen), (own.sum(axis=0), steady)):
        mean = np.nan_to_num(expected) * number
        hot &= total > mean + np.maximum(threshold * np.sqrt(np.maximum(mean, 1)), margin * mean)
    valid = np.ones(counts.shape[1:], np.bool_)
    valid[y[hot], x[hot]] = False
    return valid


def _partner(
    center: tuple[float, float], y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return round(2 * center[0]) - y, round(2 * center[1]) - x


def _around(
    image: np.ndarray, y: np.ndarray, x: np.ndarray, offsets: list[tuple[int, int]]
) -> np.ndarray:
    """Gather the neighbours of some pixels, (offsets, pixels); NaN outside the image."""
    height, width = image.shape
    gathered = np.full((len(offsets), len(y)), np.nan)
    for row, (dy, dx) in zip(gathered, offsets, strict=True):
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        row[inside] = image[y[inside] + dy, x[inside] + dx]
    return gathered


def _median(values: np.ndarray) -> np.ndarray:
    """Upper median along the first axis, NaN left out; NaN where nothing is left."""
    ordered = np.sort(values, axis=0)  # NaN last
    middle = np.isfinite(ordered).sum(axis=0) // 2
    return ordered[np.minimum(middle, len(ordered) - 1), np.arange(ordered.shape[1])]


def _above_mean_of_neighbours(rate: np.ndarray, sieve: float) -> tuple[np.ndarray, np.ndarray]:
    """Find quickly what may be hot: above `sieve` times the mean of the 5 x 5 pixels about it."""
    known = np.isfinite(rate)
    total, number = (_box_sum(np.where(known, what, 0.0)) for what in (rate, 1.0))
    y, x = np.nonzero(known & (np.nan_to_num(rate) * number > sieve * total))
    return y, x


def _box_sum(image: np.ndarray) -> np.ndarray:
    """Sum over 5 x 5 pixels, zero outside."""
    for axis in (0, 1):
        padded = np.pad(image, [(2, 2) if a == axis else (0, 0) for a in (0, 1)])
        length = image.shape[axis]
        image = np.sum([np.take(padded, range(k, k + length), axis) for k in range(5)], axis=0)
    return image

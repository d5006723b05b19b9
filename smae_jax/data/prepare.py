"""From a scan as read to a scan as trained on: masks, hot pixels, centre, scale.

The choices made here are saved with a run, and inference makes the same ones.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from smae_jax.data.center import Center, find_center
from smae_jax.data.masks import apply_mask, find_hot_pixels
from smae_jax.data.readers import read_mask, read_scan
from smae_jax.data.scan import Scan

ScaleRule = Literal["scan", "frame", "scan_max", "frame_max"]


def prepare_scan(
    path: str,
    *,
    mask: str = "",
    mask_polarity: Literal["bad", "good"] = "bad",
    saturation: float = 0.0,
    hot_pixels: bool = False,
    center: tuple[float, float] | None = None,
) -> tuple[Scan, Center]:
    """Read a scan, mask what is to be masked and find the beam centre.

    Args:
      path: see `readers.read_scan`.
      mask: mask file, see `readers.read_mask`; "" = none.
      mask_polarity: what nonzero means in it.
      saturation: counts from which a pixel is saturated; 0 = the file's own cutoff.
      hot_pixels: whether to find and mask hot pixels.
      center: beam centre (y, x) in pixels; None = found by correlation.

    Returns:
      The scan with every mask applied, and its centre.

    Raises:
      ValueError: in one line, if anything cannot be read, does not fit, or leaves nothing to use.
    """
    scan = read_scan(path, saturation=saturation or None)
    if mask:
        scan = apply_mask(scan, read_mask(mask, polarity=mask_polarity), path=mask)
    found = center_of(scan) if center is None else given_center(center)
    if hot_pixels:
        scan = apply_mask(scan, find_hot_pixels(scan, center=found.half_pixel), cause="hot")
    return scan, found


def center_of(scan: Scan) -> Center:
    """Find the centre of a scan from the sum of its frames, each pixel over its valid frames."""
    seen = np.broadcast_to(scan.valid, scan.counts.shape).sum(axis=0)
    total = scan.counts.sum(axis=0, dtype=np.float64)
    return find_center(total / np.maximum(seen, 1), seen > 0)


def given_center(center: tuple[float, float]) -> Center:
    """Round a centre given by the user to the half pixel that partners are counted from."""
    y, x = (round(2 * value) / 2 for value in center)
    return Center(half_pixel=(y, x), subpixel=center, correlation=float("nan"))


def frame_scales(counts: np.ndarray, valid: np.ndarray, *, rule: ScaleRule) -> np.ndarray:
    """Return how many counts one unit of rate stands for in each frame.

    Args:
      counts: (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      rule: "scan" is the mean of the scan, "frame" of each frame; "scan_max" and "frame_max" their maxima.

    Returns:
      Scales, (frames,), float32, > 0; a frame without counts takes the scan's scale.
    """
    seen = np.broadcast_to(valid, counts.shape)
    if rule.endswith("max"):
        each = counts.max(axis=(1, 2), initial=0)
        overall = float(each.max())
    else:
        totals, pixels = counts.sum(axis=(1, 2), dtype=np.float64), seen.sum(axis=(1, 2))
        each = totals / np.maximum(pixels, 1)
        overall = float(totals.sum() / max(pixels.sum(), 1))
    overall = overall if overall > 0 else 1.0
    if rule.startswith("scan"):
        return np.full(len(counts), overall, np.float32)
    return np.where(each > 0, each, overall).astype(np.float32)

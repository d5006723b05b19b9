"""Which numbers of a detector file are not measurements: sentinels, saturation, not-a-number.

The one place where this is decided. A zero is data.
"""

from __future__ import annotations

import numpy as np

CAUSES = ("detector", "not finite", "saturated")


def causes_of(
    values: np.ndarray, *, saturation: float | None, bit_depth: int | None = None
) -> np.ndarray:
    """Tell why each pixel may not be used.

    Detectors mark gaps and bad pixels by negative integers (Pilatus: -1, -2) or by the largest
    unsigned ones (Eiger: 2^32 - 1 and 2^32 - 2; 16-bit: 65535), also after conversion to a wider
    type. Of floats only negative whole numbers count as such marks: others are legitimate where a
    detector does not count photons. In 8 bits 255 is a measurement.

    Args:
      values: as read, any real number type, any shape.
      saturation: counts from which a pixel is saturated; None = no limit.
      bit_depth: bits of the detector's counters, where the file tells: their two largest values are marks.

    Returns:
      0 = usable, else 1 + index into `CAUSES`; uint8, shape of `values`.

    >>> causes_of(np.array([0, 7, -2, 50]), saturation=50)
    array([0, 0, 1, 3], dtype=uint8)
    """
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    causes = np.zeros(values.shape, np.uint8)
    if saturation is not None and np.isfinite(saturation):
        causes[values >= saturation] = 3
    if kind == "f":
        # Squares and sums downstream need room below the largest float32; NaN compares as False.
        finite = np.abs(values) < min(1e30, float(np.finfo(values.dtype).max))
        causes[~finite] = 2
        negative = np.flatnonzero(finite & (values < 0))
        causes.flat[negative[np.mod(values.flat[negative], 1) == 0]] = 1
    elif kind == "i":
        causes[values < 0] = 1
    elif bits > 8:
        causes[values == np.iinfo(values.dtype).max] = 1
    if kind == "u" and bits >= 32:
        causes[(values == 2**32 - 1) | (values == 2**32 - 2)] = 1
    elif bits > 32 or (kind == "f" and bits == 32):
        causes[values == values.dtype.type(2**32 - 1)] = 1
    if bit_depth is not None:
        causes[(values == 2.0**bit_depth - 1) | (values == 2.0**bit_depth - 2)] = 1
    return causes

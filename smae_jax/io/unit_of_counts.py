"""Whether decimal numbers are whole counts times one number: what a division by a monitor leaves."""

from __future__ import annotations

import numpy as np

_LOOKED_AT = 200_000
_MOST = 10_000  # counts; beyond, float32 does not tell multiples from any other number
_TOLERANCE = 2e-3


def unit_in(values: np.ndarray) -> float | None:
    """Return the number that all values are whole multiples of.

    Args:
      values: of one frame, floating point, any shape.

    Returns:
      The largest such number; None if there is none; 0 where fewer than two values above 0 cannot tell.

    >>> round(unit_in(np.array([0, 0.37, 1.11, 0.74])), 6)
    0.37
    """
    positive = values[values > 0].astype(np.float64)
    different = np.unique(positive[:: 1 + positive.size // _LOOKED_AT])
    below = values[values < 0]
    if bool(np.mod(below, 1).any()):  # whole ones may be marks
        return None
    if len(different) < 2:
        return 0.0
    gaps = np.diff(different, prepend=0.0)
    unit = float(gaps[gaps > 1e-6 * different[-1]].min())
    if different[-1] > _MOST * unit:
        return None
    number = np.rint(different / unit)
    unit = float((different * number).sum() / (number**2).sum())
    off = np.abs(different / unit - np.rint(different / unit))
    return unit if off.max() < _TOLERANCE else None

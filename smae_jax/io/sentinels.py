"""Which numbers of a detector file are not measurements: marks, saturation, not-a-number.

The one place where this is applied; `smae_jax.io.marks` decides for a whole scan what its marks are. A zero
is data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

CAUSES = ("detector", "not finite", "saturated")


@dataclasses.dataclass(frozen=True)
class Marks:
    """Which values of a scan are marks.

    Attributes:
      anywhere: values that are marks wherever they stand.
      places: values that are marks at some pixels, bool (height, width) each.
      full: values that a counter ends at: saturated, where they are no marks.
      signed: whether negative values are measurements, but for the marks; else whole negative ones are marks,
        and decimals are measurements.
      notes: how this was decided, and what overrides it, one sentence each.
      kept: what to read further data of this detector with, as `--data.marks`.
    """

    anywhere: tuple[float, ...] = ()
    places: Mapping[float, np.ndarray] = dataclasses.field(default_factory=dict)
    full: tuple[float, ...] = ()
    signed: bool = False
    notes: tuple[str, ...] = ()
    kept: str = "auto"


def causes_of(
    values: np.ndarray, *, saturation: float | None, marks: Marks | None = None
) -> np.ndarray:
    """Tell why each pixel may not be used.

    Args:
      values: as read, any real number type, any shape; (..., height, width) where marks have places.
      saturation: counts from which a pixel is saturated; None = no limit.
      marks: of the scan; None = what the type of the values alone tells.

    Returns:
      0 = usable, else 1 + index into `CAUSES`; uint8, shape of `values`.

    >>> causes_of(np.array([0, 7, -2, 50]), saturation=50)
    array([0, 0, 1, 3], dtype=uint8)
    """
    marks = Marks(anywhere=largest_of(values.dtype)) if marks is None else marks
    causes = np.zeros(values.shape, np.uint8)
    if saturation is not None and np.isfinite(saturation):
        causes[values >= saturation] = 3
    for value in marks.full:
        causes[equal(values, value)] = 3
    if values.dtype.kind == "f":
        causes[~usable(values)] = 2
    for value in marks.anywhere:
        causes[equal(values, value)] = 1
    for value, where in marks.places.items():
        causes[equal(values, value) & where] = 1
    if not marks.signed and values.dtype.kind in "if":
        negative = np.flatnonzero((values < 0) & (causes != 2))
        causes.flat[negative[np.mod(values.flat[negative], 1) == 0]] = 1
    return causes


def none_left_out(values: np.ndarray, *, saturation: float | None, marks: Marks) -> bool:
    """Whether the range of whole numbers tells that `causes_of` leaves out none; False = it does not tell."""
    if values.dtype.kind not in "iu" or not values.size:
        return False
    odd = [*marks.anywhere, *marks.full, *marks.places]
    odd += [] if saturation is None else [saturation]
    lowest = min((value for value in odd if value >= 0), default=np.inf)
    return int(values.max()) < lowest and (values.dtype.kind == "u" or int(values.min()) >= 0)


def usable(values: np.ndarray) -> np.ndarray:
    """Whether floating-point values are numbers that can be reckoned with; bool."""
    # Squares and sums downstream need room below the largest float32; NaN compares as False.
    return np.abs(values) < min(1e30, float(np.finfo(values.dtype).max))


def largest_of(dtype: np.dtype, bit_depth: int | None = None) -> tuple[float, ...]:
    """Return the values at which a type, or a counter of so many bits, ends: nothing was counted there.

    32 bits end so in every wider type too, since no pixel counts four thousand million photons.

    >>> largest_of(np.dtype(np.uint16)), largest_of(np.dtype(np.int32)), largest_of(np.dtype(np.float64))
    ((65535,), (2147483647,), (4294967295, 4294967294))
    >>> largest_of(np.dtype(np.int64))
    (9223372036854775807, 4294967295, 4294967294)
    """
    bits, kind = 8 * dtype.itemsize, dtype.kind
    found = [np.iinfo(dtype).max] if kind == "u" or (kind == "i" and bits >= 32) else []
    if bits >= 32 and (kind in "uf" or bits > 32):
        found += [2**32 - 1, 2**32 - 2]
    if bit_depth is not None and 8 <= bit_depth <= 64:
        found += [2**bit_depth - 1, 2**bit_depth - 2]
    return tuple(dict.fromkeys(found))


def equal(values: np.ndarray, value: float) -> np.ndarray:
    """Compare with a number as the type of the values rounds it; bool, shape of `values`."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values == values.dtype.type(value)
    return values == int(value) if value == int(value) else np.zeros(values.shape, np.bool_)

"""In which type counts are kept: whole numbers as the file had them, everything else as float32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from smae_jax.measurements import type_of_whole

_KEPT = (
    np.dtype(np.int32),
    np.dtype(np.int64),
    np.dtype(np.float32),
)  # each holds the ones before it


def as_counts(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return values as `Measurements` keep them.

    Args:
      values: any real type and shape.
      valid: bool, broadcastable to `values`.

    Returns:
      0 where invalid; int32, or int64 where that does not suffice, for whole-number types, and for float64
      (as text is read) that holds whole numbers alone, some of which float32 does not hold; else float32.

    >>> as_counts(np.array([2**24 + 1, 65535], np.uint32), np.array([True, False]))
    array([16777217,        0], dtype=int32)
    """
    kept = values if valid.all() else np.where(valid, values, np.zeros((), values.dtype))
    kind = _kept_as(kept)
    return kept.astype(kind) if kept is values else kept.astype(kind, copy=False)


def type_of_all(parts: Iterable[np.ndarray]) -> np.dtype:
    """Return the type that counts are joined in: one that holds all of them.

    Args:
      parts: frames, as `as_counts` returns them.

    Returns:
      Of whole numbers, where float32 holds nothing else in any part and would round those of another one.

    >>> type_of_all([np.float32([[7, 2]]), np.int32([[2**24 + 1, 3]])])
    dtype('int32')
    """
    parts = list(parts)
    kinds = sorted({one.dtype for one in parts}, key=_KEPT.index)
    floats = (frame for one in parts if one.dtype == _KEPT[-1] for frame in one)
    if len(kinds) > 1 and kinds[-1] == _KEPT[-1] and all(map(_fits, floats)):
        return kinds[-2]
    return kinds[-1]


def _fits(frame: np.ndarray) -> bool:
    """Whether float32 values are whole numbers up to where float32 holds all of them."""
    return bool(((frame == np.rint(frame)) & (np.abs(frame) <= 2**24)).all())


def _kept_as(values: np.ndarray) -> np.dtype:
    if values.dtype.kind not in "iu" and not _too_whole(values):
        return _KEPT[-1]
    kind = type_of_whole(values)
    return _KEPT[-1] if kind is None else kind


def _too_whole(values: np.ndarray) -> bool:
    """Whether float64 values are all whole, and float32 would round some of them."""
    if values.dtype != np.float64 or not (np.abs(values) > 2**24).any():
        return False
    return bool((values == np.rint(values)).all())

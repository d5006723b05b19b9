"""Measurements from a researcher's own arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from smae_jax.errors import UserError
from smae_jax.measurements import Axis, Measurements, Origin
from smae_jax.survey import settle

WHOLE = 2**31 - 1
"""Largest whole number that is kept as int32."""


def from_arrays(
    counts: ArrayLike,
    *,
    dimensions: int = 0,
    valid: ArrayLike | None = None,
    axis: ArrayLike | Axis | None = None,
    exposure: ArrayLike | None = None,
    center: tuple[float, float] | Literal["auto"] | None = "auto",
    channels: bool = False,
    integrated: bool | None = None,
) -> Measurements:
    """Take measurements from arrays.

    Args:
      counts: (frames, *spatial[, channel]), any real type; NaN = not measured.
      dimensions: axes of one frame; 0 = all but the first. Patterns whose dimensions are given are repeats of
        one thing, without a centre; others are a scan of centro-symmetric patterns.
      valid: True = use, bool, broadcastable to the spatial axes; None = all that is finite.
      axis: coordinates of the channels of spectra, (n,), ascending or descending.
      exposure: of each frame, in any unit, (frames,); they are taken relative to their mean.
      center: beam centre (y, x) of a scan in pixels; "auto" = found; None = no symmetry.
      channels: whether the last axis is a channel axis.
      integrated: whether even whole numbers are no photon counts, as of a detector that integrates; None = a
        training finds out.

    Returns:
      The measurements.

    Raises:
      UserError: in one line, if the shapes do not fit, or no centre can be found.
    """
    values = np.asarray(counts)
    if dimensions and values.ndim == dimensions + channels:
        values = values[None]
    extra = values.ndim - 1 - channels
    if values.dtype.kind not in "iuf" or extra not in (1, 2, 3) or dimensions not in (0, extra):
        raise UserError(
            f"from_arrays: expected numbers of shape (frames, *spatial), got {values.dtype} of shape "
            f"{np.shape(counts)}; add the axis of the frames, or say dimensions"
        )
    seen = _seen(values, valid, channels=channels)
    kept = seen[..., None] if channels else seen
    light = _exposure(seen, exposure, len(values))
    data = Measurements(
        counts=_numbers(np.where(kept, values, 0)),
        exposure=light,
        axis=_axis(axis, seen.shape[1:]),
        names=tuple(f"frame {index}" for index in range(len(values))),
        origin=Origin(dtype=values.dtype.name),
        channels=channels,
        integrated=integrated,
    )
    scan = extra == 2 and not dimensions and not channels
    return settle(data, center=center) if scan else data


def _seen(values: np.ndarray, valid: ArrayLike | None, *, channels: bool) -> np.ndarray:
    """Return where there is a measurement, bool, (frames, *spatial)."""
    finite = np.isfinite(values)
    seen = np.asarray(finite.all(axis=-1) if channels else finite)
    if valid is None:
        return seen
    try:
        return seen & np.broadcast_to(np.asarray(valid, bool), seen.shape)
    except ValueError:
        raise UserError(
            f"from_arrays: valid has shape {np.shape(valid)}; expected one that fits {seen.shape}"
        ) from None


def _exposure(seen: np.ndarray, exposure: ArrayLike | None, frames: int) -> np.ndarray:
    """Return the exposure behind every pixel, relative to the frames' mean; one frame's where all agree."""
    times = np.ones(frames) if exposure is None else np.asarray(exposure, np.float64)
    if times.shape != (frames,) or not (np.isfinite(times) & (times > 0)).all():
        raise UserError(
            f"from_arrays: exposure: expected {frames} values above 0, got shape {times.shape}"
        )
    if not seen.any():
        raise UserError("from_arrays: no value is valid; check valid")
    light = seen * (times / times.mean()).reshape(-1, *(1,) * (seen.ndim - 1))
    light = light.astype(np.float32)
    return light[:1] if (light == light[:1]).all() else light


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return whole numbers as int32, or int64 where they are larger, and all others as float32."""
    if values.dtype.kind == "f":
        whole = not np.mod(values, 1).any() and np.abs(values).max(initial=0) <= WHOLE
        return values.astype(np.int32 if whole else np.float32)
    fits = np.abs(values.astype(np.float64)).max(initial=0) <= WHOLE
    return values.astype(np.int32 if fits else np.int64)


def _axis(axis: ArrayLike | Axis | None, spatial: tuple[int, ...]) -> Axis | None:
    if axis is None:
        return None
    found = axis if isinstance(axis, Axis) else Axis(np.asarray(axis, np.float64))
    if found.values.shape != spatial:
        raise UserError(
            f"from_arrays: axis has shape {found.values.shape}; expected one value per channel of spectra of "
            f"shape {spatial}"
        )
    return found

"""Monitor counts: how much light fell on the sample in each frame, from a dataset or a column of text."""

from __future__ import annotations

import dataclasses
import os

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.locations import split_inside
from smae_jax.measurements import Measurements


def with_monitor(data: Measurements, location: str, option: str = "--data.monitor") -> Measurements:
    """Take monitor counts for the exposures of frames; counts stay as they are, and Poisson.

    Args:
      data: all frames of a scan or all repeats, with whatever exposures.
      location: `file.h5::/path`, `.npy`, or text with a number on each line; one number per frame.
      option: what to call it in a message.

    Returns:
      The measurements with exposures relative to their mean; a frame without monitor counts is masked.

    Raises:
      UserError: in one line, if it cannot be read, has another length, or holds no number above 0.
    """
    relative, note = relative_monitor(location, data.frames, option=option)
    origin = dataclasses.replace(data.origin, notes=(*data.origin.notes, note))
    return dataclasses.replace(with_exposures(data, relative), origin=origin)


def with_exposures(data: Measurements, relative: np.ndarray) -> Measurements:
    """Give frames their exposures, (frames,), instead of those that they had; one of 0 is masked."""
    each = relative.reshape(-1, *(1,) * len(data.spatial)).astype(np.float32)
    exposure = (data.valid * each).astype(np.float32)
    kept = exposure[..., None] if data.channels else exposure
    counts = np.where(kept > 0, data.counts, np.zeros((), data.counts.dtype))
    return dataclasses.replace(data, counts=counts, exposure=exposure)


def relative_monitor(
    location: str,
    frames: int,
    wanted: np.ndarray | None = None,
    *,
    option: str = "--data.monitor",
) -> tuple[np.ndarray, str]:
    """Read monitor counts relative to their mean.

    Args:
      location: see `with_monitor`.
      frames: that there are.
      wanted: indices of those that count; None = all.
      option: what to call it in a message.

    Returns:
      (float64, (frames,), 0 where there are none; what they are, in words).

    Raises:
      UserError: as `with_monitor`.
    """
    values = read_monitor(location, frames, option)
    values = values if wanted is None else values[wanted]
    usable = np.isfinite(values) & (values > 0)
    if not usable.any():
        raise UserError(
            f"{option} {location}: expected monitor counts above 0, got none; see the file"
        )
    relative = np.where(usable, values, 0) / values[usable].mean()
    note = (
        f"exposure of each frame by the monitor {location}: from {relative[usable].min():.3g} to "
        f"{relative.max():.3g} of its mean"
    )
    if not usable.all():
        note += f"; {int((~usable).sum())} of {len(values)} have none and are left out"
    return relative, note


def read_monitor(location: str, frames: int, option: str = "--data.monitor") -> np.ndarray:
    """Read one number per frame, float64, (frames,).

    Raises:
      UserError: in one line, if it cannot be read or has another length.
    """
    path, inside = split_inside(location)
    if not os.path.isfile(path):
        raise UserError(f"{option} {location}: there is no file {path}; expected file.h5::/dataset")
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix in HDF5_SUFFIXES:
            with h5py.File(path, "r") as file:
                dataset = file.get(inside) if inside else None
                if not isinstance(dataset, h5py.Dataset):
                    raise UserError(
                        f"{option} {location}: holds no dataset '{inside}'; name the monitor counts as in "
                        f"{path}::/entry/monitor/data"
                    )
                _check_length(location, dataset.shape, frames, option)
                return np.asarray(dataset[()], np.float64).ravel()
        values = (
            np.load(path, mmap_mode="r", allow_pickle=False)
            if suffix == ".npy"
            else np.loadtxt(path, ndmin=1)
        )
        _check_length(location, values.shape, frames, option)
        return np.asarray(values, np.float64).ravel()
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(
            f"{option} {location}: cannot be read as numbers ({reason}); expected file.h5::/dataset, .npy, "
            "or text with a number on each line"
        ) from None


def _check_length(location: str, shape: tuple[int, ...], frames: int, option: str) -> None:
    if int(np.prod(shape)) != frames:
        raise UserError(
            f"{option} {location}: expected one number for each of {frames} frames, got shape {shape}; name "
            "the monitor of this scan"
        )

"""HDF5 and NeXus: one dataset of frames, with the pixel mask and header that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters of Eiger and other detectors)
import numpy as np

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.hdf5_datasets import FRAMES, MASK, choose_dataset, text_of
from smae_jax.io.raw_frames import Frames, Header, unreadable

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "a": 1e-10}


@contextmanager
def open_hdf5(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open one dataset of an HDF5 file; it stays on disk until it is sliced.

    Without a name it is the signal of the default plot, where the file declares one (NeXus), else
    the only dataset that can hold frames. With `mask` the default plot does not count, and any 2-D
    dataset may be it.

    Raises:
      UserError: if the dataset is missing or there are several (the message lists them with their
        shapes), or the file is damaged or packed with a filter that is not installed.
    """
    try:
        with h5py.File(path, "r") as file:
            dataset = choose_dataset(path, file, inside, MASK if mask else FRAMES)
            detectors = _detectors(file, dataset)
            yield Frames(
                dataset,
                inside=f"::{dataset.name}",
                header=_header(detectors, dataset),
                pixel_mask=None if mask else _pixel_mask(detectors, dataset),
            )
    except OSError as error:
        if "not registered" in str(error) or "plugin" in str(error):
            raise UserError(
                f"{path}: packed with an HDF5 filter that is not installed ({error}); repack it "
                "with gzip"
            ) from error
        raise unreadable(path, "an HDF5 file", error) from error


def _detectors(file: h5py.File, dataset: Any) -> list[Any]:
    """Groups that may describe the detector of this dataset, nearest first."""
    groups: list[Any] = [dataset.parent]
    entry = file.get(dataset.name.split("/")[1])
    instrument: Any = entry.get("instrument") if isinstance(entry, h5py.Group) else None
    if isinstance(instrument, h5py.Group):
        named: list[Any] = [node for node in instrument.values() if _is_detector(node)]
        if len(named) == 1:  # of several detectors nothing says which one this is
            groups.append(named[0])
            specific = named[0].get("detectorSpecific")  # where Eiger keeps its mask
            groups += [specific] if isinstance(specific, h5py.Group) else []
    return groups


def _is_detector(group: object) -> bool:
    if not isinstance(group, h5py.Group):
        return False
    kind = text_of(group.attrs.get("NX_class", ""))
    return kind == "NXdetector" or (
        not kind and str(group.name).rsplit("/", 1)[-1].startswith("detector")
    )


def _pixel_mask(detectors: list[Any], dataset: Any) -> np.ndarray | None:
    for group in detectors:
        mask = group.get("pixel_mask")
        if isinstance(mask, h5py.Dataset) and mask.shape in (
            dataset.shape[-2:],
            dataset.shape[-3:],
        ):
            return np.asarray(mask[()])
    return None


def _header(detectors: list[Any], dataset: Any) -> Header:
    frames = int(np.prod(dataset.shape[:-2]))
    exposure = _numbers(detectors, "count_time")
    exposure_s: float | tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    if exposure is not None and exposure.size not in (1, frames):
        notes = (f"{exposure.size} exposures 'count_time' for {frames} frames: left out",)
    elif exposure is not None and np.all(exposure > 0):
        each = tuple(float(value) for value in exposure)
        exposure_s = each if exposure.size == frames else each[0]
    center = _scalar(detectors, "beam_center_y"), _scalar(detectors, "beam_center_x")
    size = _scalar(detectors, "y_pixel_size", 1.0), _scalar(detectors, "x_pixel_size", 1.0)
    instrument = detectors[1].parent if len(detectors) > 1 else None
    beams = [] if instrument is None else [instrument.get("beam"), instrument.get("monochromator")]
    beams = [group for group in beams if isinstance(group, h5py.Group)]
    return Header(
        exposure_s=exposure_s,
        notes=notes,
        count_cutoff=_scalar(detectors, "saturation_value")
        or _scalar(detectors, "countrate_correction_count_cutoff"),
        geometry=Geometry(
            center=(center[0], center[1]) if center[0] and center[1] else None,
            pixel_size_m=(size[0], size[1]) if size[0] and size[1] else None,
            wavelength_m=_scalar(beams, "incident_wavelength", 1e-10)
            or _scalar(beams, "wavelength", 1e-10),
            distance_m=_scalar(detectors, "distance", 1.0)
            or _scalar(detectors, "detector_distance", 1.0),
        ),
    )


def _numbers(groups: list[Any], name: str) -> np.ndarray | None:
    for group in groups:
        node = group.get(name)
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "iuf" and node.size:
            return np.ravel(np.asarray(node[()], dtype=np.float64))
    return None


def _scalar(groups: list[Any], name: str, metres: float | None = None) -> float | None:
    """Read one positive number; with `metres` a length, that being its unit where none is given."""
    values = _numbers(groups, name)
    if values is None or values.size != 1 or not np.isfinite(values[0]) or values[0] <= 0:
        return None
    if metres is None:
        return float(values[0])
    node = next(group[name] for group in groups if name in group)
    unit = text_of(node.attrs.get("units", "")).strip().lower()
    factor = _METRES.get(unit, None if unit else metres)
    return None if factor is None else float(values[0]) * factor

"""HDF5 and NeXus: one dataset of frames, with the pixel mask and header that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters of Eiger and other detectors)
import numpy as np

from smae_jax.data.raw_frames import Frames, Header, unreadable
from smae_jax.data.scan import Geometry

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "a": 1e-10}
_NO_FRAMES = ("pixel_mask", "filled", "valid", "flatfield")
_LISTED = 12


@contextmanager
def open_hdf5(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open one dataset of an HDF5 file; it stays on disk until it is sliced.

    Without a name it is the signal of the default plot, where the file declares one (NeXus), else
    the only dataset that can hold frames. With `mask` the default plot does not count, and any 2-D
    dataset may be it.

    Raises:
      ValueError: if the dataset is missing or there are several (the message lists them with their
        shapes), or the file is damaged or packed with a filter that is not installed.
    """
    try:
        with h5py.File(path, "r") as file:
            dataset = _choose(path, file, inside.rstrip("/"), mask=mask)
            detectors = _detectors(file, dataset)
            yield Frames(
                dataset,
                inside=f"::{dataset.name}",
                header=_header(detectors, dataset),
                pixel_mask=None if mask else _pixel_mask(detectors, dataset),
            )
    except OSError as error:
        if "not registered" in str(error) or "plugin" in str(error):
            raise ValueError(
                f"{path}: packed with an HDF5 filter that is not installed ({error}); repack it "
                "with gzip"
            ) from error
        raise unreadable(path, "an HDF5 file", error) from error


def _choose(path: str, file: h5py.File, inside: str, *, mask: bool) -> h5py.Dataset:
    found: dict[str, Any] = {} if not inside else {inside: file.get(inside)}
    if not inside:
        default = None if mask else _default_signal(file)
        found = {default.name: default} if default is not None else _candidates(file, mask=mask)
    if len(found) == 1:
        (dataset,) = found.values()
        if isinstance(dataset, h5py.Dataset):
            return dataset
    if inside:
        problem = f"has no dataset '{inside}'"
        if isinstance(found[inside], h5py.Group):
            problem = f"'{inside}' is a group, not a dataset"
    else:
        problem = (
            "holds several datasets" if found else "holds no dataset of numbers with 2 to 4 axes"
        )
    here = _candidates(file, mask=mask)
    listed = [f"{name} {here[name].shape}" for name in list(here)[:_LISTED]]
    more = f" and {len(here) - _LISTED} more" if len(here) > _LISTED else ""
    hint = f"; name one as in {path}::{next(iter(here))}" if here else ""
    raise ValueError(f"{path}: {problem}; it holds {', '.join(listed) or 'no frames'}{more}{hint}")


def _candidates(file: h5py.File, *, mask: bool) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: object) -> None:
        if not isinstance(node, h5py.Dataset) or node.dtype.kind not in ("biuf" if mask else "iuf"):
            return
        if node.ndim not in ((2, 3) if mask else (2, 3, 4)) or min(node.shape) < 1:
            return
        if mask or name.rsplit("/", 1)[-1] not in _NO_FRAMES:
            found[f"/{name}"] = node

    file.visititems(visit)
    return found


def _default_signal(file: h5py.File) -> Any:
    """Follow `default` and `signal` as a NeXus viewer does."""
    node: Any = file
    while isinstance(node, h5py.Group) and "default" in node.attrs:
        node = node.get(str(node.attrs["default"]))
    signal = node.get(str(node.attrs["signal"])) if _has_signal(node) else None
    return signal if isinstance(signal, h5py.Dataset) and 2 <= signal.ndim <= 4 else None


def _has_signal(node: object) -> bool:
    return isinstance(node, h5py.Group) and "signal" in node.attrs


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
    kind = group.attrs.get("NX_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
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
    if exposure is not None and np.all(exposure > 0):
        if exposure.size == 1:
            exposure_s = float(exposure[0])
        elif exposure.size == frames:
            exposure_s = tuple(float(value) for value in exposure)
    center = _scalar(detectors, "beam_center_y"), _scalar(detectors, "beam_center_x")
    size = _scalar(detectors, "y_pixel_size", 1.0), _scalar(detectors, "x_pixel_size", 1.0)
    instrument = detectors[1].parent if len(detectors) > 1 else None
    beams = [] if instrument is None else [instrument.get("beam"), instrument.get("monochromator")]
    beams = [group for group in beams if isinstance(group, h5py.Group)]
    return Header(
        exposure_s=exposure_s,
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
    unit = node.attrs.get("units", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    factor = _METRES.get(unit.strip().lower(), None if unit.strip() else metres)
    return None if factor is None else float(values[0]) * factor

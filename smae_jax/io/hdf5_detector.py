"""Mask, exposures and geometry that stand beside a dataset of frames, wherever writers put them."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import h5py
import numpy as np

from smae_jax.geometry import Geometry
from smae_jax.io.hdf5_links import Broken, Tree, parent_of
from smae_jax.io.hdf5_opening import FAULTS
from smae_jax.io.nexus_attributes import attribute, children, class_of
from smae_jax.io.raw_frames import Header

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "a": 1e-10}
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_TIMES = ("count_time", "exposure_time", "frame_time")
_CUTOFFS = ("saturation_value", "countrate_correction_count_cutoff")
_LARGEST = 1e30  # of anything that a header tells in its own unit
_MOST_GROUPS = 64  # of one detector


@dataclasses.dataclass(frozen=True)
class Beside:
    """Groups that tell of a dataset, nearest first.

    Attributes:
      detector: of its detector, with the groups in it.
      beam: of the beam and the monochromator.
    """

    detector: tuple[Any, ...]
    beam: tuple[Any, ...]


def groups_beside(tree: Tree, name: str, dataset: Any) -> Beside:
    """Find what tells of a dataset: in the entry it was reached through, then in the file it lies in.

    Args:
      tree: the file that was opened.
      name: of the dataset as it was reached there.
      dataset: itself; of a virtual one the first source counts as well.
    """
    found = [_around(tree.file, tree.get(parent_of(name)), name, dataset)]
    for one in (dataset, tree.source_of(dataset)):
        if one is None:
            continue
        own = one.name or ""
        if _node(one.file, own) != one:  # h5py does not know the name behind a link to a link
            own = ""
        found.append(_around(one.file, _node(one.file, parent_of(own)), own, one))
    return Beside(
        tuple(group for one in found for group in one.detector),
        tuple(group for one in found for group in one.beam),
    )


def _around(file: Any, parent: Any, name: str, dataset: Any) -> Beside:
    """Find the groups about a name in one file."""
    first = name.strip("/").split("/")[0]
    entries = [_node(file, first)] if first else [node for _, node in children(file)]
    instruments = [
        node
        for entry in entries
        for part, node in children(entry)
        if class_of(node) == "NXinstrument"
        or (part == "instrument" and isinstance(node, h5py.Group))
    ]
    detectors = [
        (part, node)
        for holder in (*instruments, *entries)
        for part, node in children(holder)
        if _is_detector(part, node)
    ]
    own = [node for _, node in detectors if node == parent or _holds(node, dataset)]
    if not own and len(detectors) == 1:  # of several nothing says which one it is, but a name
        own = [node for _, node in detectors]
    names = name.strip("/").split("/")[-2:]
    own = own or [node for part, node in detectors if part in names]
    return Beside(
        (
            *([] if isinstance(parent, Broken) else [parent]),
            *(inner for node in own[:1] for inner in _within(node)),
        ),
        tuple(node for holder in (*instruments, *entries) for node in _beams(holder)),
    )


def _is_detector(name: str, node: Any) -> bool:
    if not isinstance(node, h5py.Group):
        return False
    kind = class_of(node)
    return kind == "NXdetector" or (not kind and name.startswith("detector"))


def _holds(group: Any, dataset: Any) -> bool:
    return any(node == dataset for _, node in children(group))


def _within(detector: Any) -> list[Any]:
    """List a detector's group, its settings (`detectorSpecific`) and its modules."""
    found, waiting = [detector], [detector]
    while waiting and len(found) < _MOST_GROUPS:
        inner = [
            node
            for _, node in children(waiting.pop(0))
            if isinstance(node, h5py.Group) and class_of(node) != "NXtransformations"
        ]
        new = [node for node in inner if node not in found]
        found, waiting = found + new, waiting + new
    return found[:_MOST_GROUPS]


def _beams(holder: Any) -> list[Any]:
    """List groups of the beam, of the instrument or of the sample."""
    found = [
        node
        for name, node in children(holder)
        if name in ("beam", "monochromator") or class_of(node) in ("NXbeam", "NXmonochromator")
    ]
    samples = [node for name, node in children(holder) if name == "sample"]
    return found + [node for one in samples for name, node in children(one) if name == "beam"]


def mask_of(
    groups: tuple[Any, ...], frame: tuple[int, ...], frames: int
) -> tuple[Any, tuple[str, ...]]:
    """Find the pixel mask that fits.

    Args:
      groups: to look into, nearest first.
      frame: (height, width).
      frames: number of frames that the mask may tell one by one.

    Returns:
      (dataset of shape (..., height, width), 1 or `frames` of them, or None; what to say of those that do
      not fit).
    """
    unfit: list[str] = []
    for group in groups:
        mask = _dataset(group, "pixel_mask")
        if mask is None or mask.dtype.kind not in "biuf":
            continue
        if mask.shape[-2:] == frame and math.prod(mask.shape[:-2]) in (1, frames):
            return mask, ()
        if "module" not in str(mask.name).lower():
            unfit.append(
                f"pixel_mask of shape {mask.shape} does not fit frames of {frame}: left out"
            )
    return None, tuple(unfit[:1])


def header_of(beside: Beside, frames: int, places: np.ndarray | None) -> Header:
    """Read what is told of the measurement.

    Args:
      beside: where to look.
      frames: number of frames that were announced.
      places: which of them there are; None = all.
    """
    groups = beside.detector
    exposure_s, notes = _exposures(groups, frames, places)
    size = tuple(_length(groups, f"{axis}_pixel_size", 1.0) for axis in "yx")
    center = tuple(
        _pixels(groups, f"beam_center_{axis}", n) for axis, n in zip("yx", size, strict=True)
    )
    cutoffs = [value for name in _CUTOFFS if (value := _number(groups, name)) is not None]
    bits = _number(groups, "bit_depth_image")
    return Header(
        exposure_s=exposure_s,
        notes=notes,
        count_cutoff=min(cutoffs, default=None),
        bit_depth=int(bits) if bits is not None and 4 <= bits <= 64 else None,
        geometry=Geometry(
            center=(center[0], center[1]) if center[0] and center[1] else None,
            pixel_size_m=(size[0], size[1]) if size[0] and size[1] else None,
            wavelength_m=_length(beside.beam, "incident_wavelength", 1e-10)
            or _length(beside.beam, "wavelength", 1e-10)
            or _length(groups, "incident_wavelength", 1e-10),
            distance_m=_length(groups, "distance", 1.0)
            or _length(groups, "detector_distance", 1.0),
        ),
    )


def announced(groups: tuple[Any, ...]) -> int | None:
    """Return how many frames a detector was told to take: images times triggers."""
    images, triggers = _number(groups, "nimages"), _number(groups, "ntrigger")
    total = (images or 0) * (triggers or 1)
    return int(total) if 0 < total < 2**31 else None


def _exposures(
    groups: tuple[Any, ...], frames: int, places: np.ndarray | None
) -> tuple[float | tuple[float, ...] | None, tuple[str, ...]]:
    there = frames if places is None else len(places)
    for name in _TIMES:
        found = _numbers(groups, name)
        if found is None:
            continue
        values, unit = found
        factor = _SECONDS.get(unit, None if unit else 1.0)
        if factor is None or not (np.isfinite(values) & (values > 0) & (values < _LARGEST)).all():
            continue
        notes = ("exposures are those of 'frame_time', dead time included",)
        notes = notes if name == "frame_time" else ()
        if places is not None and values.size == frames:
            values = values[places]
        if values.size not in (1, there):
            return None, (f"{values.size} exposures '{name}' for {there} frames: left out",)
        each = tuple(float(value) * factor for value in values)
        return each if values.size == there else each[0], notes
    return None, ()


def _node(group: Any, name: str) -> Any:
    try:
        return group.get(name, None)
    except FAULTS:
        return None


def _dataset(group: Any, name: str) -> Any:
    node = _node(group, name)
    return node if isinstance(node, h5py.Dataset) and node.shape is not None else None


def _numbers(groups: tuple[Any, ...], name: str) -> tuple[np.ndarray, str] | None:
    """Return the values of the first group that has them, float64, and their unit in small letters."""
    for group in groups:
        node = _dataset(group, name)
        try:
            if node is not None and node.dtype.kind in "iuf" and node.size:
                values = np.ravel(np.asarray(node[()], dtype=np.float64))
                return values, attribute(node, "units").lower()
        except FAULTS:
            continue
    return None


def _single(groups: tuple[Any, ...], name: str) -> tuple[float, str] | None:
    """Return one positive number, the same for all frames, and its unit."""
    found = _numbers(groups, name)
    if found is None or not (found[0] == found[0][0]).all() or not 0 < found[0][0] < _LARGEST:
        return None
    return float(found[0][0]), found[1]


def _number(groups: tuple[Any, ...], name: str) -> float | None:
    found = _single(groups, name)
    return None if found is None else found[0]


def _length(groups: tuple[Any, ...], name: str, otherwise: float) -> float | None:
    """Return a length in metres; `otherwise` is its unit where none is given."""
    found = _single(groups, name)
    factor = None if found is None else _METRES.get(found[1], None if found[1] else otherwise)
    return None if found is None or factor is None else found[0] * factor


def _pixels(groups: tuple[Any, ...], name: str, pixel_m: float | None) -> float | None:
    """Return a coordinate on the detector in pixels."""
    found = _single(groups, name)
    if found is None or re.fullmatch(r"(pixels?|px)?", found[1]):
        return None if found is None or found[0] > 1e6 else found[0]
    factor = _METRES.get(found[1])
    return None if factor is None or pixel_m is None else found[0] * factor / pixel_m

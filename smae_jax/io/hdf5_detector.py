"""Mask, exposures and geometry that stand beside a dataset of frames, wherever writers put them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import h5py
import numpy as np

from smae_jax.geometry import Geometry
from smae_jax.io.hdf5_links import Broken, Tree, parent_of
from smae_jax.io.hdf5_numbers import (
    LARGEST,
    dataset_of,
    length_of,
    node_of,
    number_of,
    numbers_of,
    pixels_of,
)
from smae_jax.io.nexus_attributes import children, class_of
from smae_jax.io.raw_frames import Header

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_TIMES = ("count_time", "exposure_time", "frame_time")
_CUTOFFS = ("saturation_value", "countrate_correction_count_cutoff")
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
        if node_of(one.file, own) != one:  # h5py does not know the name behind a link to a link
            own = ""
        found.append(_around(one.file, node_of(one.file, parent_of(own)), own, one))
    return Beside(
        tuple(group for one in found for group in one.detector),
        tuple(group for one in found for group in one.beam),
    )


def _around(file: Any, parent: Any, name: str, dataset: Any) -> Beside:
    """Find the groups about a name in one file."""
    first = name.strip("/").split("/")[0]
    entries = [node_of(file, first)] if first else [node for _, node in children(file)]
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
        mask = dataset_of(group, "pixel_mask")
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
    size = tuple(length_of(groups, f"{axis}_pixel_size", 1.0) for axis in "yx")
    center = tuple(
        pixels_of(groups, f"beam_center_{axis}", n) for axis, n in zip("yx", size, strict=True)
    )
    cutoffs = [value for name in _CUTOFFS if (value := number_of(groups, name)) is not None]
    bits = number_of(groups, "bit_depth_image")
    return Header(
        exposure_s=exposure_s,
        notes=notes,
        count_cutoff=min(cutoffs, default=None),
        bit_depth=int(bits) if bits is not None and 4 <= bits <= 64 else None,
        geometry=Geometry(
            center=(center[0], center[1]) if center[0] and center[1] else None,
            pixel_size_m=(size[0], size[1]) if size[0] and size[1] else None,
            wavelength_m=length_of(beside.beam, "incident_wavelength", 1e-10)
            or length_of(beside.beam, "wavelength", 1e-10)
            or length_of(groups, "incident_wavelength", 1e-10),
            distance_m=length_of(groups, "distance", 1.0)
            or length_of(groups, "detector_distance", 1.0),
        ),
    )


def announced(groups: tuple[Any, ...]) -> int | None:
    """Return how many frames a detector was told to take: images times triggers."""
    images, triggers = number_of(groups, "nimages"), number_of(groups, "ntrigger")
    total = (images or 0) * (triggers or 1)
    return int(total) if 0 < total < 2**31 else None


def _exposures(
    groups: tuple[Any, ...], frames: int, places: np.ndarray | None
) -> tuple[float | tuple[float, ...] | None, tuple[str, ...]]:
    there = frames if places is None else len(places)
    for name in _TIMES:
        found = numbers_of(groups, name)
        if found is None:
            continue
        values, unit = found
        factor = _SECONDS.get(unit, None if unit else 1.0)
        if factor is None or not (np.isfinite(values) & (values > 0) & (values < LARGEST)).all():
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

"""Numbers with their units that stand in groups of an HDF5 file; what makes no sense is left out."""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from smae_jax.io.hdf5_opening import FAULTS
from smae_jax.io.nexus_attributes import attribute

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "a": 1e-10}
LARGEST = 1e30
"""Of anything that a header tells, in its own unit."""


def node_of(group: Any, name: str) -> Any:
    """Return a member of a group, or None."""
    try:
        return group.get(name, None)
    except FAULTS:
        return None


def dataset_of(group: Any, name: str) -> Any:
    """Return a dataset of a group, or None."""
    node = node_of(group, name)
    return node if isinstance(node, h5py.Dataset) and node.shape is not None else None


def numbers_of(groups: tuple[Any, ...], name: str) -> tuple[np.ndarray, str] | None:
    """Return the values of the first group that has them, float64, and their unit in small letters."""
    for group in groups:
        node = dataset_of(group, name)
        try:
            if node is not None and node.dtype.kind in "iuf" and node.size:
                values = np.ravel(np.asarray(node[()], dtype=np.float64))
                return values, attribute(node, "units").lower()
        except FAULTS:
            continue
    return None


def _single(groups: tuple[Any, ...], name: str) -> tuple[float, str] | None:
    """Return one positive number, the same for all frames, and its unit."""
    found = numbers_of(groups, name)
    if found is None or not (found[0] == found[0][0]).all() or not 0 < found[0][0] < LARGEST:
        return None
    return float(found[0][0]), found[1]


def number_of(groups: tuple[Any, ...], name: str) -> float | None:
    """Return one positive number, the same for all frames."""
    found = _single(groups, name)
    return None if found is None else found[0]


def length_of(groups: tuple[Any, ...], name: str, otherwise: float) -> float | None:
    """Return a length in metres; `otherwise` is its unit where none is given."""
    found = _single(groups, name)
    factor = None if found is None else _METRES.get(found[1], None if found[1] else otherwise)
    return None if found is None or factor is None else found[0] * factor


def pixels_of(groups: tuple[Any, ...], name: str, pixel_m: float | None) -> float | None:
    """Return a coordinate on the detector in pixels."""
    found = _single(groups, name)
    if found is None or re.fullmatch(r"(pixels?|px)?", found[1]):
        return None if found is None or found[0] > 1e6 else found[0]
    factor = _METRES.get(found[1])
    return None if factor is None or pixel_m is None else found[0] * factor / pixel_m

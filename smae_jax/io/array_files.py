"""Spectra and volumes in `.npy`, `.npz` and HDF5/NeXus: the array, and the axis and exposures beside it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.hdf5_datasets import REPEATS, choose_dataset, has_frames
from smae_jax.io.hdf5_files import motors_of
from smae_jax.io.hdf5_join import Joined, join
from smae_jax.io.hdf5_links import Tree, parent_of
from smae_jax.io.hdf5_opening import open_file
from smae_jax.io.nexus_attributes import attribute, axes_of, children, text_of
from smae_jax.io.numpy_files import open_archive, open_npy, open_npz
from smae_jax.io.raw_repeats import AXIS_NAMES, EXPOSURE_NAMES, RawRepeats, is_axis, usual_name

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")
SUFFIXES = (".npy", ".npz", *HDF5_SUFFIXES)
_SIGNALS = ("counts", "data", "spectra", "denoised", "signal", "intensity", "raw")
Lookup = Callable[[str], Any]
"""Name beside the signal -> its array, or None."""


def read_array(path: str, inside: str, *, missing: str = "refuse") -> RawRepeats:
    """Read one array with what stands beside it, in the format of the suffix.

    Args:
      path: the file.
      inside: name within it; "" = none is given.
      missing: of HDF5, see `reading.read`.

    Raises:
      UserError: in one line, if the choice is not clear or the file is damaged.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".npy":
        return read_npy(path, inside)
    return read_npz(path, inside) if suffix == ".npz" else read_hdf5(path, inside, missing=missing)


def is_spectrum(path: str, inside: str) -> bool:
    """Whether an array has coordinates beside it, as spectra have; of more axes than two, if it says so.

    Another array of more axes is never read for the answer, and what cannot be read is no spectrum.
    """
    suffix, said = os.path.splitext(path)[1].lower(), False
    try:
        if suffix == ".npy":
            likely = said = os.path.exists(axis_beside(path))
        elif suffix == ".npz":
            with open_archive(path) as archive:
                likely = any(map(usual_name, archive.files)) and "y" not in archive.files
                said = "interpretation" in archive.files and _is_told(archive["interpretation"])
        else:
            with ExitStack() as keep, open_file(path) as file:
                likely, said = _is_flat(path, Tree(file, keep), inside)
        raw = read_array(path, inside) if likely else None
    except (ValueError, OSError):
        return False
    if raw is None or raw.axis is None:
        return False
    return raw.values.ndim <= 2 or (said and len(raw.axis) == raw.values.shape[-1])


def _is_told(interpretation: Any) -> bool:
    """Whether NeXus's word for the kind of an array says that it holds spectra."""
    return text_of(interpretation) == "spectrum"


def axis_beside(path: str) -> str:
    """Return where the axis of an `.npy` file is: `a/b.npy` -> `a/b_axis.npy`."""
    return f"{os.path.splitext(path)[0]}_axis.npy"


def read_npy(path: str, inside: str) -> RawRepeats:
    """Read the array of an `.npy` file, and its axis from `<name>_axis.npy` beside it.

    Raises:
      UserError: in one line, as `numpy_files.open_npy`.
    """
    with open_npy(path, inside) as frames:
        values = np.array(_real(frames.values, path))
    try:
        axis = np.load(axis_beside(path), allow_pickle=False)
    except (OSError, ValueError):
        return RawRepeats(values)
    if axis.ndim != 1 or len(axis) not in values.shape or axis.dtype.kind not in "iuf":
        return RawRepeats(values)
    note = f"axis read from the file beside it that ends in _axis.npy, {_span(axis)}"
    return RawRepeats(values, axis.astype(np.float64), notes=(note,))


def read_npz(path: str, inside: str) -> RawRepeats:
    """Read one array of an `.npz` file, with the axis, exposures, mask and names that stand beside it.

    The array is the named one, the only one with two or more axes, or one of a usual name such as `counts`.
    The axis is a 1-D array of a usual name (`energy`, `shift`, ...) that fits one of its sides.

    Raises:
      UserError: in one line, if the choice is not clear or the file is damaged.
    """
    if not inside:
        with open_archive(path) as archive:
            shapes = {name: _shape_in(archive, name) for name in archive.files}
        inside = _signal_of(path, {name: shape for name, shape in shapes.items() if shape})
    with open_npz(path, inside) as frames:
        values = _real(frames.values, f"{path}::{inside}")

    with open_archive(path) as archive:

        def lookup(name: str) -> Any:
            if name not in archive.files or name == inside:
                return None
            try:
                return archive[name]
            except ValueError:
                return None

        found = {name: lookup(name) for name in archive.files if usual_name(name)}
        axis, name, notes = _axis_among(found, values.shape)
        unit = AXIS_NAMES.get(name, "")
        stem = next((key for key in found if usual_name(key) == name), name)
        for key in (f"{stem}_unit", f"{stem}_units"):
            given = lookup(key)
            unit = str(given) if given is not None and given.ndim == 0 else unit
        name = "" if name == "axis" else name
        given = lookup("axis_name")
        name = str(given) if given is not None and given.ndim == 0 else name
        return _beside(values, lookup, axis, name, unit, [f"array '{inside}'", *notes])


def read_hdf5(path: str, inside: str, *, missing: str = "refuse") -> RawRepeats:
    """Read one dataset of an HDF5 file, with its axis and units.

    Without a name it is the signal of the default plot (NeXus), else the only dataset that can hold repeats.
    The axis is the last one that the `axes` attribute of its NXdata group names, else a 1-D dataset of a
    usual name beside it; its `units` are kept.

    Raises:
      UserError: in one line, if the dataset is missing or the choice is not clear, or the file is damaged.
    """
    with ExitStack() as keep, open_file(path) as file:
        tree = Tree(file, keep)
        found = choose_dataset(path, tree, inside, REPEATS)
        joined = join(path, tree, found, missing)
        values = _real(np.asarray(joined.values[:]), f"{path}::{found.name}")
        dataset, group = tree.get(joined.first), tree.get(parent_of(joined.first))
        arrays = {
            name: node
            for name, node in children(group)
            if isinstance(node, h5py.Dataset) and node != dataset
        }
        axis, name, unit, notes = _nexus_axis(axes_of(group, dataset), arrays, values.shape)
        if axis is None:
            found_axes = {key: arrays[key][()] for key in arrays if usual_name(key)}
            axis, name, notes = _axis_among(found_axes, values.shape)
            key = next((key for key in found_axes if usual_name(key) == name), "")
            unit = attribute(arrays[key], "units") if key else ""

        def lookup(name: str) -> Any:
            return np.asarray(arrays[name][()]) if name in arrays else None

        told = [f"dataset {found.name}", *joined.notes, *notes]
        raw = _beside(values, lookup, axis, name, unit, told)
        return dataclasses.replace(raw, motors=_motors(tree, joined, dataset))


def _motors(tree: Tree, joined: Joined, dataset: Any) -> tuple[Any, ...]:
    return motors_of(tree, joined.first, dataset, tuple(joined.values.shape[:-1]))


def _real(values: np.ndarray, where: str) -> np.ndarray:
    if np.dtype(values.dtype).kind not in "iuf" or values.ndim < 1 or min(values.shape) < 1:
        raise UserError(
            f"{where}: expected an array of real numbers, got {values.dtype} of shape {values.shape}; "
            "name another array"
        )
    return values


def _shape_in(archive: Any, name: str) -> tuple[int, ...]:
    """Return the shape of a numeric array; () if it is none."""
    try:
        array = archive[name]
    except ValueError:
        return ()
    return array.shape if array.dtype.kind in "iuf" else ()


def _signal_of(path: str, shapes: dict[str, tuple[int, ...]]) -> str:
    """Choose the array that holds the repeats by shape and name."""
    usual = [name for name in _SIGNALS if name in shapes and name not in AXIS_NAMES]
    large = [
        name
        for name, shape in shapes.items()
        if len(shape) >= 2 and name not in ("valid", "mask", "sigma")
    ]
    single = [name for name in shapes if not usual_name(name)]
    for candidates in (large, usual if large or len(usual) == 1 else [], [] if large else single):
        if len(candidates) == 1:
            return candidates[0]
    if usual and usual[0] in ("counts", "denoised"):  # names that leave no doubt
        return usual[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    hint = f"; name one as in {path}::{(large or [*shapes])[0]}" if shapes else ""
    raise UserError(f"{path}: expected one array of repeats, found {listed or 'none'}{hint}")


def _axis_among(
    found: dict[str, Any], shape: tuple[int, ...]
) -> tuple[np.ndarray | None, str, list[str]]:
    fits_last = sorted(found.items(), key=lambda one: np.shape(one[1]) != shape[-1:])
    for key, array in fits_last:
        if array is None or array.ndim != 1 or array.dtype.kind not in "iuf":
            continue
        if len(array) in shape and len(array) > 1 and is_axis(array.astype(np.float64)):
            note = f"axis '{key}', {_span(array)}"
            return array.astype(np.float64), usual_name(key) or key, [note]
    return None, "", []


def _span(axis: np.ndarray) -> str:
    return f"{axis[0]:g} to {axis[-1]:g}"


def _beside(
    values: np.ndarray,
    lookup: Lookup,
    axis: np.ndarray | None,
    name: str,
    unit: str,
    notes: list[str],
) -> RawRepeats:
    """Look for exposures, a mask and names beside the array."""
    exposure = None
    for key in EXPOSURE_NAMES:
        array = lookup(key)
        if array is None or array.dtype.kind not in "iuf" or array.ndim != 1:
            continue
        if len(array) not in values.shape:
            notes.append(f"{len(array)} exposures '{key}' for an array of {values.shape}: left out")
        elif np.isfinite(array).all() and (array > 0).all():
            exposure = array.astype(np.float64)
            notes.append(f"exposures '{key}'")
            break
    valid = None
    for key, good in (("valid", True), ("mask", False), ("pixel_mask", False)):
        array = lookup(key)
        if array is None or array.dtype.kind not in "biu" or not 1 <= array.ndim <= values.ndim:
            continue
        if array.shape == values.shape[values.ndim - array.ndim :]:
            valid = (array != 0) if good else (array == 0)
            notes.append(f"'{key}', nonzero = {'use' if good else 'bad'}")
            break
    names, array = None, lookup("names")
    if array is not None and array.ndim == 1 and array.dtype.kind in "USO":
        names = tuple(text_of(one) for one in array)
    return RawRepeats(values, axis, name, unit, names, exposure, valid, tuple(notes))


def _is_flat(path: str, tree: Tree, inside: str) -> tuple[bool, bool]:
    """Whether a dataset may be spectra, and whether it says so itself.

    It may be with two axes, one of them named, or with one and no frames beside it.
    """
    found = choose_dataset(path, tree, inside, REPEATS)
    if found.broken:
        return False, False
    dataset, group = tree.get(found.members[0]), tree.get(parent_of(found.members[0]))
    if _is_told(attribute(dataset, "interpretation")):
        return True, True
    if len(found.shape) == 1:
        return bool(inside) or not has_frames(tree), False
    named = [one for one in axes_of(group, dataset) if one != "."]
    return len(found.shape) == 2 and len(named) < 2 and "y" not in group, False


def _nexus_axis(
    names: list[str], arrays: dict[str, Any], shape: tuple[int, ...]
) -> tuple[np.ndarray | None, str, str, list[str]]:
    """Follow the names of the signal's axes, one per axis, "." = none; of many only the last two."""
    for place in range(len(names) - 1, max(-1, len(names) - 3), -1):
        node = arrays.get(names[place])
        if node is None or node.ndim != 1 or node.dtype.kind not in "iuf":
            continue
        values = np.asarray(node[()], np.float64)
        side = shape[place - len(names)] if len(names) <= len(shape) else None
        if len(values) == side and len(values) > 1 and is_axis(values):
            unit = attribute(node, "units")
            name = usual_name(names[place]) or names[place]
            name = "" if name == "axis" else name
            return values, name, unit, [f"axis '{names[place]}', {_span(values)} {unit}".strip()]
    return None, "", "", []

"""Denoised spectra, patterns and volumes to disk, with their axis and uncertainties."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.data import text_files
from smae_jax.data.array_files import HDF5_SUFFIXES
from smae_jax.data.atomic import OutputError, atomic_path, refuse_existing
from smae_jax.data.repeats import Repeats
from smae_jax.data.sink import create_hdf5
from smae_jax.data.writers import check_output, write_frames

SUFFIXES = (*text_files.SUFFIXES, ".npy", ".npz", *HDF5_SUFFIXES)


def check_repeats_output(path: str, *, dimensions: int, overwrite: bool = False) -> None:
    """Refuse an output before the work that leads to it.

    Raises:
      OutputError: if the suffix does not fit, or the output exists and is not to be replaced.
    """
    suffix = Path(path).suffix.lower()
    if suffix in text_files.SUFFIXES and dimensions > 1:
        raise OutputError(
            f"{path}: text holds spectra only, this has {dimensions} dimensions; expected .h5, .npz or .npy"
        )
    if dimensions == 2 and suffix not in SUFFIXES:
        check_output(path, overwrite=overwrite)
        return
    if suffix not in SUFFIXES:
        raise OutputError(
            f"{path}: unknown suffix '{suffix}' for output; expected {', '.join(SUFFIXES)}"
        )
    for one in files_written(path, sigma=suffix == ".npy"):
        refuse_existing(one, overwrite=overwrite)
        if os.path.isdir(one):
            raise OutputError(f"{one}: is a folder; choose another name for this file")


def files_written(path: str, *, sigma: bool) -> list[str]:
    """Name the files of an output: for `.npy` the axis and the sigmas have files of their own."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() != ".npy":
        return [path]
    return [path, f"{stem}_axis.npy", *([f"{stem}_sigma.npy"] if sigma else [])]


def write_repeats(
    path: str,
    values: np.ndarray,
    *,
    like: Repeats,
    sigma: np.ndarray | None = None,
    process: dict[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write what was made of repeats, as the suffix says, with the axis that they had.

    - text (`.csv .tsv .txt ...`): columns: the axis (or channel numbers), the spectra, and `<name> sigma`;
    - `.npz`: `counts`, `sigma`, the axis under its name with `<name>_unit`, `names`;
    - `.npy`: the values; the axis and the sigmas in `<name>_axis.npy` and `<name>_sigma.npy` beside it;
    - `.h5 .nxs`: NeXus, a default plot with the axis and its units, `data_errors`, names and process;
    - patterns also as images, as `writers.write_frames` does; the sigmas in `<name>_sigma` beside them.

    Args:
      path: the file; `read_repeats` reads it back with the same axis.
      values: (k, *spatial[, channel]), or without the first axis for one; NaN = no answer. They get the names
        of `like` where there are as many, else `denoised`, `denoised 1`, ...
      like: where axis and names come from.
      sigma: uncertainty of each value, shaped as `values`.
      process: what made them; program, version and date are added.
      overwrite: whether an existing output is replaced.

    Raises:
      OutputError: in one line, if it exists, the suffix does not fit, the disk is full or there is no
        permission.
    """
    dimensions = len(like.spatial)
    check_repeats_output(path, dimensions=dimensions, overwrite=overwrite)
    single = np.ndim(values) == like.counts.ndim - 1
    values = np.asarray(values, np.float32)[None] if single else np.asarray(values, np.float32)
    assert values.ndim == like.counts.ndim, (values.shape, like.counts.shape)
    assert like.axis is None or values.shape[1] == len(like.axis), (values.shape, like.axis.shape)
    if sigma is not None:
        sigma = np.asarray(sigma, np.float32).reshape(values.shape)
    names = names_for(len(values), like)
    process = {"program": "smae_jax", "version": _version(), "source": like.source} | (
        process or {}
    )
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        _write_images(path, values, sigma, like, names, process, overwrite)
        return
    axis_name = like.axis_name or "axis"
    shown = values[0] if single else values
    shown_sigma = sigma if sigma is None or not single else sigma[0]
    if suffix == ".npy":
        arrays = {path: shown}
        _, axis_path, *sigma_path = files_written(path, sigma=True)
        if like.axis is not None:
            arrays[axis_path] = like.axis
        if shown_sigma is not None:
            arrays[sigma_path[0]] = shown_sigma
        for one, array in arrays.items():
            with atomic_path(one, overwrite) as temporary:
                np.save(temporary, array, allow_pickle=False)
        return
    with atomic_path(path, overwrite) as temporary:
        if suffix in text_files.SUFFIXES:
            if like.channels:
                raise OutputError(
                    f"{path}: a table has no place for channels; expected .h5, .npz or .npy"
                )
            text_files.write_text(
                temporary,
                values,
                axis=like.axis,
                axis_label=like.axis_label,
                names=names,
                sigma=sigma,
                process={name: text for name, text in process.items() if "\n" not in str(text)},
            )
        elif suffix == ".npz":
            packed: dict[str, Any] = {"counts": shown, "names": np.array(names)}
            if like.axis is not None:
                packed[axis_name] = like.axis
                packed[f"{axis_name}_unit"] = np.array(like.axis_unit)
            if shown_sigma is not None:
                packed["sigma"] = shown_sigma
            with temporary.open("wb") as file:
                np.savez_compressed(file, **packed)
        else:
            _write_nexus(temporary, shown, shown_sigma, like, axis_name, names, process)


def names_for(count: int, like: Repeats) -> tuple[str, ...]:
    """Name results: after the repeats where there are as many, else `denoised`, `denoised 1`, ..."""
    if count == len(like.names) and count > 1:
        return like.names
    return tuple("denoised" if i == 0 else f"denoised {i}" for i in range(count))


def _write_nexus(
    path: Path,
    values: np.ndarray,
    sigma: np.ndarray | None,
    like: Repeats,
    axis_name: str,
    names: tuple[str, ...],
    process: dict[str, str],
) -> None:
    with create_hdf5(path) as file:
        file.attrs["default"], file.attrs["creator"] = "entry", "smae_jax"
        entry = _group(file, "entry", "NXentry", default="data")
        data = _group(entry, "data", "NXdata", signal="data")
        arrays = {"data": values} | ({} if sigma is None else {"data_errors": sigma})
        for name, array in arrays.items():
            node = data.create_dataset(name, data=array, compression="gzip", shuffle=True)
            node.attrs["units"] = "counts"
        spectra = len(like.spatial) == 1
        data["data"].attrs["interpretation"] = "spectrum" if spectra else "image"
        data["data"].attrs["long_name"] = "denoised counts; NaN where there is no answer"
        if like.axis is not None:
            trailing = ["."] if like.channels else []
            leading = ["."] * (values.ndim - 1 - len(trailing))
            data.attrs["axes"] = [*leading, axis_name, *trailing]
            data.attrs[f"{axis_name}_indices"] = len(leading)
            data[axis_name] = like.axis
            data[axis_name].attrs["units"] = like.axis_unit
        data["names"] = list(names)
        group = _group(entry, "process", "NXprocess")
        group["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for name, text in process.items():
            group[name] = str(text)


def _write_images(
    path: str,
    values: np.ndarray,
    sigma: np.ndarray | None,
    like: Repeats,
    names: tuple[str, ...],
    process: dict[str, str],
    overwrite: bool,
) -> None:
    if like.channels:
        raise OutputError(f"{path}: images have no channels; expected .h5, .npz or .npy")
    write_frames(
        path,
        np.nan_to_num(values),
        valid=np.isfinite(values),
        sigma=sigma,
        sources=names,
        process=process,
        overwrite=overwrite,
    )


def _group(parent: h5py.Group, name: str, kind: str, **attributes: str) -> h5py.Group:
    group = parent.create_group(name)
    for key, value in {"NX_class": kind, **attributes}.items():
        group.attrs[key] = value
    return group


def _version() -> str:
    try:
        return importlib.metadata.version("smae_jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

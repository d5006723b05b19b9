"""Writing: denoised patterns, spectra and volumes to disk, in the format of the suffix.

The rest of the package writes results through this module alone. All of an output is written beside its final
place first and moved there at the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from smae_jax.io import text_files
from smae_jax.io.answers import Answered, process_of
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.atomic import OutputError, atomic_paths
from smae_jax.io.finished import JOINED, tell_finished
from smae_jax.io.form import Form, Stored
from smae_jax.io.nexus import write_nexus
from smae_jax.io.number_types import NumberType
from smae_jax.io.outputs import (
    PROGRAM,
    check_output,
    files_beside,
    refuse_input,
    sigma_beside,
    suffix_of,
)
from smae_jax.io.parts import Joined, Parts
from smae_jax.measurements import Measurements

__all__ = ["OutputError", "check_output", "files_written", "refuse_input", "sigma_beside", "write"]

AS_USUAL = Form()
"""float32, packed by Bitshuffle-LZ4."""


def write(
    path: str,
    counts: np.ndarray,
    like: Measurements,
    *,
    known: np.ndarray | None = None,
    filled: np.ndarray | None = None,
    sigma: np.ndarray | None = None,
    replicas: np.ndarray | None = None,
    process: dict[str, str] | None = None,
    overwrite: bool = False,
    form: Form = AS_USUAL,
) -> str:
    """Write what was made of measurements, as the suffix says.

    - `.h5 .hdf5 .nxs`: NeXus, a default plot with axis and units, `data_errors`, `pixel_mask`, `filled`,
      names, geometry and process;
    - `.npz`: `counts`, `sigma`, the axis under its name with `<name>_unit`, `names`;
    - `.npy`: the counts; the axis and the sigmas in `<name>_axis.npy` and `<name>_sigma.npy` beside it;
    - patterns: `.tif .tiff`, or a folder (no suffix, or a `/` at the end) of one TIFF per frame, named after
      its source; the sigmas in `<name>_sigma` beside it;
    - spectra: text (`.csv .tsv .txt ...`): columns: the axis (or channel numbers), the spectra, and
      `<name> sigma`.

    Args:
      path: the output; `reading.read` reads it back with the same axis. Files beside an output that is
        overwritten are replaced with it, or removed.
      counts: (k, *spatial[, channel]): k = frames of `like`, or 1 for one answer to all. NaN = no answer. The
        frames of a raster are written as rows and columns again in HDF5, `.npz` and `.npy`.
      like: what they were made of: axis, geometry, centre and names come from it.
      known: True = there is an answer, bool, (*spatial) or (1 or k, *spatial); None = where `counts` are
        finite.
      filled: True = not measured, but answered from the partner; shapes as of `known`.
      sigma: one standard deviation of `counts`, shaped as they are.
      replicas: what plausible answers differ by, (number, *shape of `counts`), float16; NeXus alone.
      process: what made them, e.g. `config`; program, version and date are added.
      overwrite: whether existing output is replaced.
      form: type of the numbers and packing; error bars stay floating point.

    Returns:
      How numbers were rounded, and how many did not fit and were clipped; "" = neither.

    Raises:
      OutputError: in one line, if it exists, the suffix does not fit, the disk is full or there is no
        permission.
    """
    check_output(path, like, overwrite=overwrite, sigma=sigma is not None)
    answers = Answered(
        np.asarray(counts), like, known=known, filled=filled, sigma=sigma, replicas=replicas
    )
    return _write(path, Stored(answers, form), process or {}, overwrite=overwrite)


def write_joined(
    path: str,
    parts: Parts,
    like: Measurements,
    *,
    process: dict[str, str],
    overwrite: bool = False,
    form: Form = AS_USUAL,
) -> str:
    """Write the blocks of an output as one, frame by frame.

    Args:
      path: the output; `.npz`, which has no place for one frame after the other, takes all in memory.
      parts: the blocks, all there.
      like: what was answered: names, geometry, raster; its counts are not looked at.
      process: see `write`.
      overwrite: see `write`.
      form: see `write`.

    Returns:
      See `write`.

    Raises:
      OutputError: as `write`.
    """
    answers = Joined(parts, like)
    check_output(path, like, overwrite=overwrite, sigma=answers.has_sigma)
    return _write(path, Stored(answers, form), process, overwrite=overwrite, parts=parts)


def _write(
    path: str,
    answers: Stored,
    process: dict[str, str],
    *,
    overwrite: bool,
    parts: Parts | None = None,
) -> str:
    like, sigma = answers.like, answers.has_sigma
    suffix, beside = suffix_of(path), files_beside(path)
    # Among the parts, so that nothing is left of a process that is killed once they are joined.
    within = None if parts is None else parts.folder / JOINED
    with atomic_paths(path, *beside, overwrite=overwrite, within=within) as (temporary, *others):
        if suffix in HDF5_SUFFIXES:
            write_nexus(temporary, answers, process)
        elif suffix == ".npz":
            _write_npz(temporary, answers)
        elif suffix in text_files.SUFFIXES:
            _write_text(temporary, answers, process)
        else:
            _write_frames(temporary, suffix, answers, answers.frames(), answers.form.numbers)
            if sigma:
                _write_frames(others[0], suffix, answers, answers.sigmas(), answers.form.of_errors)
            if suffix == ".npy" and like.axis is not None:
                np.save(others[1], like.axis.values, allow_pickle=False)
        files = [temporary, *others]
        if parts is not None:
            tell_finished(parts.folder, answers.form, files)
        elif beside:
            options = process.get("options", "")
            tell_finished(temporary.parent, answers.form, files, options=options)
    return answers.in_words()


def files_written(path: str, like: Measurements, *, sigma: bool) -> list[str]:
    """Name the files of an output, as `write` would write it."""
    suffix, beside = suffix_of(path), files_beside(path)
    axis = suffix == ".npy" and like.axis is not None
    return [path, *(beside[:1] if sigma else ()), *(beside[1:] if axis else ())]


def _write_npz(path: Path, answers: Stored) -> None:
    shape = (*answers.leading, *answers.frame)
    packed: dict[str, Any] = {
        "counts": np.stack([*answers.frames()]).reshape(shape),
        "names": np.array(answers.names),
    }
    if len(answers.like.spatial) == 1:
        packed["interpretation"] = np.array("spectrum")
    if answers.has_sigma:
        packed["sigma"] = np.stack([*answers.sigmas()]).reshape(shape)
    if (axis := answers.like.axis) is not None:
        name = axis.name or "axis"
        packed |= {name: axis.values, f"{name}_unit": np.array(axis.unit)}
    with path.open("wb") as file:
        np.savez_compressed(file, **packed)


def _write_text(path: Path, answers: Stored, process: dict[str, str]) -> None:
    axis = answers.like.axis
    text_files.write_text(
        path,
        np.stack([*answers.frames()]),
        axis=None if axis is None else axis.values,
        axis_label=answers.like.axis_label,
        names=answers.names,
        sigma=np.stack([*answers.sigmas()]) if answers.has_sigma else None,
        process={
            name: text
            for name, text in process_of(answers.like, process).items()
            if "\n" not in text
        },
    )


def _write_frames(
    path: Path, suffix: str, answers: Stored, frames: Iterator[np.ndarray], numbers: NumberType
) -> None:
    shape = (len(answers.names), *answers.frame)
    if suffix == ".npy":
        _write_npy(path, frames, (*answers.leading, *answers.frame), numbers)
    elif suffix:
        _write_tiff(path, frames, numbers.dtype.itemsize * int(np.prod(shape)))
    else:
        path.mkdir()
        size = numbers.dtype.itemsize * int(np.prod(shape[1:]))
        for name, frame in zip(_file_names(answers.names), frames, strict=True):
            _write_tiff(path / name, iter([frame]), size)


def _write_npy(
    path: Path, frames: Iterator[np.ndarray], shape: tuple[int, ...], numbers: NumberType
) -> None:
    # Written frame by frame: a memory map would end in a bus error on a full disk.
    stored = numbers.dtype.newbyteorder("<")
    with path.open("wb") as file:
        header = {"descr": stored.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(frame.astype(stored).tobytes())


def _write_tiff(path: Path, frames: Iterator[np.ndarray], size: int) -> None:
    with tifffile.TiffWriter(path, bigtiff=size > 2**32 - 2**25) as tiff:
        for frame in frames:
            tiff.write(frame, photometric="minisblack", contiguous=True, software=PROGRAM)


def _file_names(sources: Sequence[str]) -> list[str]:
    """Name one TIFF per source: `a/P0.cbf` -> `a_P0.tif`, `x.h5::/data[3]` -> `x_00003.tif`."""
    names: list[str] = []
    taken: set[str] = set()
    for number, source in enumerate(sources):
        file = source.partition("::")[0]
        index = re.search(r"\[([\d,]+)\]$", source)
        stem = re.sub(r"\[[\d,]+\]$", "", file)
        stem = re.sub(r"[^\w.+-]+", "_", os.path.splitext(stem)[0]).strip("._") or "frame"
        parts = [f"{int(i):05d}" for i in index[1].split(",")] if index else []
        name = "_".join([stem, *parts])
        if name.lower() in taken:
            name = f"{name}_frame{number:05d}"
        taken.add(name.lower())
        names.append(f"{name}.tif")
    return names

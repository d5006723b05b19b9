"""Reading: one front for every format and number of dimensions.

The rest of the package reads through this module alone.
"""

from __future__ import annotations

import dataclasses
import glob
import os

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io import array_files, text_files
from smae_jax.io.choosing import choose_frames, parse_frames
from smae_jax.io.locations import find_files, natural_key, opener_of, split_inside
from smae_jax.io.masks import read_mask
from smae_jax.io.raw_repeats import RawRepeats
from smae_jax.io.repeats import Layout, join, relative_exposure
from smae_jax.io.scans import read_scan
from smae_jax.measurements import Measurements
from smae_jax.survey import describe_mask, masked

__all__ = [
    "choose_frames",
    "describe_mask",
    "is_spectra",
    "masked",
    "parse_frames",
    "read",
    "read_mask",
]


def read(
    path: str,
    *,
    dimensions: int = 0,
    repeats: str = "",
    repeats_axis: int = 0,
    channel_axis: int | None = None,
    axis_label: str = "",
    saturation: float | None = None,
    missing: str = "refuse",
) -> Measurements:
    """Read measurements: frames of a scan, or repeats of spectra, patterns or volumes.

    Args:
      path: a file, a quoted pattern, a folder, `file.h5::/dataset` or `file.npz::name`; several files of one
        kind follow one another in natural order (`frame2` before `frame10`).
      dimensions: axes of one repeat, without repeats and channels; 0 = by the file: text, and one or two
        axes of an array with coordinates beside it, are spectra; all else is a scan of patterns.
      repeats: which ones are kept, see `parse_frames`; "" = all.
      repeats_axis: axis of the array that the repeats lie along. Of an array with more axes than that the
        leading ones are all repeats, such as the rows and columns of a map.
      channel_axis: axis of the array that holds the channels of multi-channel data; None = there is none.
      axis_label: such as `energy (keV)`, where the file does not tell.
      saturation: counts from which a pixel of a pattern is saturated; None takes each file's own cutoff,
        where it has one; infinity takes none.
      missing: what becomes of frames that an HDF5 file announces and that are not there, as of a linked file
        that is missing: "refuse" names them, "skip" leaves them out and notes it.

    Returns:
      The measurements; whole numbers stay whole. Values that are not finite are invalid and 0, of patterns
      and volumes also the detectors' sentinels. `exposure` is that of each repeat relative to their mean; in
      a scan it is 1 for every frame, and `origin.exposure_s` has the times.

    Raises:
      UserError: in one line, if there is no such file, it is damaged, does not have these axes, or nothing is
        left to use.
    """
    file_path, inside = split_inside(path)
    files = _files(file_path, dimensions)
    kind = _one_kind(path, files, dimensions)
    told = dimensions > 0 or channel_axis is not None or repeats_axis != 0 or kind == "text"
    if not told and not (kind == "array" and array_files.is_spectrum(files[0], inside)):
        return choose_frames(read_scan(path, saturation=saturation, missing=missing), repeats)
    # Of an .npz file the exposures and the mask beside the frames count as well.
    plain = repeats_axis == 0 and channel_axis is None and not files[0].lower().endswith(".npz")
    if (kind == "image" and dimensions != 3) or (kind == "array" and dimensions == 2 and plain):
        return choose_frames(_patterns(path, saturation, missing), repeats)
    parts = [_raw(file, inside, kind, repeats_axis, missing) for file in files]
    dimensions = dimensions or _guess(path, kind, parts[0], channel_axis)
    layout = Layout(dimensions, repeats_axis, channel_axis, axis_label)
    return choose_frames(join(path, files, parts, layout), repeats)


def is_spectra(path: str, dimensions: int = 0) -> bool:
    """Whether a path can only mean repeats, not a scan: text files, or dimensions that say so."""
    return dimensions > 0 or _kind(split_inside(path)[0]) == "text"


def _files(path: str, dimensions: int) -> list[str]:
    if os.path.isfile(path):
        files = [path]
    else:
        where = os.path.join(path, "*") if os.path.isdir(path) else path
        found = (f for f in glob.glob(where, recursive=True) if os.path.isfile(f))
        files = sorted(found, key=natural_key)
        if os.path.isdir(path):  # notes may lie beside frames
            texts = [f for f in files if _kind(f) == "text"]
            frames = dimensions > 1 or (dimensions == 0 and any(opener_of(f) for f in files))
            return find_files(path) if frames or not texts else texts
    if not files or any(_kind(file) == "image" for file in files):
        return find_files(path)  # it knows what images are, and has the words for what is missing
    return files


def _kind(file: str) -> str:
    suffix = os.path.splitext(file)[1].lower()
    if suffix in text_files.SUFFIXES:
        return "text"
    return "array" if suffix in array_files.SUFFIXES else "image"


def _one_kind(path: str, files: list[str], dimensions: int) -> str:
    kinds = sorted({_kind(file) for file in files})
    if len(kinds) > 1:
        raise UserError(f"{path}: mixes {' and '.join(kinds)} files; name files of one kind")
    if kinds == ["image"] and dimensions == 1:
        raise UserError(
            f"--data.dimensions 1: {path} holds images; expected .csv, .txt, .npy, .npz or HDF5 files, or "
            "dimensions 2"
        )
    if kinds == ["text"] and dimensions > 1:
        raise UserError(
            f"--data.dimensions {dimensions}: {path} is text, which holds spectra; leave the option out"
        )
    return kinds[0]


def _raw(file: str, inside: str, kind: str, repeats_axis: int, missing: str) -> RawRepeats:
    if not os.access(file, os.R_OK):
        raise UserError(f"{file}: no permission to read this file; change its mode or copy it")
    if kind == "text":
        if inside:
            raise UserError(f"{file}: a text file holds no names; drop '::{inside}'")
        return text_files.read_text(file, repeats_axis=repeats_axis)
    if kind == "image":  # the pages of one file are one volume
        scan = read_scan(file)
        valid = np.broadcast_to(scan.valid, scan.counts.shape)
        return RawRepeats(scan.counts, valid=valid, dtype=scan.origin.dtype)
    return array_files.read_array(file, inside, missing=missing)


def _guess(path: str, kind: str, raw: RawRepeats, channel_axis: int | None) -> int:
    axes = raw.values.ndim - (channel_axis is not None)
    if kind == "text" or axes == 1 or raw.axis is not None:
        return 1
    if axes == 3:
        return 2
    raise UserError(
        f"{path}: an array of shape {raw.values.shape} without an axis; say what one repeat is with "
        "--data.dimensions 1 (a spectrum), 2 (a pattern) or 3 (a volume)"
    )


def _patterns(path: str, saturation: float | None, missing: str) -> Measurements:
    """Read the frames of a scan as repeats: with their exposures, and a note of what is masked."""
    scan = read_scan(path, saturation=saturation, missing=missing)
    notes = [
        f"{100 * share:.2f} % of pixels masked: {cause}"
        for cause, share in scan.origin.masked_by.items()
        if share
    ]
    times = np.ones(scan.frames)
    if scan.origin.exposure_s is not None and min(scan.origin.exposure_s) > 0:
        times = np.array(scan.origin.exposure_s)
    return dataclasses.replace(
        scan,
        exposure=relative_exposure(scan.valid, times),
        origin=dataclasses.replace(scan.origin, notes=(*scan.origin.notes, *notes)),
    )

"""Reading: one front for every format and number of dimensions.

The rest of the package reads through this module alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io import amptek_files, array_files, spec_files, text_files, text_frames
from smae_jax.io.choosing import choose_frames, parse_frames
from smae_jax.io.frame_files import find_frames
from smae_jax.io.locations import hidden, matching, opener_of, split_inside
from smae_jax.io.masks import read_mask, with_masks
from smae_jax.io.raw_repeats import RawRepeats
from smae_jax.io.readable import refuse_unreadable
from smae_jax.io.repeats import Layout, join, relative_exposure
from smae_jax.io.scans import read_scan
from smae_jax.io.text_tables import TableOptions
from smae_jax.measurements import Measurements
from smae_jax.survey import describe_mask, masked

__all__ = [
    "How",
    "choose_frames",
    "describe_mask",
    "is_spectra",
    "masked",
    "parse_frames",
    "read",
    "read_mask",
    "with_masks",
]


@dataclasses.dataclass(frozen=True)
class How:
    """How measurements lie in files, and what to make of them.

    Attributes:
      dimensions: axes of one repeat, without repeats and channels; 0 = by the file: text, and one or two
        axes of an array with coordinates beside it, are spectra; all else is a scan of patterns.
      repeats: which ones are kept, see `parse_frames`; "" = all.
      repeats_axis: axis of the array that the repeats lie along. Of an array with more axes than that the
        leading ones are all repeats, such as the rows and columns of a map.
      channel_axis: axis of the array that holds the channels of multi-channel data; None = there is none.
      axis_label: such as `energy (keV)`, where the file does not tell.
      saturation: counts from which a pixel of a pattern is saturated; None takes each file's own cutoff,
        where it has one; infinity takes none.
      marks: which values of patterns and volumes are marks and not measurements: `auto` decides by how they
        behave, `none`, `signed` (negative values are measurements), or values; see `marks.parse_marks`.
      missing: what becomes of frames that an HDF5 file announces and that are not there, as of a linked file
        that is missing: "refuse" names them, "skip" leaves them out and notes it.
      table: what the user says of tables of text: their decimal mark and columns.
      left_out: locations of files that are no frames even where a path matches them: masks, the reference.
    """

    dimensions: int = 0
    repeats: str = ""
    repeats_axis: int = 0
    channel_axis: int | None = None
    axis_label: str = ""
    saturation: float | None = None
    marks: str = "auto"
    missing: str = "refuse"
    table: TableOptions = dataclasses.field(default_factory=TableOptions)
    left_out: Sequence[str] = ()


def read(path: str, how: How | None = None, **given: Any) -> Measurements:
    """Read measurements: frames of a scan, or repeats of spectra, patterns or volumes.

    Args:
      path: a file, a quoted pattern, a folder, `file.h5::/dataset` or `file.npz::name`; several files of one
        kind follow one another in natural order (`frame2` before `frame10`).
      how: how they lie there; None = as the files tell.
      given: single fields of `How` that are to be otherwise.

    Returns:
      The measurements; whole numbers stay whole. Values that are not finite are invalid and 0, of patterns
      and volumes also the detectors' marks. `exposure` is that of each repeat relative to their mean; in
      a scan it is 1 for every frame, and `origin.exposure_s` has the times.

    Raises:
      UserError: in one line, if there is no such file, it is damaged, does not have these axes, or nothing is
        left to use.
    """
    how = dataclasses.replace(how or How(), **given)
    dimensions, channel_axis = how.dimensions, how.channel_axis
    file_path, inside = split_inside(path)
    files, notes = _files(file_path, dimensions, how.left_out)
    kind = _one_kind(path, files, dimensions)
    told = dimensions > 0 or channel_axis is not None or how.repeats_axis != 0 or kind == "text"
    if not told and not (kind == "array" and array_files.is_spectrum(files[0], inside)):
        return choose_frames(_scan(path, how), how.repeats)
    # Of an .npz file the exposures and the mask beside the frames count as well.
    plain = how.repeats_axis == 0 and channel_axis is None and not files[0].lower().endswith(".npz")
    if (kind == "image" and dimensions != 3) or (kind == "array" and dimensions == 2 and plain):
        return choose_frames(_patterns(path, how), how.repeats)
    if kind == "text":
        parts = [_text(file, inside, how) for file in files]
        _check_quantity(files, parts)
    else:
        parts = [_raw(file, inside, kind, how) for file in files]
    dimensions = dimensions or _guess(path, kind, parts[0], channel_axis)
    decided = "none" if kind == "image" else how.marks  # of images it is, page by page
    layout = Layout(dimensions, how.repeats_axis, channel_axis, how.axis_label, decided)
    data = join(path, files, parts, layout)
    origin = dataclasses.replace(data.origin, notes=(*notes, *data.origin.notes))
    return choose_frames(dataclasses.replace(data, origin=origin), how.repeats)


def is_spectra(path: str, dimensions: int = 0) -> bool:
    """Whether a path can only mean repeats, not a scan: text files, or dimensions that say so."""
    return dimensions > 0 or _kind(split_inside(path)[0]) == "text"


def _files(
    path: str, dimensions: int, left_out: Sequence[str]
) -> tuple[list[str], tuple[str, ...]]:
    """List the files that hold measurements, and note what is left out."""
    files = matching(path)
    if os.path.isdir(path):  # notes may lie beside frames
        texts = [f for f in files if _kind(f) == "text" and not hidden(f)]
        images = any(opener_of(f) for f in files)
        frames = dimensions > 2 or (dimensions in (0, 2) and images)
        if texts and not frames:
            return texts, ()
    elif (kinds := {*map(_kind, files)}) and "text" in kinds and "image" not in kinds:
        return files, ()
    return find_frames(path, left_out)  # it has the words for what is missing


def _kind(file: str) -> str:
    suffix = os.path.splitext(file)[1].lower()
    if suffix in text_files.READ_SUFFIXES:
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
    if kinds == ["text"] and dimensions > 2:
        raise UserError(
            f"--data.dimensions {dimensions}: {path} is text, which holds spectra, or one frame a file with "
            "dimensions 2; change the option or leave it out"
        )
    return kinds[0]


def _text(file: str, inside: str, how: How) -> RawRepeats:
    """Read one text file by what it is: scans of SPEC, a spectrum of Amptek, a frame, a table."""
    refuse_unreadable(file)
    options, frames = how.table, how.dimensions == 2
    if spec_files.is_spec(file) and not frames:
        return spec_files.read_spec(file, inside, options)
    if inside:
        raise UserError(f"{file}: a text file holds no names; drop '::{inside}'")
    if frames:
        return text_frames.read_frame(file, options)
    if amptek_files.is_amptek(file):
        return amptek_files.read_amptek(file)
    return text_files.read_text(file, repeats_axis=how.repeats_axis, options=options)


def _check_quantity(files: list[str], parts: list[RawRepeats]) -> None:
    """Refuse files of which not the same column is the spectrum."""
    for file, part in zip(files, parts, strict=True):
        if part.quantity != parts[0].quantity:
            first, this = (one.quantity or "all columns" for one in (parts[0], part))
            raise UserError(
                f"spectra are of different columns: '{first}' of {files[0]}, '{this}' of {file}; choose "
                "one that all files have with --data.columns"
            )


def _raw(file: str, inside: str, kind: str, how: How) -> RawRepeats:
    refuse_unreadable(file)
    if kind == "image":  # the pages of one file are one volume
        scan = read_scan(file, marks=how.marks)
        valid = np.broadcast_to(scan.valid, scan.counts.shape)
        said = scan.origin.notes
        return RawRepeats(scan.counts, valid=valid, dtype=scan.origin.dtype, notes=said)
    return array_files.read_array(file, inside, missing=how.missing)


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


def _scan(path: str, how: How) -> Measurements:
    return read_scan(
        path,
        saturation=how.saturation,
        left_out=how.left_out,
        marks=how.marks,
        missing=how.missing,
    )


def _patterns(path: str, how: How) -> Measurements:
    """Read the frames of a scan as repeats: with their exposures, and a note of what is masked."""
    scan = _scan(path, how)
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

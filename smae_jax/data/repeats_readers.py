"""From files to `Repeats`: one entry point for every format and number of dimensions."""

from __future__ import annotations

import glob
import os

import numpy as np

from smae_jax.data import array_files, text_files
from smae_jax.data.locations import find_files, natural_key, split_inside
from smae_jax.data.raw_repeats import RawRepeats, split_label
from smae_jax.data.readers import read_scan
from smae_jax.data.repeats import Repeats, choose_repeats
from smae_jax.data.sentinels import causes_of


def read_repeats(
    path: str,
    *,
    dimensions: int = 0,
    repeats: str = "",
    repeats_axis: int = 0,
    channel_axis: int | None = None,
    axis_label: str = "",
    saturation: float | None = None,
) -> Repeats:
    """Read repeated measurements of spectra, patterns or volumes.

    Args:
      path: a text file (`.csv .txt .dat ...`), `.npy`, `file.npz::name`, `file.h5::/dataset`, for patterns
        any format of `readers.read_scan`; or a quoted pattern or folder of files of one kind, whose repeats
        follow one another.
      dimensions: axes of one repeat, without repeats and channels; 0 = by the file: text is 1, an array with
        an axis is 1, images are 2.
      repeats: which ones are kept, see `repeats.parse_repeats`; "" = all.
      repeats_axis: axis of the array that the repeats lie along. Of an array with more axes than that the
        leading ones are all repeats, such as the rows and columns of a map.
      channel_axis: axis of the array that holds the channels of multi-channel data; None = there is none.
      axis_label: such as `energy (keV)`, where the file does not tell.
      saturation: counts from which a pixel of a pattern is saturated; None = the file's own cutoff.

    Returns:
      The repeats; values that are not finite are invalid and 0, of patterns and volumes also the detectors'
      sentinels.

    Raises:
      ValueError: in one line, if there is no such file, it is damaged, does not have these axes, or nothing
        is left to use.
    """
    file_path, inside = split_inside(path)
    files = _files(file_path)
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise ValueError(
            f"{path}: mixes {' and '.join(sorted(kinds))} files; name files of one kind"
        )
    kind = kinds.pop()
    if kind == "image" and dimensions == 1:
        raise ValueError(
            f"--data.dimensions 1: {path} holds images; expected .csv, .txt, .npy, .npz or HDF5 files, or "
            "dimensions 2"
        )
    if kind == "text" and dimensions > 1:
        raise ValueError(
            f"--data.dimensions {dimensions}: {path} is text, which holds spectra; leave the option out"
        )
    # Of an .npz file the exposures and the mask beside the frames count as well.
    plain = repeats_axis == 0 and channel_axis is None and not files[0].lower().endswith(".npz")
    if (kind == "image" and dimensions != 3) or (kind == "array" and dimensions == 2 and plain):
        return choose_repeats(_patterns(path, saturation), repeats)
    parts = [_read(file, inside, kind, repeats_axis) for file in files]
    dimensions = dimensions or _guess(path, kind, parts[0], channel_axis)
    placed = [_place(path, part, dimensions, repeats_axis, channel_axis) for part in parts]
    joined = _join(path, files, parts, placed, dimensions, channel_axis is not None, axis_label)
    return choose_repeats(joined, repeats)


def is_spectra(path: str, *, dimensions: int = 0) -> bool:
    """Whether a path can only mean repeats, not a scan: text files, or dimensions that say so."""
    file = split_inside(path)[0]
    return dimensions > 0 or os.path.splitext(file)[1].lower() in text_files.SUFFIXES


def _files(path: str) -> list[str]:
    if os.path.isfile(path):
        files = [path]
    else:
        where = os.path.join(path, "*") if os.path.isdir(path) else path
        files = sorted((f for f in glob.glob(where) if os.path.isfile(f)), key=natural_key)
        if os.path.isdir(path):
            texts = [f for f in files if _kind(f) == "text"]
            return texts or find_files(path)
    if not files or any(_kind(file) == "image" for file in files):
        return find_files(path)  # it knows what images are, and has the words for what is missing
    return files


def _kind(file: str) -> str:
    suffix = os.path.splitext(file)[1].lower()
    if suffix in text_files.SUFFIXES:
        return "text"
    return "array" if suffix in array_files.SUFFIXES else "image"


def _read(file: str, inside: str, kind: str, repeats_axis: int) -> RawRepeats:
    if not os.access(file, os.R_OK):
        raise ValueError(f"{file}: no permission to read this file; change its mode or copy it")
    if kind == "text":
        if inside:
            raise ValueError(f"{file}: a text file holds no names; drop '::{inside}'")
        return text_files.read_text(file, repeats_axis=repeats_axis)
    if kind == "image":  # the pages of one file are one volume
        scan = read_scan(file)
        valid = np.broadcast_to(scan.valid, scan.counts.shape)
        return RawRepeats(scan.counts, valid=valid)
    suffix = os.path.splitext(file)[1].lower()
    if suffix == ".npy":
        return array_files.read_npy(file, inside)
    if suffix == ".npz":
        return array_files.read_npz(file, inside)
    return array_files.read_hdf5(file, inside)


def _guess(path: str, kind: str, raw: RawRepeats, channel_axis: int | None) -> int:
    axes = raw.values.ndim - (channel_axis is not None)
    if kind == "text" or axes == 1 or raw.axis is not None:
        return 1
    if axes == 3:
        return 2
    raise ValueError(
        f"{path}: an array of shape {raw.values.shape} without an axis; say what one repeat is with "
        "--data.dimensions 1 (a spectrum), 2 (a pattern) or 3 (a volume)"
    )


def _place(
    path: str, raw: RawRepeats, dimensions: int, repeats_axis: int, channel_axis: int | None
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Bring one array to (repeats, *spatial[, channel]).

    Returns:
      (values, valid shaped as values without channels, the shape that the repeats had).
    """
    values, ndim = raw.values, raw.values.ndim
    channels = channel_axis is not None
    extra = ndim - dimensions - channels
    for name, axis in (("repeats-axis", repeats_axis), ("channel-axis", channel_axis)):
        if axis is not None and not -ndim <= axis < ndim and not raw.oriented:
            raise ValueError(
                f"--data.{name} {axis}: {path} has shape {values.shape}; expected an axis from 0 to "
                f"{ndim - 1}"
            )
    if extra < 0:
        raise ValueError(
            f"--data.dimensions {dimensions}: {path} has shape {values.shape}"
            + (", one axis of which is channels" if channels else "")
            + "; expected at least as many axes; choose another array or fewer dimensions"
        )
    order = list(range(ndim))
    if channel_axis is not None:
        order.append(order.pop(channel_axis % ndim))
    if extra == 1 and not raw.oriented:
        repeats_at = repeats_axis % ndim
        if channel_axis is not None and repeats_at == channel_axis % ndim:
            raise ValueError(
                f"--data.channel-axis {channel_axis}: is the axis of the repeats; set --data.repeats-axis to "
                "another one"
            )
        order.remove(repeats_at)
        order.insert(0, repeats_at)
    leading = tuple(values.shape[axis] for axis in order[:extra])
    bad = _bad(values, dimensions)
    if raw.valid is not None:
        bad = bad | ~np.broadcast_to(raw.valid, values.shape)
    values, bad = (np.transpose(array, order) for array in (values, bad))
    count = int(np.prod(leading))
    rest = values.shape[extra:]
    values, bad = (array.reshape(count, *rest) for array in (values, bad))
    spatial = rest[:-1] if channels else rest
    if raw.axis is not None and dimensions == 1 and len(raw.axis) != spatial[-1]:
        raise ValueError(
            f"{path}: the axis has {len(raw.axis)} values, but a spectrum has {spatial[-1]} with the repeats "
            f"along axis {repeats_axis} of shape {raw.values.shape}; set --data.repeats-axis"
        )
    valid = np.logical_not(bad.any(axis=-1, keepdims=False) if channels else bad)
    kept = valid[..., None] if channels else valid
    return np.where(kept, values, 0).astype(np.float32), valid, leading if extra > 1 else ()


def _bad(values: np.ndarray, dimensions: int) -> np.ndarray:
    """Find what is no measurement; a negative value of a spectrum may well be one."""
    if dimensions > 1 or values.dtype.kind == "u":
        return causes_of(values, saturation=None) != 0
    if values.dtype.kind == "i":
        return np.zeros(values.shape, np.bool_)
    return ~(np.abs(values) < 1e30)  # NaN compares as False


def _join(
    path: str,
    files: list[str],
    parts: list[RawRepeats],
    placed: list[tuple[np.ndarray, np.ndarray, tuple[int, ...]]],
    dimensions: int,
    channels: bool,
    axis_label: str,
) -> Repeats:
    """Put the repeats of all files one after another."""
    first = parts[0]
    for file, part, (values, _, _) in zip(files, parts, placed, strict=True):
        if values.shape[1:] != placed[0][0].shape[1:]:
            raise ValueError(
                f"repeats differ in shape: {files[0]} has {placed[0][0].shape[1:]}, {file} has "
                f"{values.shape[1:]}; keep one shape"
            )
        both = first.axis is not None and part.axis is not None
        if (first.axis is None) != (part.axis is None) or (
            both and not np.allclose(first.axis, part.axis, rtol=1e-6, atol=1e-9)  # type: ignore[arg-type]
        ):
            raise ValueError(
                f"spectra differ in their axes: {files[0]} and {file}; keep spectra of one axis "
                "(interpolating them would correlate their noise)"
            )
    counts = np.concatenate([values for values, _, _ in placed])
    valid = np.concatenate([seen for _, seen, _ in placed])
    if not valid.any():
        raise ValueError(f"{path}: no usable value in any repeat; check the file and its mask")
    if not counts.any():
        raise ValueError(
            f"{path}: every value of all {len(counts)} repeats is 0; was the shutter closed?"
        )
    if (valid == valid[:1]).all():
        valid = valid[:1]
    exposure = np.ones(len(counts))
    if all(part.exposure is not None for part in parts):
        exposure = np.concatenate([np.asarray(part.exposure) for part in parts])
    if len(exposure) != len(
        counts
    ):  # of a map with exposures per row, or repeats along another axis
        exposure = np.ones(len(counts))
    names = list[str]()
    for file, part, (values, _, leading) in zip(files, parts, placed, strict=True):
        names += _names(file, part, len(values), leading, many=len(files) > 1)
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    if len(placed) == 1 and placed[0][2]:
        notes.append(f"{len(counts)} repeats in the order of the leading axes {placed[0][2]}")
    if dimensions == 1 and first.axis is not None:
        axis, name, unit = first.axis.astype(np.float64), first.axis_name, first.axis_unit
        if axis_label:
            given = split_label(axis_label)
            name, unit = name or given[0], unit or given[1]
    else:
        axis, name, unit = None, "", ""
    return Repeats(
        counts=counts,
        valid=valid,
        exposure=(exposure / exposure.mean()).astype(np.float32),
        axis=axis,
        axis_name=name,
        axis_unit=unit,
        names=tuple(names),
        source=path,
        dtype=_dtype(first.values),
        notes=tuple(notes),
        channels=channels,
        leading=placed[0][2] if len(placed) == 1 else (),
    )


def _names(
    file: str, raw: RawRepeats, count: int, leading: tuple[int, ...], *, many: bool
) -> list[str]:
    stem = os.path.splitext(os.path.basename(file))[0]
    if many and count == 1:
        return [stem]
    if raw.names is not None and len(raw.names) == count:
        return [f"{stem} {name}" if many else name for name in raw.names]
    places = [",".join(map(str, place)) for place in np.ndindex(*(leading or (count,)))]
    return [f"{stem}[{place}]" if many else f"repeat {place}" for place in places]


def _dtype(values: np.ndarray) -> str:
    """Name the type on disk; numbers of text are whole or not."""
    if values.dtype == np.float64:
        finite = values[np.isfinite(values)]
        if finite.size and not np.mod(finite, 1).any():
            return "whole numbers"
    return values.dtype.name


def _patterns(path: str, saturation: float | None) -> Repeats:
    """Read the frames of a scan as repeats, with everything that its reader knows of masks."""
    scan = read_scan(path, saturation=saturation)
    exposure = np.ones(len(scan.counts))
    notes = [
        f"{100 * share:.2f} % of pixels masked: {cause}"
        for cause, share in scan.masked_by.items()
        if share
    ]
    if scan.metadata.exposure_s is not None and min(scan.metadata.exposure_s) > 0:
        exposure = np.array(scan.metadata.exposure_s)
    return Repeats(
        counts=scan.counts,
        valid=scan.valid,
        exposure=(exposure / exposure.mean()).astype(np.float32),
        axis=None,
        axis_name="",
        axis_unit="",
        names=scan.metadata.sources,
        source=path,
        dtype=scan.metadata.dtype,
        notes=tuple(notes),
        leading=scan.metadata.raster_shape or (),
    )

"""Repeats of spectra, patterns and volumes: what axes of an array mean, and files joined to one record."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.marks import FRAMES, Tally, decide_marks, parse_marks
from smae_jax.io.raw_repeats import RawRepeats, split_label
from smae_jax.io.sentinels import Marks, causes_of, largest_of
from smae_jax.io.whole_numbers import as_counts, type_of_all
from smae_jax.measurements import Axis, Measurements, Origin


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the axes of an array mean, as the user says it.

    Attributes:
      dimensions: axes of one repeat, without repeats and channels, >= 1.
      repeats_axis: axis that the repeats lie along; of an array with more axes than that the leading ones
        are all repeats.
      channel_axis: axis of the channels; None = there is none.
      axis_label: such as `energy (keV)`, where the file does not tell.
      marks: which values are marks, as `parse_marks` reads it.
    """

    dimensions: int
    repeats_axis: int = 0
    channel_axis: int | None = None
    axis_label: str = ""
    marks: str = "auto"


@dataclasses.dataclass(frozen=True)
class Placed:
    """The repeats of one file in their place.

    Attributes:
      counts: (repeats, *spatial[, channel]), 0 where invalid.
      valid: bool, (repeats, *spatial).
      leading: shape that the repeats had in the file; () = one axis.
    """

    counts: np.ndarray
    valid: np.ndarray
    leading: tuple[int, ...]


def place(path: str, raw: RawRepeats, layout: Layout, marks: Marks) -> Placed:
    """Bring one array to (repeats, *spatial[, channel]).

    Raises:
      UserError: in one line, if the array does not have these axes.
    """
    dimensions, channels = layout.dimensions, layout.channel_axis is not None
    values, left_out, leading = _in_order(path, raw, layout)
    extra, rest = len(leading), values.shape[1:]
    bad = (causes_of(values, saturation=None, marks=marks) != 0) | left_out
    if raw.axis is not None and dimensions == 1 and len(raw.axis) != rest[0]:
        raise UserError(
            f"{path}: the axis has {len(raw.axis)} values, but a spectrum has {rest[0]} with the "
            f"repeats along axis {layout.repeats_axis} of shape {raw.values.shape}; set --data.repeats-axis"
        )
    valid = ~np.asarray(bad.any(axis=-1) if channels else bad)
    counts = as_counts(values, valid[..., None] if channels else valid)
    return Placed(counts, valid, leading if extra > 1 else ())


def _in_order(
    path: str, raw: RawRepeats, layout: Layout
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return values and what the file leaves out, (repeats, *spatial[, channel]), and the leading shape."""
    extra = raw.values.ndim - layout.dimensions - (layout.channel_axis is not None)
    order = _order(path, raw, layout, extra)
    leading = tuple(raw.values.shape[axis] for axis in order[: max(extra, 0)])
    valid = np.broadcast_to(True if raw.valid is None else raw.valid, raw.values.shape)
    values, left_out = (np.transpose(array, order) for array in (raw.values, ~valid))
    shape = (int(np.prod(leading)), *values.shape[extra:])
    return values.reshape(shape), left_out.reshape(shape), leading


def _order(path: str, raw: RawRepeats, layout: Layout, extra: int) -> list[int]:
    """Return the axes of the array in the order repeats, spatial, channels."""
    ndim, shape, channel_axis = raw.values.ndim, raw.values.shape, layout.channel_axis
    for name, axis in (("repeats-axis", layout.repeats_axis), ("channel-axis", channel_axis)):
        if axis is not None and not -ndim <= axis < ndim and not raw.oriented:
            raise UserError(
                f"--data.{name} {axis}: {path} has shape {shape}; expected an axis from 0 to {ndim - 1}"
            )
    if extra < 0:
        also = "" if channel_axis is None else ", one axis of which is channels"
        raise UserError(
            f"--data.dimensions {layout.dimensions}: {path} has shape {shape}{also}; expected at least as "
            "many axes; choose another array or fewer dimensions"
        )
    order = list(range(ndim))
    if channel_axis is not None:
        order.append(order.pop(channel_axis % ndim))
    if extra == 1 and not raw.oriented:
        repeats_at = layout.repeats_axis % ndim
        if channel_axis is not None and repeats_at == channel_axis % ndim:
            raise UserError(
                f"--data.channel-axis {channel_axis}: is the axis of the repeats; set --data.repeats-axis to "
                "another one"
            )
        order.remove(repeats_at)
        order.insert(0, repeats_at)
    return order


def find_marks(path: str, parts: list[RawRepeats], layout: Layout) -> Marks:
    """Decide what the marks are; a negative value of a spectrum may well be a measurement.

    Raises:
      UserError: if an array does not have these axes, or the marks asked for are none.
    """
    asked = parse_marks(layout.marks)
    if layout.dimensions == 1:
        kinds = {
            part.values.dtype for part in parts if part.values.dtype.kind == "u" and asked.auto
        }
        ends = {value for kind in kinds for value in largest_of(kind)}
        return Marks((*asked.values, *ends), signed=True, kept=asked.text)
    tally, shape = Tally(asked.values), None
    for part in parts:
        values, left_out, _ = _in_order(path, part, layout)
        shape = values.shape[1:] if shape is None else shape
        if values.shape[1:] != shape:
            continue  # refused when they are joined
        most = min(len(values), max(1, FRAMES // len(parts)))
        for index in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int)):
            if tally.frames < FRAMES:
                tally.add(values[index], left_out[index])
    return decide_marks(tally, asked)


def join(path: str, files: list[str], parts: list[RawRepeats], layout: Layout) -> Measurements:
    """Put the repeats of all files one after another.

    Raises:
      UserError: in one line, if the files differ in shape or axis, or nothing is left to use.
    """
    marks = find_marks(path, parts, layout)
    placed = [place(path, part, layout, marks) for part in parts]
    _check_alike(files, parts, placed)
    kind = type_of_all(one.counts for one in placed)
    counts = np.concatenate([one.counts.astype(kind, copy=False) for one in placed])
    valid = np.concatenate([one.valid for one in placed])
    if not valid.any():
        raise UserError(f"{path}: no usable value in any repeat; check the file and its mask")
    if not counts.any():
        raise UserError(
            f"{path}: every value of all {len(counts)} repeats is 0; was the shutter closed?"
        )
    notes = [*(note for part in parts for note in part.notes), *marks.notes]
    times, said = _exposures(parts, len(counts))
    leading = placed[0].leading if len(placed) == 1 else ()
    if leading:
        said.append(f"{len(counts)} repeats in the order of the leading axes {leading}")
    names = list[str]()
    for file, part, one in zip(files, parts, placed, strict=True):
        names += _names(file, part, one, many=len(files) > 1)
    return Measurements(
        counts=counts,
        exposure=relative_exposure(valid, times),
        axis=_axis(parts[0], layout),
        names=tuple(names),
        origin=Origin(
            source=path,
            dtype=parts[0].dtype or _dtype(parts[0].values),
            notes=tuple(dict.fromkeys([*notes, *said])),
            leading=leading,
            marks=marks.kept,
            motors=_motors(parts[0], leading) if len(parts) == 1 else (),
        ),
        channels=layout.channel_axis is not None,
    )


def relative_exposure(valid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return each repeat's exposure in units of their mean, 0 where invalid.

    Args:
      valid: bool, (1 or repeats, *spatial).
      times: of each repeat in any unit, > 0, (repeats,).

    Returns:
      float32, (1 or repeats, *spatial): 1 where masks and times agree for all repeats.
    """
    times = times / times.mean()
    if (times == times[0]).all() and (valid == valid[:1]).all():
        times, valid = times[:1], valid[:1]
    return (times.reshape(-1, *(1,) * (valid.ndim - 1)) * valid).astype(np.float32)


def _check_alike(files: list[str], parts: list[RawRepeats], placed: list[Placed]) -> None:
    first, shape = parts[0], placed[0].counts.shape[1:]
    for file, part, one in zip(files, parts, placed, strict=True):
        if one.counts.shape[1:] != shape:
            raise UserError(
                f"repeats differ in shape: {files[0]} has {shape}, {file} has {one.counts.shape[1:]}; keep "
                "one shape"
            )
        if first.axis is None and part.axis is None:
            continue
        known = first.axis is not None and part.axis is not None
        if not known or not np.allclose(first.axis, part.axis, rtol=1e-6, atol=1e-9):  # type: ignore[arg-type]
            raise UserError(
                f"spectra differ in their axes: {files[0]} and {file}; keep spectra of one axis "
                "(interpolating them would correlate their noise)"
            )


def _exposures(parts: list[RawRepeats], count: int) -> tuple[np.ndarray, list[str]]:
    """Return the exposure of each repeat, ones where the files do not tell, and what to say of it."""
    told = [np.asarray(part.exposure) for part in parts if part.exposure is not None]
    number = sum(map(len, told))
    if told and number == count and len(told) == len(parts):
        return np.concatenate(told), []
    if (
        told
    ):  # of a map with exposures per row, of repeats along another axis, or of some files only
        said = f"{number} exposures for {count} repeats: left out, all repeats count alike"
        return np.ones(count), [said]
    return np.ones(count), []


def _axis(raw: RawRepeats, layout: Layout) -> Axis | None:
    if layout.dimensions > 1 or raw.axis is None:
        return None
    name, unit = split_label(layout.axis_label) if layout.axis_label else ("", "")
    return Axis(raw.axis.astype(np.float64), raw.axis_name or name, raw.axis_unit or unit)


def _motors(raw: RawRepeats, leading: tuple[int, ...]) -> tuple[Axis | None, ...]:
    """Return the coordinates along the leading axes, where these lie as they do in the file."""
    motors = raw.motors[: len(leading)]
    fits = all(m is None or len(m.values) == n for m, n in zip(motors, leading, strict=False))
    return motors if len(motors) == len(leading) and fits else ()


def _names(file: str, raw: RawRepeats, placed: Placed, *, many: bool) -> list[str]:
    stem, count = os.path.splitext(os.path.basename(file))[0], len(placed.counts)
    if many and count == 1:
        return [stem]
    if raw.names is not None and len(raw.names) == count:
        return [f"{stem} {name}" if many else name for name in raw.names]
    places = [",".join(map(str, place)) for place in np.ndindex(*(placed.leading or (count,)))]
    return [f"{stem}[{place}]" if many else f"repeat {place}" for place in places]


def _dtype(values: np.ndarray) -> str:
    """Name the type on disk; numbers of text are whole or not."""
    if values.dtype == np.float64:
        finite = values[np.isfinite(values)]
        if finite.size and not np.mod(finite, 1).any():
            return "whole numbers"
    return values.dtype.name

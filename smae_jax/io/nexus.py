"""A NeXus file whose default plot is the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.io.answers import process_of
from smae_jax.io.form import Stored
from smae_jax.io.hdf5_sink import create_hdf5
from smae_jax.io.outputs import PROGRAM
from smae_jax.io.packings import packing_options
from smae_jax.measurements import Axis, Measurements


def write_nexus(path: Path, answers: Stored, process: dict[str, str]) -> None:
    """Write answers with their errors, masks, axis, names, geometry and process.

    Args:
      path: of the file.
      answers: what is written; patterns are packed as their form says, the rest by gzip.
      process: what made them; how numbers were rounded and clipped is added.

    Raises:
      OSError: if not everything could be written.
    """
    like, patterns = answers.like, len(answers.like.spatial) == 2
    numbers = answers.form.numbers
    with create_hdf5(path) as file:
        file.attrs["default"], file.attrs["creator"] = "entry", PROGRAM
        entry = group_of(file, "entry", "NXentry", default="data")
        data = group_of(entry, "data", "NXdata", signal="data")
        signal = _frames(data, "data", answers)
        signal.attrs["interpretation"] = "spectrum" if len(like.spatial) == 1 else "image"
        mark = str(numbers.mark) if numbers.whole else "NaN"
        signal.attrs["long_name"] = f"{answers.form.holds}; {mark} where there is no answer"
        if answers.has_sigma:
            errors = _frames(data, "data_errors", answers)
            errors.attrs["long_name"] = "one standard deviation of the denoised counts"
        _replicas(entry, answers)
        _flags(data, "pixel_mask", answers, np.uint32, "nonzero = no answer")
        if patterns or answers.flags("filled")[0] is None:
            _flags(data, "filled", answers, np.uint8, "1 = not measured, filled from the partner")
        data["source" if patterns else "names"] = list(answers.names)
        _axes(data, answers)
        write_geometry(entry, like)
        group = group_of(entry, "process", "NXprocess")
        rounded = answers.in_words()
        told = {**process, **({"output_dtype": rounded} if rounded else {})}
        for name, text in process_of(like, told).items():
            group[name] = text


def _packed(chunks: Any) -> dict[str, Any]:
    return {"chunks": chunks, **packing_options("gzip")}


def _frames(group: h5py.Group, name: str, answers: Stored) -> h5py.Dataset:
    """Write the answers (`data`) or their error bars (`data_errors`)."""
    leading, frame, form = answers.leading, answers.frame, answers.form
    if len(answers.like.spatial) == 2:
        packed = {"chunks": (*(1 for _ in leading), *frame), **packing_options(form.packing)}
    else:
        packed = _packed(True)
    signal = name == "data"
    numbers = form.numbers if signal else form.of_errors
    dataset = group.create_dataset(
        name, (*leading, *frame), numbers.dtype, fillvalue=numbers.mark, **packed
    )
    dataset.attrs["units"] = "counts"
    chunks = answers.packed("counts" if signal else "sigma")
    if chunks is not None:
        for place, (skipped, chunk) in zip(np.ndindex(leading), chunks, strict=True):
            dataset.id.write_direct_chunk((*place, *(0 for _ in frame)), chunk, skipped)
        return dataset
    frames = answers.frames() if signal else answers.sigmas()
    for place, values in zip(np.ndindex(leading), frames, strict=True):
        dataset[place] = values
    return dataset


def _replicas(entry: h5py.Group, answers: Stored) -> None:
    """Write what plausible answers differ by, if there are any, each frame of each in a chunk of its own."""
    leading, frame, dataset = answers.leading, answers.frame, None
    for number, frames in enumerate(answers.replicas()):
        if dataset is None:
            group = group_of(entry, "replicas", "NXdata", signal="data")
            dataset = group.create_dataset(
                "data",
                (1, *leading, *frame),
                np.float16,
                maxshape=(None, *leading, *frame),
                chunks=(1, *(1 for _ in leading), *frame),
                **packing_options(answers.form.packing),
            )
        dataset.resize(number + 1, axis=0)
        for place, values in zip(np.ndindex(leading), frames, strict=True):
            dataset[(number, *place)] = values
    if dataset is None:
        return
    dataset.attrs["units"] = "counts"
    dataset.attrs["long_name"] = (
        "replicas less the answer: add one to entry/data/data; the scatter of any quantity over them is its "
        "error"
    )


def _flags(group: h5py.Group, name: str, answers: Stored, kind: type, meaning: str) -> None:
    """Write what is said of every pixel; once where all frames agree."""
    unknown = name == "pixel_mask"
    one, each = answers.flags("known" if unknown else name)
    if one is not None:
        dataset = group.create_dataset(name, data=(one ^ unknown).astype(kind), **_packed(True))
    else:
        leading, frame = answers.leading, answers.like.spatial
        chunks = (*(1 for _ in leading), *frame)
        dataset = group.create_dataset(name, (*leading, *frame), kind, **_packed(chunks))
        for place, flags in zip(np.ndindex(leading), each, strict=True):
            dataset[place] = (flags ^ unknown).astype(kind)
    dataset.attrs["long_name"] = meaning


def _axes(data: h5py.Group, answers: Stored) -> None:
    """Write the coordinates of the motors and of the spectra, and name the axes of the data by them."""
    like, leading = answers.like, answers.leading
    motors = like.origin.motors or [None] * len(leading)
    names = [
        "." if motor is None or len(motor.values) != side else _coordinates(data, motor, place)
        for place, (motor, side) in enumerate(zip(motors, leading, strict=False))
    ]
    names += ["."] * (len(leading) - len(names))
    names += ["."] * (len(like.spatial) - 1)
    names.append("." if like.axis is None else _coordinates(data, like.axis, len(names)))
    if any(name != "." for name in names):
        data.attrs["axes"] = [*names, *(["."] if like.channels else [])]


def _coordinates(data: h5py.Group, axis: Axis, place: int) -> str:
    """Write coordinates along one axis of the data; return the name that they got."""
    name = (axis.name or "axis").replace("/", "_")
    name = f"{name}_axis" if name in data else name
    data[name] = axis.values
    data[name].attrs["units"] = axis.unit
    data.attrs[f"{name}_indices"] = place
    return name


def write_geometry(entry: h5py.Group, like: Measurements) -> None:
    """Write what is known of beam and detector into the groups of NeXus for them."""
    geometry = like.geometry
    center = geometry.center if like.center is None else like.center.subpixel
    instrument = group_of(entry, "instrument", "NXinstrument")
    detector = group_of(instrument, "detector", "NXdetector")
    for axis, value in zip("yx", center or (), strict=False):
        _quantity(detector, f"beam_center_{axis}", value, "pixel")
    for axis, value in zip("yx", geometry.pixel_size_m or (), strict=False):
        _quantity(detector, f"{axis}_pixel_size", value, "m")
    _quantity(detector, "distance", geometry.distance_m, "m")
    if geometry.rotations_rad is not None:
        detector["rotations"] = np.asarray(geometry.rotations_rad, np.float64)
        detector["rotations"].attrs.update(
            {"units": "rad", "long_name": "rot1, rot2, rot3 of the detector, as pyFAI defines them"}
        )
    if geometry.wavelength_m is not None:
        beam = group_of(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_wavelength", geometry.wavelength_m * 1e10, "angstrom")


def group_of(parent: h5py.Group, name: str, kind: str, **attributes: str) -> h5py.Group:
    """Make a group of a NeXus class."""
    group = parent.create_group(name)
    for key, value in {"NX_class": kind, **attributes}.items():
        group.attrs[key] = value
    return group


def _quantity(group: h5py.Group, name: str, value: float | None, unit: str) -> None:
    if value is not None:
        group[name] = float(value)
        group[name].attrs["units"] = unit


def dataset_of(
    group: h5py.Group, name: str, values: np.ndarray | None, unit: str, meaning: str
) -> None:
    """Write numbers as float64 with their unit and meaning; nothing where there are none.

    Args:
      group: where to.
      name: of the dataset.
      values: any shape; None = not known.
      unit: "" = a pure number.
      meaning: in words.
    """
    if values is None:
        return
    dataset = group.create_dataset(name, data=np.asarray(values, np.float64), compression="gzip")
    dataset.attrs["long_name"] = meaning
    if unit:
        dataset.attrs["units"] = unit

"""Denoised frames to disk: NeXus, TIFF, NumPy, or a folder with one file per frame.

All of it is written beside its final place first and moved there at the end.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import tifffile

from smae_jax.data.atomic import OutputError, atomic_path, refuse_existing
from smae_jax.data.scan import Geometry
from smae_jax.data.sink import create_hdf5

_SOFTWARE = "smae_jax"
_HDF5 = (".h5", ".hdf5", ".nxs")
_SUFFIXES = (*_HDF5, ".tif", ".tiff", ".npy")


def check_output(path: str, *, overwrite: bool = False) -> None:
    """Refuse an output before the work that leads to it.

    Raises:
      OutputError: if the suffix is unknown, the output exists and is not to be replaced, or it is a
        folder that holds more than earlier output of this program.
    """
    suffix = _suffix(path)
    if suffix and suffix not in _SUFFIXES:
        raise OutputError(
            f"{path}: unknown suffix '{suffix}' for output; expected {', '.join(_SUFFIXES)}, or a "
            "folder, ending in /"
        )
    refuse_existing(path, overwrite=overwrite)
    if suffix and os.path.isdir(path):
        raise OutputError(
            f"{path}: is a folder; end it in / for one file per frame, or choose another name"
        )
    if not suffix and os.path.lexists(path) and not _is_own_folder(path):
        raise OutputError(
            f"{path}: holds other files than output of {_SOFTWARE}; choose a new folder"
        )


def write_frames(
    path: str,
    counts: np.ndarray,
    *,
    valid: np.ndarray,
    filled: np.ndarray | None = None,
    sigma: np.ndarray | None = None,
    sources: Sequence[str],
    geometry: Geometry | None = None,
    process: dict[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write frames as the suffix says: `.h5 .hdf5 .nxs`, `.tif .tiff`, `.npy`, or a folder.

    A pixel has an answer where it is valid or filled; all others are NaN, in every format. Only
    NeXus keeps the rest: which pixels are filled, the sources, the geometry and the process.

    Args:
      path: no suffix or a `/` at the end means a folder of one TIFF per frame, named after its
        source.
      counts: (frames, height, width), float.
      valid: True = measured and used, bool, (height, width), (1, height, width) or as `counts`.
      filled: True = not measured, but filled from its partner; shapes as for `valid`.
      sigma: one standard deviation of `counts`, shaped as they are: `data_errors` in NeXus, a second output
        with `_sigma` at the end of its name otherwise.
      sources: one per frame.
      geometry: beam and detector.
      process: what made the frames, e.g. `config`; program, version and date are added.
      overwrite: whether existing output is replaced.

    Raises:
      OutputError: in one line, if it exists, the suffix is unknown, the disk is full or there is no
        permission.
    """
    check_output(path, overwrite=overwrite)
    counts = np.asarray(counts)
    assert counts.ndim == 3, counts.shape
    assert len(sources) == len(counts), (len(sources), counts.shape)
    shape = counts.shape
    measured = _per_frame(valid, shape)
    patched = _per_frame(np.zeros(shape[1:], np.bool_) if filled is None else filled, shape)

    def answered(values: np.ndarray) -> Iterator[np.ndarray]:
        for i in range(shape[0]):
            there = measured[i % len(measured)] | patched[i % len(patched)]
            yield np.where(there, values[i], np.nan).astype(np.float32)

    def frames() -> Iterator[np.ndarray]:
        return answered(counts)

    suffix = _suffix(path)
    if sigma is not None and suffix not in _HDF5:
        write_frames(
            sigma_path(path),
            sigma,
            valid=valid,
            filled=filled,
            sources=sources,
            overwrite=overwrite,
        )
    with atomic_path(path, overwrite) as temporary:
        if suffix in _HDF5:
            bad, new = ~(measured | patched), patched & ~measured
            bad, new = (one[0] if len(one) == 1 else one for one in (bad, new))
            errors = None if sigma is None else answered(np.asarray(sigma))
            _write_nexus(temporary, frames, errors, shape, bad, new, sources, geometry, process)
        elif suffix == ".npy":
            _write_npy(temporary, frames(), shape)
        elif suffix:
            _write_tiff(temporary, frames(), shape)
        else:
            temporary.mkdir()
            for name, frame in zip(_file_names(sources), frames(), strict=True):
                _write_tiff(temporary / name, iter([frame]), (1, *shape[1:]))


def sigma_path(path: str) -> str:
    """Return where error bars go that have no place in the file: `a/b.tif` -> `a/b_sigma.tif`."""
    folder = path.rstrip("/" + os.sep)
    stem, suffix = os.path.splitext(folder)
    return f"{folder}_sigma/" if not _suffix(path) else f"{stem}_sigma{suffix}"


def _suffix(path: str) -> str:
    return "" if path.endswith(("/", os.sep)) else Path(path).suffix.lower()


def _per_frame(flags: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flags = np.asarray(flags, np.bool_)
    flags = flags[None] if flags.ndim == 2 else flags
    assert flags.shape[1:] == shape[1:], (flags.shape, shape)
    assert len(flags) in (1, shape[0]), (flags.shape, shape)
    return flags


def _is_own_folder(path: str) -> bool:
    """Whether a folder holds only what `write_frames` put there; raw data must survive."""
    try:
        for name in os.listdir(path):
            with tifffile.TiffFile(os.path.join(path, name)) as tiff:
                if getattr(tiff.pages[0], "software", "") != _SOFTWARE:
                    return False
    except (OSError, tifffile.TiffFileError):
        return False
    return True


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


def _write_tiff(path: Path, frames: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    large = 4 * int(np.prod(shape)) > 2**32 - 2**25
    with tifffile.TiffWriter(path, bigtiff=large) as tiff:
        for frame in frames:
            tiff.write(frame, photometric="minisblack", contiguous=True, software=_SOFTWARE)


def _write_npy(path: Path, frames: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    # Written frame by frame: a memory map would end in a bus error on a full disk.
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(frame.astype("<f4").tobytes())


def _write_nexus(
    path: Path,
    frames: Callable[[], Iterator[np.ndarray]],
    errors: Iterator[np.ndarray] | None,
    shape: tuple[int, ...],
    bad: np.ndarray,
    filled: np.ndarray,
    sources: Sequence[str],
    geometry: Geometry | None,
    process: dict[str, str] | None,
) -> None:
    """Write a NeXus file whose default plot is the stack of frames."""
    packed = {
        "chunks": (1, *shape[1:]),
        "compression": "gzip",
        "compression_opts": 4,
        "shuffle": True,
    }
    with create_hdf5(path) as file:
        file.attrs["default"] = "entry"
        file.attrs["creator"] = _SOFTWARE
        entry = _group(file, "entry", "NXentry", default="data")
        data = _group(entry, "data", "NXdata", signal="data")
        signal = data.create_dataset("data", shape, np.float32, **packed)
        signal.attrs["units"] = "counts"
        signal.attrs["interpretation"] = "image"
        signal.attrs["long_name"] = "denoised counts; NaN where there is no answer"
        for i, frame in enumerate(frames()):
            signal[i] = frame
        if errors is not None:
            deviation = data.create_dataset("data_errors", shape, np.float32, **packed)
            deviation.attrs["units"] = "counts"
            deviation.attrs["long_name"] = "one standard deviation of the denoised counts"
            for i, frame in enumerate(errors):
                deviation[i] = frame
        for name, flags, meaning in (
            ("pixel_mask", bad.astype(np.uint32), "nonzero = no answer"),
            ("filled", filled.astype(np.uint8), "1 = not measured, filled from the partner"),
        ):
            chunks = packed | {"chunks": (1, *shape[1:])[-flags.ndim :]}
            data.create_dataset(name, data=flags, **chunks).attrs["long_name"] = meaning
        data["source"] = [str(source) for source in sources]
        _write_geometry(entry, geometry or Geometry())
        version = importlib.metadata.version(_SOFTWARE) if _installed() else "unknown"
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        texts = {"program": _SOFTWARE, "version": version, "date": now} | (process or {})
        group = _group(entry, "process", "NXprocess")
        for name, text in texts.items():
            group[name] = str(text)


def _write_geometry(entry: h5py.Group, geometry: Geometry) -> None:
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "detector", "NXdetector")
    pairs = {
        "beam_center": (geometry.center, "pixel"),
        "pixel_size": (geometry.pixel_size_m, "m"),
    }
    for name, (pair, unit) in pairs.items():
        for axis, value in zip("yx", pair or (), strict=False):
            field = f"{axis}_{name}" if name == "pixel_size" else f"{name}_{axis}"
            _quantity(detector, field, value, unit)
    _quantity(detector, "distance", geometry.distance_m, "m")
    if geometry.wavelength_m is not None:
        beam = _group(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_wavelength", geometry.wavelength_m * 1e10, "angstrom")


def _group(parent: h5py.Group, name: str, kind: str, **attributes: str) -> h5py.Group:
    group = parent.create_group(name)
    for key, value in {"NX_class": kind, **attributes}.items():
        group.attrs[key] = value
    return group


def _quantity(group: h5py.Group, name: str, value: float | None, unit: str) -> None:
    if value is not None:
        group[name] = float(value)
        group[name].attrs["units"] = unit


def _installed() -> bool:
    try:
        importlib.metadata.version(_SOFTWARE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

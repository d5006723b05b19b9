"""Simulated scans: a photon-counting detector looks at a drifting pattern.

The truth, the mask and the centre stand beside the counts, so that a denoiser can be scored. The
patterns themselves are in `smae_jax.patterns`. numpy only.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np

from smae_jax import glass
from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.atomic import atomic_path
from smae_jax.patterns import PATTERNS, drifting_parameters
from smae_jax.truths import MEANINGS, UNITS, truths

Kind = Literal["saxs", "waxd", "gisaxs", "glass", "flat"]


@dataclass(frozen=True)
class Simulation:
    """A simulated scan.

    Attributes:
      counts: (frames, height, width) uint16 or int32, float32 with readout noise; 0 where invalid.
      truth: (frames, height, width) float32, expected counts of a perfect detector, everywhere.
      valid: (height, width) bool, True = use.
      center: (y, x) of the beam in pixels; an integer is the middle of a pixel.
      raster_shape: (rows, columns), frames in row-major order.
      parameters: the settings, and under 'frames' each drifting parameter as (frames,) float64.
      truths: what a fit should find, see `smae_jax.truths`: name -> float64, (frames,) or
        (frames, reflections); empty for patterns without reflections.
      geometry: of beam and detector, where the pattern has one ('glass').
    """

    counts: np.ndarray
    truth: np.ndarray
    valid: np.ndarray
    center: tuple[float, float]
    raster_shape: tuple[int, int]
    parameters: dict[str, Any]
    truths: dict[str, np.ndarray]
    geometry: Geometry = field(default_factory=Geometry)


def simulate(
    kind: Kind,
    *,
    frames: int = 64,
    size: int | tuple[int, int] = 128,
    photons: float = 1.0,
    seed: int = 0,
    asymmetry: float = 0.0,
    center_offset: tuple[float, float] = (0.0, 0.0),
    flat_field_error: float = 0.0,
    readout_noise: float = 0.0,
    gaps: bool = True,
    beamstop: bool = True,
    arm: bool = True,
    raster_shape: tuple[int, int] | None = None,
) -> Simulation:
    """Simulate a scan.

    Pattern, detector and noise draw from separate random streams: the truth of one seed is the
    same at every flux but for its scale.

    Args:
      kind: 'saxs' (fibre halo with meridional orders), 'waxd' (textured rings), 'gisaxs' (no
        180-degree symmetry), 'glass' (a metallic glass of known shells) or 'flat' (constant).
      frames: number of frames, >= 1.
      size: height and width in pixels, one number for a square; each >= 16.
      photons: mean expected counts of a valid pixel over the whole scan, > 0.
      seed: seed of every random number.
      asymmetry: amplitude of a factor 1 + asymmetry * sin(azimuth), in (-1, 1).
      center_offset: (y, x) of the beam from the middle of the frame, in pixels; the symmetry
        maps pixels to pixels for multiples of 0.5.
      flat_field_error: relative rms of the pixels' fixed sensitivity; not part of the truth.
      readout_noise: rms of Gaussian noise added to each pixel, in counts.
      gaps: mask the gaps between detector modules.
      beamstop: mask a disc about the beam.
      arm: mask the arm that holds the beamstop (only with `beamstop`).
      raster_shape: (rows, columns) with rows * columns = frames; None: as square as can be.

    Returns:
      The scan, with everything that a score needs.

    Raises:
      UserError: if an argument is out of range.
    """
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    shape = (int(height), int(width))
    _check(kind, frames, shape, photons, asymmetry, flat_field_error, readout_noise)
    raster_shape = _raster(frames, raster_shape)
    streams = np.random.SeedSequence(seed).spawn(3)
    pattern_rng, detector_rng, noise_rng = (np.random.default_rng(s) for s in streams)

    down, right = center_offset
    center = ((shape[0] - 1) / 2 + float(down), (shape[1] - 1) / 2 + float(right))
    if not all(0 <= c <= n - 1 for c, n in zip(center, shape, strict=True)):
        raise UserError(f"center_offset {tuple(center_offset)} puts the beam off the frame {shape}")
    valid = detector_mask(shape, center, gaps=gaps, beamstop=beamstop, arm=arm)
    y, x = np.ogrid[: shape[0], : shape[1]]
    radius = min(shape) / 2
    y, x = (y - center[0]) / radius, (x - center[1]) / radius

    drifting = drifting_parameters(kind, pattern_rng, _positions(raster_shape))
    truth = np.empty((frames, *shape), np.float32)
    for frame in range(frames):
        truth[frame] = PATTERNS[kind](y, x, {k: float(v[frame]) for k, v in drifting.items()})
    truth *= (1 + asymmetry * _sine_of_azimuth(y, x)).astype(np.float32)
    scale = photons / truth[:, valid].mean(dtype=np.float64)
    truth *= np.float32(scale)
    gain = 1 + flat_field_error * detector_rng.standard_normal(shape)
    counts = _counted(truth * np.maximum(gain, 0), valid, readout_noise, noise_rng)
    settings = {
        "kind": kind,
        "photons": float(photons),
        "seed": int(seed),
        "asymmetry": float(asymmetry),
        "flat_field_error": float(flat_field_error),
        "readout_noise": float(readout_noise),
        "frames": drifting,
    }
    told = truths(kind, drifting, radius, scale), _geometry_of(kind, radius)
    return Simulation(counts, truth, valid, center, raster_shape, settings, *told)


def _geometry_of(kind: Kind, radius: float) -> Geometry:
    """Return where beam and detector stand, of a glass; `radius`: of the frame, in pixels."""
    if kind != "glass":
        return Geometry()
    pixel = 172e-6
    return Geometry(
        pixel_size_m=(pixel, pixel),
        wavelength_m=glass.WAVELENGTH * 1e-10,
        distance_m=radius * pixel / glass.EDGE,
        sources=dict.fromkeys(("pixel_size_m", "wavelength_m", "distance_m"), "the simulation"),
    )


def _counted(
    expected: np.ndarray, valid: np.ndarray, readout_noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw what the detector counts, 0 where masked; uint16 or int32, float32 with readout noise."""
    counts = rng.poisson(expected).astype(np.int64)
    dtype: type = np.uint16 if counts.max() < 65535 else np.int32  # 65535 itself means "bad"
    if readout_noise > 0:
        counts = counts + readout_noise * rng.standard_normal(counts.shape)
        dtype = np.float32
    return np.where(valid, counts, 0).astype(dtype)


def detector_mask(
    shape: tuple[int, int],
    center: tuple[float, float],
    *,
    gaps: bool = True,
    beamstop: bool = True,
    arm: bool = True,
) -> np.ndarray:
    """Build the mask of a detector of several modules with a beamstop on an arm.

    Gaps belong to the detector and the arm points to one side, so most masked pixels have a valid
    partner; the beamstop has none.

    Args:
      shape: (height, width) in pixels.
      center: (y, x) of the beam in pixels.
      gaps: mask two horizontal gaps and a vertical one.
      beamstop: mask a disc about the beam.
      arm: mask a bar from the beamstop to the lower left (only with `beamstop`).

    Returns:
      (height, width) bool, True = use.
    """
    height, width = shape
    valid = np.ones(shape, bool)
    if gaps:
        for place in (0.22, 0.64):
            top = round(place * height)
            valid[top : top + max(2, round(height / 61))] = False
        left = round(0.57 * width)
        valid[:, left : left + max(1, round(width / 140))] = False
    if beamstop:
        y, x = np.ogrid[:height, :width]
        # The disc is never quite centred on the beam.
        y, x = y - center[0] - 0.004 * height, x - center[1] + 0.003 * width
        valid[np.hypot(y, x) <= 0.047 * min(shape)] = False
        if arm:
            down, left = np.cos(0.35), np.sin(0.35)
            along, across = down * y - left * x, left * y + down * x
            valid[(along > 0) & (np.abs(across) <= 0.011 * min(shape) + 0.5)] = False
    return valid


def write_simulation(path: str | Path, simulation: Simulation, overwrite: bool = False) -> None:
    """Write a scan with its truth to one file.

    Args:
      path: `.h5`, `.hdf5` or `.nxs` for NeXus (/entry/data/data, /entry/truth, /entry/mask,
        /entry/center, and both in /entry/instrument/detector, where readers look), `.npz`
        for arrays `counts`, `truth`, `mask`, `center`, `raster_shape`. In
        both, nonzero in the mask means bad. What a fit should find stands in /entry/truths, or in
        arrays `truth_direction`, ...
      simulation: what to write.
      overwrite: replace an existing file.

    Raises:
      UserError: if the suffix is another or the file exists and `overwrite` is False.
    """
    writers = {".h5": _write_nexus, ".hdf5": _write_nexus, ".nxs": _write_nexus, ".npz": _write_npz}
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise UserError(f"{path}: cannot write a scan as {suffix!r}; use {', '.join(writers)}")
    with atomic_path(path, overwrite) as temporary:
        writers[suffix](Path(temporary), simulation)


def _write_npz(path: Path, simulation: Simulation) -> None:
    arrays = {
        "counts": simulation.counts,
        "truth": simulation.truth,
        "mask": (~simulation.valid).astype(np.uint8),
        "center": np.asarray(simulation.center),
        "raster_shape": np.asarray(simulation.raster_shape),
    }
    arrays |= {f"truth_{name}": values for name, values in simulation.truths.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write_nexus(path: Path, simulation: Simulation) -> None:
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    chunks = (1, *simulation.counts.shape[1:])
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        entry["title"] = f"simulated {simulation.parameters['kind']} scan"
        entry["definition_of_mask"] = "nonzero = bad"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": [".", ".", "."]})
        counts = data.create_dataset("data", data=simulation.counts, chunks=chunks, **packed)
        counts.attrs.update({"units": "counts", "interpretation": "image"})
        truth = entry.create_dataset("truth", data=simulation.truth, chunks=chunks, **packed)
        truth.attrs.update({"units": "counts", "long_name": "expected counts"})
        mask = entry.create_dataset("mask", data=(~simulation.valid).astype(np.uint8), **packed)
        mask.attrs["convention"] = "nonzero = bad, 0 = use"
        entry["center"] = np.asarray(simulation.center)
        entry["center"].attrs.update(
            {"units": "pixel", "order": "y, x; integer = middle of a pixel"}
        )
        instrument = entry.create_group("instrument")
        instrument.attrs["NX_class"] = "NXinstrument"
        detector = instrument.create_group("detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["pixel_mask"] = h5py.SoftLink("/entry/mask")
        for axis, value in zip("yx", simulation.center, strict=True):
            detector[f"beam_center_{axis}"] = float(value)
            detector[f"beam_center_{axis}"].attrs["units"] = "pixel"
        _write_geometry(instrument, detector, simulation.geometry)
        entry["raster_shape"] = np.asarray(simulation.raster_shape)
        process = entry.create_group("process")
        process.attrs["NX_class"] = "NXprocess"
        process["program"] = "smae_jax simulate"
        for name, value in simulation.parameters.items():
            if name != "frames":
                process[name] = value
        drifting = process.create_group("frames")
        for name, values in simulation.parameters["frames"].items():
            drifting[name] = values
        if simulation.truths:
            entry.create_group("truths").attrs["NX_class"] = "NXcollection"
        for name, values in simulation.truths.items():
            known = entry.create_dataset(f"truths/{name}", data=values)
            known.attrs.update({"units": UNITS[name], "long_name": MEANINGS[name]})


def _write_geometry(instrument: h5py.Group, detector: h5py.Group, geometry: Geometry) -> None:
    """Write wavelength, distance and pixel size, where they are known."""
    if geometry.wavelength_m is None or geometry.pixel_size_m is None:
        return
    beam = instrument.create_group("beam")
    beam.attrs["NX_class"] = "NXbeam"
    lengths: list[tuple[h5py.Group, str, float | None, str]] = [
        (detector, "y_pixel_size", geometry.pixel_size_m[0], "m"),
        (detector, "x_pixel_size", geometry.pixel_size_m[1], "m"),
        (detector, "distance", geometry.distance_m, "m"),
        (beam, "incident_wavelength", geometry.wavelength_m * 1e10, "angstrom"),
    ]
    for group, name, value, unit in lengths:
        group[name] = value
        group[name].attrs["units"] = unit


def _sine_of_azimuth(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Compute a smooth odd function, sin(azimuth) about a tilted axis, 0 at the very centre."""
    return (np.sin(1.0) * y + np.cos(1.0) * x) / np.sqrt(y**2 + x**2 + 1e-6)


def _positions(raster_shape: tuple[int, int]) -> np.ndarray:
    """Place frames on the raster, (frames, 2) in [0, 1], the longer side spanning the range."""
    rows, columns = np.indices(raster_shape).reshape(2, -1)
    return np.stack([rows, columns], axis=1) / max(1, max(raster_shape) - 1)


def _raster(frames: int, raster_shape: tuple[int, int] | None) -> tuple[int, int]:
    if raster_shape is None:
        rows = max(n for n in range(1, int(frames**0.5) + 1) if frames % n == 0)
        return rows, frames // rows
    rows, columns = (int(n) for n in raster_shape)
    if min(rows, columns) < 1 or rows * columns != frames:
        raise UserError(f"raster_shape {raster_shape} does not hold {frames} frames")
    return rows, columns


def _check(
    kind: str,
    frames: int,
    shape: tuple[int, int],
    photons: float,
    asymmetry: float,
    flat_field_error: float,
    readout_noise: float,
) -> None:
    rules = (
        ("kind", kind, kind in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
        ("frames", frames, frames >= 1, "at least 1"),
        ("size", shape, min(shape) >= 16, "at least 16 pixels each way"),
        ("photons", photons, 0 < photons < 1e6, "a mean count per pixel above 0 and below 1e6"),
        ("asymmetry", asymmetry, -1 < asymmetry < 1, "between -1 and 1"),
        ("flat_field_error", flat_field_error, 0 <= flat_field_error < 1, "in [0, 1)"),
        ("readout_noise", readout_noise, 0 <= readout_noise < 1e6, "an rms in counts, 0 for none"),
    )
    for name, value, holds, expected in rules:
        if not holds:
            raise UserError(f"{name} is {value!r}; it must be {expected}")

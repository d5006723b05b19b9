"""pyFAI's `.poni` files: where a calibration found detector and beam."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.plausible import LONGEST_M, WAVELENGTHS_M

_LARGEST = 2**20  # bytes; a calibration is one kilobyte, and logs of many are appended to one file
_FARTHEST = 100  # frames from the middle of one to the beam: beyond, a length is not in metres
_KNOWN = {"pilatus": 172e-6, "eiger": 75e-6}  # whole families of detectors have one pixel size


def read_poni(path: str, shape: tuple[int, int], header: Geometry) -> Geometry:
    """Read a `.poni` file of version 1, 2 or 2.1; of several calibrations in it the last counts.

    The beam, which has the coordinates (0, 0, 1) in the laboratory, meets the detector at

        y = (Poni1 + Distance tan(Rot2) / cos(Rot1)) / pixel1,  x = (Poni2 - Distance tan(Rot1)) / pixel2

    after Distance / (cos(Rot1) cos(Rot2)). pyFAI counts from the corner of the first pixel, so that half a
    pixel comes off: here an integer is the middle of a pixel.

    Args:
      path: of the file.
      shape: (height, width) of the frames, which detectors read out the other way round are turned by.
      header: of the frames, for the pixel size where the file names a detector that nobody here knows.

    Returns:
      What it tells, the rest as in `header`.

    Raises:
      UserError: in one line, if it is missing or no such file, or a number in it makes no sense.

    Reference:
      pyFAI, `geometry/fit2d.py:convert_to_Fit2d`, which `getFit2D` calls, with its tilt written out.
    """
    values = _values(path)
    longest = f"metres above 0 and up to {LONGEST_M:g}"
    distance = _number(path, values, "Distance", within=(1e-9, LONGEST_M), expected=longest)
    poni1, poni2 = (_number(path, values, key) for key in ("Poni1", "Poni2"))
    rot1, rot2, rot3 = (_number(path, values, f"Rot{axis}", default=0.0) for axis in (1, 2, 3))
    if min(math.cos(rot1), math.cos(rot2)) <= 1e-6:
        raise UserError(
            f"{path}: Rot1 {rot1:g}, Rot2 {rot2:g}: expected less than 90 degrees, the beam never meets such "
            "a detector; calibrate it again"
        )
    config = _config(path, values)
    size = _pixel_size(path, values, config) or header.pixel_size_m
    if size is None:
        raise UserError(
            f"{path}: expected PixelSize1 and PixelSize2 in metres, got detector "
            f"'{values.get('detector', '')}' without; add them, or install pyFAI, which knows detectors"
        )
    y = (poni1 + distance * math.tan(rot2) / math.cos(rot1)) / size[0] - 0.5
    x = (poni2 - distance * math.tan(rot1)) / size[1] - 0.5
    _refuse_far_beam(path, (y, x), (poni1 / size[0], poni2 / size[1]), shape)
    # Orientation 3 has rows and columns as they are; a mirror turns the rotations about the other axes.
    orientation = config.get("orientation", 3)
    if orientation in (1, 2):
        y, rot2, rot3 = shape[0] - 1 - y, -rot2, -rot3
    if orientation in (1, 4):
        x, rot1, rot3 = shape[1] - 1 - x, -rot1, -rot3
    usual = "metres from {:g} to {:g}".format(*WAVELENGTHS_M)
    wavelength = _number(
        path, values, "Wavelength", default=0.0, within=WAVELENGTHS_M, expected=usual
    )
    fields: dict[str, Any] = {
        "center": (y, x),
        "pixel_size_m": size,
        "wavelength_m": wavelength or None,
        "distance_m": distance / (math.cos(rot1) * math.cos(rot2)),
        "rotations_rad": (rot1, rot2, rot3),
    }
    return Geometry(**fields, sources={name: path for name, v in fields.items() if v}).over(header)


def _values(path: str) -> dict[str, str]:
    """Return the text behind every key, keys in lower case."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--data.geometry {path}: no such file; expected a .poni file of pyFAI")
    try:
        with file.open(encoding="utf-8") as opened:
            lines = opened.read(_LARGEST).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--data.geometry {path}: cannot be read as text ({error})") from None
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    values = {key.strip().lower(): value.strip() for key, value in pairs}
    if not {"distance", "poni1", "poni2"} <= values.keys():
        raise UserError(
            f"--data.geometry {path}: expected Distance, Poni1 and Poni2; give a .poni file of pyFAI"
        )
    return values


def _number(
    path: str,
    values: dict[str, str],
    key: str,
    *,
    default: float | None = None,
    within: tuple[float, float] = (-1e6, 1e6),
    expected: str = "a number",
) -> float:
    text = values.get(key.lower(), "")
    if default is not None and text.lower() in ("", "none"):
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not within[0] <= value <= within[1]:
        raise UserError(f"{path}: {key}: expected {expected}, got '{text}'; calibrate it again")
    return value


def _refuse_far_beam(
    path: str, beam: tuple[float, float], foot: tuple[float, float], shape: tuple[int, int]
) -> None:
    """Refuse a detector whose beam and whose foot (Poni1, Poni2) both lie far off the frame.

    A detector that is swung out by a rotation has its beam far off, but not its foot.

    Args:
      path: of the file.
      beam: where it meets the detector's plane, (y, x) in pixels.
      foot: of the perpendicular from the sample to that plane, likewise.
      shape: (height, width) of the frames.
    """
    off = [
        max(abs(place - n / 2) / n for place, n in zip(one, shape, strict=True))
        for one in (beam, foot)
    ]
    if min(off) <= _FARTHEST:
        return
    away = max(max(-place, place - n) for place, n in zip(beam, shape, strict=True))
    raise UserError(
        f"{path}: Poni1, Poni2: the beam is {away:.0f} pixels off a frame of {shape[0]} x {shape[1]}; "
        "expected metres, calibrate it again"
    )


def _config(path: str, values: dict[str, str]) -> dict[str, Any]:
    text = values.get("detector_config", "") or "{}"
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path}: Detector_config: expected JSON, got '{text[:60]}'; write it anew")
    return config


def _pixel_size(
    path: str, values: dict[str, str], config: dict[str, Any]
) -> tuple[float, float] | None:
    """Find the pixel size (y, x) in metres: in the file, by the detector's family, or through pyFAI."""
    for given in (
        {key: str(value) for key, value in config.items()},
        {f"pixel{k}": values[f"pixelsize{k}"] for k in (1, 2) if f"pixelsize{k}" in values},
    ):
        if {"pixel1", "pixel2"} <= given.keys() and "None" not in (
            given["pixel1"],
            given["pixel2"],
        ):
            above = {"within": (1e-9, 1e6), "expected": "a number above 1e-09"}
            y, x = (_number(path, given, key, **above) for key in ("pixel1", "pixel2"))
            return y, x
    name = values.get("detector", "")
    for family, size in _KNOWN.items():
        if name.lower().startswith(family):
            return size, size
    if not name.replace("_", "").replace(" ", "").isalnum() or name.lower() == "detector":
        return None
    try:
        detector = importlib.import_module("pyFAI.detectors").detector_factory(name)
        y, x = float(detector.pixel1), float(detector.pixel2)
    except Exception:  # no pyFAI, or a detector that it does not know: it raises whatever it likes
        return None
    return (y, x) if y > 0 and x > 0 else None

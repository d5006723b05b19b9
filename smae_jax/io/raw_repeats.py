"""What a file of repeats said, before anything is chosen: numbers, axis, names, and what was recognised."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from smae_jax.measurements import Axis

# Names that a spectral axis goes by, and the unit where the name alone settles it.
AXIS_NAMES = {
    "energy": "",
    "energies": "",
    "shift": "1/cm",
    "raman_shift": "1/cm",
    "wavenumber": "1/cm",
    "wavenumbers": "1/cm",
    "wavelength": "",
    "axis": "",
    "x": "",
    "q": "",
    "two_theta": "degree",
    "tth": "degree",
    "frequency": "",
    "time": "",
    "mass": "",
}
EXPOSURE_NAMES = ("exposure", "exposure_s", "live_time", "livetime", "count_time", "dwell_time")
_SPECIAL = {"energies": "energy", "wavenumbers": "wavenumber", "raman_shift": "shift"}
UNITS = ("kev", "ev", "mev", "nm", "um", "angstrom", "1/cm", "cm-1", "cm^-1", "1/nm", "degree")


@dataclasses.dataclass(frozen=True)
class RawRepeats:
    """The array of one file.

    Attributes:
      values: as on disk, any real type; NaN where a text file has no number.
      axis: coordinates of one axis of `values`, (n,), float64; None = none found.
      axis_name: such as `energy`.
      axis_unit: such as `keV`.
      names: one per repeat, where the file names them.
      exposure: of each repeat in any unit, > 0, where the file tells.
      valid: True = use, bool, shaped as the trailing axes of `values`; None = all.
      notes: what was recognised.
      oriented: whether repeats lie along axis 0 already (text files).
      dtype: of the numbers on disk, where `values` have another one.
      quantity: what the columns of a text file are called that were chosen for it, such as `raw data`.
      motors: coordinates along the leading axes of `values`, where the file names them.
    """

    values: np.ndarray
    axis: np.ndarray | None = None
    axis_name: str = ""
    axis_unit: str = ""
    names: tuple[str, ...] | None = None
    exposure: np.ndarray | None = None
    valid: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    oriented: bool = False
    dtype: str = ""
    quantity: str = ""
    motors: tuple[Axis | None, ...] = ()


def split_label(text: str) -> tuple[str, str]:
    """Split a label such as `energy (keV)` into name and unit; a lone unit is taken for one.

    >>> split_label("Energy [keV]"), split_label("energy_keV"), split_label("keV")
    (('Energy', 'keV'), ('energy', 'keV'), ('', 'keV'))
    """
    text = text.strip().strip("\"'").strip()
    if match := re.fullmatch(r"(.*?)\s*[(\[]\s*([^()\[\]]+?)\s*[)\]]", text):
        return match[1].strip(), match[2]
    if text.lower() in UNITS:
        return "", text
    if (match := re.fullmatch(r"(.+?),\s*(\S+)", text)) and match[2].lower() in UNITS:
        return match[1].strip(), match[2]
    name, separator, unit = text.rpartition("/" if "/" in text else "_")
    if separator and unit.strip().lower() in UNITS:
        return name.strip(), unit.strip()
    return text, ""


def usual_name(name: str) -> str | None:
    """Return the name of an axis as this program writes it, or None if it is no axis's name.

    >>> usual_name("Energies"), usual_name("detector")
    ('energy', None)
    """
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return _SPECIAL.get(plain, plain) if plain in AXIS_NAMES else None


def is_axis(values: np.ndarray) -> bool:
    """Whether numbers can be coordinates: finite and ascending or descending, few repeated by rounding."""
    steps = np.diff(values)
    one_way = (steps >= 0).all() or (steps <= 0).all()
    return bool(np.isfinite(values).all() and one_way and (steps == 0).sum() <= 0.1 * len(steps))


def is_numbering(values: np.ndarray) -> bool:
    """Whether numbers only count: 0, 1, 2, ... or 1, 2, 3, ..."""
    start = values[0] if len(values) else np.nan
    return bool(start in (0, 1) and np.array_equal(values, np.arange(len(values)) + start))

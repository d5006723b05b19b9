"""The text header that Pilatus detectors put into TIFF and CBF files."""

from __future__ import annotations

import re

from smae_jax.geometry import Geometry
from smae_jax.io.raw_frames import Header

_NUMBER = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"


def parse_pilatus_header(text: str) -> Header:
    """Read exposure, cutoff and geometry from lines such as `# Exposure_time 0.01 s`.

    The beam position of these headers (`Beam_xy`) is left out: it is the one that somebody once
    typed in.

    >>> parse_pilatus_header("# Exposure_time 0.01 s").exposure_s
    0.01
    """
    size = re.search(rf"Pixel_size\s+{_NUMBER}\s*m\s*x\s*{_NUMBER}\s*m", text)
    wavelength = _positive(rf"Wavelength\s+{_NUMBER}\s*A", text)
    return Header(
        exposure_s=_positive(rf"Exposure_time\s+{_NUMBER}\s*s", text),
        count_cutoff=_positive(rf"Count_cutoff\s+{_NUMBER}", text),
        geometry=Geometry(
            pixel_size_m=(float(size[2]), float(size[1])) if size else None,  # the header says x, y
            wavelength_m=wavelength * 1e-10 if wavelength else None,
            distance_m=_positive(rf"Detector_distance\s+{_NUMBER}\s*m", text),
        ),
    )


def _positive(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    value = float(found[1]) if found else 0.0
    return value if value > 0 else None

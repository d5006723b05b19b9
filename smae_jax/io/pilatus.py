"""The text header that Pilatus detectors put into TIFF and CBF files."""

from __future__ import annotations

import math
import re

from smae_jax.geometry import Geometry
from smae_jax.io.raw_frames import Header

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_FURTHEST = 1e5  # pixels from the detector; no beam is further off


def parse_pilatus_header(text: str) -> Header:
    """Read exposure, cutoff and geometry from lines such as `# Exposure_time 0.01 s`.

    The beam position (`Beam_xy`) is the one that somebody once typed in, and (0, 0) where nobody did.

    >>> parse_pilatus_header("# Exposure_time 0.01 s").exposure_s
    0.01
    """
    size = _pair(rf"Pixel_size\s+{_NUMBER}\s*m\s*x\s*{_NUMBER}\s*m", text)
    beam = _pair(rf"Beam_xy\s+\({_NUMBER},\s*{_NUMBER}\)\s*pixels", text)
    if beam is not None and (beam == (0.0, 0.0) or max(map(abs, beam)) > _FURTHEST):
        beam = None
    wavelength = _positive(rf"Wavelength\s+{_NUMBER}\s*A", text)
    return Header(
        exposure_s=_positive(rf"Exposure_time\s+{_NUMBER}\s*s", text),
        count_cutoff=_positive(rf"Count_cutoff\s+{_NUMBER}", text),
        geometry=Geometry(
            center=beam,
            pixel_size_m=size if size and min(size) > 0 else None,
            wavelength_m=wavelength * 1e-10 if wavelength else None,
            distance_m=_positive(rf"Detector_distance\s+{_NUMBER}\s*m", text),
        ),
    )


def _pair(pattern: str, text: str) -> tuple[float, float] | None:
    """Return two numbers as (y, x); the header says x, y."""
    found = re.search(pattern, text)
    if not found or not all(math.isfinite(float(number)) for number in found.groups()):
        return None
    return float(found[2]), float(found[1])


def _positive(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    value = float(found[1]) if found else 0.0
    return value if 0 < value < math.inf else None

"""Frames in bins of scattering vector and azimuth, by pyFAI; every pixel goes to one bin as a whole.

Without pixel splitting no two bins share a photon, so that sums of counts keep exact Poisson errors.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import numpy as np

from smae_jax.geometry import Center, Geometry
from smae_jax.io.raw_frames import hushed

AZIMUTHS = 180
"""Bins of 2 degrees."""
MOST_BINS = 512
_METHOD = ("no", "histogram", "cython")
_NOWHERE = -1e30  # marks pixels that are not counted
_FAR = 1e3  # metres: where the distance is not told, solid angles are all alike


@dataclasses.dataclass(frozen=True)
class Bins:
    """The radial axis of profiles, and their azimuth.

    Attributes:
      values: middles of the radial bins, ascending, (bins,).
      name: `q` or `radius`.
      unit: `nm^-1`, `mm` or `pixel`.
      azimuth: middles of the azimuthal bins in degrees, from the x axis (right) towards the y axis (down in
        pictures), ascending from -180, (azimuths,).
      said: what the axis was made of, in words.
    """

    values: np.ndarray
    name: str
    unit: str
    azimuth: np.ndarray
    said: str

    @property
    def label(self) -> str:
        """Name and unit, for figures and tables."""
        return f"{self.name} / {self.unit}"

    def inside(self, low: float, high: float) -> np.ndarray:
        """Return which radial bins lie from `low` to `high`, bool, (bins,)."""
        return (self.values >= low) & (self.values <= high)


class Cake:
    """Sums frames in bins of one geometry."""

    def __init__(self, geometry: Geometry, center: Center, shape: tuple[int, int]) -> None:
        """Choose the axis: q where wavelength, distance and pixel size are known, else a radius.

        Args:
          geometry: what is known of beam and detector.
          center: of the beam.
          shape: (height, width) in pixels.
        """
        self.geometry, self.center = geometry, center
        size, known = geometry.pixel_size_m, geometry.distance_m is not None
        physical = size is not None and known and geometry.wavelength_m is not None
        self._unit = "q_nm^-1" if physical else "r_mm"
        self._integrator = integrator(geometry, center, shape)
        y, x = center.subpixel
        corners = [math.hypot(y - a, x - b) for a in (0, shape[0] - 1) for b in (0, shape[1] - 1)]
        self._count = int(min(MOST_BINS, max(16, max(corners))))
        radial, azimuth = self._axes(shape)
        name, unit = ("q", "nm^-1") if physical else ("radius", "mm" if size else "pixel")
        if name == "radius" and not size:
            said = "over the radius in pixels: pixel size, distance or wavelength are not known"
        elif name == "radius":
            said = "over the radius on the detector: distance or wavelength are not known"
        else:
            said = f"over q = 4 pi sin(theta) / wavelength; {'; '.join(geometry.in_words())}"
        self.bins = Bins(radial, name, unit, azimuth, said)

    def _axes(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        found = self._integrate(np.ones(shape, np.float32), np.ones(shape, np.float32))
        return np.asarray(found.radial, np.float64), np.asarray(found.azimuthal, np.float64)

    def _integrate(self, image: np.ndarray, exposure: np.ndarray) -> Any:
        use = (exposure > 0) & np.isfinite(image)
        return self._integrator.integrate2d_ng(
            np.where(use, image, _NOWHERE).astype(np.float64),
            self._count,
            AZIMUTHS,
            azimuth_range=(-180, 180),
            flat=np.where(use, exposure, 1).astype(np.float64),
            dummy=_NOWHERE,
            delta_dummy=1e20,
            method=_METHOD,
            unit=self._unit,
            correctSolidAngle=True,
        )

    def __call__(self, counts: np.ndarray, exposure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum an image.

        Args:
          counts: (height, width); NaN counts as not valid.
          exposure: of the pixels, (height, width); 0 where invalid.

        Returns:
          (summed counts, summed exposure times relative solid angle), (bins, azimuths) each, float64.
        """
        found = self._integrate(counts, exposure)
        return (
            np.asarray(found.sum_signal, np.float64).T,
            np.asarray(found.sum_normalization, np.float64).T,
        )


def integrator(geometry: Geometry, center: Center, shape: tuple[int, int]) -> Any:
    """Return pyFAI's integrator of a geometry, the reverse of `io.poni.read_poni`.

    Args:
      geometry: pixels are taken as 1 mm wide, and the detector as far away, where it does not tell.
      center: of the beam, where an integer is the middle of a pixel.
      shape: (height, width) in pixels.

    Reference:
      pyFAI, `geometry/fit2d.py:convert_from_Fit2d`, with its tilt written out.
    """
    with hushed("silx"):  # says that OpenCL is not there, which nothing here needs
        pyfai: Any = importlib.import_module("pyFAI.integrator.azimuthal")
        detectors: Any = importlib.import_module("pyFAI.detectors")
    size = geometry.pixel_size_m or (1e-3, 1e-3)
    told = geometry.distance_m is not None
    rotations = geometry.rotations_rad if told else None
    rot1, rot2, rot3 = rotations or (0.0, 0.0, 0.0)
    direct = geometry.distance_m if geometry.distance_m is not None else _FAR
    distance = direct * math.cos(rot1) * math.cos(rot2)
    y, x = center.subpixel
    return pyfai.AzimuthalIntegrator(
        dist=distance,
        poni1=(y + 0.5) * size[0] - distance * math.tan(rot2) / math.cos(rot1),
        poni2=(x + 0.5) * size[1] + distance * math.tan(rot1),
        rot1=rot1,
        rot2=rot2,
        rot3=rot3,
        detector=detectors.Detector(size[0], size[1], max_shape=shape),
        wavelength=geometry.wavelength_m,
    )

"""Frames in polar coordinates about the beam: photons put into bins of (r, chi), and answers read back.

Scattering is long along the azimuth: there it is long along straight lines. Photons are put together, not
interpolated, so that a bin holds a count again, behind an exposure of so many pixels. Rows are azimuths of a
half turn, columns radii: outwards to the right, and those of the other half turn to the left, upside down. So
a bin's partner lies where that of a pixel lies, turned about the middle: networks and methods take such
frames for frames of a detector.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.geometry import Center
from smae_jax.measurements import Measurements, Outliers
from smae_jax.piecewise import piecewise

ACROSS, ALONG = 0.5, 3.0
"""Pixels that a bin takes along the radius, and along the azimuth where half of the pixels are nearer."""
BESIDE = 16
"""Rows that are shown again beyond the first and the last, and columns beyond the largest radius."""
SPARSE = 1 / 3
"""Pixels of a bin below which most bins about the beam are empty: answers are not read there."""
MOST = 10
"""Bins for a pixel, at most: about the middle there is one, about a corner 5, about a beam far off many."""
FLOOR = 1e-6
"""Exposure behind bins of no pixel, where they are to be answered."""


@dataclasses.dataclass(frozen=True)
class Polar:
    """Bins about a centre.

    Attributes:
      shape: of a frame, (height, width).
      center: (y, x) in pixels.
    """

    shape: tuple[int, int]
    center: tuple[float, float]

    @functools.cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Radius, and azimuth in 0 to 1, of every pixel."""
        y, x = (
            np.arange(size)[:, None] - middle
            for size, middle in zip(self.shape, self.center, strict=True)
        )
        return np.hypot(y, x.T), np.arctan2(y, x.T) / (2 * np.pi) % 1.0

    @functools.cached_property
    def azimuths(self) -> int:
        """Bins of a full turn."""
        return max(8, int(2 * np.pi * np.median(self._places[0]) / ALONG) // 8 * 8)

    @functools.cached_property
    def radii(self) -> int:
        """Bins from the centre to the corner that is farthest from it."""
        return int(self._places[0].max() / ACROSS) + 1

    @property
    def spatial(self) -> tuple[int, int]:
        """Shape of a frame of bins."""
        return self.azimuths // 2 + 2 * BESIDE, 2 * (self.radii + BESIDE)

    @functools.cached_property
    def told(self) -> np.ndarray:
        """Where answers can be read, bool, (height, width)."""
        return 2 * np.pi * self._places[0] / self.azimuths * ACROSS >= SPARSE

    def frames_of(self, data: Measurements, *, floor: float = 0.0) -> Measurements:
        """Put the photons of frames into bins.

        Args:
          data: frames of photon counts about the centre.
          floor: exposure behind bins of no pixel; 0 = they were not measured.

        Returns:
          Frames of bins; exposure 1 is one full frame behind one pixel.
        """
        height, width = self.spatial
        kind = data.counts.dtype
        counts = np.stack([self._binned(one).astype(kind) for one in data.counts])
        exposure = np.stack([self._binned(one).astype(np.float32) for one in data.exposure])
        return Measurements(
            counts=counts,
            exposure=np.maximum(exposure, np.float32(floor)),
            center=Center.given(((height - 1) / 2, (width - 1) / 2)),
            names=data.names,
            origin=data.origin,
            taken_out=Outliers(np.empty((0, 3), np.int64), np.empty(0, kind)),
            integrated=data.integrated,
        )

    @functools.cached_property
    def _bins(self) -> np.ndarray:
        """The bin of every pixel, azimuth by azimuth, (pixels,)."""
        radius, azimuth = self._places
        k = (radius / ACROSS).astype(np.int64)
        m = (azimuth * self.azimuths).astype(np.int64) % self.azimuths
        return (m * self.radii + k).ravel()

    def _binned(self, image: np.ndarray) -> np.ndarray:
        """Add up the pixels of each bin, and lay the bins out: (*spatial), float64."""
        size = self.azimuths * self.radii
        bins = np.bincount(self._bins, weights=image.ravel(), minlength=size)
        bins = bins.reshape(self.azimuths, self.radii)
        half = self.azimuths // 2
        rows = np.arange(-BESIDE, half + BESIDE)
        right, left = (bins[(rows + turn) % self.azimuths] for turn in (0, half))
        folded = np.concatenate([left[::-1, ::-1], right], axis=1)
        return np.pad(folded, ((0, 0), (BESIDE, BESIDE)))

    @functools.cached_property
    def _readings(self) -> tuple[Array, Array]:
        """Places among the bins, and weights, of the four bins about a pixel: (4, height, width) each."""
        radius, azimuth = self._places
        along, across = azimuth * self.azimuths - 0.5, radius / ACROSS - 0.5
        m, k = np.floor(along).astype(np.int64), np.floor(across).astype(np.int64)
        places, weights = [], []
        (height, width), half = self.spatial, self.azimuths // 2
        for right in (0, 1):
            for out in (0, 1):
                row = (m + right) % self.azimuths
                column = np.clip(k + out, 0, self.radii - 1)
                near = row < half
                y = np.where(near, row + BESIDE, height - 1 - (row - half + BESIDE))
                x = np.where(near, width // 2 + column, width // 2 - 1 - column)
                places.append(y * width + x)
                weights.append(np.abs(1 - right - (along - m)) * np.abs(1 - out - (across - k)))
        return jnp.asarray(places, jnp.int32), jnp.asarray(weights, jnp.float32)

    def read(self, answers: Array) -> Array:
        """Read answers at the pixels, linearly between bins: (frames, *spatial) -> (frames, height, width).

        NaN where one of the four bins has no answer.
        """
        places, weights = self._readings
        return piecewise(functools.partial(_read, places, weights), answers)


@jax.jit
def _read(places: Array, weights: Array, answers: Array) -> Array:
    flat = answers.reshape(len(answers), -1)
    some = (flat[:, place] * weight[None] for place, weight in zip(places, weights, strict=True))
    return sum(some)  # pyright: ignore[reportReturnType]


@functools.lru_cache(maxsize=1)
def layout_of(shape: tuple[int, int], center: tuple[float, float]) -> Polar:
    """Return bins about a centre, see `Polar`; those of the last detector are kept, with their tables."""
    return Polar(shape, center)


def polar_of(data: Measurements) -> Polar | None:
    """Return bins about the centre of frames of photon counts; None for others, and about a guess.

    None as well where the beam is so far off the frame that most bins would be empty.
    """
    if data.center is None or not data.center.known:
        return None
    if data.channels or len(data.spatial) != 2 or not data.are_counts:
        return None
    bins = layout_of(data.spatial, data.center.subpixel)  # pyright: ignore[reportArgumentType]
    return bins if bins.azimuths * bins.radii <= MOST * np.prod(bins.shape) else None

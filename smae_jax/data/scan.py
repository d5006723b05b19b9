"""What a scan is once it has left its files: counts, what may be used of them, their origin.

Plain frozen records of numpy arrays. Knows nothing of file formats, of JAX or of networks.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where the beam and the detector stood, as far as the files say.

    Attributes:
      center: beam centre (y, x) in pixels; an integer coordinate is the middle of a pixel.
      pixel_size_m: pixel size (y, x) in metres.
      wavelength_m: X-ray wavelength in metres.
      distance_m: from sample to detector in metres.
    """

    center: tuple[float, float] | None = None
    pixel_size_m: tuple[float, float] | None = None
    wavelength_m: float | None = None
    distance_m: float | None = None


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Where the frames came from.

    Attributes:
      sources: one per frame, e.g. `P40_1_3_00000.tif` or `scan.h5::/entry/data/data[3]`.
      dtype: of the numbers on disk, e.g. `int32`.
      exposure_s: measuring time of each frame in seconds, where the files tell it.
      raster_shape: (rows, columns) of a scan over a raster, rows * columns = frames.
    """

    sources: tuple[str, ...]
    dtype: str
    exposure_s: tuple[float, ...] | None = None
    raster_shape: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Scan:
    """A stack of patterns in acquisition order.

    Attributes:
      counts: what the detector counted, (frames, height, width), float32; 0 where invalid.
      valid: True = use the pixel, bool; (1, height, width) when all frames agree, else
        (frames, height, width).
      geometry: beam and detector.
      metadata: origin of each frame.
      masked_by: share of all pixels, in [0, 1], that each cause masked first; the causes are
        `detector`, `not finite`, `saturated`, `user` and `hot`.
    """

    counts: np.ndarray
    valid: np.ndarray
    geometry: Geometry
    metadata: Metadata
    masked_by: dict[str, float]

    def __post_init__(self) -> None:
        assert self.counts.ndim == 3, self.counts.shape
        assert self.counts.dtype == np.float32, self.counts.dtype
        assert self.valid.dtype == np.bool_, self.valid.dtype
        assert self.valid.shape[1:] == self.counts.shape[1:], (self.valid.shape, self.counts.shape)
        assert self.valid.shape[0] in (1, len(self.counts)), (self.valid.shape, self.counts.shape)
        assert len(self.metadata.sources) == len(self.counts), "one source per frame"


def not_counted(values: np.ndarray) -> float | None:
    """Return the first value that is no photon count (negative, or not whole); None if all are."""
    odd = values[(values < 0) | (values != np.floor(values))]
    return float(odd[0]) if odd.size else None

"""Where the beam met the detector: the centre of symmetry, distances, and turns about the centre."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Center:
    """A centre of 180-degree symmetry, (y, x) in pixels; an integer is the middle of a pixel.

    Attributes:
      half_pixel: multiple of 0.5 that partners are counted from; the one to work with.
      subpixel: estimate between the half pixels.
      correlation: Pearson correlation of partners about `half_pixel`, in [-1, 1]; NaN where it was given.
    """

    half_pixel: tuple[float, float]
    subpixel: tuple[float, float]
    correlation: float = float("nan")

    @classmethod
    def given(cls, center: tuple[float, float]) -> Center:
        """Take a centre (y, x) from the user, rounded to the half pixel that partners are counted from."""
        y, x = (round(2 * value) / 2 for value in center)
        return cls(half_pixel=(y, x), subpixel=(float(center[0]), float(center[1])))


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


def turn(frame: np.ndarray, center: tuple[float, float], fill: float) -> np.ndarray:
    """Turn a frame by 180 degrees about a half-pixel centre, without interpolation.

    Args:
      frame: (..., height, width).
      center: (y, x) in pixels, multiples of 0.5.
      fill: value where nothing comes from.

    Returns:
      shaped and typed as `frame`: at each pixel the value of its partner.

    Raises:
      ValueError: if the centre is no multiple of 0.5.
    """
    twice = np.asarray(center, float) * 2
    if (twice != np.rint(twice)).any():
        raise ValueError(f"centre {tuple(center)} is no multiple of half a pixel; round it first")
    rows, columns = (
        slice(max(0, k - n + 1), min(n, k + 1))
        for k, n in zip(twice.astype(int), frame.shape[-2:], strict=True)
    )
    turned = np.full_like(frame, fill)
    turned[..., rows, columns] = frame[..., rows, columns][..., ::-1, ::-1]
    return turned

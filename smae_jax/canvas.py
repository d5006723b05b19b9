"""Put a detector frame on a canvas whose middle is the beam centre, and take it off again.

On the canvas the partner of pixel (i, j) is (height - 1 - i, width - 1 - j): turning by 180 degrees needs no
interpolation, which would correlate the noise. The centre is therefore a multiple of half a pixel.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from smae_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where the frame lies on the centred canvas.

    Attributes:
      shape: canvas size in pixels, (height, width) of patterns.
      origin: canvas coordinates of the frame's first pixel; negative where the frame is cut off.
      frame_shape: of the detector frame.
    """

    shape: tuple[int, ...]
    origin: tuple[int, ...]
    frame_shape: tuple[int, ...]

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        on_canvas, on_frame = [], []
        for size, origin, frame in zip(self.shape, self.origin, self.frame_shape, strict=True):
            start, stop = max(0, origin), min(size, origin + frame)
            on_canvas.append(slice(start, stop))
            on_frame.append(slice(start - origin, stop - origin))
        return tuple(on_canvas), tuple(on_frame)

    def embed(self, frames: np.ndarray, fill: float | bool = 0) -> np.ndarray:
        """Place (..., *frame_shape) on the canvas (..., *shape); `fill` where the frame does not reach."""
        canvas, frame = self._overlap()
        out = np.full((*frames.shape[: -len(self.shape)], *self.shape), fill, frames.dtype)
        out[..., *canvas] = frames[..., *frame]
        return out

    def onto(self, frames: jax.Array) -> jax.Array:
        """Do as `embed` on the device, with 0 where the frame does not reach."""
        ends = (
            (origin, size - origin - frame)
            for size, origin, frame in zip(self.shape, self.origin, self.frame_shape, strict=True)
        )
        return _padded(frames, tuple(ends), 0)

    def off(self, canvases: jax.Array, fill: float | bool) -> jax.Array:
        """Take the frame (..., *frame_shape) off (..., *shape); `fill` where the canvas was cropped."""
        ends = (
            (-origin, origin + frame - size)
            for size, origin, frame in zip(self.shape, self.origin, self.frame_shape, strict=True)
        )
        return _padded(canvases, tuple(ends), fill)


def centred_canvas(
    frame_shape: tuple[int, ...],
    center: tuple[float, float],
    *,
    extent: Literal["common", "all"] = "all",
    crop: int = 0,
) -> Canvas:
    """Lay out the canvas for a frame and a beam centre.

    Args:
      frame_shape: detector frame (height, width) in pixels.
      center: beam centre (y, x), multiples of 0.5; an integer is the middle of a pixel.
      extent: "all" holds the whole frame; "common" only the pixels whose partner lies on the frame.
      crop: largest canvas side in pixels, 0 = no limit; rounded down by one where the centre asks for it.

    Returns:
      The canvas.

    Raises:
      UserError: if the centre is not on the frame or not a multiple of half a pixel.
    """
    shape, origin = [], []
    for size, middle, axis in zip(frame_shape, center, "yx", strict=True):
        if not 0 <= middle <= size - 1 or not float(2 * middle).is_integer():
            raise UserError(
                f"center {axis}: expected a multiple of 0.5 within 0..{size - 1}, got {middle}; "
                "give the beam centre in pixels of the frame"
            )
        before, after = round(2 * middle), round(2 * (size - 1 - middle))  # in half pixels
        span = (min if extent == "common" else max)(before, after)
        if crop and span > crop - 1:
            span = crop - 1 - (crop - 1 - span) % 2
        shape.append(span + 1)
        origin.append((span - before) // 2)
    return Canvas((shape[0], shape[1]), (origin[0], origin[1]), (frame_shape[0], frame_shape[1]))


def _padded(array: jax.Array, ends: tuple[tuple[int, int], ...], fill: float | bool) -> jax.Array:
    """Lengthen the last axes by (before, after) each, or shorten them where that is negative."""
    plain = [(0, 0, 0)] * (array.ndim - len(ends))
    config = [*plain, *((before, after, 0) for before, after in ends)]
    return jax.lax.pad(array, jnp.asarray(fill, array.dtype), config)

"""Frames of the gallery as PNG: before, denoised, reference and sigma on one scale, and the residual.

Large frames are shown in blocks of pixels, and the surroundings of the beam pixel by pixel. Palettes have 255
colours; one more is transparent, where there is no value.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import math

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from PIL import Image

from smae_jax.figures.frames import counts_scale, mean_of_blocks, sum_of_blocks, window_about

SIDE = 640
"""Most dots along a side of a picture."""
BUDGET = 8_000_000
"""Bytes of all pictures together; a page holds four for every three."""
SIGMAS = 4.0
"""Residuals are drawn from -4 to +4 standard deviations."""
COUNTS, RESIDUAL = "inferno", "RdBu_r"
SIGMA = "sigma"
"""Name of the layer of error bars; where they are drawn larger, a factor follows."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A frame of the gallery, (height, width) each, per unit of exposure; NaN where there is no value.

    Attributes:
      number: of the frame in the scan, from 0.
      name: of the frame.
      before: counts.
      denoised: expected counts.
      light: exposure of the pixels.
      reference: None = there is none.
      sigma: one standard deviation of the denoised; None = not asked for.
    """

    number: int
    name: str
    before: np.ndarray
    denoised: np.ndarray
    light: np.ndarray
    reference: np.ndarray | None = None
    sigma: np.ndarray | None = None

    def cut(self, window: tuple[slice, slice]) -> Shown:
        """Return a part of the frame."""
        cut = {
            name: None if (image := getattr(self, name)) is None else image[window]
            for name in ("before", "denoised", "light", "reference", "sigma")
        }
        return dataclasses.replace(self, **cut)

    def layers(self, block: int) -> dict[str, np.ndarray]:
        """Return the pictures by name, in blocks of so many pixels a side."""
        both = np.isfinite(self.before) & np.isfinite(self.denoised) & (self.denoised > 0)
        expected = sum_of_blocks(np.where(both, self.denoised * self.light, np.nan), block)
        seen = sum_of_blocks(np.where(both, self.before * self.light, np.nan), block)
        found = {
            "before": mean_of_blocks(self.before, block),
            "denoised": mean_of_blocks(self.denoised, block),
        }
        if self.reference is not None:
            found["reference"] = mean_of_blocks(self.reference, block)
        if self.sigma is not None:
            found[SIGMA] = mean_of_blocks(self.sigma, block)
        return found | {"residual": (seen - expected) / np.sqrt(expected)}


@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at all frames of the gallery.

    Attributes:
      name: `whole frame` or `about the beam`.
      block: pixels a side behind a dot.
      frames: PNG of every layer, by name, of each frame.
    """

    name: str
    block: int
    frames: list[dict[str, bytes]]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures with their scale.

    Attributes:
      views: of all frames; the first is the whole frame.
      shown: number and name of each frame.
      low, high: counts at the ends of the logarithmic scale.
    """

    views: list[View]
    shown: list[tuple[int, str]]
    low: float
    high: float

    @property
    def layers(self) -> list[str]:
        """Names of the pictures of a frame."""
        return list(self.views[0].frames[0])


def make_gallery(shown: list[Shown], center: tuple[float, float]) -> Gallery:
    """Draw the frames of a gallery on one scale.

    Args:
      shown: at least one.
      center: (y, x) of the beam in pixels.
    """
    scale = counts_scale(np.stack([one.denoised for one in shown]))
    height, width = shown[0].before.shape
    block, larger = math.ceil(max(height, width) / SIDE), enlargement(shown, scale)
    views = [_view("whole frame", shown, block, scale, larger)]
    while _bytes(views) > BUDGET and block < min(height, width):
        block += 1
        views = [_view("whole frame", shown, block, scale, larger)]
    if block > 1:
        window = window_about((height, width), center)
        near = _view("about the beam", [one.cut(window) for one in shown], 1, scale, larger)
        if _bytes([*views, near]) < 1.2 * BUDGET:
            views.append(near)
    named = [(one.number, one.name) for one in shown]
    return Gallery(views, named, float(scale.vmin or 0), float(scale.vmax or 1))


def _bytes(views: list[View]) -> int:
    return sum(len(image) for view in views for frame in view.frames for image in frame.values())


def enlargement(shown: list[Shown], scale: LogNorm) -> int:
    """Return the largest power of ten by which 99 % of the error bars stay on the scale of the counts."""
    known = [
        one.sigma[np.isfinite(one.sigma) & (one.sigma > 0)]
        for one in shown
        if one.sigma is not None
    ]
    seen = np.concatenate(known) if known else np.empty(0)
    if not seen.size:
        return 1
    room = (scale.vmax or 1.0) / float(np.percentile(seen, 99))
    return 10 ** max(0, math.floor(math.log10(room)))


def _view(name: str, shown: list[Shown], block: int, scale: LogNorm, larger: int) -> View:
    """Draw all frames in blocks of so many pixels a side; error bars times `larger`."""
    sigmas = Normalize(-SIGMAS, SIGMAS)

    def drawn(layer: str, image: np.ndarray) -> tuple[str, bytes]:
        if layer == "residual":
            return layer, png(image, sigmas, RESIDUAL)
        if layer == SIGMA and larger > 1:
            return f"{SIGMA} x {larger}", png(larger * image, scale, COUNTS)
        return layer, png(image, scale, COUNTS)

    frames = [dict(drawn(*item) for item in one.layers(block).items()) for one in shown]
    return View(name, block, frames)


def png(image: np.ndarray, scale: Normalize, colours: str) -> bytes:
    """Draw an image with a palette, transparent where it is NaN.

    Args:
      image: (height, width).
      scale: from values to [0, 1]; what lies outside takes the colour of the end.
      colours: name of a colour map of matplotlib.
    """
    known = np.isfinite(image)
    low, high = scale.vmin or 0.0, scale.vmax or 1.0
    inside = np.clip(np.where(known, image, low), low, high)
    place = np.asarray(scale(inside), np.float64)
    index = np.where(known, np.clip(place * 254, 0, 254).round(), 255).astype(np.uint8)
    picture = Image.frombytes("P", index.shape[::-1], index.tobytes())
    picture.putpalette(palette(colours).tobytes())
    target = io.BytesIO()
    picture.save(target, "PNG", transparency=255, optimize=True)
    return target.getvalue()


def palette(colours: str) -> np.ndarray:
    """Return 255 colours and white, (256, 3), uint8."""
    chosen = matplotlib.colormaps[colours](np.linspace(0, 1, 255))[:, :3]
    return np.concatenate([chosen * 255, np.full((1, 3), 255.0)]).round().astype(np.uint8)


def data_uri(image: bytes) -> str:
    """Return a PNG as a page can hold it."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def gradient(colours: str, *, steps: int = 12) -> str:
    """Return a colour map as a gradient of CSS, from low to high."""
    chosen = palette(colours)[np.linspace(0, 254, steps).round().astype(int)]
    stops = ", ".join("#" + "".join(f"{c:02x}" for c in colour) for colour in chosen.tolist())
    return f"linear-gradient(to right, {stops})"

"""Where the beam met the detector: the centre of symmetry, distances, and turns about the centre."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

HEADER = "the file's header"
FEWEST_PARTNERS = 0.01
"""Share of the valid pixels below which partners are not worth a canvas about the centre."""


@dataclasses.dataclass(frozen=True)
class Center:
    """A centre of 180-degree symmetry, (y, x) in pixels; an integer is the middle of a pixel.

    Attributes:
      half_pixel: multiple of 0.5 that partners are counted from; the one to work with.
      subpixel: estimate between the half pixels.
      correlation: Pearson correlation of partners about `half_pixel`, in [-1, 1]; NaN where it was given.
      source: where it comes from: `given`, `found by correlation`, `from` a file.
      trusted: whether a pixel's partner about it may be used; else the centre is a guess, or has no partners.
      reason: why it is not trusted, in words; "" where it is.
      remarks: what else speaks against it, one sentence each, for the user.
      unpaired: whether it is known, and not trusted only because no pixel has a partner about it.
    """

    half_pixel: tuple[float, float]
    subpixel: tuple[float, float]
    correlation: float = float("nan")
    source: str = "given"
    trusted: bool = True
    reason: str = ""
    remarks: tuple[str, ...] = ()
    unpaired: bool = False

    def __post_init__(self) -> None:
        """Refuse coordinates that are no pair."""
        for name in ("half_pixel", "subpixel"):
            value = getattr(self, name)
            if np.shape(value) != (2,):
                raise TypeError(
                    f"Center: {name}: expected (y, x), got {value!r}; Center.given((y, x)) makes a centre"
                )

    @classmethod
    def given(cls, center: tuple[float, float], source: str = "given") -> Center:
        """Take a centre (y, x) as told, rounded to the half pixel that partners are counted from."""
        y, x = (round(2 * value) / 2 for value in center)
        return cls(half_pixel=(y, x), subpixel=(float(center[0]), float(center[1])), source=source)

    def doubted(self, reason: str) -> Center:
        """Return the same centre, not trusted."""
        return dataclasses.replace(self, trusted=False, reason=reason, unpaired=False)

    def remarked(self, *remarks: str) -> Center:
        """Return the same centre with more to tell of it."""
        return dataclasses.replace(self, remarks=(*self.remarks, *remarks))

    def judged(self, valid: np.ndarray) -> Center:
        """Return the same centre, not trusted where hardly any pixel of `valid` has a partner."""
        pairs = np.count_nonzero(valid & turn(valid, self.half_pixel, False))
        share = pairs / max(1, np.count_nonzero(valid))
        if share >= FEWEST_PARTNERS or not self.trusted:
            return self
        (y, x), (height, width) = self.half_pixel, valid.shape
        off = not (0 <= y <= height - 1 and 0 <= x <= width - 1)
        where = (
            "the beam is off the frame" if off else f"{100 * share:.1f} % of the pixels have one"
        )
        doubted = self.doubted(f"no pixel has a partner about y {y:g}, x {x:g} ({where})")
        return dataclasses.replace(doubted, unpaired=True)

    @property
    def known(self) -> bool:
        """Whether the beam is known to be there, with partners about it or without."""
        return self.trusted or self.unpaired

    def in_words(self) -> str:
        """Say where the centre is and where it comes from."""
        (y, x), (sub_y, sub_x) = self.half_pixel, self.subpixel
        between = (
            "" if self.half_pixel == self.subpixel else f", sub-pixel {sub_y:.2f}, {sub_x:.2f}"
        )
        return f"centre y {y:g}, x {x:g} ({self.source}{between})"

    def warnings(self) -> list[str]:
        """List what the user should know of the centre, each beginning with WARNING."""
        remarks = [f"WARNING: {remark}" for remark in self.remarks]
        if self.trusted:
            return remarks
        mend = "" if self.source == "given" else "; give it with --data.center y,x if you know it"
        doubt = f"WARNING: partners are not used and fill no pixel: {self.reason}{mend}"
        return [doubt, *remarks]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where the beam and the detector stood, as far as the files say.

    Attributes:
      center: beam centre (y, x) in pixels; an integer coordinate is the middle of a pixel.
      pixel_size_m: pixel size (y, x) in metres.
      wavelength_m: X-ray wavelength in metres.
      distance_m: from sample to detector in metres, along the beam.
      rotations_rad: of the detector, as pyFAI's rot1, rot2 and rot3; None = unknown, taken for no tilt.
      sources: name of a field above -> where its value comes from; `HEADER` where that is not said.
    """

    center: tuple[float, float] | None = None
    pixel_size_m: tuple[float, float] | None = None
    wavelength_m: float | None = None
    distance_m: float | None = None
    rotations_rad: tuple[float, float, float] | None = None
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def source_of(self, field: str) -> str:
        """Say where the value of a field comes from."""
        return self.sources.get(field, HEADER)

    def over(self, other: Geometry) -> Geometry:
        """Return what this one tells, and the rest as `other` has it."""
        missing = {f: getattr(other, f) for f in FIELDS if getattr(self, f) is None}
        sources = {f: other.source_of(f) for f in missing if missing[f] is not None}
        return dataclasses.replace(self, **missing, sources={**self.sources, **sources})

    def in_words(self) -> list[str]:
        """List what is known of the geometry but the centre, and where it comes from."""
        size, wavelength, distance = self.pixel_size_m, self.wavelength_m, self.distance_m
        rotations = self.rotations_rad or ()
        said = {
            "distance_m": f"distance {distance:.6g} m" if distance else "",
            "pixel_size_m": f"pixels {size[0] * 1e6:.4g} x {size[1] * 1e6:.4g} um" if size else "",
            "wavelength_m": f"wavelength {wavelength * 1e10:.5g} angstrom" if wavelength else "",
            "rotations_rad": f"rotations {', '.join(f'{r:.4g}' for r in rotations)} rad"
            if rotations
            else "",
        }
        return [f"{text} (from {self.source_of(field)})" for field, text in said.items() if text]


FIELDS = ("center", "pixel_size_m", "wavelength_m", "distance_m", "rotations_rad")
"""What a geometry tells."""


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
    rows, columns = with_partner(frame.shape, center)
    turned = np.full_like(frame, fill)
    turned[..., rows, columns] = frame[..., rows, columns][..., ::-1, ::-1]
    return turned


def with_partner(shape: tuple[int, ...], center: tuple[float, float]) -> tuple[slice, slice]:
    """Return the rows and columns of frames whose partners about a half-pixel centre lie on the frame."""
    twice = [2 * float(value) for value in center]
    if any(value != round(value) for value in twice):
        raise ValueError(f"centre {tuple(center)} is no multiple of half a pixel; round it first")
    rows, columns = (
        slice(min(n, max(0, int(k) - n + 1)), max(0, min(n, int(k) + 1)))
        for k, n in zip(twice, shape[-2:], strict=True)
    )
    return rows, columns

"""Answers as the numbers that a file holds: rounded and clipped in the open, never wrapped."""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.errors import UserError

TYPES = ("float32", "float16", "uint8", "uint16", "uint32", "int32")
"""Types that answers can be written in: readers know where each ends, and that nothing was counted there."""
WHOLE = TYPES[2:]
"""Those of whole numbers."""


@dataclasses.dataclass(frozen=True)
class NumberType:
    """How answers become the numbers of a file.

    Whole numbers are rounded half to even, without bias. Where there is no answer the largest number of the
    type stands, as detectors do; so what is counted goes up to the number below it, also in float16.

    Attributes:
      name: one of `TYPES`.
    """

    name: str = "float32"

    def __post_init__(self) -> None:
        """Refuse a type that is none of them."""
        if self.name not in TYPES:
            raise UserError(
                f"--output-dtype {self.name}: expected one of {', '.join(TYPES)}; float32 is the default"
            )

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers in the file."""
        return np.dtype(self.name)

    @property
    def whole(self) -> bool:
        """Whether answers are rounded to whole numbers."""
        return self.dtype.kind in "iu"

    @property
    def mark(self) -> float:
        """What stands where there is no answer."""
        return int(np.iinfo(self.dtype).max) if self.whole else float("nan")

    @property
    def none(self) -> str:
        """What stands where there is no answer, in words."""
        return str(self.mark) if self.whole else "NaN"

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest answer that fits."""
        if self.whole:
            info = np.iinfo(self.dtype)
            # Detectors of 32 bits mark by the two largest numbers.
            return int(info.min), int(info.max) - (2 if self.name == "uint32" else 1)
        if self.name == "float32":
            return -np.inf, np.inf
        below = float(np.nextafter(np.finfo(self.dtype).max, self.dtype.type(0)))
        return -below, below

    def stored(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Return answers as they are written, and how many of them did not fit and were clipped.

        Args:
          values: float32, any shape; NaN = no answer.

        >>> NumberType("uint8").stored(np.array([0.5, 1.5, np.nan, 300.0, -2.0]))
        (array([  0,   2, 255, 254,   0], dtype=uint8), 2)
        """
        if self.name == "float32":
            return np.asarray(values, np.float32), 0
        low, high = self.limits
        wide = np.asarray(values, np.float64)
        wide = np.rint(wide) if self.whole else wide
        known = ~np.isnan(wide)
        clipped = int(((wide < low) | (wide > high)).sum())
        kept = np.where(known, np.clip(wide, low, high), self.mark)
        return kept.astype(self.dtype), clipped

    def in_words(self, clipped: int) -> str:
        """Say what was done to the answers, for the record of the file; "" = nothing."""
        if self.name == "float32":
            return ""
        rounded = (
            f"rounded half to even, {self.mark} where there is no answer"
            if self.whole
            else "rounded to 11 significant bits"
        )
        low, high = self.limits
        cut = f"; {clipped} values clipped to {low:g}..{high:.9g}" if clipped else ""
        return f"{self.name}: {rounded}{cut}"

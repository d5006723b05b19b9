"""Whether counts stand out: the rule of `outliers.take_out`, asked of few pixels of many frames at once.

Questions come one after the other, cheap ones first. What is expected at a pixel is the largest of several
values, so that one which does not exceed the first needs no further question. Most are settled by their
partner, others by the pixels about them, and what is left is looked up in all other frames.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from scipy.special import pdtrc

from smae_jax.measurements import Measurements
from smae_jax.neighbours import FAR_RING, RING, SQUARE, partner_of, upper_median

CHANCE = 1e-12
"""Probability below which a count is no noise: one in a million frames of a megapixel."""
CONTRAST = 4.0
"""Times that it must exceed what is expected: a sharp spot has more than a quarter of its peak beside it."""
AT_ONCE = 2**16
"""Pixels whose neighbours are gathered at once."""
VALUES = 2**22
"""Rates of other frames that are gathered at once."""
_GOLDEN = 0.6180339887498949
_ROUNDED = 1.001
"""What a probability is multiplied by where a bound of it decides: more than it is rounded by."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Some pixels of patterns.

    Attributes:
      data: patterns, masked, with their centre if they have one.
      frame: of each pixel, (n,), int.
      y: row of each, as `frame`.
      x: column of each, as `frame`.
    """

    data: Measurements
    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def take(self, which: np.ndarray | slice) -> Pixels:
        """Keep some of them."""
        return Pixels(self.data, self.frame[which], self.y[which], self.x[which])

    @property
    def counts(self) -> np.ndarray:
        """What was counted there, (n,)."""
        return self.data.counts[self.frame, self.y, self.x]

    @property
    def light(self) -> np.ndarray:
        """Exposure there, (n,)."""
        return self.data.exposure[self.frame % len(self.data.exposure), self.y, self.x]

    def moved(self, dy: int, dx: int) -> tuple[np.ndarray, Pixels]:
        """Return which of them have a pixel so far beside, (n,), bool, and these pixels."""
        y, x, (height, width) = self.y + dy, self.x + dx, self.data.spatial
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return inside, Pixels(self.data, self.frame, y, x).take(inside)

    def about(self, offsets: list[tuple[int, int]]) -> np.ndarray:
        """Return the rates about them, (offsets, n), float64; NaN where there is no measurement."""
        gathered = np.full((len(offsets), len(self.y)), np.nan)
        for row, (dy, dx) in zip(gathered, offsets, strict=True):
            inside, there = self.moved(dy, dx)
            row[inside] = _rate(there.counts, there.light)
        return gathered

    def partner(self) -> np.ndarray:
        """Return the brightest of the 3 x 3 rates about their partners, (n,); NaN where there is none."""
        if self.data.symmetry is None:
            return np.full(len(self.y), np.nan)
        y, x = partner_of(self.data.symmetry.half_pixel, self.y, self.x)
        return np.fmax.reduce(Pixels(self.data, self.frame, y, x).about(SQUARE))


def standing_out(pixels: Pixels, *, alone: bool) -> np.ndarray:
    """Tell which pixels stand out, by the rule of `outliers.take_out`.

    Args:
      pixels: those that may.
      alone: whether other frames are not asked.

    Returns:
      Bool, (n,).
    """
    others = pixels.data.frames >= 3 and not alone
    out = _in_parts(functools.partial(_left, others=others), pixels)
    if others:
        out[out] = _in_parts(_told_by_others, pixels.take(out))
    return out


def _in_parts(told: Callable[[Pixels], np.ndarray], pixels: Pixels) -> np.ndarray:
    """Ask about some pixels after the other, so that their neighbours take a bounded memory."""
    starts = range(0, len(pixels.y), AT_ONCE)
    parts = [told(pixels.take(slice(start, start + AT_ONCE))) for start in starts]
    return np.concatenate([np.zeros(0, bool), *parts])


def _left(pixels: Pixels, *, others: bool) -> np.ndarray:
    """Tell what partner and neighbours leave in question; where no others are asked, what stands out."""
    # A partner that is not there is NaN, and compares as False.
    out = ~(pixels.counts <= CONTRAST * (pixels.partner() * pixels.light))
    some = pixels.take(out)
    far, near, partner = _expected(some)
    unseen = np.minimum(far, near) if others else near
    expected = np.where(np.isfinite(partner), far, unseen) * some.light
    out[out] = _exceed(some.counts, expected, CHANCE * _ROUNDED if others else CHANCE)
    return out


def _told_by_others(pixels: Pixels) -> np.ndarray:
    """Tell what stands out, by all that is asked."""
    far, near, partner = _expected(pixels)
    told = in_other_frames(pixels)
    seen = np.isfinite(partner) | np.isfinite(told)
    expected = np.where(seen, np.fmax(far, told), near) * pixels.light
    return _exceed(pixels.counts, expected)


def _expected(pixels: Pixels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rate expected where a partner tells, that where only neighbours do, and the partner's."""
    partner = pixels.partner()
    far = np.fmax(upper_median(pixels.about(FAR_RING)), np.nan_to_num(partner))
    # Where neither partner nor other frames can tell, a spot is told by its neighbours. The brightest of
    # the 3 x 3 pixels is the pixel itself, or it does not stand out.
    beside = np.sort(np.nan_to_num(pixels.about(SQUARE)), axis=0)[-3]
    near = np.fmax(upper_median(pixels.about(RING)), beside)
    return far, near, partner


def _exceed(counts: np.ndarray, expected: np.ndarray, chance: float = CHANCE) -> np.ndarray:
    return (counts > CONTRAST * expected) & (pdtrc(counts - 1, expected + 1) < chance)


def in_other_frames(pixels: Pixels) -> np.ndarray:
    """Return the brightest rate of 3 x 3 pixels in the median over the other frames of each pixel.

    The rates of a place are sorted once for all frames: without its own, a frame's median is the middle one
    or the one after it.

    Returns:
      (n,), float64; NaN where no other frame was measured.
    """
    found, width = np.full(len(pixels.y), np.nan), pixels.data.spatial[1]
    for dy, dx in SQUARE:
        inside, there = pixels.moved(dy, dx)
        places, which = np.unique(there.y * width + there.x, return_inverse=True)
        own = _rate(there.counts, there.light)
        below, above, of_all = _middle(pixels.data, places)[:, which]
        without = np.where(own <= below, above, below)
        found[inside] = np.fmax(found[inside], np.where(np.isfinite(own), without, of_all))
    return found


def _middle(data: Measurements, places: np.ndarray) -> np.ndarray:
    """Return the rates, of all frames at some places, that are the upper median without one of them.

    Returns:
      (3, places): that without one above it, that without one up to it, and that of all; NaN of none.
    """
    counts, light = (a.reshape(len(a), -1) for a in (data.counts, data.exposure))
    found = np.empty((3, len(places)))
    size = max(1, VALUES // data.frames)
    for start in range(0, len(places), size):
        some = places[start : start + size]
        rates = np.sort(_rate(counts[:, some], light[:, some]), axis=0)  # NaN last
        number, each = np.isfinite(rates).sum(axis=0), np.arange(len(some))
        middle = np.maximum(number - 1, 0) // 2
        for row, rank in zip(found, (middle, middle + 1, number // 2), strict=True):
            row[start : start + size] = rates[np.minimum(rank, len(rates) - 1), each]
    return found


def usual_about(pixels: Pixels) -> np.ndarray:
    """Return whole counts that stand in for pixels that stand out: the mean of the others about each.

    Args:
      pixels: all that stand out of their frames.
    """
    height, width = pixels.data.spatial
    taken = np.sort((pixels.frame * height + pixels.y) * width + pixels.x)
    number, total = np.zeros(len(pixels.y), int), np.zeros(len(pixels.y))
    for offset in RING:
        inside, there = pixels.moved(*offset)
        place = (there.frame * height + there.y) * width + there.x
        # Neighbours that stand out themselves are no measure of what is usual.
        nearest = taken[np.minimum(np.searchsorted(taken, place), len(taken) - 1)]
        rate = np.where(nearest == place, np.nan, _rate(there.counts, there.light))
        number[inside] += np.isfinite(rate)
        total[inside] += np.nan_to_num(rate)
    mean = total / np.maximum(number, 1) * pixels.light
    # Dithered by place, so that whole counts keep the mean, without a random number.
    dither = (pixels.y * 7919 + pixels.x) * _GOLDEN % 1
    return np.floor(mean + dither).astype(pixels.data.counts.dtype)


def _rate(counts: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return counts per unit of exposure, NaN where there is none."""
    valid = light > 0
    return np.where(valid, counts / np.where(valid, light, 1), np.nan)

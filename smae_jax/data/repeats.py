"""Repeated measurements of one thing, in one, two or three dimensions: what they are, and which are chosen.

Plain frozen records of numpy arrays. What files hold them is the business of `repeats_readers` and
`repeats_writers`; how they are used for training is no business of this file.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Repeats:
    """Repeated measurements of one thing, or measurements of several things of one kind.

    Attributes:
      counts: (repeats, *spatial) or (repeats, *spatial, channel), float32; 0 where invalid, never NaN.
      valid: True = use the value, bool, (1 or repeats, *spatial): no channel axis.
      exposure: how much measuring stands behind each repeat, relative to their mean, (repeats,), float32;
        ones if unknown.
      axis: coordinates of the last spatial axis, (n,), float64, such as energies in keV; None if unknown, and
        for more than one dimension.
      axis_name: such as `energy`; "" if unknown.
      axis_unit: such as `keV`; "" if unknown.
      names: one per repeat, for messages and for writing back.
      source: file or pattern that was read.
      dtype: of the numbers on disk, e.g. `int32`.
      notes: what was recognised in the file, one sentence each, for the user.
      channels: whether the last axis of `counts` is a channel axis.
      leading: shape that the repeats had on disk, such as (rows, columns) of a raster; () = one axis.
    """

    counts: np.ndarray
    valid: np.ndarray
    exposure: np.ndarray
    axis: np.ndarray | None
    axis_name: str
    axis_unit: str
    names: tuple[str, ...]
    source: str
    dtype: str
    notes: tuple[str, ...]
    channels: bool = False
    leading: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert self.counts.dtype == np.float32, self.counts.dtype
        assert self.valid.dtype == np.bool_, self.valid.dtype
        assert self.valid.shape[1:] == self.spatial, (self.valid.shape, self.counts.shape)
        assert len(self.valid) in (1, len(self.counts)), (self.valid.shape, self.counts.shape)
        assert self.exposure.shape == (len(self.counts),), self.exposure.shape
        assert len(self.names) == len(self.counts), "one name per repeat"
        assert self.axis is None or self.axis.shape == self.spatial[-1:], self.axis.shape

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of one repeat without its channels."""
        return self.counts.shape[1:-1] if self.channels else self.counts.shape[1:]

    @property
    def axis_label(self) -> str:
        """Name and unit of the axis, as in `energy (keV)`; `channel` where there is no axis.

        >>> axis_label("energy", "keV")
        'energy (keV)'
        """
        return axis_label(self.axis_name, self.axis_unit, known=self.axis is not None)


def axis_label(name: str, unit: str, *, known: bool = True) -> str:
    """Write name and unit of an axis as figures and tables show them."""
    if not known:
        return "channel"
    return f"{name or 'axis'} ({unit})" if unit else name or "axis"


def parse_repeats(text: str, count: int, *, option: str = "--data.repeats") -> list[int]:
    """Read a choice of repeats: single ones, slices as in Python, and lists of both.

    Args:
      text: such as `0:4`, `0,2,5`, `::2`, `-1` or `0:4,10`; "" = all.
      count: number of repeats that there are.
      option: what to call the choice in a message.

    Returns:
      Indices, >= 0, in the order asked for, none twice.

    Raises:
      ValueError: if it is no such text, names a repeat that is not there or twice, or chooses none.

    >>> parse_repeats("0:2,5", 6)
    [0, 1, 5]
    """
    chosen: list[int] = []
    for part in text.split(",") if text.strip() else [":"]:
        try:
            numbers = [int(number) if number.strip() else None for number in part.split(":")]
            if len(numbers) > 3 or (len(numbers) == 1 and numbers[0] is None) or 0 in numbers[2:]:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{option}: expected numbers and slices such as 0:4 or 0,2,5, got '{text}'"
            ) from None
        if len(numbers) > 1:
            chosen += range(count)[slice(*numbers)]
            continue
        index = numbers[0] or 0
        if not -count <= index < count:
            raise ValueError(
                f"{option}: there is no repeat {index}, there are {count}, counted from 0 "
                f"(0..{count - 1}); choose of these"
            )
        chosen.append(index % count)
    if not chosen:
        raise ValueError(f"{option}: '{text}' chooses none of the {count} repeats; widen it")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{option}: '{text}' chooses a repeat twice; name each one once")
    return chosen


def choose_repeats(repeats: Repeats, text: str, *, option: str = "--data.repeats") -> Repeats:
    """Keep the repeats that `parse_repeats` reads from the text; their mean exposure is 1 again.

    Raises:
      ValueError: as `parse_repeats`.
    """
    if not text.strip():
        return repeats
    return take_repeats(repeats, parse_repeats(text, len(repeats.counts), option=option))


def take_repeats(repeats: Repeats, indices: list[int]) -> Repeats:
    """Keep the repeats with these indices, in this order."""
    exposure = repeats.exposure[indices]
    return dataclasses.replace(
        repeats,
        counts=repeats.counts[indices],
        valid=repeats.valid if len(repeats.valid) == 1 else repeats.valid[indices],
        exposure=(exposure / exposure.mean()).astype(np.float32),
        names=tuple(repeats.names[index] for index in indices),
        leading=(),
    )


def mean_of_repeats(repeats: Repeats) -> tuple[np.ndarray, np.ndarray]:
    """Average repeats, each by its exposure and where it is valid.

    Args:
      repeats: (repeats, *spatial[, channel]).

    Returns:
      (mean counts per unit of exposure, NaN where no repeat is valid; the exposure behind each value), both
      float64, (*spatial[, channel]).
    """
    exposure = exposure_of_values(repeats).sum(axis=0)
    total = repeats.counts.sum(axis=0, dtype=np.float64)
    return np.where(exposure > 0, total / np.where(exposure > 0, exposure, 1), np.nan), exposure


def exposure_of_values(repeats: Repeats) -> np.ndarray:
    """Return the exposure of every value, 0 where invalid: (repeats, *spatial[, channel]), float64."""
    ones = (1,) * (repeats.counts.ndim - 1)
    valid = repeats.valid[..., None] if repeats.channels else repeats.valid
    each = repeats.exposure.reshape(-1, *ones).astype(np.float64) * valid
    return np.broadcast_to(each, repeats.counts.shape)

"""Which frames or repeats of a file are kept."""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements


def parse_frames(text: str, count: int, option: str = "--data.repeats") -> list[int]:
    """Read a choice of frames: single ones, slices as in Python, and lists of both.

    Args:
      text: such as `0:4`, `0,2,5`, `::2`, `-1` or `0:4,10`; "" = all.
      count: number of frames that there are.
      option: what to call the choice in a message.

    Returns:
      Indices, >= 0, in the order asked for, none twice.

    Raises:
      UserError: if it is no such text, names a frame that is not there or twice, or chooses none.

    >>> parse_frames("0:2,5", 6)
    [0, 1, 5]
    """
    chosen: list[int] = []
    noun = "frame" if option.endswith("frames") else "repeat"
    for part in text.split(",") if text.strip() else [":"]:
        try:
            numbers = [int(number) if number.strip() else None for number in part.split(":")]
            if len(numbers) > 3 or (len(numbers) == 1 and numbers[0] is None) or 0 in numbers[2:]:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{option}: expected numbers and slices such as 0:4 or 0,2,5, got '{text}'"
            ) from None
        if len(numbers) > 1:
            chosen += range(count)[slice(*numbers)]
            continue
        index = numbers[0] or 0
        if not -count <= index < count:
            raise UserError(
                f"{option}: there is no {noun} {index}, there are {count}, counted from 0 "
                f"(0..{count - 1}); choose of these"
            )
        chosen.append(index % count)
    if not chosen:
        raise UserError(f"{option}: '{text}' chooses none of the {count} {noun}s; widen it")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"{option}: '{text}' chooses a {noun} twice; name each one once")
    return chosen


def choose_frames(data: Measurements, text: str, option: str = "--data.repeats") -> Measurements:
    """Keep the frames that `parse_frames` reads from the text; their mean exposure is 1 again.

    Raises:
      UserError: as `parse_frames`.
    """
    if not text.strip():
        return data
    chosen = data.take(np.array(parse_frames(text, data.frames, option)))
    exposure = chosen.exposure / chosen.frame_exposure.mean(dtype=np.float64)
    if (exposure == exposure[:1]).all():
        exposure = exposure[:1]
    return dataclasses.replace(chosen, exposure=exposure.astype(np.float32))

"""Frames of a scan that is still being measured: how one is read, and what is remembered of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.parts import checksum
from smae_jax.io.raw_frames import Frames
from smae_jax.io.single_frames import read_alone
from smae_jax.measurements import Measurements


class State(NamedTuple):
    """What was answered: kept beside the answer, so that a frame that changes later is noticed.

    Attributes:
      size: bytes of its file when it was read.
      changed_ns: when that file had last changed, nanoseconds since 1970.
      checksum: of its counts and of what is valid among them: all that the answer depends on.
    """

    size: int
    changed_ns: int
    checksum: int

    @property
    def of_file(self) -> tuple[int, int]:
        """Size and time of change: where these are the same, nobody looks at the counts."""
        return self.size, self.changed_ns


UNKNOWN = State(0, 0, 0)
"""Of a frame that is just being answered anew."""


@dataclasses.dataclass(frozen=True)
class Arrived:
    """Frames that are to be answered.

    Attributes:
      data: the frames.
      states: what to remember of each.
      came: when the first of them was first seen (`time.monotonic`).
    """

    data: Measurements
    states: tuple[State, ...]
    came: float


class ShapeError(UserError):
    """Frames of another shape than those that were trained on."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How frames are read that come one by one.

    Attributes:
      shape: (height, width) that they must have.
      marks: see `single_frames.read_alone`.
      saturation: see there.
      settle: seconds that a file must stay unchanged before it is read.
      patience: seconds after which a file that cannot be read is reported, and not waited for.
      left_out: locations that are no frames, see `find_frames`.
      longest: bytes that the name of a frame may have.
    """

    shape: tuple[int, int]
    marks: str = "auto"
    saturation: float | None = None
    settle: float = 0.5
    patience: float = 30.0
    left_out: Sequence[str] = ()
    longest: int = 512

    def check(self, file: str, frames: Frames) -> None:
        """Refuse frames of another shape.

        Raises:
          ShapeError: if they have one.
        """
        shape = tuple(int(side) for side in frames.values.shape[-2:])
        if shape != self.shape:
            raise ShapeError(
                f"{file}: expected frames of {self.shape} as the run was trained on, got {shape}; give a "
                "run that was trained on frames of this shape"
            )

    def frames(self, file: str, label: str, frames: Frames, wanted: Sequence[int]) -> Measurements:
        """Read frames of one file, named after its label.

        Raises:
          UserError: if they have another shape, or a name that is too long.
        """
        self.check(file, frames)
        labels = frames.labels(label)
        if max(len(labels[index].encode()) for index in wanted) > self.longest:
            raise UserError(f"{file}: its name is longer than {self.longest} bytes; shorten it")
        return read_alone(
            frames,
            wanted,
            source=file,
            name=label,
            marks=self.marks,
            saturation=self.saturation,
        )


def states_of(data: Measurements, file: tuple[int, int]) -> tuple[State, ...]:
    """Return what to remember of each frame of one file."""
    return tuple(
        State(*file, checksum(counts.astype(np.float32), np.packbits(exposure > 0)))
        for counts, exposure in zip(data.counts, data.exposure, strict=True)
    )


def anew(
    data: Measurements, states: Sequence[State], done: Mapping[str, State], came: float
) -> Arrived | None:
    """Return the frames that were not answered yet, or with other counts; None where there is none."""
    kept = [
        index
        for index, (name, state) in enumerate(zip(data.names, states, strict=True))
        if name not in done or done[name].checksum != state.checksum
    ]
    if not kept:
        return None
    part = data if len(kept) == data.frames else data.take(kept)
    return Arrived(part, tuple(states[index] for index in kept), came)

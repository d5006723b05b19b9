"""Files of frames as they come into a folder: each is read when it is whole, and no other waits for it."""

from __future__ import annotations

import dataclasses
import glob
import math
import os
import time
from collections.abc import Sequence

from smae_jax.errors import UserError
from smae_jax.io.frame_files import find_frames
from smae_jax.io.locations import split_inside
from smae_jax.io.raw_frames import Frames
from smae_jax.io.readable import has_open_writer
from smae_jax.io.scans import open_frames
from smae_jax.io.single_frames import joined, read_alone
from smae_jax.measurements import Measurements

_AGAIN = 0.5  # seconds between two trials of a file that cannot be read


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
                f"{file}: expected frames of {self.shape} as the run was trained on, got {shape}"
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


@dataclasses.dataclass
class _Seen:
    """A file that is not read to its end yet.

    Attributes:
      state: size and time of change.
      came: when it was first seen.
      since: when it was first seen in this state.
      tried: when it was last tried to read.
      why: why that failed; "" = it did not.
      reported: whether that was said, and the file is not tried again in this state.
    """

    state: tuple[int, int]
    came: float
    since: float
    tried: float = -math.inf
    why: str = ""
    reported: bool = False


class Folder:
    """Frames in the files that a pattern, or a folder, means, now and later.

    Attributes:
      ended: whether the scan is known to be over: nothing in a folder tells that.
      news: when something last came or changed (`time.monotonic`); None = nothing yet.
    """

    ended = False

    def __init__(self, path: str, reading: Reading, done: Sequence[str] = ()) -> None:
        """Look out for files of `path`; frames whose names are `done` are not read again."""
        self.path, self.inside = split_inside(path)
        self.reading, self.done = reading, set(done)
        self.news: float | None = None
        self._root = root_of(self.path)
        self._seen: dict[str, _Seen] = {}
        self._finished: dict[str, tuple[int, int] | None] = {}  # None = a single frame
        self._lines: list[str] = []
        self._last = ""

    @property
    def waiting(self) -> int:
        """Files that are there, and not read to their end."""
        return sum(not seen.reported for seen in self._seen.values())

    def told(self) -> list[str]:
        """Return what a person should read, once."""
        lines, self._lines = self._lines, []
        return lines

    def left(self) -> list[str]:
        """Say of every file that is there and was not read why not, where that was not said yet."""
        return [
            seen.why or f"{file}: has come last"
            for file, seen in self._seen.items()
            if not seen.reported
        ]

    def take(self, most: int) -> tuple[Measurements, float] | None:
        """Read frames that have come.

        Args:
          most: frames at once.

        Returns:
          (the frames, when the first of them came); None where there is none.
        """
        now = time.monotonic()
        self._look(now)
        parts, count, came = list[Measurements](), 0, now
        for file, seen in [*self._seen.items()]:
            steady = now - seen.since >= self.reading.settle
            if count >= most or seen.reported or not steady or now - seen.tried < _AGAIN:
                continue
            seen.tried = now
            try:
                part, whole = self._read(file, most - count)
            except (UserError, OSError) as error:
                self._failed(seen, " ".join(str(error).split()), now)
                continue
            if whole:
                del self._seen[file]
            else:
                seen.tried = -math.inf
            if part is not None:
                parts.append(part)
                count, came = count + part.frames, min(came, seen.came)
                self.done.update(part.names)
        return (joined(parts), came) if parts else None

    def _look(self, now: float) -> None:
        """Note which files are there, and which of them have changed."""
        try:
            files, _ = find_frames(self.path, self.reading.left_out)
        except (UserError, OSError) as error:  # there is nothing yet, as a rule
            files, why = list[str](), f"waiting: {' '.join(str(error).split())}"
            if why != self._last:
                self._lines.append(why)
                self._last = why
        for file in self._seen.keys() - set(files):
            if not self._seen.pop(file).reported:
                self._lines.append(f"{file}: has gone before it was read")
        for file in files:
            if file in self._finished and self._finished[file] is None:
                continue
            state = _state(file)
            if state is None or self._finished.get(file) == state:
                continue
            seen = self._seen.get(file)
            if seen is None and os.path.relpath(file, self._root) in self.done:
                self._finished[file] = None
            elif seen is None:
                self._seen[file], self.news = _Seen(state, now, now), now
            elif seen.state != state:
                self._seen[file], self.news = _Seen(state, seen.came, now), now

    def _read(self, file: str, most: int) -> tuple[Measurements | None, bool]:
        """Read up to so many frames of a file that are not done; and whether that was the rest of it."""
        if has_open_writer(file):
            raise UserError(f"{file}: is being written by another program, or its writer broke off")
        label, state = os.path.relpath(file, self._root), _state(file)
        with open_frames(file, self.inside) as frames:
            labels = frames.labels(label)
            missing = [index for index, name in enumerate(labels) if name not in self.done]
            wanted = missing[:most]
            part = self.reading.frames(file, label, frames, wanted) if wanted else None
        whole = len(wanted) == len(missing)
        if whole:
            self._finished[file] = None if labels == (label,) else state
        return part, whole

    def _failed(self, seen: _Seen, why: str, now: float) -> None:
        seen.why = why
        if now - seen.since >= self.reading.patience:
            seen.reported = True
            self._lines.append(f"left out: {why}")


def root_of(path: str) -> str:
    """Return the folder that names of files are told from: the part of a path without wildcards.

    >>> root_of("scan/a_*.tif"), root_of("*.tif"), root_of("a/*/b.tif")
    ('scan', '.', 'a')
    """
    if os.path.isdir(path):
        return path
    folder = os.path.dirname(path)
    while glob.has_magic(folder) and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder or "."


def _state(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns

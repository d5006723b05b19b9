"""Files of frames as they come into a folder: each is read when it is whole, and no other waits for it."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import time
from collections.abc import Mapping

from smae_jax.errors import UserError
from smae_jax.io.arrived import Arrived, Reading, ShapeError, State, anew, states_of
from smae_jax.io.gathered import LEFT_OUT, Gathered
from smae_jax.io.locations import split_inside
from smae_jax.io.present import Present, root_of
from smae_jax.io.readable import file_state, has_open_writer
from smae_jax.io.scans import open_frames
from smae_jax.io.single_frames import joined

_AGAIN = 0.5  # seconds between two trials of a file that cannot be read


@dataclasses.dataclass
class _Seen:
    """A file that is not read to its end yet.

    Attributes:
      state: size and time of change.
      came: when it was first seen.
      since: when it was first seen in this state.
      again: whether it was answered before, in another state.
      tried: when it was last tried to read.
      why: why that failed; "" = it did not.
      reported: whether that was said, and the file is not tried again in this state.
    """

    state: tuple[int, int]
    came: float
    since: float
    again: bool = False
    tried: float = -math.inf
    why: str = ""
    reported: bool = False


class Folder:
    """Frames in the files that a pattern, or a folder, means, now and later.

    A file that changes after it was answered is read again, and those of its frames that changed are answered
    anew.

    Attributes:
      ended: whether the scan is known to be over: nothing in a folder tells that.
      news: when something last came or changed (`time.monotonic`); None = nothing yet.
      said: what a person should read of the files.
    """

    ended = False

    def __init__(
        self, path: str, reading: Reading, done: Mapping[str, State] | None = None
    ) -> None:
        """Look out for files of `path`; frames that are `done` are read again only where they changed."""
        self.path, self.inside = split_inside(path)
        self.reading, self.done = reading, dict(done or {})
        self.news: float | None = None
        self.said = Gathered()
        self._root = root_of(self.path)
        self._seen: dict[str, _Seen] = {}
        self._finished: dict[str, tuple[int, int]] = {}
        self._before: dict[str, set[tuple[int, int]]] = {}  # states in which files were answered
        for name, state in self.done.items():
            self._before.setdefault(_file_of(name), set()).add(state.of_file)
        first = next(iter(self._before), "")
        self._present = Present(self.path, reading.left_out, self.said, first=first)

    @property
    def waiting(self) -> int:
        """Files that are there, and not read to their end."""
        return sum(not seen.reported for seen in self._seen.values())

    @property
    def changed(self) -> int:
        """Of them, files that were answered before, and have changed."""
        return sum(seen.again and not seen.reported for seen in self._seen.values())

    def refusal(self) -> str:
        """Say why the first file was left out; "" = none was."""
        return self.said.first(LEFT_OUT)

    def left(self) -> None:
        """Note of every file that is there and was not read why not, where that was not said yet."""
        for file, seen in self._seen.items():
            if seen.why and not seen.reported:
                self.said.add(LEFT_OUT, file, seen.why)
            elif not seen.reported:
                why = "came last; the same command goes on with them (with more --frames, if given)"
                self.said.add("not answered", file, why)

    def take(self, most: int, new: int) -> Arrived | None:
        """Read frames that have come, or changed.

        Args:
          most: frames at once.
          new: of them, that were not answered before.

        Returns:
          The frames; None where there is none.

        Raises:
          UserError: in one line, if the folder holds several formats from the start.
        """
        now = time.monotonic()
        self._look(now)
        parts, count = list[Arrived](), 0
        for file, seen in [*self._seen.items()]:
            steady = now - seen.since >= self.reading.settle
            if count >= most or seen.reported or not steady or now - seen.tried < _AGAIN:
                continue
            if not (new or seen.again):
                continue
            seen.tried = now
            try:
                part, read, whole = self._read(file, seen, most - count, new)
            except (UserError, OSError) as error:
                self._failed(file, seen, error, now)
                continue
            if whole:
                del self._seen[file]
            else:
                seen.tried = -math.inf
            count += read
            if part is not None:
                new -= sum(name not in self.done for name in part.data.names)
                self.done.update(zip(part.data.names, part.states, strict=True))
                parts.append(part)
        if not parts:
            return None
        return Arrived(
            joined([part.data for part in parts]),
            tuple(state for part in parts for state in part.states),
            min(part.came for part in parts),
        )

    def _look(self, now: float) -> None:
        """Note which files are there, and which of them have changed."""
        files = self._present.files(begun=bool(self.done))
        if files is None:
            return
        for file in self._seen.keys() - set(files):
            if not self._seen.pop(file).reported:
                self.said.add("gone", file, "was there, and went before it was answered")
        for file in self._finished.keys() - set(files):
            del self._finished[file]
            self.said.add("gone", file, "is no longer there; its answer stays")
        for file in files:
            state = file_state(file, links=True)
            if state is None or self._finished.get(file) == state:
                continue
            seen = self._seen.get(file)
            if seen is None:
                label = os.path.relpath(file, self._root)
                before = self._before.get(label, set())
                if label in self.done and state in before:
                    self._finished[file] = state
                    continue
                again = bool(before) and state not in before
                self._seen[file], self.news = _Seen(state, now, now, again), now
            elif seen.state != state:
                self._seen[file], self.news = _Seen(state, seen.came, now, seen.again), now

    def _read(
        self, file: str, seen: _Seen, most: int, new: int
    ) -> tuple[Arrived | None, int, bool]:
        """Read up to so many frames of a file.

        Returns:
          (those of them that are new, or changed; how many were read; whether those were the rest of it).
        """
        if has_open_writer(file):
            raise UserError(f"{file}: is being written by another program, or its writer broke off")
        label, state = os.path.relpath(file, self._root), file_state(file, links=True) or seen.state
        with open_frames(file, self.inside) as frames:
            labels = frames.labels(label)
            unread = [
                index
                for index, name in enumerate(labels)
                if name not in self.done or self.done[name].of_file != state
            ]
            fresh = [index for index in unread if labels[index] not in self.done]
            beyond = {*fresh[new:]}
            wanted = [index for index in unread if index not in beyond][:most]
            data = self.reading.frames(file, label, frames, wanted) if wanted else None
        whole = len(wanted) == len(unread)
        seen.again = not {*unread} - {*fresh} <= {*wanted}  # answered frames are still to be read
        if whole:
            self._finished[file] = state
            self._before[label] = {state}
        if data is None:
            return None, 0, whole
        states = states_of(data, state)
        part = anew(data, states, self.done, seen.came)
        both = zip(data.names, states, strict=True)
        self.done.update({name: now for name, now in both if name in self.done})
        return part, data.frames, whole

    def _failed(self, file: str, seen: _Seen, error: Exception, now: float) -> None:
        seen.why = " ".join(str(error).split()).removeprefix(f"{file}: ")
        for_good = isinstance(error, ShapeError)
        if for_good or now - seen.since >= self.reading.patience:
            seen.reported = True
            before = "; the answer to what it held before stays" if seen.again else ""
            self.said.add(LEFT_OUT, file, f"{seen.why}{before}")


def _file_of(name: str) -> str:
    """Return the file of a frame, given its name.

    >>> _file_of("a.tif"), _file_of("b[1].npy[12]"), _file_of("c.h5::/entry/data[0,3]")
    ('a.tif', 'b[1].npy', 'c.h5')
    """
    return re.sub(r"\[[\d,]+\]$", "", name.partition("::")[0])

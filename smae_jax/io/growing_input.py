"""Frames of an HDF5 file as they are written into it, in their order."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.arrived import UNKNOWN, Arrived, Reading, ShapeError, State, anew, states_of
from smae_jax.io.gathered import LEFT_OUT, Gathered
from smae_jax.io.hdf5_files import open_hdf5
from smae_jax.io.hdf5_opening import FAULTS, open_file
from smae_jax.io.hdf5_stack import Stack
from smae_jax.io.locations import split_inside
from smae_jax.io.nexus_attributes import class_of, text_of
from smae_jax.io.raw_frames import Frames
from smae_jax.io.readable import file_state


class GrowingFile:
    """Frames of one dataset, or series, of an HDF5 file, now and later.

    A frame that is not there while later ones are is waited for, `Reading.patience` seconds long. Whenever
    the file has changed, one frame that was answered is read again, in turn: where it holds other counts the
    file was written anew, and every frame that changed is answered anew.

    Attributes:
      ended: whether the file tells that the scan is over (`end_time` of its entry), and all is read.
      news: when something last came or changed (`time.monotonic`); None = nothing yet.
      waiting: frames that are there and not read.
      changed: of them, frames that were answered before the file was written anew.
      said: what a person should read of the file.
    """

    def __init__(
        self, path: str, reading: Reading, done: Mapping[str, State] | None = None
    ) -> None:
        """Look out for frames of `path`; those that are `done` are read again only where they changed."""
        self.path, self.inside = split_inside(path)
        self.reading, self.done = reading, dict(done or {})
        self.news: float | None = None
        self.said = Gathered()
        self.waiting, self.changed, self.ended = 0, 0, False
        # Frames that were answered before the file was written anew, or whose answer was broken off.
        self._doubted = {name for name, state in self.done.items() if state == UNKNOWN}
        self._turn = 0  # of the answered frames: which one is read again
        self._next = 0  # number of the next frame
        self._gap = (-1, 0.0)  # a frame that is missing, and since when
        self._state: tuple[object, ...] = ()  # of the file, when it was last read
        self._latest: tuple[int, int] | None = None  # of the file, when it was last looked at
        self._changed = 0.0
        self._came: list[tuple[int, float]] = []  # frames that were there, and when
        self._trouble = ""
        self._waits = set[str]()

    def refusal(self) -> str:
        """Say why the file cannot be read; "" = it can."""
        return self._trouble

    def left(self) -> None:
        """Note what is there and was not read, and what was answered and is there no longer."""
        if self.waiting:
            why = f"{self.waiting} frames came last; the same command goes on with them"
            self.said.add("not answered", self.path, f"{why} (with more --frames, if given)")
        if len(self._doubted) > self.changed:
            why = f"{len(self._doubted) - self.changed} of the frames that were answered before it was"
            self.said.add(
                "gone", self.path, f"{why} written anew are not in it; their answers stay"
            )

    def take(self, most: int, new: int) -> Arrived | None:
        """Read frames that have come, or changed.

        Args:
          most: frames at once.
          new: of them, that were not answered before.

        Returns:
          The frames; None where there is none.

        Raises:
          UserError: if they have another shape than is expected; if the file tells that the scan has ended
            and cannot be read.
        """
        now, over, label = time.monotonic(), False, os.path.basename(self.path)
        state = file_state(self.path, links=True)
        if state is not None and state != self._latest:
            self._latest, self._changed, self.news = state, now, now
        try:
            over = _has_ended(self.path)
            with open_hdf5(self.path, self.inside, missing="skip") as frames:
                self.reading.check(self.path, frames)
                labels = frames.labels(label)
                self._look_again(frames, labels, state or (0, 0), now)
                ready = self._ready(frames, labels, over=over, now=now)
                ready = _limited(ready, [labels[index] in self.done for index in ready], most, new)
                data = self.reading.frames(self.path, label, frames, ready) if ready else None
        except ShapeError:
            raise
        except (UserError, *FAULTS) as error:  # it is not there yet, or being written
            self._wait(error, over=over and now - self._changed >= self.reading.patience)
            return None
        self._trouble = ""
        self._waits.clear()
        if data is None:
            self.ended = over and not self.waiting
            return None
        came = next((at for count, at in self._came if count > ready[0]), now)
        self._came = [one for one in self._came if one[0] > ready[0]]
        states = states_of(data, state or (0, 0))
        part = anew(data, states, self.done, came)
        self.done.update(zip(data.names, states, strict=True))
        self.waiting -= data.frames
        self.changed -= len(self._doubted.intersection(data.names))
        self._doubted -= set(data.names)
        return part

    def _look_again(
        self, frames: Frames, labels: Sequence[str], state: tuple[int, int], now: float
    ) -> None:
        """Read one frame that was answered, where the file has changed; doubt all if it has, too.

        At first these are the first and the last one: answers are written anew from the first on, and who was
        killed in between left the last one as it was.
        """
        if (*state, len(labels)) == self._state:
            return
        if self._state and len(labels) != self._state[-1]:  # frames in other files are linked
            self._changed = self.news = now
        there = [
            index
            for index, name in enumerate(labels)
            if name in self.done and name not in self._doubted
        ]
        if there:
            chosen = (
                [there[self._turn % len(there)]] if self._turn else sorted({there[0], there[-1]})
            )
            label = os.path.basename(self.path)
            data = self.reading.frames(self.path, label, frames, chosen)
            for name, found in zip(data.names, states_of(data, state), strict=True):
                if found.checksum != self.done[name].checksum:
                    self._doubted = set(self.done)
            self._turn += 1
        self._state = (*state, len(labels))

    def _ready(self, frames: Frames, labels: Sequence[str], *, over: bool, now: float) -> list[int]:
        """Return the frames to read next: none behind a gap, and none that may be half written."""
        if not self._came or self._came[-1][0] < len(labels):
            self._came.append((len(labels), now))
        one_axis = frames.places is None or len(frames.places[0]) == 1
        known = frames.places if one_axis else None
        numbers = range(len(labels)) if known is None else [place[0] for place in known]
        answered = [name in self.done and name not in self._doubted for name in labels]
        self.waiting = len(labels) - sum(answered)
        self.changed = sum(name in self._doubted for name in labels)
        read = [n for n, name in zip(numbers, labels, strict=True) if name in self.done]
        self._next = max(self._next, 1 + max(read, default=-1))
        held = 0 if over or now - self._changed >= self.reading.settle else _half_written(frames)
        ready = list[int]()
        for index in np.flatnonzero(~np.array(answered, bool)).tolist():
            if index >= len(labels) - held:
                break
            if numbers[index] > self._next and not self._passes(numbers[index], over=over, now=now):
                break
            self._next = max(self._next, numbers[index] + 1)
            ready.append(index)
        return ready

    def _passes(self, number: int, *, over: bool, now: float) -> bool:
        """Whether frames before this one, which are not there, are waited for no longer."""
        if self._gap[0] != self._next:
            self._gap = self._next, now
        if not over and now - self._gap[1] < self.reading.patience:
            return False
        last = f" to {number - 1}" if number - 1 > self._next else ""
        why = "is not there, and later ones are; it is answered last, should it come"
        self.said.add(LEFT_OUT, f"{self.path}: frame {self._next}{last}", why)
        return True

    def _wait(self, error: Exception, *, over: bool) -> None:
        """Note why the file cannot be read, and refuse it if nothing more is to come."""
        why = " ".join(str(error).split()).removeprefix(f"{self.path}: ")
        if over:
            raise UserError(f"{self.path}: {why} (the file tells that the scan has ended)")
        if os.path.exists(self.path):
            self._trouble = f"{self.path}: {why}"
        elif os.path.islink(self.path):
            why = "is a link to nothing"
        else:
            why = "has gone; its answers stay" if self._state else "no such file yet"
        if (kind := re.sub(r"\d+", "0", why)) not in self._waits:
            self._waits.add(kind)
            what = "more" if self.done else "the first frame"
            self.said.add(f"waiting for {what}", self.path, why)


def _limited(ready: Sequence[int], done: Sequence[bool], most: int, new: int) -> list[int]:
    """Return up to `most` of the frames, and up to `new` of those that were not answered before.

    >>> _limited([1, 4, 5, 6, 7], [True, False, False, False, True], most=9, new=2)
    [1, 4, 5, 7]
    """
    count = np.cumsum(~np.array(done, bool))
    return [one for one, old, n in zip(ready, done, count, strict=True) if old or n <= new][:most]


def _half_written(frames: Frames) -> int:
    """Return how many of the newest frames may be there in part: none, where a chunk is one whole frame."""
    values = frames.values
    dataset: Any = values.segments[-1].dataset() if isinstance(values, Stack) else values
    chunks = getattr(dataset, "chunks", None)
    if chunks is None:
        return 1
    frame = len(chunks) == 2 or (chunks[-3] == 1 and set(chunks[:-3]) <= {1})
    return 0 if frame and chunks[-2:] == dataset.shape[-2:] else max(1, *chunks[:-2])


def _has_ended(path: str) -> bool:
    """Whether an entry of the file has an end time: an NXentry, or a group that tells no class."""
    with open_file(path) as file:
        nodes: list[Any] = [file.get(name) for name in file]
        entries = [
            node
            for node in nodes
            if isinstance(node, h5py.Group) and class_of(node) in ("NXentry", "")
        ]
        told: list[Any] = [entry["end_time"] for entry in entries if "end_time" in entry]
        times = [np.ravel(one[()]) for one in told]
    return any(text_of(one).strip("\0 ") for time in times for one in time)

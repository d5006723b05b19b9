"""A NeXus file of answers that grows frame by frame, and is valid on disk at every moment.

HDF5 writes it for readers that look at it meanwhile (single writer, multiple readers: SWMR): what is on disk
is a whole file after every step, also where the writer is killed. A frame counts as written once its name is
there, which comes last; who goes on with the file writes over what has none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.io.arrived import UNKNOWN, State
from smae_jax.io.atomic import atomic_path
from smae_jax.io.growing_layout import NAME_BYTES, Layout, create, refuse_other
from smae_jax.io.swmr import close, open_for_more, room

_SPARE_BYTES = 2**20  # for what HDF5 writes beside the frames


class Growing:
    """A file of answers that is open for more; a context that closes it.

    Attributes:
      path: of the file.
      answered: the frames that are there, in their order, and what was answered of each.
      clipped: values that did not fit the type of the file and were clipped, since it was opened.
    """

    def __init__(self, path: str | Path, layout: Layout, *, overwrite: bool = False) -> None:
        """Go on with the file that is there; one that is to be made is made with its first frame.

        Raises:
          UserError: if something else is there, or it was made of something else; if it cannot be written.
        """
        self.path, self.numbers, self.clipped = Path(path), layout.numbers, 0
        self.answered: dict[str, State] = {}
        self._rows: dict[str, int] = {}
        self._layout, self._overwrite = layout, overwrite
        self._file: h5py.File | None = None
        if not overwrite and os.path.lexists(path):
            refuse_other(self.path, layout)
            self._open()

    def _open(self) -> h5py.File:
        file = self._file = open_for_more(self.path)
        data: Any = file["entry/data"]
        self._data, self._filled = data["data"], data["filled"]
        self._source, self._state = data["source"], data["source_state"]
        self.answered = _answered(self._source, self._state)
        self._rows = {name: row for row, name in enumerate(self.answered)}
        return file

    def _begun(self) -> h5py.File:
        """Return the file, which is made with its first frame."""
        if self._file is not None:
            return self._file
        with atomic_path(self.path, overwrite=self._overwrite) as temporary:
            create(temporary, self._layout)
        return self._open()

    def write(
        self,
        counts: np.ndarray,
        filled: np.ndarray,
        names: Sequence[str],
        states: Sequence[State],
    ) -> None:
        """Write frames behind the last one, or in the place of those that are there already.

        They are on disk when this returns.

        Args:
          counts: (frames, height, width), float32, NaN where there is no answer.
          filled: not measured, answered from the partner, bool, as `counts`.
          names: one per frame, of up to `NAME_BYTES` bytes, each once.
          states: what is answered, one per frame.

        Raises:
          OutputError: in one line, if there is no room on the disk; the frames before stay.
        """
        file = self._begun()
        stored, clipped = self.numbers.stored(counts)
        marks, table = filled.astype(np.uint8), np.array(states, np.int64).reshape(-1, 3)
        again = np.array([name in self._rows for name in names], bool)
        # No packing makes numbers larger than by a hundredth.
        needed = int(1.01 * (stored.nbytes + marks.nbytes)) + len(names) * NAME_BYTES + _SPARE_BYTES
        with room(file, self.path, needed):
            for index in np.flatnonzero(again).tolist():
                row = slice(self._rows[names[index]], self._rows[names[index]] + 1)
                _put(self._state, row, np.array([UNKNOWN], np.int64))
                _put(self._data, row, stored[index][None])
                _put(self._filled, row, marks[index][None])
                _put(self._state, row, table[index][None])
            behind = slice(len(self.answered), len(self.answered) + int((~again).sum()))
            if behind.start < behind.stop:
                new = [name for name in names if name not in self._rows]
                _put(self._data, behind, stored[~again])
                _put(self._filled, behind, marks[~again])
                _put(self._state, behind, table[~again])
                _put(self._source, behind, np.array([name.encode() for name in new]))
        self.answered.update(zip(names, states, strict=True))
        self._rows = {name: row for row, name in enumerate(self.answered)}
        self.clipped += clipped

    def close(self) -> None:
        """Close the file; it is an ordinary one then."""
        if self._file is not None:
            close(self._file, self.path)

    def __enter__(self) -> Growing:
        """Give the file."""
        return self

    def __exit__(self, *about: object) -> None:
        """Close the file."""
        self.close()


def _put(dataset: Any, rows: slice, values: np.ndarray) -> None:
    if len(dataset) < rows.stop:
        dataset.resize(rows.stop, axis=0)
    dataset[rows] = values
    dataset.flush()


def _answered(source: Any, state: Any) -> dict[str, State]:
    """Return what was answered of every frame, up to the first that has no name."""
    names = [bytes(name).decode(errors="replace") for name in source[()]]
    names = names[: names.index("")] if "" in names else names
    rows = zip(names, state[: len(names)].tolist(), strict=True)
    return {name: State(*row) for name, row in rows}

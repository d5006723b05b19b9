"""A NeXus file of answers that grows frame by frame, and is valid on disk at every moment.

HDF5 writes it for readers that look at it meanwhile (single writer, multiple readers: SWMR): what is on disk
is a whole file after every step, also where the writer is killed. A frame counts as written once its name is
there, which comes last; who goes on with the file writes over what has none.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.answers import process_of
from smae_jax.io.atomic import OutputError, atomic_path
from smae_jax.io.hdf5_sink import create_hdf5
from smae_jax.io.nexus import group_of, write_geometry
from smae_jax.io.number_types import NumberType
from smae_jax.io.outputs import PROGRAM
from smae_jax.io.packings import packing_options
from smae_jax.io.swmr import close, open_for_more, room
from smae_jax.measurements import Measurements

NAME_BYTES = 512
"""Room for the name of a frame: names of any length cannot grow while others read."""
_NAMES_PER_CHUNK = 64
_SPARE_BYTES = 2**20  # for what HDF5 writes beside the frames
_RECORD = "made_of"


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a growing file is to hold.

    Attributes:
      like: what is answered: shape of the frames, geometry and centre; its counts are not looked at.
      known: where there can be an answer, bool, (height, width).
      process: what makes the answers, for the record.
      made_of: what the answers depend on; a file of anything else is not gone on with.
      packing: see `packings.packing_options`.
      numbers: type of the answers in the file.
    """

    like: Measurements
    known: np.ndarray
    process: Mapping[str, str]
    made_of: Mapping[str, str]
    packing: str = "bitshuffle"
    numbers: NumberType = dataclasses.field(default_factory=NumberType)


class Growing:
    """A file of answers that is open for more; a context that closes it.

    Attributes:
      path: of the file.
      names: of the frames that are there, in their order.
      clipped: values that did not fit the type of the file and were clipped, since it was opened.
    """

    def __init__(self, path: str | Path, layout: Layout, *, overwrite: bool = False) -> None:
        """Make the file, or go on with the one that is there.

        Raises:
          UserError: if something else is there, or it was made of something else; if it cannot be written.
        """
        self.path, self.numbers, self.clipped = Path(path), layout.numbers, 0
        if overwrite or not os.path.lexists(path):
            with atomic_path(path, overwrite=overwrite) as temporary:
                _create(temporary, layout)
        else:
            _check(self.path, layout)
        self._file = open_for_more(self.path)
        data: Any = self._file["entry/data"]
        self._data, self._filled = data["data"], data["filled"]
        self._source = data["source"]
        self.names = [*_names(self._source)]

    def append(self, counts: np.ndarray, filled: np.ndarray, names: Sequence[str]) -> None:
        """Write frames behind the last one; they are on disk when this returns.

        Args:
          counts: (frames, height, width), float32, NaN where there is no answer.
          filled: not measured, answered from the partner, bool, as `counts`.
          names: one per frame, of up to `NAME_BYTES` bytes, none of them there.

        Raises:
          OutputError: in one line, if there is no room on the disk; the frames before stay.
        """
        stored, clipped = self.numbers.stored(counts)
        start, stop = len(self.names), len(self.names) + len(counts)
        # No packing makes numbers larger than by a hundredth.
        needed = int(1.01 * (stored.nbytes + filled.size)) + len(names) * NAME_BYTES + _SPARE_BYTES
        with room(self._file, self.path, needed):
            for dataset, values in ((self._data, stored), (self._filled, filled.astype(np.uint8))):
                _write(dataset, start, stop, values)
            _write(self._source, start, stop, np.array([name.encode() for name in names]))
        self.names += names
        self.clipped += clipped

    def close(self) -> None:
        """Close the file; it is an ordinary one then."""
        close(self._file, self.path)

    def __enter__(self) -> Growing:
        """Give the file."""
        return self

    def __exit__(self, *about: object) -> None:
        """Close the file."""
        self.close()


def _write(dataset: Any, start: int, stop: int, values: np.ndarray) -> None:
    if len(dataset) < stop:
        dataset.resize(stop, axis=0)
    dataset[start:stop] = values
    dataset.flush()


def _names(source: Any) -> list[str]:
    """Return the names up to the first that is not there."""
    names = [bytes(name).decode(errors="replace") for name in source[()]]
    return names[: names.index("")] if "" in names else names


def _create(path: Path, layout: Layout) -> None:
    like, shape, numbers = layout.like, layout.like.spatial, layout.numbers
    packed = packing_options(layout.packing)
    with create_hdf5(path, libver="latest") as file:
        file.attrs["default"], file.attrs["creator"] = "entry", PROGRAM
        entry = group_of(file, "entry", "NXentry", default="data")
        data = group_of(entry, "data", "NXdata", signal="data")
        growing = {"shape": (0, *shape), "maxshape": (None, *shape), "chunks": (1, *shape)}
        signal = data.create_dataset(
            "data", dtype=numbers.dtype, fillvalue=numbers.mark, **growing, **packed
        )
        signal.attrs["units"], signal.attrs["interpretation"] = "counts", "image"
        mark = f"{numbers.mark} where there is no answer" if numbers.whole else "NaN for none"
        signal.attrs["long_name"] = f"denoised counts; {mark}"
        filled = data.create_dataset("filled", dtype=np.uint8, **growing, **packed)
        filled.attrs["long_name"] = "1 = not measured, filled from the partner"
        mask = data.create_dataset("pixel_mask", data=(~layout.known).astype(np.uint32))
        mask.attrs["long_name"] = "nonzero = no answer"
        data.create_dataset(
            "source", (0,), f"S{NAME_BYTES}", maxshape=(None,), chunks=(_NAMES_PER_CHUNK,)
        )
        write_geometry(entry, like)
        process = group_of(entry, "process", "NXprocess")
        said = numbers.in_words(0)
        told = {**layout.process, **({"output_dtype": said} if said else {})}
        for name, text in process_of(like, told).items():
            process[name] = text
        process[_RECORD] = json.dumps(dict(layout.made_of))


def _check(path: Path, layout: Layout) -> None:
    """Refuse to go on with what was made of something else, or by something else."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            record: Any = file[f"entry/process/{_RECORD}"]
            answers: Any = file["entry/data/data"]
            there, shape = json.loads(record[()]), answers.shape[1:]
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        raise OutputError(
            f"{path}: exists already, and is no output of 'smae-jax watch' to go on with; choose another "
            "name, or allow it to be replaced with --overwrite"
        ) from None
    wanted = dict(layout.made_of)
    odd = [key for key in sorted({*wanted, *there}) if wanted.get(key) != there.get(key)]
    if odd or shape != layout.like.spatial:
        key = odd[0] if odd else "frame shape"
        was, now = there.get(key, "nothing"), wanted.get(key, "nothing")
        raise UserError(
            f"{path}: holds answers that were made with another {key} ({was:.60}; now {now:.60}); go on with "
            "the same options, choose another name, or start anew with --overwrite"
        )

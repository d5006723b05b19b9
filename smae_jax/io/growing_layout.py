"""What a growing file of answers holds: how it begins, and whether one that is there may be gone on with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.answers import process_of
from smae_jax.io.atomic import OutputError
from smae_jax.io.hdf5_sink import create_hdf5
from smae_jax.io.nexus import group_of, write_geometry
from smae_jax.io.number_types import NumberType
from smae_jax.io.outputs import PROGRAM
from smae_jax.io.packings import packing_options
from smae_jax.measurements import Measurements

NAME_BYTES = 512
"""Room for the name of a frame: names of any length cannot grow while others read."""
_ROWS_PER_CHUNK = 64
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


def create(path: Path, layout: Layout) -> None:
    """Write a file of no frames yet."""
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
        rows = {"maxshape": (None,), "chunks": (_ROWS_PER_CHUNK,)}
        source = data.create_dataset("source", (0,), f"S{NAME_BYTES}", **rows)
        source.attrs["long_name"] = "frame that is answered; a row without one is no answer yet"
        rows = {"maxshape": (None, 3), "chunks": (_ROWS_PER_CHUNK, 3)}
        state = data.create_dataset("source_state", (0, 3), np.int64, **rows)
        state.attrs["long_name"] = (
            "what was answered: bytes and time of change (ns) of its file, checksum of its counts; all 0 "
            "while it is answered anew"
        )
        write_geometry(entry, like)
        process = group_of(entry, "process", "NXprocess")
        said = numbers.in_words(0)
        told = {**layout.process, **({"output_dtype": said} if said else {})}
        for name, text in process_of(like, told).items():
            process[name] = text
        process[_RECORD] = json.dumps(dict(layout.made_of))


def refuse_other(path: Path, layout: Layout) -> None:
    """Refuse to go on with what was made of something else, or by something else.

    Raises:
      UserError: in one line that names the first difference, in the order of `Layout.made_of`.
    """
    try:
        with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
            record: Any = file[f"entry/process/{_RECORD}"]
            answers: Any = file["entry/data/data"]
            states: Any = file["entry/data/source_state"]
            there, shape = json.loads(record[()]), (*answers.shape[1:], *states.shape[1:])
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        raise OutputError(
            f"{path}: exists already, and is no output of 'smae-jax watch' to go on with; choose another "
            "name, or allow it to be replaced with --overwrite"
        ) from None
    wanted = dict(layout.made_of)
    odd = [key for key in {**wanted, **there} if wanted.get(key) != there.get(key)]
    if odd or shape != (*layout.like.spatial, 3):
        key = odd[0] if odd else "frame shape"
        was, now = there.get(key, "nothing"), wanted.get(key, "nothing")
        raise UserError(
            f"{path}: holds answers that were made with another {key} ({was}; now {now}); go on with "
            "the same options, choose another name, or start anew with --overwrite"
        )

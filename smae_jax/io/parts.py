"""An output that is made block by block: each block a whole file of its own, joined when all are there.

    out.h5.parts/made_of.json  00000.h5  00001.h5 ...

A block's file appears under its name when it is complete, so whatever stops the work costs no more than the
blocks that were in hand. Who goes on with it, or does another part of it, finds what is there. Every file
says what it was made of: a process that still works on an output which another has begun anew stops, and what
it left is no part of the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.atomic import OutputError, atomic_path
from smae_jax.io.hdf5_chunks import packed
from smae_jax.io.hdf5_sink import create_hdf5
from smae_jax.io.packings import packing_options
from smae_jax.measurements import Measurements
from smae_jax.overlap import in_threads, threads_of

_RECORD = "made_of.json"
_ARRAYS = ("counts", "sigma", "known", "filled")
_REPLICA = "replica_{:02d}"
PACKING = "bitshuffle"
"""How the arrays of a part are packed, see `packings.packing_options`."""
_FIRST = ("command", "version", "input", "shape", "frames", "files", "exposures", "blocks")
"""What is named first where several things differ: the others follow from it."""
_TELLING = ("command", "version", "input", "dtype", "blocks", "center", "marks")
"""What a person can compare; the rest are checksums, or told by its name."""
_CALLED = {
    "shape": "number or size of frames",
    "frames": "choice of frames",
    "files": "state of the input, of which a file changed its size or date",
    "exposures": "monitor",
    "blocks": "size of blocks, which follows from --memory",
    "parameters": "checkpoint or state of the run",
    "training": "configuration of the run",
}


@dataclasses.dataclass(frozen=True)
class Parts:
    """The blocks of one output.

    Attributes:
      folder: where they are.
      blocks: frames of each.
      made_of: what the answers depend on; parts of anything else are refused.
    """

    folder: Path
    blocks: tuple[slice, ...]
    made_of: Mapping[str, str]

    def open(self, *, overwrite: bool = False) -> None:
        """Make the folder, or go on with what is there.

        Raises:
          UserError: if what is there was made of something else, and is not to be replaced.
        """
        path = self.folder / _RECORD
        if self.folder.exists():
            was = _record(path)
            other = _difference(was, self.record)
            if not other:
                return
            if not overwrite:
                if _differ_in_files_alone(was, self.record):
                    raise UserError(
                        f"{self.folder}: holds parts of {self.made_of['input']}, whose files have another "
                        "size or date by now; put back the files that were there, with their dates, or start "
                        "anew with --overwrite"
                    )
                raise UserError(
                    f"{self.folder}: holds parts of an output that were made with another {other}; go on "
                    "with the same options, or start anew with --overwrite"
                )
            self.remove()
        try:
            with atomic_path(self.folder) as folder:
                folder.mkdir()
                (folder / _RECORD).write_text(json.dumps(self.record, indent=2) + "\n")
        except OutputError:
            if not (self.folder / _RECORD).is_file():
                raise
            self.open()  # another process has made it at the same moment

    @property
    def record(self) -> dict[str, str]:
        """What the parts are made of, and how the scan is cut."""
        return {**self.made_of, "blocks": str([(b.start, b.stop) for b in self.blocks])}

    @property
    def _stamp(self) -> str:
        """Checksum of the record, which every part carries."""
        return f"{zlib.crc32(json.dumps(self.record, sort_keys=True).encode()):08x}"

    def refuse_replaced(self) -> None:
        """Refuse to go on where the folder is gone, or holds parts of another output by now.

        Raises:
          UserError: in one line.
        """
        if not self.folder.exists():
            raise UserError(
                f"{self.folder}: has gone: another process has written the output of these parts, or "
                "somebody has moved them; look at the output, and run this again if it is not there"
            )
        if other := _difference(_record(self.folder / _RECORD), self.record):
            raise UserError(
                f"{self.folder}: another process has begun this output anew, with another {other}; choose "
                "another --output for one of the two"
            )

    def path(self, block: int) -> Path:
        """Return where a block's answers are."""
        return self.folder / f"{block:05d}.h5"

    def missing(self, among: Sequence[int] | None = None) -> list[int]:
        """List the blocks that are not there yet, or are damaged."""
        among = range(len(self.blocks)) if among is None else among
        return [block for block in among if not self._whole(block)]

    def write(
        self,
        block: int,
        counts: np.ndarray,
        *,
        known: np.ndarray,
        filled: np.ndarray,
        sigma: np.ndarray | None = None,
        replicas: np.ndarray | None = None,
        done: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write the answers of a block; it is there whole, or not at all.

        Args:
          block: its number.
          counts: (frames, height, width), float32.
          known: where there is an answer, bool, as `counts`.
          filled: answered, but not measured, bool, as `counts`.
          sigma: as `counts`; None = none.
          replicas: what plausible answers differ by, (number, *shape of `counts`), float16; None = none.
          done: stages, and what each did.

        Raises:
          UserError: if there is no room or permission, or another process has begun this output anew.
        """
        self.refuse_replaced()
        known = np.asarray(known, bool)
        flags = {"known": _once(known), "filled": _once(np.asarray(filled, bool))}
        others = () if replicas is None else replicas
        arrays = flags | {_REPLICA.format(number): one for number, one in enumerate(others)}
        values = {"counts": counts} | ({} if sigma is None else {"sigma": sigma})
        with (
            atomic_path(self.path(block), overwrite=True) as temporary,
            create_hdf5(temporary) as file,
        ):
            for name, array in values.items():
                _write(
                    file, name, np.float32, functools.partial(_answered, array, known), array.shape
                )
            for name, array in arrays.items():
                _write(file, name, array.dtype, array.__getitem__, array.shape)
            file.attrs["done"] = json.dumps(list(done))
            file.attrs["made_of"] = self._stamp

    @contextlib.contextmanager
    def opened(self, block: int) -> Iterator[h5py.File]:
        """Open the answers of a block that is there.

        Raises:
          UserError: if it has gone since, is damaged, or is of another output.
        """
        try:
            file = h5py.File(self.path(block), "r")
        except OSError:
            self.refuse_replaced()
            raise UserError(
                f"{self.path(block)}: this part has gone or is damaged; run the command again, which "
                "makes it anew"
            ) from None
        with file:
            if file.attrs.get("made_of") != self._stamp:
                self.refuse_replaced()
            yield file

    def first(self) -> dict[str, np.ndarray]:
        """Return what was written of the first frame, (1, height, width) each, by name."""
        with self.opened(0) as file:
            return {name: _in(file, name)[:1] for name in _ARRAYS if name in file}

    def done(self) -> tuple[tuple[str, str], ...]:
        """Return the stages, and what each did in the first block."""
        with self.opened(0) as file:
            found = json.loads(str(file.attrs["done"]))
        return tuple((str(stage), str(what)) for stage, what in found)

    def remove(self) -> None:
        """Remove the parts, once they are joined."""
        aside = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        os.replace(self.folder, aside)  # whole or gone, also where this is stopped
        shutil.rmtree(aside, ignore_errors=True)

    def _whole(self, block: int) -> bool:
        """Whether a block's file is there with all that was written to it."""
        frames = self.blocks[block].stop - self.blocks[block].start
        try:
            with h5py.File(self.path(block), "r") as file:
                arrays = [_in(file, str(name)) for name in file]
                return (
                    file.attrs["made_of"] == self._stamp
                    and len(_in(file, "counts")) == frames
                    and all(_is_sound(array) for array in arrays)
                )
        except (OSError, KeyError, RuntimeError, ValueError):
            return False


@dataclasses.dataclass(frozen=True)
class Joined:
    """All blocks of an output as one, read frame by frame while it is written.

    Attributes:
      parts: the blocks, all there.
      like: what was answered, for names, geometry and shape; its counts are not looked at.
    """

    parts: Parts
    like: Measurements

    @property
    def leading(self) -> tuple[int, ...]:
        """(rows, columns) of a raster, else (frames,)."""
        return self.like.origin.leading or (self.like.frames,)

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.like.spatial

    @property
    def names(self) -> tuple[str, ...]:
        """One per frame."""
        return self.like.names

    @property
    def has_sigma(self) -> bool:
        """Whether there are error bars."""
        with self.parts.opened(0) as file:
            return "sigma" in file

    def replicas(self) -> Iterator[Iterator[np.ndarray]]:
        """Yield of each replica what it differs by from each frame's counts, float16."""
        with self.parts.opened(0) as file:
            names = [_REPLICA.format(number) for number in range(len(file))]
            names = [name for name in names if name in file]
        yield from map(self._each, names)

    def frames(self) -> Iterator[np.ndarray]:
        """Yield each frame's counts, float32, NaN where there is no answer."""
        return self._each("counts")

    def sigmas(self) -> Iterator[np.ndarray]:
        """Yield each frame's error bars, float32, NaN where there is no answer."""
        return self._each("sigma")

    def packed(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Yield (filters skipped, bytes) of each frame of `counts` or `sigma`, as packed by `PACKING`."""
        for block, frames in enumerate(self.parts.blocks):
            with self.parts.opened(block) as file:
                chunks = _in(file, name).id
                for index in range(frames.stop - frames.start):
                    yield chunks.read_direct_chunk((index, 0, 0))

    def flags(self, name: str) -> tuple[np.ndarray | None, Iterator[np.ndarray]]:
        """Return `known` or `filled` as one image where all frames agree, else None; and of every frame."""
        first: np.ndarray | None = None
        for block in range(len(self.parts.blocks)):
            with self.parts.opened(block) as file:
                here = np.asarray(_in(file, name)[:2])
            first = here[0] if first is None else first
            if len(here) > 1 or (here[0] != first).any():
                return None, self._each(name)
        return first, self._each(name)

    def _each(self, name: str) -> Iterator[np.ndarray]:
        for block, frames in enumerate(self.parts.blocks):
            with self.parts.opened(block) as file:
                dataset = _in(file, name)
                for index in range(frames.stop - frames.start):
                    yield np.asarray(dataset[index if len(dataset) > 1 else 0])


def _answered(values: np.ndarray, known: np.ndarray, frame: int) -> np.ndarray:
    """Return the values of one frame, NaN where there is no answer."""
    return np.where(known[frame % len(known)], values[frame], np.float32(np.nan)).astype(
        np.float32, copy=False
    )


def _write(
    file: h5py.File,
    name: str,
    dtype: np.dtype | type,
    frame_of: Callable[[int], np.ndarray],
    shape: tuple[int, ...],
) -> None:
    """Write an array frame by frame, packed in threads, with a checksum of each frame as it is packed."""
    chunks = (1, *shape[1:])
    dataset = file.create_dataset(name, shape, dtype, chunks=chunks, **packing_options(PACKING))

    def of(frame: int) -> tuple[bytes, int]:
        found = packed(frame_of(frame))
        return found, zlib.crc32(found)

    works = (functools.partial(of, frame) for frame in range(shape[0]))
    size = math.prod(chunks) * dataset.dtype.itemsize
    checksums = list[int]()
    for frame, (found, one) in enumerate(in_threads(works, threads_of(3 * size))):
        dataset.id.write_direct_chunk((frame, *(0 for _ in shape[1:])), found)
        checksums.append(one)
    dataset.attrs["crc32"] = np.array(checksums, np.uint32)


def _is_sound(dataset: h5py.Dataset) -> bool:
    """Whether every frame has the bytes that were written."""
    place = (0,) * (dataset.ndim - 1)
    found = (dataset.id.read_direct_chunk((frame, *place))[1] for frame in range(len(dataset)))
    return np.array_equal([*map(zlib.crc32, found)], cast(Any, dataset.attrs["crc32"]))


def _in(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(name)
    return found


def _record(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UserError(
            f"{path.parent}: is no folder of parts of an output; move it away, or choose another --output"
        )
    return found


def _differ_in_files_alone(was: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether two records tell of the same work on files of another size or date."""
    return {name for name in {*was, *now} if was.get(name) != now.get(name)} == {"files"}


def _difference(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what differs between two records, in words; "" = nothing.

    >>> _difference({"blocks": "[(0, 3)]", "--seed": "0"}, {"blocks": "[(0, 3)]", "--seed": "7"})
    '--seed (0; now 7)'
    """
    odd = [name for name in dict.fromkeys((*_FIRST, *now, *was)) if was.get(name) != now.get(name)]
    if not odd:
        return ""
    name = odd[0]
    values = f" ({_short(was.get(name, 'none'))}; now {_short(now.get(name, 'none'))})"
    tells = name.startswith("--") or name in _TELLING
    return f"{_CALLED.get(name, name)}{values if tells else ''}"


def _short(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _once(flags: np.ndarray) -> np.ndarray:
    """Return flags of one frame where all frames agree."""
    return flags[:1] if all(np.array_equal(one, flags[0]) for one in flags[1:]) else flags


def checksum(*arrays: np.ndarray) -> int:
    """Return one checksum of some arrays."""
    found = 0
    for array in arrays:
        plain: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        found = zlib.crc32(plain, found)
    return found

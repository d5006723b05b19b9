"""The frames of a scan: from files of patterns, in any format, to `Measurements`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from smae_jax.blocks import spread
from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.file_kinds import PROGRAM, FileKinds
from smae_jax.io.frame_files import find_frames
from smae_jax.io.hdf5_files import open_hdf5
from smae_jax.io.hdf5_linked_files import without_linked
from smae_jax.io.locations import display_names, opener_of, split_inside
from smae_jax.io.marks import FRAMES, Tally, decide_marks, marks_of_answers, parse_marks
from smae_jax.io.number_types import WHOLE
from smae_jax.io.raw_frames import DamagedFrameError, Frames
from smae_jax.io.readable import steady
from smae_jax.io.sentinels import CAUSES, Marks, causes_of, none_left_out
from smae_jax.io.whole_numbers import as_counts, type_of_all
from smae_jax.measurements import Axis, Measurements, Origin
from smae_jax.overlap import in_threads, threads_of

_LOOKED_AT_BYTES = 2**30
RUN_BYTES = 2**23
"""Of the frames that a thread works on."""
_OWN_MASK = "masked by the file's own pixel mask"


def read_scan(
    path: str,
    *,
    saturation: float | None = None,
    left_out: Sequence[str] = (),
    marks: str = "auto",
    missing: str = "refuse",
) -> Measurements:
    """Read the frames of a scan, and decide which pixels are measurements.

    Args:
      path: a file, a quoted pattern, a folder, `file.h5::/entry/data/data` or `file.npz::name`. Several files
        are taken in natural order (`frame2` before `frame10`); a stack with four axes is (rows, columns,
        height, width).
      saturation: counts from which a pixel is saturated; None takes each file's own cutoff, where it has
        one; infinity takes none.
      left_out: locations of files that are no frames of it, see `find_frames`.
      marks: which values are marks, as `parse_marks` reads it; decided from frames spread over the scan.
      missing: "skip" leaves out frames of an HDF5 file that are announced and not there; "refuse" names them.

    Returns:
      The frames, of exposure 1 where they are valid. Marks, pixel masks of the file, not-a-number and
      saturated pixels are invalid.

    Raises:
      UserError: in one line, if there is no such file or dataset, a file is damaged or no stack of numbers,
        frames differ in shape, or nothing is left to use.
    """
    if saturation is not None and not saturation > 0:
        raise UserError(
            f"saturation: expected counts above 0, got {saturation}; leave it out for the file's own"
        )
    file_path, inside = split_inside(path)
    files, notes = find_frames(file_path, left_out)
    files, told = without_linked(files)
    found = find_marks(files, inside, marks, missing=missing)
    assembly = Assembly(path, len(files), saturation, found)
    assembly.notes += [*notes, *told]
    for file, name in zip(files, display_names(files), strict=True):
        with open_frames(file, inside, missing=missing) as frames:
            assembly.add(file, name, frames)
    assembly.refuse_empty()
    return assembly.close()


@contextmanager
def open_frames(
    file: str, inside: str, *, mask: bool = False, missing: str = "refuse"
) -> Iterator[Frames]:
    """Open one file of frames, or a mask, and refuse what is no stack of real numbers.

    Raises:
      UserError: if the file cannot be read or holds something else.
    """
    opener = opener_of(file, mask=mask)
    if opener is None:
        raise TypeError(f"{file}: `find_files` refuses such a suffix")
    options = {"missing": missing} if opener is open_hdf5 else {}
    with steady(file), opener(file, inside, mask=mask, **options) as frames:
        shape, dtype = tuple(frames.values.shape), np.dtype(frames.values.dtype)
        where = f"{file}{frames.inside}"
        if dtype.kind not in ("biuf" if mask else "iuf"):
            kinds = {"c": "complex numbers", "b": "booleans (a mask?)", "O": "Python objects"}
            kind = kinds.get(dtype.kind, "text or records")
            raise UserError(f"{where}: holds {kind} ({dtype}); expected real numbers of counts")
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise UserError(
                f"{where}: expected (height, width), (frames, height, width) or (rows, columns, height, "
                f"width), got shape {shape}; choose another dataset or reshape it"
            )
        yield frames


def find_marks(files: Sequence[str], inside: str, asked: str, *, missing: str = "refuse") -> Marks:
    """Decide what the marks of a scan are, from frames spread over its files.

    Args:
      files: of the scan, in their order.
      inside: name of the dataset in each; "" = none.
      asked: as `parse_marks` reads it.
      missing: see `read_scan`.

    Raises:
      UserError: if `asked` is no such text, or one of the files cannot be read.
    """
    wanted, shape = parse_marks(asked), None
    tally, types = Tally(wanted.values), set[str]()
    if wanted.text == "none":
        return decide_marks(tally, wanted)  # whatever the frames hold
    chosen = [files[int(index)] for index in spread(len(files), FRAMES)]
    for file in chosen:
        with open_frames(file, inside, missing=missing) as frames:
            here = tuple(frames.values.shape[-2:])
            shape = here if shape is None else shape
            own = frames.header.program == PROGRAM
            types.add(np.dtype(frames.values.dtype).name if own else "of others")
            if here != shape:
                continue  # refused when it is read
            size = int(np.prod(here)) * np.dtype(frames.values.dtype).itemsize
            most = min(FRAMES, max(4, _LOOKED_AT_BYTES // size))
            depth = frames.header.bit_depth
            for index in spread(frames.count, max(1, most // len(chosen))).tolist():
                try:
                    values = frames.begin(index, index + 1)()[0]
                except DamagedFrameError:
                    continue  # refused when it is read, if it is
                bad = frames.bad(index, index + 1)
                tally.add(values, bad if bad is None else bad.reshape(here), depth)
    if wanted.auto and len(types) == 1 and (kind := types.pop()) in WHOLE:
        return marks_of_answers(int(np.iinfo(kind).max), wanted)
    return decide_marks(tally, wanted)


def decide(
    values: np.ndarray, cutoff: float | None, bad: np.ndarray | None, marks: Marks
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decide which pixels are measurements.

    Args:
      values: as on disk, (frames, height, width).
      cutoff: counts from which a pixel is saturated; None = no limit.
      bad: the file's own mask, True = bad, broadcastable to `values`; None = none.
      marks: of the scan.

    Returns:
      (counts, 0 where invalid; valid, bool, of one frame where all agree; number of pixels that are usable
      and that each of `CAUSES` took).
    """
    if bad is None and none_left_out(values, saturation=cutoff, marks=marks):
        valid, number = np.ones((1, *values.shape[1:]), bool), np.zeros(1 + len(CAUSES), np.int64)
        number[0] = values.size
        return as_counts(values, valid), valid, number
    causes = causes_of(values, saturation=cutoff, marks=marks)
    if bad is not None:
        causes[np.broadcast_to(bad, causes.shape)] = 1
    valid = causes == 0
    number = [np.count_nonzero(causes == cause) for cause in range(1 + len(CAUSES))]
    counts = as_counts(values, valid)
    return counts, valid[:1] if (valid == valid[:1]).all() else valid, np.array(number)


_Run = tuple[tuple[np.ndarray, np.ndarray, np.ndarray], bool]


def _decided(
    begun: Callable[[], np.ndarray], cutoff: float | None, bad: np.ndarray | None, marks: Marks
) -> _Run:
    """Finish to read a run of frames; return what `decide` tells, and whether counts reach the cutoff."""
    values = begun()
    run = decide(values, cutoff, bad, marks)
    told = cutoff is not None and np.isfinite(cutoff) and run[2][3] > 0
    return run, bool(told and (values >= cutoff).any())


class Assembly:
    """Frames of all files on their way into one record: one copy of the counts, however many files."""

    def __init__(self, path: str, files: int, saturation: float | None, marks: Marks) -> None:
        """Begin with no frames; `files` of equal length are expected."""
        self.path, self.files, self.saturation, self.marks = path, files, saturation, marks
        self.counts = np.empty((0, 0, 0), np.int32)
        self.blocks: list[tuple[int, np.ndarray]] = []  # frames, and what is valid in them
        self.first = ""
        self.filled = 0
        self.names: list[str] = []
        self.exposures: list[float] = []
        self.notes: list[str] = [*marks.notes]
        self.causes = np.zeros(1 + len(CAUSES), np.int64)
        self.dtype, self.geometry = "", Geometry()
        self.kinds = FileKinds()
        self.leading: tuple[int, ...] = ()
        self.motors: tuple[Axis | None, ...] = ()

    def add(
        self, file: str, name: str, frames: Frames, wanted: Sequence[int] | None = None
    ) -> None:
        """Take in frames of one file: those with the `wanted` indices, ascending; None = all."""
        wanted = range(frames.count) if wanted is None else wanted
        self._check(file, frames) if self.first else self._start(file, frames, len(wanted))
        header, dtype = frames.header, np.dtype(frames.values.dtype)
        self.kinds.add(name, dtype=dtype.name, program=header.program)
        cutoff = header.count_cutoff if self.saturation is None else self.saturation
        room = self.filled + len(wanted)

        def decided() -> Iterator[Callable[[], _Run]]:
            for first, last in frames.runs(wanted, size=RUN_BYTES):
                begun, bad = frames.begin(first, last), frames.bad(first, last)
                if bad is not None and not any(_OWN_MASK in note for note in self.notes):
                    self.notes.append(f"{100 * bad.mean():.2f} % {_OWN_MASK}")
                yield functools.partial(_decided, begun, cutoff, bad, self.marks)

        size = dtype.itemsize * int(np.prod(frames.values.shape[-2:]))
        for run, full in in_threads(decided(), threads_of(2 * max(RUN_BYTES, size))):
            self._take(*run, room=room)
            if full:
                whose = "the file's own cutoff" if self.saturation is None else "--data.saturation"
                self.notes.append(
                    f"counts of {cutoff:g} and more are saturated: {whose} (--data.saturation inf keeps them)"
                )
        labels, times = frames.labels(name), frames.exposure_s
        self.names += [labels[index] for index in wanted]
        self.exposures += [times[index] for index in wanted] if times else []
        self.notes += header.notes

    def refuse_empty(self) -> None:
        """Refuse what cannot be used.

        Raises:
          UserError: if no pixel is valid, or all valid ones are 0.
        """
        counts, total = self.counts[: self.filled], self.causes.sum()
        if not self.causes[0]:
            taken = zip(CAUSES, self.causes[1:], strict=True)
            shares = ", ".join(f"{100 * n / total:.1f} % {cause}" for cause, n in taken if n)
            raise UserError(
                f"{self.path}: no usable pixel in any frame ({shares}); check file and saturation"
            )
        if not counts.any():
            raise UserError(
                f"{self.path}: every valid pixel of all {len(counts)} frames is 0; was the shutter closed?"
            )

    def close(self) -> Measurements:
        """Return the record."""
        counts, total = self.counts[: self.filled], max(1, self.causes.sum())
        if self.exposures and len(self.exposures) != len(counts):
            self.notes.append(
                f"{len(self.exposures)} exposure times for {len(counts)} frames: left out"
            )
            self.exposures = []
        self.notes += self.kinds.notes()
        origin = Origin(
            source=self.path,
            dtype=self.dtype,
            notes=tuple(dict.fromkeys(self.notes)),
            masked_by={
                cause: float(n / total) for cause, n in zip(CAUSES, self.causes[1:], strict=True)
            },
            exposure_s=tuple(self.exposures) or None,
            leading=self.leading,
            marks=self.marks.kept,
            motors=self.motors,
        )
        exposure, names = self._valid().astype(np.float32), tuple(self.names)
        return Measurements(counts, exposure, geometry=self.geometry, names=names, origin=origin)

    def _start(self, file: str, frames: Frames, count: int) -> None:
        shape = tuple(frames.values.shape)
        self.first, self.dtype = file, np.dtype(frames.values.dtype).name
        self.geometry = frames.header.geometry
        kind = np.float32 if np.dtype(frames.values.dtype).kind == "f" else np.int32
        self.counts = np.empty((self.files * count, *shape[-2:]), kind)
        if self.files == 1 and count == frames.count:
            self.leading = (int(shape[0]), int(shape[1])) if len(shape) == 4 else ()
            self.motors = frames.motors

    def _check(self, file: str, frames: Frames) -> None:
        here, first = tuple(frames.values.shape[-2:]), self.counts.shape[1:]
        if here != first:
            raise UserError(
                f"frames differ in shape: {self.first} is {first}, {file} is {here} (height, width); keep "
                "one shape per scan"
            )

    def _take(
        self, counts: np.ndarray, valid: np.ndarray, causes: np.ndarray, *, room: int
    ) -> None:
        end = self.filled + len(counts)
        if end > len(self.counts):  # files of unlike length
            more = max(room, len(self.counts) * 3 // 2) - len(self.counts)
            empty = np.empty((more, *self.counts.shape[1:]), self.counts.dtype)
            self.counts = np.concatenate([self.counts, empty])
        kind = type_of_all((self.counts[: self.filled], counts))
        with np.errstate(invalid="ignore"):  # the part that is not filled yet holds anything
            self.counts = self.counts.astype(kind, copy=False)
        self.counts[self.filled : end] = counts
        self.filled, self.causes = end, self.causes + causes
        common = self.blocks[0][1][:1] if self.blocks else valid[:1].copy()
        self.blocks.append((len(counts), common if (valid == common).all() else valid))

    def _valid(self) -> np.ndarray:
        common = self.blocks[0][1][:1]
        if all(len(block) == 1 and (block == common).all() for _, block in self.blocks):
            return common
        return np.concatenate([np.broadcast_to(v, (n, *v.shape[1:])) for n, v in self.blocks])

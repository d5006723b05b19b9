"""Which of the files at a location are the frames of the scan, and what is said of the others."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from smae_jax.errors import UserError
from smae_jax.io.gathered import few
from smae_jax.io.locations import find_files, matching, split_inside
from smae_jax.io.zarr_files import is_zarr

_NAMED = 5
"""Files that a note names."""


def find_frames(path: str, left_out: Sequence[str] = ()) -> tuple[list[str], tuple[str, ...]]:
    """List the files of frames that a path, pattern or folder means.

    A file that is named by itself is taken. Of several, these are left out: what `left_out` names, error bars
    and axes that this program wrote beside another file of them, masks by their name, and the data files of
    an Eiger whose master file is there. Nothing is left out where nothing would remain.

    Args:
      path: without a name inside.
      left_out: locations that are no frames of this scan: its masks, its reference. One with a name inside
        does not count: its file may hold frames as well.

    Returns:
      (files, naturally sorted; one note on each kind of file that was left out).

    Raises:
      UserError: as `find_files`, or if a folder mixes formats.
    """
    files, notes = find_files(path), list[str]()
    if len(files) == 1 and files[0] == path:
        return files, ()
    folder = os.path.isdir(path) and not is_zarr(path)
    if folder:
        kept = set(files)
        others = [file for file in matching(path) if file not in kept]
        notes += _noted(others, "no frames, or hidden")
    files, dropped = sorted_out(files, left_out)
    if folder:
        _refuse_mixture(path, files)
    return files, (*notes, *dropped)


def sorted_out(
    files: Sequence[str], left_out: Sequence[str] = (), *, to_the_last: bool = False
) -> tuple[list[str], list[str]]:
    """Leave out of several files what are no frames.

    Args:
      files: in their order.
      left_out: see `find_frames`.
      to_the_last: also where nothing remains.

    Returns:
      (the others, one note on each kind that was left out).
    """
    files, notes = [*files], list[str]()
    for why, dropped in (
        ("named as a mask or reference", _given(files, left_out)),
        ("written beside another file of this name", _beside(files)),
        ("masks by their name; give one as --data.mask", _masks(files)),
        ("linked by the master file", _linked(files)),
    ):
        rest = [file for file in files if file not in dropped]
        if dropped and (rest or to_the_last):
            notes += _noted([file for file in files if file in dropped], why)
            files = rest
    return files, notes


def _noted(files: Sequence[str], why: str) -> list[str]:
    if not files:
        return []
    named = few([os.path.basename(file) for file in files], most=_NAMED)
    return [f"left out of the frames: {named} ({why})"]


def _given(files: Iterable[str], left_out: Sequence[str]) -> set[str]:
    """Find the files that other options name, under any name that they have."""
    others = {
        _identity(file)
        for location in left_out
        if location and not split_inside(location)[1]
        for file in matching(split_inside(location)[0])
    }
    return {file for file in files if _identity(file) in others} if others else set()


def _identity(file: str) -> tuple[int, int] | str:
    try:
        found = os.stat(file)
    except OSError:
        return file
    return found.st_dev, found.st_ino


def _beside(files: Sequence[str]) -> set[str]:
    """Find `a_sigma.tif` beside `a.tif`, and `a_axis.npy` beside `a.npy`."""
    there, found = set(files), set[str]()
    for file in files:
        match = re.fullmatch(r"(.+)(?:_sigma(\.[^.]+)|_axis(\.npy))", file)
        if match and match[1] + (match[2] or match[3]) in there:
            found.add(file)
    return found


def _masks(files: Sequence[str]) -> set[str]:
    """Find `mask.tif`, `beamstop_mask.edf`, `run_msk.tif`, `bad_pixels.tif.gz`."""
    named = re.compile(r"(.+[ ._-])?((pixel)?mask|msk|bad[ ._-]?pix(els?)?)(\.[a-z0-9]+){1,2}")
    return {file for file in files if named.fullmatch(os.path.basename(file).lower())}


def _linked(files: Sequence[str]) -> set[str]:
    """Find `scan_data_000001.h5` beside `scan_master.h5`, which shows the same frames."""
    masters = {file.removesuffix("_master.h5") for file in files if file.endswith("_master.h5")}
    if not masters:
        return set()
    return {file for file in files if re.sub(r"_data_\d+\.h5$", "", file) in masters}


def _refuse_mixture(path: str, files: Sequence[str]) -> None:
    suffixes = Counter(os.path.splitext(file)[1].lower() for file in files)
    if len(suffixes) > 1:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        pattern = os.path.join(path, f"*{suffixes.most_common(1)[0][0]}")
        raise UserError(
            f"{path}: this folder mixes formats ({kinds}); say which, as in '{pattern}'"
        )

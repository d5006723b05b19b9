"""From what the user typed (file, glob, folder, `file::name`) to the files that it means."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

from smae_jax.errors import UserError
from smae_jax.io.fabio_files import open_fabio
from smae_jax.io.hdf5_files import open_hdf5
from smae_jax.io.numpy_files import open_npy, open_npz
from smae_jax.io.raw_frames import Frames
from smae_jax.io.tiff_files import open_tiff

Opener = Callable[..., AbstractContextManager[Frames]]

_OPENERS: dict[str, Opener] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".hdf": open_hdf5,
    ".nxs": open_hdf5,
    ".nx": open_hdf5,
}
_FABIO = re.compile(
    r"\.(cbf|edf|cor|mccd|mar\d*|img|sfrm|spe|mrc|msk|kcd|esper|eseperanto|f2d|dm3|fei|ge\d*|osc|stl|spr)"
    r"|\.(cbf|edf|img)\.(gz|bz2)"
)


def split_inside(path: str) -> tuple[str, str]:
    """Split `scan.h5::/entry/data/data` into the file and the name within it (or "").

    >>> split_inside("scan.npz::crop")
    ('scan.npz', 'crop')
    """
    file, _, inside = path.partition("::")
    return os.path.expanduser(file), inside


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts `frame2` before `frame10`."""
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part
    ]


def opener_of(path: str) -> Opener | None:
    """Return what opens this file, judged by its suffix, or None."""
    name = os.path.basename(path).lower()
    if opener := _OPENERS.get(os.path.splitext(name)[1]):
        return opener
    compressed = os.path.splitext(os.path.splitext(name)[0])[1] + os.path.splitext(name)[1]
    if any(_FABIO.fullmatch(suffix) for suffix in (compressed, os.path.splitext(name)[1])):
        return open_fabio
    return None


def find_files(path: str) -> list[str]:
    """List the files that a path, glob or folder means, naturally sorted.

    Raises:
      UserError: if there are none, a folder mixes formats, or a suffix is not supported.
    """
    if os.path.isdir(path):
        return _in_folder(path)
    if os.path.exists(path):
        files = [path]
    elif glob.has_magic(path):
        files = sorted(
            (f for f in glob.glob(path, recursive=True) if os.path.isfile(f)), key=natural_key
        )
        if not files:
            raise UserError(
                f"{path}: no file matches this pattern; check folder and spelling, and quote it"
            )
    else:
        raise UserError(f"{path}: no such file or folder; check the spelling ({_nearest(path)})")
    for file in files:
        if opener_of(file) is None:
            raise UserError(
                f"{file}: unsupported suffix '{os.path.splitext(file)[1]}'; expected .npy, .npz, "
                ".tif, .tiff, .h5, "
                f".hdf5, .nxs, .cbf, .edf, .img, .mccd or another detector format of fabio"
            )
    return files


def display_names(files: list[str]) -> list[str]:
    """Name files by themselves, or with as much of their folder as tells them apart."""
    names = [os.path.basename(file) for file in files]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    return [os.path.relpath(os.path.abspath(file), root) for file in files]


def _in_folder(path: str) -> list[str]:
    names = sorted((n for n in os.listdir(path) if not n.startswith(".")), key=natural_key)
    files = [os.path.join(path, n) for n in names]
    files = [f for f in files if os.path.isfile(f) and opener_of(f) is not None]
    if not files:
        raise UserError(
            f"{path}: no supported frames in this folder; give the folder that holds them or a "
            "pattern"
        )
    suffixes = Counter(os.path.splitext(file)[1].lower() for file in files)
    if len(suffixes) > 1:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        pattern = os.path.join(path, f"*{suffixes.most_common(1)[0][0]}")
        raise UserError(
            f"{path}: this folder mixes formats ({kinds}); say which, as in '{pattern}'"
        )
    return files


def _nearest(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return f"the path exists as far as {folder}"

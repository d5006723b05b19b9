"""From what the user typed (file, glob, folder, `file::name`) to the files that it means."""

from __future__ import annotations

import functools
import glob
import os
import re
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager

from smae_jax.encodable import encodable
from smae_jax.errors import UserError
from smae_jax.io import mask_images, packed_files, zarr_files
from smae_jax.io.fabio_files import open_fabio
from smae_jax.io.hdf5_files import open_hdf5
from smae_jax.io.mrc_files import open_mrc
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
    ".mrc": open_mrc,
    ".mrcs": open_mrc,
    ".zarr": zarr_files.open_zarr,
}
_MASKS: dict[str, Opener] = {
    **dict.fromkeys(mask_images.PICTURES, mask_images.open_picture),
    **dict.fromkeys(mask_images.TEXTS, mask_images.open_table),
}
_FABIO = re.compile(
    r"\.(cbf|edf|cor|mccd|mar\d*|img|sfrm|spe|msk|kcd|esper|eseperanto|f2d|dm3|fei|ge\d*|osc|stl|spr)"
)


def split_inside(path: str) -> tuple[str, str]:
    """Split `scan.h5::/entry/data/data` into the file and the name within it (or "").

    >>> split_inside("scan.npz::crop")
    ('scan.npz', 'crop')
    """
    file, _, inside = path.partition("::")
    return os.path.expanduser(file), inside


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts `frame2` before `frame10`, in the digits of any script.

    Names that differ in how an accent is stored sort alike; the name itself settles the order of equals.
    """
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name))
    key = [(0, int(part)) if odd % 2 else (1, part) for odd, part in enumerate(parts) if part]
    return [*key, (-1, name)]


def opener_of(path: str, *, mask: bool = False) -> Opener | None:
    """Return what opens this file, judged by its suffix, or None; masks also come as pictures and text."""
    name = os.path.basename(path.rstrip("/" + os.sep)).lower()
    stem, suffix = os.path.splitext(name)
    if name.endswith(zarr_files.SUFFIXES) or zarr_files.is_zarr(path):
        return zarr_files.open_zarr
    if suffix in packed_files.SUFFIXES:
        inner = opener_of(stem, mask=mask)
        return functools.partial(packed_files.open_packed, opener=inner) if inner else None
    if opener := _OPENERS.get(suffix) or (_MASKS.get(suffix) if mask else None):
        return opener
    return open_fabio if _FABIO.fullmatch(suffix) else None


def matching(path: str, *, links: bool = False) -> list[str]:
    """List what is literally there, in the folder, or else what the pattern means, naturally sorted.

    Of a pattern, every part of the path that is there as it is typed stands for itself (a folder `run[1]`),
    and so do brackets in a part that matches with them as they are (`s[1]_*.tif`).

    Args:
      path: without a name inside.
      links: whether links to nothing are listed as well.
    """

    def counts(file: str) -> bool:
        return _is_data(file) or (links and os.path.islink(file))

    if os.path.isdir(path) and not zarr_files.is_zarr(path):
        names = sorted(os.listdir(path), key=natural_key)
        return [file for file in (os.path.join(path, name) for name in names) if counts(file)]
    if os.path.exists(path):
        return [path]
    if not glob.has_magic(path):
        return []
    return sorted(filter(counts, glob.iglob(_literal_first(path), recursive=True)), key=natural_key)


def find_files(path: str, *, mask: bool = False) -> list[str]:
    """List the files that a path, glob or folder means, naturally sorted.

    Args:
      path: without a name inside.
      mask: whether a mask is looked for, which has more formats than frames.

    Raises:
      UserError: if there are none, or a suffix is not supported; of a folder only what is supported counts.
    """
    files, folder = matching(path), os.path.isdir(path) and not zarr_files.is_zarr(path)
    if folder:
        files = [file for file in files if not hidden(file) and opener_of(file, mask=mask)]
        if not files:
            raise UserError(
                f"{path}: no supported frames in this folder; give the folder that holds them or a "
                "pattern"
            )
    if not files:
        raise _nothing(path)
    for file in files:
        if opener_of(file, mask=mask) is None:
            raise UserError(
                f"{file}: unsupported suffix '{os.path.splitext(file)[1]}'; expected .npy, .npz, .tif, "
                f".tiff, .h5, .hdf5, .nxs, .zarr, .mrc, .cbf, .edf, .img, .mccd{_more(mask)} or another "
                "detector format of fabio, each also with .gz"
            )
    return files


def _more(mask: bool) -> str:
    return f", {', '.join((*mask_images.PICTURES, *mask_images.TEXTS))}" if mask else ""


def hidden(file: str) -> bool:
    """Whether a file is one that systems keep for themselves.

    >>> hidden("scan/.DS_Store"), hidden("scan/Thumbs.db"), hidden("scan/a.tif")
    (True, True, False)
    """
    name = os.path.basename(file)
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def _is_data(path: str) -> bool:
    return os.path.isfile(path) or zarr_files.is_zarr(path)


def _literal_first(path: str) -> str:
    """Return the pattern for `glob` in which what is literally there is escaped."""
    pattern, rest = os.path.splitdrive(path)
    for part in re.split(r"([/\\]+)" if os.sep == "\\" else r"(/+)", rest):
        if glob.has_magic(part):
            literal = (glob.escape(part), part.replace("[", "[[]"))
            found = (one for one in literal if one != part and _any(pattern + one))
            part = next(found, part)
        pattern += part
    return pattern


def _any(pattern: str) -> bool:
    return next(glob.iglob(pattern), None) is not None


def _nothing(path: str) -> UserError:
    if glob.has_magic(path):
        return UserError(
            f"{path}: no file matches this pattern; check folder and spelling, and quote it"
        )
    return UserError(f"{path}: no such file or folder; check the spelling ({_nearest(path)})")


def display_names(files: list[str]) -> list[str]:
    """Name files by themselves, or with as much of their folder as tells them apart, for people to read."""
    names = [encodable(os.path.basename(file)) for file in files]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    return [encodable(os.path.relpath(os.path.abspath(file), root)) for file in files]


def _nearest(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return f"the path exists as far as {folder}"

"""Opening an HDF5 file to read, also one that is being written; why one cannot be opened is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters of Eiger and other detectors)

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import unreadable

FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError)
"""What h5py raises of a file, a link or a type that it cannot read."""

_FILTERS = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # file systems that know none


@contextmanager
def open_file(path: str) -> Iterator[h5py.File]:
    """Open an HDF5 file; one that is being written for such readers (SWMR) is read as far as it is.

    Raises:
      UserError: in one line, if it is missing, locked by its writer, or damaged; also for what is found out
        while it is being read.
    """
    try:
        file = _opened(path)
    except OSError as error:
        raise _refusal(path, error) from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError) as error:  # h5py raises either of a damaged tree
            raise unreadable(path, "an HDF5 file", error) from error


def _opened(path: str) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "open for write" in str(error):
            return h5py.File(path, "r", libver="latest", swmr=True)
        if error.errno in _NO_LOCKS:
            return h5py.File(path, "r", locking=False)
        raise


def _refusal(path: str, error: OSError) -> UserError:
    if "unable to lock" in str(error):
        return UserError(
            f"{path}: is being written by another program (locked); wait until it is closed, or copy it"
        )
    if "SWMR writ" in str(error) or "open for write" in str(error):
        return UserError(
            f"{path}: is being written by another program, or was left open by one that broke off; wait "
            "until it is closed, or release it with h5clear -s"
        )
    if not os.path.exists(path):
        return UserError(f"{path}: no such file; check the spelling")
    if not os.access(path, os.R_OK):
        return UserError(f"{path}: no permission to read this file; change its mode or copy it")
    return unreadable(path, "an HDF5 file", error)


def check_filters(path: str, dataset: Any) -> None:
    """Refuse a dataset that is packed with a filter that is not installed.

    Raises:
      UserError: with the filter's number, and its name where it is known.
    """
    packing = dataset.id.get_create_plist()
    for index in range(packing.get_nfilters()):
        number, _, _, label = packing.get_filter(index)
        if h5py.h5z.filter_avail(number):
            continue
        name = _FILTERS.get(number) or label.decode(errors="replace").partition(";")[0]
        raise UserError(
            f"{path}: {dataset.name} is packed with HDF5 filter {number} ({name or 'unknown'}), which is "
            "not installed; install its plugin (HDF5_PLUGIN_PATH), or repack the file with gzip"
        )

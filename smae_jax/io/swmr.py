"""Opening an HDF5 file for more, beside its readers (single writer, multiple readers: SWMR); full disks.

HDF5 ends the process where it finds no room for what it holds back. Room is therefore made on the disk before
HDF5 writes, and a file that a write has failed in all the same is let go of without a further byte: what is
on disk is a whole file at every moment, as after a kill.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from smae_jax.io.atomic import OutputError, atomic_path
from smae_jax.io.hdf5_sink import create_hdf5

_ACCESS = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE


def open_for_more(path: Path) -> h5py.File:
    """Open a file to write more; one whose writer was killed is copied first, packed as it is.

    The lock of HDF5 is passed over: a reader that is open would hold it against a writer that starts again.
    That nobody else writes is the caller's concern, see `run.lock`.

    Raises:
      OutputError: if it cannot be written, or the copy finds no room.
    """
    try:
        return _opened(path)
    except OSError as error:
        if "already open" not in str(error):
            raise OutputError(f"{path}: cannot be written ({error})") from None
    with (
        atomic_path(path, overwrite=True) as temporary,
        h5py.File(path, "r", libver="latest", swmr=True, locking=False) as old,
        create_hdf5(temporary, libver="latest") as new,
    ):
        new.attrs.update(old.attrs)
        for name in old:
            old.copy(name, new)
    return _opened(path)


def _opened(path: Path) -> h5py.File:
    """Open for more and for readers in one step, so that there is no moment between."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    access.set_file_locking(False, False)
    return h5py.File(h5py.h5f.open(os.fsencode(path), _ACCESS, fapl=access))


@contextmanager
def room(file: h5py.File, path: Path, needed: int) -> Iterator[None]:
    """Make room on the disk for what the block writes; a write that fails all the same closes the file.

    Args:
      file: from `open_for_more`.
      path: its path.
      needed: bytes that the block writes at most.

    Raises:
      OutputError: in one line, if there is no room, which leaves the file as it was; if a write failed, which
        leaves what was written before, and the file closed.
    """
    made = _make_room(file, path, needed)
    try:
        yield
        if made:  # what is left of it is given back; HDF5 knows nothing of it
            os.ftruncate(file.id.get_vfd_handle(), file.id.get_filesize())
    except (OSError, RuntimeError) as error:  # h5py raises either
        _let_go(file)
        raise _failed(path, error) from error


def close(file: h5py.File, path: Path) -> None:
    """Close a file, also where there is no room for its last bytes, and one that is closed.

    Raises:
      OutputError: in one line, if that failed; what was written before stays.
    """
    try:
        if file:
            file.flush()
            file.close()
    except (OSError, RuntimeError) as error:
        _let_go(file)
        raise _failed(path, error) from error


def _failed(path: Path, error: BaseException) -> OutputError:
    return OutputError(
        f"{path}: a write failed ({_cause(error)}); what was written before stays: mend that and start "
        "again, which goes on behind it"
    )


def _make_room(file: h5py.File, path: Path, needed: int) -> bool:
    """Make a file longer; whether that was possible."""
    if not hasattr(os, "posix_fallocate"):
        return False  # Windows
    size = file.id.get_filesize()
    try:
        os.posix_fallocate(file.id.get_vfd_handle(), size, needed)
    except OSError as error:
        if error.errno == errno.EFBIG:
            what = (
                f"the file may not grow to {(size + needed) / 2**20:.1f} MiB (a limit, see ulimit -f, or the "
                "file system's)"
            )
        elif error.errno == errno.ENOSPC:
            what = f"the disk has {shutil.disk_usage(path.parent).free / 2**20:.1f} MiB left"
        elif error.errno == errno.EDQUOT:
            what = "your quota is used up"
        else:
            return False  # a file system that makes no room beforehand
        raise OutputError(
            f"{path}: {what}, and {needed / 2**20:.1f} MiB are needed for the next frames; mend that and "
            "start again, which goes on behind what is there"
        ) from None
    return True


def _let_go(file: h5py.File) -> None:
    """Close a file that cannot be written, without writing to it: what HDF5 still holds goes nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    file.close()


def _cause(error: BaseException) -> str:
    """Return what the system said, from what h5py makes of it: "No space left on device"."""
    text = " ".join(str(error).split())
    _, found, rest = text.partition("error message = '")
    return rest.partition("'")[0] if found else text[:200]

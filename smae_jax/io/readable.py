"""Whether a file can be read at all, and whether it stays as it is while it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from smae_jax.errors import UserError

MOST_UNPACKED = 1000
"""Times its own size that a packed file may unpack to: deflate does not pack zeros any denser."""
ALWAYS_UNPACKED = 256 * 2**20
"""Bytes that any packed file may unpack to."""


@contextmanager
def steady(path: str) -> Iterator[None]:
    """Hold a file to what it was at the start, while it is read in the body.

    An HDF5 file that is written for readers beside its writer (SWMR) may grow meanwhile: what is in it stays.

    Raises:
      UserError: in one line, if it is missing, a folder without data, empty or not ours to read, or it
        changed meanwhile (which then also explains what looked like damage).
    """
    refuse_unreadable(path)
    if has_open_writer(path):
        yield
        return
    before = file_state(path)
    try:
        yield
    except UserError as error:
        if file_state(path) != before:
            raise _changed(path) from error
        raise
    if file_state(path) != before:
        raise _changed(path)


def has_open_writer(path: str) -> bool:
    """Whether an HDF5 file says that it is being written for readers (SWMR), or its writer broke off.

    Reference: HDF5 File Format Specification, superblock version 3: byte 11 holds the consistency flags.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return (
        start[:8] == b"\x89HDF\r\n\x1a\n"
        and len(start) == 12
        and start[8] >= 3
        and bool(start[11] & 4)
    )


def refuse_unreadable(path: str) -> None:
    """Refuse what no format could be read from.

    Raises:
      UserError: in one line.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file; it has gone, or is a link to nothing")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: no permission to read this file; change its mode or copy it")
    if os.path.isfile(path) and not os.path.getsize(path):
        raise UserError(
            f"{path}: is empty (0 bytes); copy it again, or leave it out if it was never written"
        )


def refuse_inflated(path: str, claimed: int, *, stored: int | None = None) -> None:
    """Refuse to make room for more than a packed file can hold, before the room is made.

    Args:
      path: for the message, and for the size where `stored` is not given.
      claimed: bytes that the header promises.
      stored: bytes that are on disk.

    Raises:
      UserError: in one line.
    """
    stored = os.path.getsize(path) if stored is None else stored
    if claimed > max(ALWAYS_UNPACKED, MOST_UNPACKED * stored):
        raise UserError(
            f"{path}: claims {claimed / 2**20:.0f} MiB of numbers in {stored} bytes, more than "
            f"{MOST_UNPACKED} times its size; the header is damaged: copy the file again"
        )


def file_state(path: str, *, links: bool = False) -> tuple[int, int] | None:
    """Return size and time of change (ns) of a file; None where there is none.

    Of a folder, which is one array of many files, it is their total size and the latest time.

    Args:
      path: of the file.
      links: whether a link to nothing has a state, too: its own.
    """
    for look in (os.stat, os.lstat) if links else (os.stat,):
        try:
            found = look(path)
            if stat.S_ISDIR(found.st_mode):
                return _state_of_folder(path)
        except OSError:
            continue
        return found.st_size, found.st_mtime_ns
    return None


def _state_of_folder(path: str) -> tuple[int, int]:
    size, latest = 0, os.stat(path).st_mtime_ns
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            more, time = _state_of_folder(entry.path)
        else:
            found = entry.stat()
            more, time = found.st_size, found.st_mtime_ns
        size, latest = size + more, max(latest, time)
    return size, latest


def _changed(path: str) -> UserError:
    return UserError(
        f"{path}: changed while it was read; is it still being written? read it again when it is complete"
    )

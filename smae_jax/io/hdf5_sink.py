"""A file for HDF5 to write to that turns a full disk into an error.

The HDF5 library crashes the whole process when it cannot flush its caches while a file is closed.
It therefore writes through Python here, is never told of a failure, and the failure is raised when
the file is closed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


class _Sink(io.RawIOBase):
    """The file-like object that h5py asks for; after the first `error` nothing is written."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or note why not."""
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and self.error is None:
                rest = rest[self.file.write(rest) or 0 :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def readinto(self, buffer: Any) -> int:
        """Read; what could not be written comes back as zeros."""
        view = memoryview(buffer).cast("B")
        count = self.file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self.file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, or note why not."""
        try:
            return self.file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        """Nothing is held back."""

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def create_hdf5(path: Path, *, libver: str | None = None) -> Iterator[h5py.File]:
    """Create an HDF5 file; a full disk is an `OSError` at the end of the block.

    Args:
      path: of the file.
      libver: "latest" where more is to be written to it later beside readers.

    Raises:
      OSError: if not everything could be written.
    """
    with path.open("w+b", buffering=0) as raw:
        sink = _Sink(raw)
        try:
            with h5py.File(sink, "w", libver=libver) as file:
                yield file
        finally:
            sink.check()

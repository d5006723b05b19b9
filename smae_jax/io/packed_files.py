"""Files packed as a whole (`scan.cbf.gz`): unpacked beside, within bounds, and read by their own format."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import CHUNK_BYTES, Frames, unreadable
from smae_jax.io.readable import ALWAYS_UNPACKED, MOST_UNPACKED

_UNPACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SUFFIXES = tuple(_UNPACKERS)
LARGEST = 8 * 2**30
"""Bytes that a packed file may unpack to, whatever its own size."""


@contextmanager
def open_packed(
    path: str,
    inside: str,
    *,
    opener: Callable[..., AbstractContextManager[Frames]],
    mask: bool = False,
) -> Iterator[Frames]:
    """Unpack a file into a temporary one, and open that.

    Args:
      path: ends in one of `SUFFIXES`, after the suffix of its format.
      inside: as `opener` takes it.
      opener: of the format.
      mask: as `opener` takes it.

    Raises:
      UserError: in one line that names `path`, if it is damaged, unpacks to more than `MOST_UNPACKED` times
        its size or `LARGEST`, or as `opener` does.
    """
    name = os.path.basename(os.path.splitext(path)[0])
    with tempfile.TemporaryDirectory(prefix="smae_jax_") as folder:
        unpacked = os.path.join(folder, name)
        with open(unpacked, "wb") as target:
            _unpack(path, target)
        try:
            with opener(unpacked, inside, mask=mask) as frames:
                yield frames
        except UserError as error:
            raise UserError(str(error).replace(unpacked, path)) from error


def _unpack(path: str, target: BinaryIO) -> None:
    most = min(LARGEST, max(ALWAYS_UNPACKED, MOST_UNPACKED * os.path.getsize(path)))
    written = 0
    try:
        with _UNPACKERS[os.path.splitext(path)[1].lower()](path, "rb") as source:
            while block := source.read(CHUNK_BYTES // 16):
                written += len(block)
                if written > most:
                    raise UserError(
                        f"{path}: unpacks to more than {most / 2**20:.0f} MiB, "
                        f"{most // os.path.getsize(path)} times its own size; unpack it yourself if "
                        "you trust it"
                    )
                target.write(block)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise unreadable(path, "a packed file", error) from error
    except OSError as error:
        if error.errno:  # the disk is full
            raise
        raise unreadable(path, "a packed file", error) from error

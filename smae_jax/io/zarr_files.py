"""Zarr, versions 2 and 3: an array in a folder or in a zip file, read chunk by chunk when it is sliced."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import Frames, Header, hushed, unreadable
from smae_jax.io.readable import refuse_inflated

SUFFIXES = (".zarr", ".zarr.zip")
_MARKS = ("zarr.json", ".zarray", ".zgroup")
# Unpacking with other codecs may run what the file holds (numcodecs has one for pickles).
_HARMLESS = {
    *("bytes", "transpose", "sharding_indexed", "crc32c", "vlen_utf8"),
    *("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma"),
    *("delta", "shuffle", "bitround", "fixedscaleoffset", "quantize", "astype", "packbits"),
    *("crc32", "adler32", "fletcher32", "jenkins_lookup3", "pcodec", "zfpy"),
}


def is_zarr(path: str) -> bool:
    """Whether a folder is a Zarr array or group, by its name or by what it holds."""
    return os.path.isdir(path) and (
        path.rstrip("/" + os.sep).lower().endswith(".zarr")
        or any(os.path.isfile(os.path.join(path, mark)) for mark in _MARKS)
    )


class _Lazy:
    """An open array whose damage is said in one line when it is sliced."""

    def __init__(self, path: str, array: Any) -> None:
        self._path, self._array = path, array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            return np.asarray(self._array[index])
        except Exception as error:  # each codec raises whatever it likes
            raise unreadable(self._path, "a Zarr array", error) from error


@contextmanager
def open_zarr(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Open one array of a Zarr folder or zip file.

    Without a name it is the only one that can hold frames (two axes or more); with `mask` the only one
    with two axes.

    Raises:
      UserError: in one line, if the package zarr is missing, there is no such array or a choice of several,
        or the array is damaged or packed with a codec that is not known to be harmless.
    """
    try:
        import zarr
        import zarr.storage
    except ImportError:
        raise UserError(
            f"{path}: is Zarr, which the package zarr reads; install it with 'pip install smae_jax[zarr]'"
        ) from None
    with hushed("zarr"):
        store = None
        try:
            if os.path.isfile(path):
                store = zarr.storage.ZipStore(path, mode="r")
            root = zarr.open(path if store is None else store, mode="r")
        except Exception as error:  # damaged metadata raise whatever they like
            raise unreadable(path, "Zarr", error) from error
        try:
            name, array = _choose(path, root, inside.strip("/"), mask)
            _refuse_codecs(path, array)
            yield Frames(_Lazy(path, array), inside=name, header=_header(path, name, array))
        finally:
            if store is not None:
                store.close()


def _choose(path: str, root: Any, inside: str, mask: bool) -> tuple[str, Any]:
    """Return what the array is called in messages, `::/name`, and the array."""
    if not hasattr(root, "members"):
        if inside:
            raise UserError(f"{path}: this Zarr is one array without a name; drop '::{inside}'")
        return "", root
    try:
        arrays = {  # in the order of their names: a folder lists its own as it likes
            name: node
            for name, node in sorted(root.members(max_depth=8))
            if not hasattr(node, "members")
        }
    except Exception as error:  # damaged metadata raise whatever they like
        raise unreadable(path, "Zarr", error) from error
    listed = ", ".join(f"/{name} {node.shape}" for name, node in arrays.items())
    if inside:
        if inside not in arrays:
            raise UserError(
                f"{path}: no array '/{inside}'; it holds {listed or 'no arrays'}: name one of them"
            )
        return f"::/{inside}", arrays[inside]
    fitting = [
        name
        for name, node in arrays.items()
        if np.dtype(node.dtype).kind in "biuf" and (node.ndim == 2 if mask else node.ndim >= 2)
    ]
    if len(fitting) != 1:
        hint = f": name one as in {path}::/{(fitting or [*arrays])[0]}" if arrays else ""
        raise UserError(
            f"{path}: expected one array of {'a mask' if mask else 'frames'}, found {listed or 'none'}{hint}"
        )
    return f"::/{fitting[0]}", arrays[fitting[0]]


def _refuse_codecs(path: str, array: Any) -> None:
    named = _named(array.metadata.to_dict())
    strange = sorted(name for name in named if name.removeprefix("numcodecs.") not in _HARMLESS)
    if strange:
        raise UserError(
            f"{path}: packed with the codec '{strange[0]}', which is not known to be harmless; save the "
            "array with blosc, zstd or gzip"
        )


def _named(metadata: Any) -> set[str]:
    """Collect the names of all codecs: filters, compressor (version 2), codecs, also within shards (3)."""
    found = set()
    for key in ("filters", "compressor", "codecs", "index_codecs"):
        value = metadata.get(key) or ()
        for codec in (value,) if isinstance(value, dict) else value:
            codec = codec if isinstance(codec, dict) else codec.to_dict()
            found.add(str(codec.get("id") or codec.get("name")))
            found |= _named(codec.get("configuration") or {})
    return found


def _header(path: str, name: str, array: Any) -> Header:
    """Refuse a shape that nothing stands behind; note chunks that are not there."""
    try:
        claimed = math.prod(map(int, array.shape)) * np.dtype(array.dtype).itemsize
        refuse_inflated(path, claimed, stored=int(array.nbytes_stored()))
        there, chunks = array.nchunks_initialized, array.nchunks  # lists every chunk of the shape
    except UserError:
        raise
    except Exception as error:  # damaged metadata raise whatever they like
        raise unreadable(path, "Zarr", error) from error
    if there >= chunks:
        return Header()
    return Header(
        notes=(
            f"{path}{name}: {chunks - there} of {chunks} chunks are not stored and read as "
            f"{array.fill_value}: empty, or never written",
        )
    )

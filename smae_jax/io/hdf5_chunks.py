"""Frames of an HDF5 dataset by its chunks: HDF5 moves their bytes, and any thread packs and unpacks them.

HDF5 packs one chunk after the other, under a lock. Detectors write a frame per chunk, packed by
Bitshuffle-LZ4, for which imagecodecs needs no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BITSHUFFLE = 32008
"""Number of the filter."""
_LZ4 = 2
"""What the fifth of its numbers is where it packs by LZ4."""
_BLOCK = 2**13
"""Bytes of a block, as HDF5's filter has it: what is packed here has the bytes of what HDF5 packs."""
_HEAD = 12
"""Bytes before the first block: the length of what is packed (8), and that of a block (4), big-endian."""

Chunk = tuple[int, bytes]
"""Which filters a chunk has not gone through, a bit each, and its bytes."""


def is_packed_by_frames(dataset: Any) -> bool:
    """Whether every frame of a dataset is a chunk of its own, packed by Bitshuffle-LZ4 and nothing else."""
    shape, chunks = dataset.shape, dataset.chunks
    if len(shape) < 3 or chunks != (*(1 for _ in shape[:-2]), *shape[-2:]):
        return False
    packing = dataset.id.get_create_plist()
    if packing.get_nfilters() != 1:
        return False
    number, _, values, _ = packing.get_filter(0)
    return number == BITSHUFFLE and len(values) > 4 and values[4] == _LZ4


def chunks_of(dataset: Any, places: Sequence[tuple[int, ...]]) -> list[Chunk]:
    """Read the chunks of some frames, packed as they are.

    Args:
      dataset: as `is_packed_by_frames` wants it.
      places: indices over its leading axes.

    Raises:
      OSError, RuntimeError, ValueError: as h5py, also where one was never written.
    """
    return [dataset.id.read_direct_chunk((*place, 0, 0)) for place in places]


class DamagedChunkError(ValueError):
    """A chunk that cannot be unpacked; `number` says which of those that were given."""

    def __init__(self, number: int, reason: object) -> None:
        """Say which one, and why."""
        super().__init__(str(reason))
        self.number = number


def unpacked(chunks: Sequence[Chunk], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Unpack frames, in any thread.

    Args:
      chunks: from `chunks_of`.
      shape: (height, width).
      dtype: of the dataset.

    Returns:
      (chunks, height, width).

    Raises:
      DamagedChunkError: if one is damaged.
    """
    frames = np.empty((len(chunks), *shape), dtype)
    for number, (frame, (skipped, packed)) in enumerate(zip(frames, chunks, strict=True)):
        try:
            if skipped:
                frame[...] = np.frombuffer(packed, dtype).reshape(shape)
            else:
                _unpack(packed, frame.reshape(-1).view(f"u{dtype.itemsize}"))
        except ValueError as error:
            raise DamagedChunkError(number, error) from error
    return frames


def packed(frame: np.ndarray) -> bytes:
    """Pack one frame by Bitshuffle-LZ4, in any thread, as HDF5's own filter does."""
    import imagecodecs  # not by those who read nothing of the kind

    values = np.ascontiguousarray(frame).reshape(-1).view(f"u{frame.itemsize}")
    group, block = 8 * frame.itemsize, max(_BLOCK // (8 * frame.itemsize), 16) * 8 * frame.itemsize
    whole = values.nbytes - values.nbytes % group
    encoded: Any = imagecodecs.bitshuffle_encode(
        values, itemsize=frame.itemsize, blocksize=block // frame.itemsize
    )
    shuffled: Any = memoryview(encoded).cast("B")
    parts = [values.nbytes.to_bytes(8, "big"), block.to_bytes(4, "big")]
    for start in range(0, whole, block):
        found = imagecodecs.lz4_encode(shuffled[start : min(start + block, whole)])
        parts += [len(found).to_bytes(4, "big"), found]
    return b"".join([*parts, shuffled[whole:]])


def _unpack(packed: bytes, values: np.ndarray) -> None:
    """Unpack one chunk into `values`, (n,), unsigned."""
    import imagecodecs

    size, itemsize = values.nbytes, values.itemsize
    told, block = (int.from_bytes(packed[a:b], "big") for a, b in ((0, 8), (8, _HEAD)))
    group = 8 * itemsize  # what bits are shuffled in; what is left of it stays as it is
    if told != size or block % group or not block:
        raise ValueError(f"a chunk is said to hold {told} bytes in blocks of {block}, not {size}")
    shuffled, at = np.empty(size, np.uint8), _HEAD
    view: Any = memoryview(packed)
    whole = size - size % group
    try:
        for start in range(0, whole, block):
            length = int.from_bytes(view[at : at + 4], "big")
            at += 4
            if at + length > len(packed):
                raise ValueError("a block of a chunk is cut off")
            part: Any = shuffled[start : min(start + block, whole)]
            found = imagecodecs.lz4_decode(view[at : at + length], out=part)
            if len(found) != len(part):
                raise ValueError("a block of a chunk is too short")
            at += length
        if len(packed) - at != size - whole:
            raise ValueError(f"a chunk ends with {len(packed) - at} bytes, not {size - whole}")
        shuffled[whole:] = np.frombuffer(view[at:], np.uint8)
        numbers = shuffled.view(values.dtype)
        imagecodecs.bitshuffle_decode(
            numbers, itemsize=itemsize, blocksize=block // itemsize, out=values
        )
    except RuntimeError as error:
        raise ValueError(f"a chunk cannot be unpacked ({error})") from error

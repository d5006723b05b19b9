"""Room for arrays that may be larger than memory allows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from smae_jax.finishing.replicas import in_memory

MUCH = 2**30
"""Bytes from which an array is kept in a file."""


def room_beside(output: str) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Return what makes float16 arrays: in memory, or beyond `MUCH` in a file in the folder of an output.

    Nothing is left of the file, however the process ends.
    """
    folder = Path(output).resolve().parent

    def room(shape: tuple[int, ...]) -> np.ndarray:
        if np.prod(shape, dtype=np.int64) * np.dtype(np.float16).itemsize <= MUCH:
            return in_memory(shape)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, np.float16, "w+", shape=shape)

    return room

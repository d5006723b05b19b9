"""Blocks of frames that are worked on together, and how many fit into a budget of memory.

The borders of blocks follow from the number of frames and the size of a block alone: a block's answers do not
depend on where the work was interrupted, or on who does which part of it.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import numpy as np

from smae_jax.errors import UserError

FRAMES = 512
"""Most frames of a block: more have nothing more in common that would help."""
FEWEST = 16
"""Fewest frames of a block, however small the budget: frames that are combined judge each other."""
TO_DENOISE, TO_TRAIN = 80, 40
"""Bytes that a pixel of a frame takes while a block is denoised, and while frames are trained on."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_memory(text: str, option: str = "--memory") -> int:
    """Read an amount of memory in bytes; "" = a quarter of what the machine has.

    Raises:
      UserError: if it is none.

    >>> parse_memory("4GiB") == 4 * 2**30, parse_memory("500 MB")
    (True, 500000000)
    """
    if not text.strip():
        return of_machine() // 4
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?i?)b?\s*", text.lower())
    unit = None if match is None else (_UNITS | _BINARY).get(match[2])
    if match is None or unit is None or not float(match[1]) > 0:
        raise UserError(
            f"{option}: expected an amount of memory such as 4GiB or 500MB, got '{text}'"
        )
    return int(float(match[1]) * unit)


def of_machine() -> int:
    """Return the memory that this process may use, in bytes: the machine's, or its control group's limit."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        found = 8 * 2**30
    for path in map(Path, _CGROUPS):
        try:
            limit = path.read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            found = min(found, int(limit))
    return found


def frames_that_fit(pixels: int, memory: int, *, each: int) -> int:
    """Return how many frames fit into memory.

    Args:
      pixels: of a frame.
      memory: budget in bytes.
      each: bytes that a pixel takes.
    """
    return max(FEWEST, memory // (each * max(1, pixels)))


def borders(frames: int, size: int) -> list[slice]:
    """Cut frames into blocks of nearly the same size, at most `size` frames.

    >>> borders(10, 4)
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    ends = np.arange(-(-frames // size) + 1) * frames // -(-frames // size)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def spread(frames: int, wanted: int) -> np.ndarray:
    """Choose so many of the frames, evenly from the first to the last, ascending; all where there are fewer.

    >>> spread(10, 4)
    array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, frames - 1, min(frames, wanted)).round().astype(np.int64))

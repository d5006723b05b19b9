"""Amounts of memory: what the user says, and what the machine has."""

from __future__ import annotations

import os
import re
from pathlib import Path

from smae_jax.errors import UserError

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


def in_gib(size: float) -> str:
    """Write an amount of bytes.

    >>> in_gib(100 * 2**20), in_gib(5.3 * 2**40)
    ('0.098 GiB', '5,427 GiB')
    """
    amount = size / 2**30
    return f"{amount:,.0f} GiB" if amount >= 10 else f"{amount:.2g} GiB"


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

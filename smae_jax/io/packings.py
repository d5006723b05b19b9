"""How patterns are packed in HDF5: a name, and a level where the packing has one."""

from __future__ import annotations

from typing import Any

import hdf5plugin

from smae_jax.errors import UserError

LEVELS = {"gzip": (1, 9, 4), "zstd": (1, 22, 3)}
"""Least, largest and usual level."""
NAMES = ("bitshuffle", "zstd", "gzip", "none")


def packing_options(text: str) -> dict[str, Any]:
    """Return the options of h5py for a packing such as `bitshuffle`, `gzip` or `zstd:9`.

    Bitshuffle-LZ4 and zstd (with Bitshuffle) need hdf5plugin to be read, every HDF5 reads gzip.

    Raises:
      UserError: if there is no such packing, or it has no such level.
    """
    name, colon, level = text.partition(":")
    if name not in NAMES:
        raise UserError(f"--packing {text}: expected one of {', '.join(NAMES)}")
    if name not in LEVELS:
        if colon:
            raise UserError(f"--packing {text}: {name} has no level; expected {name} alone")
        return dict(hdf5plugin.Bitshuffle(cname="lz4")) if name == "bitshuffle" else {}
    least, largest, usual = LEVELS[name]
    if colon and not (level.isdecimal() and least <= int(level) <= largest):
        raise UserError(
            f"--packing {text}: expected a level from {least} to {largest}, such as {name}:{usual}"
        )
    chosen = int(level) if colon else usual
    if name == "zstd":
        return dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=chosen))
    return {"compression": "gzip", "compression_opts": chosen, "shuffle": True}

"""NumPy files: one array (`.npy`, memory-mapped) or several named ones (`.npz`)."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import Frames, unreadable
from smae_jax.io.readable import refuse_inflated

# What zipfile and the parser of array headers raise of damage, beside ValueError.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
    *(tokenize.TokenError, SyntaxError),
)


@contextmanager
def open_npy(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Map the array of an `.npy` file.

    Raises:
      UserError: if a name within the file is asked for, or it is not a whole `.npy` file of
        numbers.
    """
    del mask  # one array: there is nothing to choose
    if inside:
        raise UserError(f"{path}: an .npy file holds one array without a name; drop '::{inside}'")
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header raises whatever it likes
        if "Python objects" in str(error):
            raise UserError(
                f"{path}: holds Python objects, not numbers; save a plain array"
            ) from error
        raise unreadable(path, "an .npy file", error) from error
    yield Frames(values)


@contextmanager
def open_npz(path: str, inside: str, *, mask: bool = False) -> Iterator[Frames]:
    """Read one array of an `.npz` file; it must be named unless it is the only one.

    Raises:
      UserError: if the name is missing or wrong (the message lists the names), or the file is
        damaged.
    """
    del mask
    with open_archive(path) as archive:
        names = archive.files
        name = inside or (names[0] if len(names) == 1 else "")
        if name not in names:
            problem = f"has no array '{name}'" if name else "holds several arrays"
            example = f"{path}::{names[0]}" if names else "another file"
            raise UserError(
                f"{path}: {problem}; it holds {', '.join(names) or 'nothing'}: name one as in {example}"
            )
        try:
            values = archive[name]
        except Exception as error:  # a damaged header raises whatever it likes
            if "allow_pickle" not in str(error):
                raise unreadable(path, "an .npz file", error) from error
            raise UserError(
                f"{path}: '{name}' holds Python objects, not numbers; save a plain array"
            ) from error
    yield Frames(values, inside=f"::{name}" if len(names) > 1 else "")


@contextmanager
def open_archive(path: str) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an `.npz` file.

    Raises:
      UserError: if it is damaged, no archive of arrays, or an array claims more than the file can hold.
    """
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise unreadable(path, "an .npz file", "one array, not an archive")
            with archive:
                if archive.zip is not None:
                    _refuse_claims(path, archive.zip)
                yield archive
    except _DAMAGE as error:
        raise unreadable(path, "an .npz file", error) from error
    except ValueError as error:
        if "allow_pickle" in str(error):  # what numpy says of a file that is no archive at all
            raise unreadable(path, "an .npz file", "not a zip archive") from error
        raise


def _refuse_claims(path: str, archive: zipfile.ZipFile) -> None:
    """Refuse arrays larger than what is stored of them, before NumPy makes room for them."""
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        with archive.open(member) as file:
            try:
                major, _ = np.lib.format.read_magic(file)
                first = np.lib.format.read_array_header_1_0
                read = first if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            except Exception:  # a damaged header raises whatever it likes
                continue  # whoever reads it will say what is wrong
        claimed = math.prod(shape) * dtype.itemsize
        refuse_inflated(path, claimed, stored=member.compress_size)
        if claimed > member.file_size and not dtype.hasobject:
            raise unreadable(path, "an .npz file", f"{member.filename} is shorter than its shape")

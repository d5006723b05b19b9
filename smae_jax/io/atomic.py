"""Output that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smae_jax.errors import UserError

# What h5py and numpy (`tofile`) say without an error number.
_SHORT_WRITE = re.compile(r"No space left|\d+ requested and \d+ written")


class OutputError(UserError):
    """An output that cannot be written; the message names it and says what to do."""


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Refuse to write over what is there.

    Raises:
      OutputError: if `path` exists, is no empty folder and is not to be overwritten.
    """
    empty_folder = os.path.isdir(path) and not os.listdir(path)
    if os.path.lexists(path) and not empty_folder and not overwrite:
        raise OutputError(
            f"{path}: exists already; choose another name, or allow it to be replaced with "
            "--overwrite"
        )


def refuse_unwritable(path: str | Path) -> None:
    """Refuse before the work a place where nothing can be written.

    Permissions alone do not tell: root has all of them in `/proc` and on read-only media. So a hidden folder
    is made there, named as `atomic_paths` names it, and removed.

    Raises:
      OutputError: if the folder that the output goes to, or the nearest one that exists above it, is none or
        nothing can be made in it.
    """
    folder = Path(os.path.abspath(path)).parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise _explained(Path(path), NotADirectoryError(errno.ENOTDIR, ""))
    try:
        os.rmdir(tempfile.mkdtemp(prefix=f".{Path(path).name}.", dir=folder))
    except OSError as error:
        raise _explained(Path(path), OSError(error.errno, error.strerror)) from None


@contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; move it into place when the block ends well.

    The block makes a file or a folder there. After any error or interrupt nothing is left, and what was at
    `path` is untouched.

    Args:
      path: where the output goes; missing parent folders are made.
      overwrite: whether an existing output is replaced, a folder with all that it holds.

    Raises:
      OutputError: if the output exists, the disk is full, or there is no permission.
    """
    with atomic_paths(path, overwrite=overwrite) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(
    path: str | Path, *beside: str | Path, overwrite: bool = False, within: Path | None = None
) -> Iterator[list[Path]]:
    """Yield temporary paths for an output and the files that belong to it; move them into place together.

    The temporaries lie in a hidden folder beside `path`, so that each move is one rename on one file system.
    It is left behind where the process is killed.
    Old files beside go first, then the output is replaced, then the new ones follow: at no moment does a file
    beside stand with an output that it does not belong to.

    Args:
      path: where the output goes; missing parent folders are made.
      beside: its other files, in the same folder; one that the block does not write is gone afterwards.
      overwrite: whether existing output is replaced, a folder with all that it holds.
      within: folder for the temporaries, beside `path`; what it holds is removed first. The caller sees to it
        that nobody else uses it.

    Raises:
      OutputError: if one of them exists, the disk is full, or there is no permission.
    """
    paths = [Path(os.path.abspath(one)) for one in (path, *beside)]
    for one in paths:
        refuse_existing(one, overwrite=overwrite)
    scratch, path = None, paths[0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = within or Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        if within is not None:
            shutil.rmtree(within, ignore_errors=True)
            within.mkdir()
        yield [scratch / one.name for one in paths]
        _move(scratch, *paths, overwrite=overwrite)
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError where closing fails
        if isinstance(error, RuntimeError) and not _SHORT_WRITE.search(str(error)):
            raise
        raise _explained(path, error) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _move(scratch: Path, path: Path, *beside: Path, overwrite: bool) -> None:
    new = scratch / path.name
    if path.is_dir() and not new.is_dir():
        raise OutputError(f"{path}: is a folder; choose another name for this file")
    gone: list[Path] = []
    try:
        # Without `overwrite`, a folder that has come meanwhile is another's, and the move fails.
        aside = path.is_dir() and (overwrite or not os.listdir(path))
        for one in (*beside, *([path] if aside else [])):
            if os.path.lexists(one):
                os.replace(one, scratch / f"{one.name}.old")
                gone.append(one)
        os.replace(new, path)
    except BaseException:
        for one in gone:
            os.replace(scratch / f"{one.name}.old", one)
        raise
    for one in beside:
        if os.path.lexists(scratch / one.name):
            os.replace(scratch / one.name, one)


def _explained(path: Path, error: OSError | RuntimeError) -> OutputError:
    code, text = getattr(error, "errno", None), " ".join(str(error).split())
    if code in (errno.ENOSPC, errno.EDQUOT) or _SHORT_WRITE.search(text):
        what = "the disk is full; free some space or write to another disk"
    elif code == errno.EFBIG:
        what = (
            "larger than the file system or a limit (ulimit -f) allows; raise it or write elsewhere"
        )
    elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = "no permission to write there; choose another folder or change its mode"
    elif code in (errno.ENOTDIR, errno.EEXIST):
        what = "a file stands where a folder is needed; choose another folder"
    else:
        what = f"cannot be written ({text}); choose another place"
    return OutputError(f"{path}: {what}; nothing was written")

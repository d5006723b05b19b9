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

# What h5py and numpy (`tofile`) say without an error number.
_SHORT_WRITE = re.compile(r"No space left|\d+ requested and \d+ written")


class OutputError(ValueError):
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


@contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; move it into place when the block ends well.

    The temporary lies in a hidden folder beside `path`, so that the move is one rename on one file
    system. The block makes a file or a folder there. After any error or interrupt nothing is left,
    and what was at `path` is untouched.

    Args:
      path: where the output goes; missing parent folders are made.
      overwrite: whether an existing output is replaced, a folder with all that it holds.

    Raises:
      OutputError: if the output exists, the disk is full, or there is no permission.
    """
    path = Path(os.path.abspath(path))
    refuse_existing(path, overwrite=overwrite)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield scratch / path.name
        _move(scratch, path)
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError where closing fails
        if isinstance(error, RuntimeError) and not _SHORT_WRITE.search(str(error)):
            raise
        raise _explained(path, error) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _move(scratch: Path, path: Path) -> None:
    new, old = scratch / path.name, scratch / f"{path.name}.old"
    if not path.is_dir():
        os.replace(new, path)
        return
    if not new.is_dir():
        raise OutputError(f"{path}: is a folder; choose another name for this file")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise


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

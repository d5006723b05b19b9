"""One process at a time works on a run folder, or on a file: a lock beside it that dies with the process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from smae_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has none, and no training is guarded there
    fcntl = None


class HeldError(UserError):
    """Another process holds the lock."""


_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def held(folder: str | Path, *, doing: str = "training", option: str = "--run") -> Iterator[None]:
    """Keep other processes from working on a folder, from before it is there until the block ends.

    The lock is a file beside the folder, since the folder itself is moved when a run is replaced. The
    operating system lets go of it when the process ends, however it ends.

    Args:
      folder: to be held.
      doing: what its holder does, for messages.
      option: that named the folder, for messages.

    Raises:
      HeldError: in one line, if another process holds it, which the message names, or nothing can be written
        there.
    """
    folder = Path(os.path.realpath(folder))
    path = folder.with_name(f".{folder.name}.lock")
    made = [one for one in (path.parent, *path.parent.parents) if not one.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(path, f"{option} {folder}", doing)
    except OSError as error:
        what = "run" if option == "--run" else "output"
        raise UserError(
            f"{option} {folder}: no {what} can be written there ({error.strerror or error}); choose another "
            f"folder, or mend the permissions of {path.parent}"
        ) from None
    try:
        yield
    finally:
        _let_go(path, file)
        for one in made:  # of a training that was refused before it made its folder
            with contextlib.suppress(OSError):
                one.rmdir()


def claimed(file: Path) -> contextlib.ExitStack:
    """Keep other processes from making a file, in a folder that is there.

    Returns:
      What lets go of it, where it is closed.

    Raises:
      HeldError: if another process is making it.
      FileNotFoundError: if the folder is not there.
    """
    path, claim = file.with_name(f".{file.name}.lock"), contextlib.ExitStack()
    claim.callback(_let_go, path, _locked(path, str(file), "working"))
    return claim


def _locked(path: Path, named: str, doing: str) -> IO[str]:
    """Return the lock file, open and locked; what is written in it says who holds it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = " ".join(file.read(200).split()) or "another process"
            file.close()
            raise HeldError(
                f"{named}: {holder} is {doing} there; wait for it or stop it, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                file.close()
                raise
        if _is_at(path, file):
            break
        file.close()  # its holder has just let go of it and removed it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} (since {time.strftime('%H:%M')})")
    file.flush()
    return file


def _let_go(path: Path, file: IO[str]) -> None:
    if _is_at(path, file):  # else its folder was made anew, and this one is another's
        path.unlink(missing_ok=True)
    file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False

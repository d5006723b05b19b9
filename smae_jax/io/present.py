"""Which files of frames are there at present, of a scan that is still being measured."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from smae_jax.errors import UserError
from smae_jax.io.frame_files import sorted_out
from smae_jax.io.gathered import LEFT_OUT, Gathered
from smae_jax.io.locations import hidden, matching, opener_of
from smae_jax.io.outputs import suffix_of


class Present:
    """Files that a pattern, or a folder, means at present; why there is none is said once."""

    def __init__(self, path: str, left_out: Sequence[str], said: Gathered, *, first: str) -> None:
        """Take the path of the files.

        Args:
          path: without a name inside.
          left_out: locations that are no frames, see `find_frames`.
          said: receives what a person should read.
          first: a file that was answered before, whose format a folder goes on with; "" = none was.
        """
        self.path, self.left_out, self.said = path, left_out, said
        self._suffix = suffix_of(first)
        self._others = set[str]()  # files of another format
        self._waits = ""

    def files(self, *, begun: bool) -> list[str] | None:
        """List the files of frames, naturally sorted, with links to nothing.

        Args:
          begun: whether a frame was answered, for messages.

        Returns:
          The files; None where the folder cannot be listed, which may pass.

        Raises:
          UserError: in one line, if the folder holds several formats from the start.
        """
        try:
            found = matching(self.path, links=True)
        except OSError as error:  # a disk that is not mounted
            self._wait(f"{error.strerror or error}; check its mode and its disk", begun=begun)
            return None
        folder = os.path.isdir(self.path)
        if found != [self.path]:
            found = [file for file in found if opener_of(file) and not hidden(file)]
            found, _ = sorted_out(found, self.left_out, to_the_last=True)
            found = self._of_one_format(found) if folder else found
        if found:
            self._waits = ""
        elif folder:
            self._wait(f"holds no frame {'any more' if begun else 'yet'}", begun=begun)
        else:
            what = "no file matches yet" if glob.has_magic(self.path) else "no such file yet"
            self._wait(what, begun=begun)
        return found

    def _wait(self, why: str, *, begun: bool) -> None:
        if why != self._waits:
            self._waits = why
            self.said.add(f"waiting for {'more' if begun else 'the first frame'}", self.path, why)

    def _of_one_format(self, files: list[str]) -> list[str]:
        """Return the files of the format that came first, and note others once."""
        suffixes = sorted({suffix_of(file) for file in files})
        if len(suffixes) > 1 and not self._suffix:
            raise UserError(
                f"--input {self.path}: this folder mixes formats ({', '.join(suffixes)}); say which, as in "
                f"'{os.path.join(self.path, '*' + suffixes[0])}'"
            )
        self._suffix = self._suffix or "".join(suffixes)
        for file in files:
            if suffix_of(file) != self._suffix and file not in self._others:
                self._others.add(file)
                why = f"is of another format than the frames before ({self._suffix})"
                self.said.add(LEFT_OUT, file, why)
        return [file for file in files if suffix_of(file) == self._suffix]


def root_of(path: str) -> str:
    """Return the folder that names of files are told from: the part of a path without wildcards.

    >>> root_of("scan/a_*.tif"), root_of("*.tif"), root_of("a/*/b.tif")
    ('scan', '.', 'a')
    """
    if os.path.isdir(path):
        return path
    folder = os.path.dirname(path)
    while glob.has_magic(folder) and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder or "."

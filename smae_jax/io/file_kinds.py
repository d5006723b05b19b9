"""What the files of a scan are like, and which of them are hardly frames of the same detector."""

from __future__ import annotations

from smae_jax.io.gathered import few

PROGRAM = "smae_jax"
"""What this program writes into the files that it makes."""


class FileKinds:
    """Types of numbers and writers of the files of a scan, gathered file by file."""

    def __init__(self) -> None:
        """Begin with no files."""
        self._files = 0
        self._types: dict[str, tuple[str, int]] = {}  # the first file, how many files
        self._own: list[str] = []

    def add(self, name: str, *, dtype: str, program: str = "") -> None:
        """Take in a file: what it is called, the type of its numbers, and what says to have written it."""
        self._files += 1
        first, number = self._types.get(dtype, (name, 0))
        self._types[dtype] = first, number + 1
        if program == PROGRAM:
            self._own.append(name)

    def notes(self) -> list[str]:
        """Say what is odd, in a sentence each.

        >>> kinds = FileKinds()
        >>> kinds.add("1.tif", dtype="uint16")
        >>> kinds.add("d.tif", dtype="int8")
        >>> kinds.notes()
        ['files of unlike types of numbers: 1 of uint16 (1.tif), 1 of int8 (d.tif); are all of them frames?']
        """
        notes = []
        if len(self._types) > 1:
            told = ", ".join(f"{n} of {kind} ({one})" for kind, (one, n) in self._types.items())
            notes.append(f"files of unlike types of numbers: {told}; are all of them frames?")
        if 0 < len(self._own) < self._files:
            notes.append(
                f"WARNING: output of {PROGRAM} among the frames: {few(self._own)}; name the frames by a "
                "pattern that leaves it out, or move it"
            )
        return notes

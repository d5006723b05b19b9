"""Damaged files of every format end in data or in a refusal of one line: no crash, no hang, no flood.

Each of 2,160 files is damaged in one way: bytes flipped, a range zeroed, doubled or deleted, the end cut
off, a number of the header replaced by an absurd one; of packed files also within, with right checksums.
Of HDF5 only raw data, the tail and the values of datasets are damaged: the HDF5 library itself may hang while
it reads metadata with flipped bytes, and nothing here can mend that.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mrcfile")
pytest.importorskip("zarr")
pytest.importorskip("silx")

from mutated_files import FORMATS

ROOT = Path(__file__).parents[1]


def outcomes(folder: Path, count: int, names: list[str]) -> list[tuple[str, str, str]]:
    """Damage and read so many files of each format: (file, `data`, `refused` or `fault`, what it was).

    A process that dies or is killed for its time names the file, and another one goes on behind it.
    """
    found: list[tuple[str, str, str]] = []
    command = [sys.executable, str(ROOT / "tests" / "mutated_files.py"), str(folder), str(count)]
    while len(found) < count * len(names):
        done = subprocess.run(
            [*command, str(len(found)), *names],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        reading = ""
        for line in (folder / "log.txt").read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "reading":
                reading = rest
            else:
                found.append((reading, word, rest))
                reading = ""
        if reading:
            found.append((reading, "fault", f"ended with {done.returncode}: {done.stderr[-3000:]}"))
        elif done.returncode:
            pytest.fail(done.stderr)
    return found


def assert_sound(found: list[tuple[str, str, str]]) -> None:
    faults = [f"{path}: {told}" for path, word, told in found if word == "fault"]
    assert not faults, f"{len(faults)} of {len(found)} files:\n" + "\n".join(faults)
    words = {word for _, word, _ in found}
    assert words == {"data", "refused"}  # damage to some numbers shows, to others it does not


def test_a_few_damaged_files_of_every_format(tmp_path):
    assert_sound(outcomes(tmp_path, 8, [*FORMATS]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(tmp_path, name):
    assert_sound(outcomes(tmp_path, 80, [name]))


def test_a_hang_and_a_crash_are_found(tmp_path):
    """The judge itself can fail: files that hang, crash, flood the memory, or raise something else."""
    found = outcomes(tmp_path, 1, ["hang", "crash", "flood", "raise"])
    told = [what for _, word, what in found if word == "fault"]
    assert len(told) == 4

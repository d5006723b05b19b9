"""Damaged files of every format end in data or in a refusal of one line: no crash, no hang, no flood.

Each of 2,160 files is damaged in one way: bytes flipped, a range zeroed, doubled or deleted, the end cut
off, a number of the header replaced by an absurd one; of packed files also within, with right checksums.

Two libraries have faults that nothing here can mend. The HDF5 library may hang while it reads metadata with
flipped bytes: of HDF5 only raw data, the tail and the values of datasets are damaged. The unpacker of MAR345
in fabio does not check where it writes: of MAR345 only the header is damaged.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mrcfile")
pytest.importorskip("zarr")
pytest.importorskip("silx")

from mutated_files import FORMATS

ROOT = Path(__file__).parents[1]
SHARES = 4


def outcomes(
    folder: Path, count: int, names: list[str], program: Path = ROOT / "tests" / "mutated_files.py"
) -> list[tuple[str, str, str]]:
    """Damage and read so many files of each format: (file, `data`, `refused` or `fault`, what it was).

    A process that dies or is killed for its time names the file, and another one goes on behind it.
    """
    found: list[tuple[str, str, str]] = []
    command = [sys.executable, str(program), str(folder), str(count)]
    while len(found) < count * len(names):
        done = subprocess.run(
            [*command, str(len(found)), *names],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
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
    assert_sound(outcomes(tmp_path, 7, [*FORMATS]))


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_damaged_files(tmp_path, share):
    """Several formats in one process: most of the time of a process goes into its imports."""
    assert_sound(outcomes(tmp_path, 80, [*FORMATS][share::SHARES]))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(60)", "Timeout"),
        ("import ctypes; ctypes.string_at(0)", "Segmentation fault"),
        ("np.empty(2**27)", "MiB were taken"),
        ("raise KeyError('a')", "KeyError"),
    ],
)
def test_the_judge_finds_each_kind_of_fault(tmp_path, code, said):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, mutated_files\nfrom mutated_files import *\nmutated_files.SECONDS = 2\n"
        f"def reader(path):\n    {code}\n"
        "whole = FORMATS['npy'].read\n"
        "def read_then_fail(path):\n    return whole(path) if '/whole/' in path else reader(path)\n"
        "made = dataclasses.replace(FORMATS['npy'], read=read_then_fail)\n"
        "mutated_files.FORMATS['npy'] = made\n"
        "run(sys.argv[1:])\n"
    )
    found = outcomes(tmp_path, 1, ["npy"], program=program)
    assert [word for _, word, _ in found] == ["fault"]
    assert re.search(said, found[0][2])

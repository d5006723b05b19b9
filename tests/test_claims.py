"""Processes that do the same blocks of an output: none is done twice, and none is left by a kill."""

import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from smae_jax.blocks import borders
from smae_jax.io.parts import Parts
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.run import blockwise
from smae_jax.run.blockwise import Work, in_blocks
from smae_jax.run.lock import HeldError, claimed

FRAMES = 24
COUNTS = np.random.default_rng(0).poisson(3.0, (FRAMES, 6, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(blockwise, "PAUSE_S", 0.02)


def work_of(output, answered, *, shard="", pause_s=0.05):
    """Work that notes the first frame of every block that it answers."""

    def answer(frames):
        answered.append(frames.start)
        time.sleep(pause_s)
        known = np.ones(COUNTS[frames].shape, bool)
        return Answers(COUNTS[frames] + 0.5, known, ~known)

    like = Measurements(COUNTS, np.ones((1, 6, 5), np.float32))
    like = dataclasses.replace(like, names=tuple(f"frame {number}" for number in range(FRAMES)))
    return Work(
        output=str(output),
        like=like,
        blocks=tuple(borders(FRAMES, 3)),
        made_of={"input": "counts"},
        read=lambda frames: frames,
        answer=answer,
        changed=lambda: "",
        process=lambda parts: {},
        finish=lambda parts: None,
        shard=shard,
    )


def written(path):
    with h5py.File(path) as file:
        return file["entry/data/data"][()]


def side_by_side(*works):
    """Do them in threads, which hold locks as processes do; return what each of them said."""
    said, errors = [[] for _ in works], []

    def do(work, say):
        try:
            in_blocks(work, say)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=do, args=(work, lines.append))
        for work, lines in zip(works, said, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    return said


@pytest.mark.parametrize("shards", [("", "1/2"), ("", "2/2"), ("1/2", "2/3", "3/3", "")])
def test_no_block_is_done_twice_by_processes_side_by_side(tmp_path, shards):
    answered = []
    side_by_side(*(work_of(tmp_path / "out.h5", answered, shard=shard) for shard in shards))
    assert sorted(answered) == [block.start for block in borders(FRAMES, 3)]
    np.testing.assert_array_equal(written(tmp_path / "out.h5"), COUNTS + 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_who_begins_at_the_same_moment_does_not_replace_the_parts_of_another(tmp_path, monkeypatch):
    parts = Parts(tmp_path / "out.h5.parts", (slice(0, 3),), {"input": "counts"})
    write_text = Path.write_text

    def meanwhile(self, *args, **options):
        monkeypatch.setattr(Path, "write_text", write_text)
        parts.open()
        (parts.folder / "00000.h5").touch()
        return write_text(self, *args, **options)

    monkeypatch.setattr(Path, "write_text", meanwhile)
    parts.open()
    assert (parts.folder / "00000.h5").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5.parts"]


HOLDER = """
import sys, time
from pathlib import Path
from smae_jax.run.lock import claimed
claim = claimed(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_block_of_a_process_that_is_killed_is_done_by_another(tmp_path):
    answered, said = [], []
    work = work_of(tmp_path / "out.h5", answered, pause_s=0.0)
    parts = Parts(tmp_path / "out.h5.parts", work.blocks, work.made_of)
    parts.open()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parts.path(2))],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HeldError):
            claimed(parts.path(2))

        def say(line):
            said.append(line)
            if "in hand" in line:
                holder.kill()

        in_blocks(work, say)
    assert answered == [0, 3, 9, 12, 15, 18, 21, 6]
    assert any("1 block in hand; waiting" in line for line in said)
    np.testing.assert_array_equal(written(tmp_path / "out.h5"), COUNTS + 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_a_claim_is_let_go_of_where_the_work_fails(tmp_path):
    work = work_of(tmp_path / "out.h5", [])

    def fails(frames):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        in_blocks(dataclasses.replace(work, answer=fails), print)
    assert [path.name for path in (tmp_path / "out.h5.parts").iterdir()] == ["made_of.json"]
    in_blocks(work, print)


def test_who_finds_the_parts_joined_by_another_is_content(tmp_path, monkeypatch):
    """Another process has done the rest of this one's share, and joined all, meanwhile."""
    said, other = [], work_of(tmp_path / "out.h5", [], pause_s=0.0)
    write = Parts.write

    def meanwhile(self, block, *args, **options):
        write(self, block, *args, **options)
        if block == 3:
            monkeypatch.setattr(Parts, "write", write)
            in_blocks(other, print)

    monkeypatch.setattr(Parts, "write", meanwhile)
    in_blocks(work_of(tmp_path / "out.h5", [], shard="1/2"), said.append)
    assert "another process has finished last, and writes it" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]

"""Frames are denoised as they come: from files and from a growing HDF5 file, killed, gone on with."""

import os
import signal
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest
import tifffile
from conftest import ROOT

import smae_jax
from smae_jax.io.growing import Growing, Layout
from smae_jax.io.reading import read
from smae_jax.measurements import Measurements
from smae_jax.run.lock import held

QUICK = ("--settle", "0.1", "--patience", "0.3", "--idle", "1", "--batch-size", "4")


@pytest.fixture(scope="module")
def frames(small_scan):
    return np.load(small_scan)["counts"].astype(np.uint16)


@pytest.fixture(scope="module")
def expected(trained_run, frames):
    return smae_jax.Denoiser(trained_run).resident(batch_size=4)(frames)


def answers_of(path):
    with h5py.File(path, "r") as file:
        data = file["entry/data"]
        return data["data"][()], [name.decode() for name in data["source"][()]]


def test_files_of_a_folder(smae, trained_run, frames, expected, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(4):
        tifffile.imwrite(tmp_path / f"in/f{index}.tif", frames[index])
    whole = (tmp_path / "in/f0.tif").read_bytes()
    (tmp_path / "in/half.tif").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(tmp_path / "in/other.tif", frames[0].T)
    command = ("watch", "--run", trained_run, "--input", "in/*.tif", "--output", "out.h5", *QUICK)
    answer = smae(*command)
    assert answer.status == 0, answer.err
    assert "left out: in/half.tif" in answer.out
    assert "in/other.tif: expected frames of (34, 30)" in answer.out
    found, names = answers_of(tmp_path / "out.h5")
    assert names == [f"f{index}.tif" for index in range(4)]
    np.testing.assert_array_equal(found, expected[:4])
    assert smae_jax.read("out.h5").frames == 4
    tifffile.imwrite(tmp_path / "in/f4.tif", frames[4])  # the same command goes on
    assert smae(*command, "--frames", 5).status == 0
    found, names = answers_of(tmp_path / "out.h5")
    np.testing.assert_array_equal(found, expected[:5])
    assert smae(*command, "--keep-significant", 0).status == 2  # other answers are refused


def test_a_growing_file(smae, trained_run, frames, expected, tmp_path):
    def write():
        with h5py.File(tmp_path / "live.h5", "w", libver="latest") as file:
            shape = {"shape": (0, 34, 30), "maxshape": (None, 34, 30), "chunks": (1, 34, 30)}
            data = file.create_dataset("data", dtype=np.uint16, **shape)
            file.swmr_mode = True
            for index, frame in enumerate(frames):
                data.resize(index + 1, axis=0)
                data[index] = frame
                data.flush()
                time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    answer = smae(
        *("watch", "--run", trained_run, "--input", "live.h5::/data", "--output", "out.h5"),
        *(*QUICK, "--frames", len(frames)),
    )
    writer.join()
    assert answer.status == 0, answer.err
    assert f"all {len(frames)} frames of the scan are there" in answer.out
    np.testing.assert_array_equal(answers_of(tmp_path / "out.h5")[0], expected)


def test_what_would_be_lost_is_refused(smae, trained_run, frames, tmp_path):
    np.save(tmp_path / "a.npy", frames)
    command = ("watch", "--run", trained_run, "--input")
    assert "looks for frames" in smae(*command, "*.h5", "--output", "out.h5").err
    assert "cannot grow" in smae(*command, "a.npy", "--output", "out.tif").err
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["data"] = frames
    assert smae(*command, "in.h5", "--output", "in.h5").status == 2
    with held("out.h5", doing="writing", option="--output"):
        assert "is writing there" in smae(*command, "a.npy", "--output", "out.h5").err


KILLED = """
import os, sys
import numpy as np
from smae_jax.io.growing import Growing, Layout
from smae_jax.measurements import Measurements
like = Measurements(np.zeros((1, 9, 8), np.int32), np.ones((1, 9, 8), np.float32))
output = Growing(sys.argv[1], Layout(like, np.ones((9, 8), bool), {}, {"input": "x"}))
rows = np.ones((2, 9, 8), np.float32)
output.append(rows, rows > 2, ["f0", "f1"])
os.kill(os.getpid(), 9)
"""


def test_a_file_whose_writer_was_killed_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert read(str(path)).frames == 2
    like = Measurements(np.zeros((1, 9, 8), np.int32), np.ones((1, 9, 8), np.float32))
    with Growing(path, Layout(like, np.ones((9, 8), bool), {}, {"input": "x"})) as output:
        assert output.names == ["f0", "f1"]
        more = np.full((1, 9, 8), 3, np.float32)
        output.append(more, more > 9, ["f2"])
    assert read(str(path)).counts[:, 0, 0].tolist() == [1, 1, 3]


@pytest.mark.parametrize("foreseen", [True, False], ids=["no room", "failed write"])
def test_a_full_disk_is_said_in_one_line_and_what_was_written_stays(
    tmp_path, monkeypatch, foreseen
):
    resource = pytest.importorskip(
        "resource"
    )  # a limit of the file's size fails as a full disk does
    if not foreseen:
        monkeypatch.setattr("smae_jax.io.swmr._make_room", lambda *about: False)
    like = Measurements(np.zeros((1, 90, 80), np.int32), np.ones((1, 90, 80), np.float32))
    layout = Layout(like, np.ones((90, 80), bool), {}, {"input": "x"}, packing="none")
    path, rows = tmp_path / "a.h5", np.ones((1, 90, 80), np.float32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_400_000, before[1]))
    said = r"may not grow to 1.* 1\.0 MiB are needed" if foreseen else "File too large.*start again"

    def fill():
        with Growing(path, layout) as output:
            for index in range(60):
                output.append(rows * index, rows > 2, [f"f{index}"])

    try:
        with pytest.raises(smae_jax.UserError, match=said):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read(str(path)).frames > 2
    with Growing(path, layout) as output:
        written = len(output.names)
        assert 2 < written < 59
        output.append(rows, rows > 2, ["more"])
    assert read(str(path)).counts[:, 0, 0].tolist() == [*range(written), 1]


def number_in(path):
    """Return how many frames an output holds; one without a frame is no scan yet."""
    try:
        return smae_jax.read(str(path)).frames
    except smae_jax.UserError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_a_watch_that_is_stopped_leaves_an_output_and_goes_on(trained_run, frames, tmp_path, end):
    folder, out = tmp_path / "in", tmp_path / "out.h5"
    folder.mkdir()
    for index in range(2):
        tifffile.imwrite(folder / f"f{index}.tif", frames[index])
    line = [sys.executable, "-m", "smae_jax.cli", "watch", "--run", str(trained_run)]
    line += ["--input", f"{folder}/*.tif", "--output", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(line, env=environment)
    while process.poll() is None:
        time.sleep(0.5)
        if number_in(out) == 2:
            process.send_signal(end)
            process.wait(30)
    assert process.returncode == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    assert smae_jax.read(str(out)).frames == 2
    tifffile.imwrite(folder / "f2.tif", frames[2])
    subprocess.run([*line, "--frames", "3"], check=True, env=environment)
    assert smae_jax.read(str(out)).frames == 3

"""Frames are denoised as they come: from files and from a growing HDF5 file, killed, gone on with."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import ModuleType

import h5py
import numpy as np
import pytest
import tifffile
from conftest import ROOT

import smae_jax
from smae_jax import cli
from smae_jax.io.arrivals import Folder
from smae_jax.io.arrived import UNKNOWN, Reading, State
from smae_jax.io.growing import Growing
from smae_jax.io.growing_input import GrowingFile
from smae_jax.io.growing_layout import Layout
from smae_jax.io.reading import read
from smae_jax.measurements import Measurements
from smae_jax.run.lock import held

ANY = State(1, 2, 3)
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
    assert "another --packing (bitshuffle; now gzip)" in smae(*command, "--packing", "gzip").err
    shutil.copytree(trained_run, tmp_path / "other")
    other = ("watch", "--run", "other", *command[3:], "--center", "17,14")
    assert f"another run ({trained_run}, step" in smae(*other).err


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


NOW = Reading((9, 8), settle=0, patience=0)


def written(path, value, frames=None):
    shape = (9, 8) if frames is None else (frames, 9, 8)
    np.save(path, np.full(shape, value, np.int32))


def names_of(arrived):
    return None if arrived is None else [*arrived.data.names]


def test_a_file_that_is_written_again_is_answered_anew(tmp_path):
    for name in "ab":
        written(tmp_path / f"{name}.npy", 2)
    folder = Folder(f"{tmp_path}/*.npy", NOW)
    first = folder.take(9, 9)
    assert names_of(first) == ["a.npy", "b.npy"]
    done = dict(zip(first.data.names, first.states, strict=True))
    os.utime(tmp_path / "a.npy")  # was touched, and holds the same
    assert (folder.changed, folder.take(9, 0)) == (0, None)
    written(tmp_path / "b.npy", 7)
    os.utime(tmp_path / "b.npy", ns=(5, 5))  # clocks of file systems are coarse
    for again in (folder, Folder(f"{tmp_path}/*.npy", NOW, done)):  # running, and after a restart
        found = again.take(9, 0)
        assert names_of(found) == ["b.npy"]
        assert found.data.counts.max() == 7
        assert again.take(9, 9) is None


def test_frames_of_a_stack_that_changed_are_answered_anew_and_no_others(tmp_path):
    counts = np.arange(5 * 72).reshape(5, 9, 8)
    np.save(tmp_path / "s.npy", counts)
    folder = Folder(str(tmp_path), NOW)
    assert len(folder.take(2, 9).states) == 2
    assert folder.changed == 0
    first = Folder(str(tmp_path), NOW).take(9, 9)
    folder.take(9, 9)
    counts[[1, 3], 2] += 1
    np.save(tmp_path / "s.npy", np.concatenate([counts, counts[:1]]))
    done = dict(zip(first.data.names, first.states, strict=True))
    for again in (folder, Folder(str(tmp_path), NOW, done)):
        assert names_of(again.take(9, 0)) == ["s.npy[1]", "s.npy[3]"]
        assert again.changed == 0  # the new one is no reason to go on
        assert names_of(again.take(9, 9)) == ["s.npy[5]"]


def test_an_hdf5_file_that_is_written_anew_is_answered_anew(tmp_path):
    path = tmp_path / "a.h5"

    def write(frames):
        with h5py.File(path, "w") as file:
            file["data"] = frames

    frames = np.arange(4 * 72).reshape(4, 9, 8)
    write(frames[:3])
    growing = GrowingFile(f"{path}::data", NOW)
    first = growing.take(9, 9)
    done = dict(zip(first.data.names, first.states, strict=True))
    write(frames)  # is longer: nothing that was answered has changed
    assert names_of(growing.take(9, 9)) == ["a.h5::/data[3]"]
    write(frames[:2] + 1)
    for again in (growing, GrowingFile(f"{path}::data", NOW, done)):
        found = again.take(9, 0)
        assert names_of(found) == ["a.h5::/data[0]", "a.h5::/data[1]"]
        assert found.data.counts.max() == 144
        again.left()
        assert "of the frames that were answered before" in " ".join(again.said.rest())


def test_who_was_killed_while_answering_anew_goes_on_with_that(tmp_path):
    frames = np.arange(4 * 72).reshape(4, 9, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = frames
    whole = GrowingFile(f"{tmp_path}/a.h5::data", NOW).take(9, 9)
    names, states = whole.data.names, whole.states
    former = [state._replace(checksum=1) for state in states]
    for done, wanted in (
        ([*states[:2], *former[2:]], names[2:]),  # the first two were answered anew
        ([states[0], UNKNOWN, *states[2:]], names[1:2]),  # and one was being written
    ):
        again = GrowingFile(f"{tmp_path}/a.h5::data", NOW, dict(zip(names, done, strict=True)))
        assert names_of(again.take(9, 0)) == [*wanted]
    np.save(tmp_path / "b.npy", frames[0])
    assert names_of(Folder(f"{tmp_path}/*.npy", NOW, {"b.npy": UNKNOWN}).take(9, 0)) == ["b.npy"]


def test_an_answer_is_written_in_the_place_of_the_former_one(tmp_path):
    like = Measurements(np.zeros((1, 9, 8), np.int32), np.ones((1, 9, 8), np.float32))
    layout, rows = Layout(like, np.ones((9, 8), bool), {}, {}), np.ones((3, 9, 8), np.float32)
    with Growing(tmp_path / "a.h5", layout) as output:
        output.write(rows, rows > 2, ["f0", "f1", "f2"], [ANY] * 3)
        again = State(4, 5, 6)
        output.write(rows[:2] * 5, rows[:2] < 9, ["f1", "f3"], [again] * 2)
    with Growing(tmp_path / "a.h5", layout) as output:
        assert output.answered == {"f0": ANY, "f1": again, "f2": ANY, "f3": again}
    assert read(str(tmp_path / "a.h5")).counts[:, 0, 0].tolist() == [1, 5, 1, 5]


def test_what_is_not_answered_is_said_once_for_each_reason(tmp_path, monkeypatch):
    folder = Folder(f"{tmp_path}/in/*.npy", NOW)
    with monkeypatch.context() as patch:
        patch.setattr("smae_jax.io.present.matching", lambda *a, **k: os.listdir(tmp_path / "no"))
        folder.take(9, 9)
        assert "No such file or directory; check its mode and its disk" in folder.said.new()[0]
    assert folder.take(9, 9) is None
    assert folder.take(9, 9) is None
    assert folder.said.rest() == [
        f"waiting for the first frame: {tmp_path}/in/*.npy: no file matches yet"
    ]
    (tmp_path / "in").mkdir()
    for index in range(7):
        np.save(tmp_path / f"in/w{index}.npy", np.zeros((8, 9), np.int32))
    (tmp_path / "in/x.npy").symlink_to(tmp_path / "nowhere")
    folder.take(9, 9)
    lines = folder.said.new()
    assert len(lines) == 2
    assert "left out: 7 (" in lines[0]
    assert "w2.npy, ...): expected frames of (9, 8)" in lines[0]
    assert "x.npy: no such file; it has gone, or is a link to nothing" in lines[1]
    for index in range(5):
        written(tmp_path / f"in/y{index}.npy", 3)
    assert len(folder.take(2, 2).states) == 2
    folder.left()
    (line,) = folder.said.rest()
    assert line.startswith("not answered: 3 (")
    assert "the same command goes on with them" in line
    (tmp_path / "in/y0.npy").unlink()
    folder.take(0, 0)
    assert "y0.npy: is no longer there; its answer stays" in folder.said.new()[0]


def test_a_folder_goes_on_with_the_format_that_came_first(tmp_path):
    folder = Folder(str(tmp_path), NOW)
    folder.take(9, 9)
    assert "holds no frame yet" in folder.said.new()[0]
    written(tmp_path / "a.npy", 3)
    assert names_of(folder.take(9, 9)) == ["a.npy"]
    tifffile.imwrite(tmp_path / "b.tif", np.ones((9, 8), np.int32))
    written(tmp_path / "c.npy", 3)
    assert names_of(folder.take(9, 9)) == ["c.npy"]
    assert "b.tif: is of another format" in folder.said.new()[0]
    with pytest.raises(smae_jax.UserError, match=r"mixes formats \(.npy, .tif\)"):
        Folder(str(tmp_path), NOW).take(9, 9)


def test_an_hdf5_file_is_waited_for_and_its_end_is_seen(tmp_path):
    path = tmp_path / "a.h5"
    growing = GrowingFile(f"{path}::entry/data", NOW)
    growing.take(9, 9)
    growing.take(9, 9)
    assert growing.said.rest() == [f"waiting for the first frame: {path}: no such file yet"]
    with h5py.File(path, "w") as file:  # no NX_class
        file["entry/data"] = np.ones((2, 9, 8), np.int32)
    assert len(growing.take(9, 9).states) == 2
    growing.take(9, 9)
    assert not growing.ended
    with h5py.File(path, "a") as file:
        file["entry/end_time"] = "2026-11-27T04:00:00"
    growing.take(9, 9)
    assert growing.ended
    path.unlink()
    growing.take(9, 9)
    assert growing.said.new() == [f"waiting for more: {path}: has gone; its answers stay"]


def test_a_signal_while_jax_is_imported_is_remembered(monkeypatch):
    class Slow(ModuleType):
        @property
        def watch(self):
            os.kill(os.getpid(), signal.SIGINT)
            return lambda config, say, stopped: asked.append(stopped())

    asked = []
    monkeypatch.setitem(sys.modules, "smae_jax.commands.watch", Slow("watch"))
    cli.command("watch")(None, print)
    assert asked == [True]


def test_frames_that_do_not_fit_are_an_error_and_replace_nothing(
    smae, trained_run, frames, tmp_path
):
    (tmp_path / "out.h5").write_text("of yesterday")
    np.save(tmp_path / "a.npy", frames[0].T)
    answer = smae(
        *("watch", "--run", trained_run, "--input", "*.npy", "--output", "out.h5"),
        *(*QUICK, "--idle", "0.3", "--overwrite"),
    )
    assert answer.status == 2
    assert "--input *.npy: no frame was answered (left out: 1, as a.npy: expected" in answer.err
    assert (tmp_path / "out.h5").read_text() == "of yesterday"


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
from smae_jax.io.growing import Growing
from smae_jax.io.growing_layout import Layout
from smae_jax.measurements import Measurements
like = Measurements(np.zeros((1, 9, 8), np.int32), np.ones((1, 9, 8), np.float32))
output = Growing(sys.argv[1], Layout(like, np.ones((9, 8), bool), {}, {"input": "x"}))
rows = np.ones((2, 9, 8), np.float32)
output.write(rows, rows > 2, ["f1", "f2"], [(9, 9, 9)] * 2)
os.kill(os.getpid(), 9)
"""


def test_a_file_whose_writer_was_killed_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "a.h5"
    like = Measurements(np.zeros((1, 9, 8), np.int32), np.ones((1, 9, 8), np.float32))
    layout, row = Layout(like, np.ones((9, 8), bool), {}, {"input": "x"}), np.ones((1, 9, 8))
    with Growing(path, layout) as output:
        output.write(row * 2, row > 2, ["f0"], [ANY])
    command = [sys.executable, "-c", KILLED, str(path)]
    with h5py.File(path, "r", libver="latest", swmr=True):  # a reader keeps no writer out
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert read(str(path)).frames == 3
    with Growing(path, layout) as output:
        assert [*output.answered] == ["f0", "f1", "f2"]
        output.write(row * 3, row > 9, ["f3"], [ANY])
    assert read(str(path)).counts[:, 0, 0].tolist() == [2, 1, 1, 3]


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
                output.write(rows * index, rows > 2, [f"f{index}"], [ANY])

    try:
        with pytest.raises(smae_jax.UserError, match=said):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read(str(path)).frames > 2
    with Growing(path, layout) as output:
        written = len(output.answered)
        assert 2 < written < 59
        output.write(rows, rows > 2, ["more"], [ANY])
    assert read(str(path)).counts[:, 0, 0].tolist() == [*range(written), 1]


def number_in(path):
    """Return how many frames an output holds; one without a frame is no scan yet."""
    try:
        return smae_jax.read(str(path)).frames
    except smae_jax.UserError:
        return 0


@pytest.mark.slow
@pytest.mark.optimized
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

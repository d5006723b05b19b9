"""What is written is read back the same, and an output is there whole or not at all."""

import datetime
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from smae_jax.data import writers
from smae_jax.data.atomic import OutputError, atomic_path
from smae_jax.data.readers import read_scan
from smae_jax.data.scan import Geometry
from smae_jax.data.writers import check_output, write_frames

SOURCES = ("P40_0.tif", "dir/P40_1.tif", "scan.h5::/entry/data/data[3]")
GEOMETRY = Geometry((490.25, 409.75), (172e-6, 100e-6), 1.54e-10, 2.5)


@pytest.fixture
def frames():
    """Counts (3, 9, 7), where they are valid, and where they are filled, unlike in each frame."""
    rng = np.random.default_rng(0)
    counts = rng.gamma(2.0, size=(3, 9, 7)).astype(np.float32)
    valid = rng.random(counts.shape) > 0.3
    filled = ~valid & (rng.random(counts.shape) > 0.5)
    return counts, valid, filled


def write(path, frames, **options):
    counts, valid, filled = frames
    write_frames(str(path), counts, valid=valid, filled=filled, sources=SOURCES, **options)


def expected(frames):
    counts, valid, filled = frames
    return np.where(valid | filled, counts, np.nan)


@pytest.mark.parametrize("name", ["o.h5", "o.hdf5", "o.nxs", "o.tif", "o.TIFF", "o.npy"])
def test_answers_come_back_and_the_rest_is_nan(tmp_path, frames, name):
    path = tmp_path / "new" / "folder" / name
    write(path, frames)
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as tiff:
            assert len(tiff.pages) == 3
            stored = tiff.asarray()
    elif path.suffix == ".npy":
        stored = np.load(path)
    else:
        with h5py.File(path) as file:
            stored = file["entry/data/data"][()]
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, expected(frames))
    assert os.listdir(path.parent) == [name]  # no temporary is left
    scan = read_scan(str(path))
    np.testing.assert_array_equal(scan.counts, np.nan_to_num(expected(frames)))


@pytest.mark.parametrize("name", ["out", "out/", "out.v2/"])
def test_folder_holds_one_file_per_frame_named_after_its_source(tmp_path, frames, name):
    write(f"{tmp_path}/{name}", frames)
    folder = tmp_path / name
    assert sorted(os.listdir(folder)) == ["P40_0.tif", "dir_P40_1.tif", "scan_00003.tif"]
    for file, wanted in zip(("P40_0", "dir_P40_1", "scan_00003"), expected(frames), strict=True):
        stored = tifffile.imread(folder / f"{file}.tif")
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, wanted)


def test_file_names_are_safe_and_distinct():
    sources = ("a.tif", "a.cbf", "A.edf", "../../etc/x.tif", "r.npy[2,11]", "s.tif[3]", "::")
    names = writers._file_names(sources)
    assert names[0] == "a.tif"
    assert names[4:6] == ["r_00002_00011.tif", "s_00003.tif"]
    assert len({name.lower() for name in names}) == len(sources)
    assert not any("/" in name or name.startswith(".") for name in names)


def test_narrow_frames_are_no_colours(tmp_path):
    counts = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    write_frames(f"{tmp_path}/o.tif", counts, valid=np.ones((5, 3), bool), sources=["a"] * 4)
    np.testing.assert_array_equal(read_scan(f"{tmp_path}/o.tif").counts, counts)


def test_nexus_opens_as_a_plot_and_tells_what_was_done(tmp_path, frames):
    write(tmp_path / "o.h5", frames, geometry=GEOMETRY, process={"config": "[data]\npath = 'a'"})
    with h5py.File(tmp_path / "o.h5") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        assert [g.attrs["NX_class"] for g in (entry, data)] == ["NXentry", "NXdata"]
        assert signal.attrs["units"] == "counts"
        assert signal.attrs["interpretation"] == "image"
        assert signal.chunks == (1, 9, 7)
        assert signal.compression == "gzip"  # every HDF5 reads it without a plug-in
        np.testing.assert_array_equal(data["pixel_mask"][()] == 0, frames[1] | frames[2])
        np.testing.assert_array_equal(data["filled"][()], frames[2])
        assert data["filled"].dtype == np.uint8
        assert data["source"].asstr()[()].tolist() == list(SOURCES)
        process = entry["process"]
        assert process.attrs["NX_class"] == "NXprocess"
        assert process["program"].asstr()[()] == "smae_jax"
        assert process["config"].asstr()[()] == "[data]\npath = 'a'"
        assert datetime.datetime.fromisoformat(process["date"].asstr()[()]).tzinfo is not None
        assert entry["instrument/detector/beam_center_y"][()] == 490.25
        assert entry["instrument/detector/x_pixel_size"].attrs["units"] == "m"
    read = read_scan(f"{tmp_path}/o.h5").geometry
    assert read.center == GEOMETRY.center
    assert read.pixel_size_m == GEOMETRY.pixel_size_m
    assert read.wavelength_m == pytest.approx(GEOMETRY.wavelength_m)
    assert read.distance_m == GEOMETRY.distance_m


def test_one_mask_for_all_frames_is_kept_as_one(tmp_path):
    counts = np.ones((3, 4, 5), np.float32)
    valid = np.ones((1, 4, 5), bool)
    valid[0, 2, 1] = False
    write_frames(f"{tmp_path}/o.h5", counts, valid=valid, sources=SOURCES, geometry=GEOMETRY)
    with h5py.File(tmp_path / "o.h5") as file:
        assert np.isnan(file["entry/data/data"][:, 2, 1]).all()
        assert file["entry/data/pixel_mask"].shape == (4, 5)
        assert file["entry/data/pixel_mask"][()].sum() == 1
    np.testing.assert_array_equal(read_scan(f"{tmp_path}/o.h5").valid, valid)


# Refusals


@pytest.mark.parametrize("name", ["o.h5", "o.tif", "o.npy", "folder"])
def test_existing_output_survives_unless_overwritten(tmp_path, frames, name):
    path = tmp_path / name
    write(path, frames)
    other = (frames[0] + 1, *frames[1:])
    for attempt in (check_output, lambda p: write(p, other)):
        with pytest.raises(OutputError, match=f"{name}: exists already.*--overwrite"):
            attempt(str(path))
    np.testing.assert_array_equal(read_scan(str(path)).counts, np.nan_to_num(expected(frames)))
    write(path, other, overwrite=True)
    np.testing.assert_array_equal(read_scan(str(path)).counts, np.nan_to_num(expected(other)))
    assert os.listdir(tmp_path) == [name]


def test_empty_folder_is_filled(tmp_path, frames):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", frames)
    assert len(os.listdir(tmp_path / "out")) == 3


def test_overwriting_a_folder_spares_what_is_not_ours(tmp_path, frames):
    write(tmp_path / "out", frames)
    tifffile.imwrite(tmp_path / "out" / "raw.tif", np.ones((3, 4), np.int32))
    with pytest.raises(OutputError, match="holds other files"):
        write(tmp_path / "out", frames, overwrite=True)
    assert (tmp_path / "out" / "raw.tif").exists()


@pytest.mark.parametrize("suffix", [".png", ".edf", ".npz", ".h5x"])
def test_unknown_suffix_is_refused(tmp_path, frames, suffix):
    with pytest.raises(OutputError, match=f"unknown suffix '{suffix}'.*expected .h5"):
        write(tmp_path / f"o{suffix}", frames)
    assert os.listdir(tmp_path) == []


def test_folder_in_the_way_is_refused(tmp_path, frames):
    (tmp_path / "o.h5").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path / "o.h5", frames, overwrite=True)
    with pytest.raises(OutputError, match="is a folder"), atomic_path(tmp_path / "o.h5", True) as t:
        t.write_text("x")
    assert os.listdir(tmp_path) == ["o.h5"]


def test_file_in_the_way_of_a_folder_is_refused(tmp_path, frames):
    (tmp_path / "plain").write_text("x")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        write(tmp_path / "plain" / "o.h5", frames)
    assert (tmp_path / "plain").read_text() == "x"


# Errors of the machine


def fail_halfway(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def refuse_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullFile:
    """A file that takes a header, and then is on a full disk."""

    def __init__(self, file):
        self.file, self.room = file, 300

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.room -= len(data)
        return self.file.write(data) if self.room > 0 else refuse_space()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("name", ["o.h5", "o.tif", "o.npy", "folder"])
@pytest.mark.parametrize("earlier", [False, True])
def test_full_disk_leaves_nothing_half_written(tmp_path, frames, name, earlier, monkeypatch):
    path = tmp_path / name
    if earlier:
        write(path, frames)
    monkeypatch.setattr(tifffile.TiffWriter, "write", refuse_space)
    whole = writers.Path.open
    monkeypatch.setattr(writers.Path, "open", lambda *a, **kw: FullFile(whole(*a, **kw)))
    with pytest.raises(OutputError, match=f"{name}: the disk is full; free some space") as caught:
        write(path, (frames[0] + 1, *frames[1:]), overwrite=True)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ([name] if earlier else [])
    if earlier:
        np.testing.assert_array_equal(read_scan(str(path)).counts, np.nan_to_num(expected(frames)))


LIMITED = """
import resource, sys, numpy as np
from smae_jax.data.writers import write_frames
counts = np.random.default_rng(0).random((8, 100, 100), np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    write_frames(sys.argv[1], counts, valid=np.ones((100, 100), bool), sources=["a.tif"] * 8)
except ValueError as error:
    sys.exit(f"one line: {error}")
"""


@pytest.mark.parametrize("name", ["o.h5", "o.tif", "o.npy", "folder"])
def test_limit_of_the_system_is_an_error_and_no_crash(tmp_path, name):
    """Met by the libraries themselves: HDF5 left alone ends in a segmentation fault."""
    pytest.importorskip("resource")
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / name)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert re.fullmatch(f"one line: .*/{name}: .*nothing was written\\n", ran.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
            "full",
        ),
        (RuntimeError("Unable to close: No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "denied"), "no permission to write there"),
        (OSError(errno.EROFS, "read-only"), "no permission to write there"),
        (OSError(errno.EIO, "broken\ndisk"), "cannot be written"),
    ],
)
def test_errors_are_explained_in_one_line(tmp_path, error, said):
    with pytest.raises(OutputError, match=said) as caught:
        fail_halfway(tmp_path / "a.x", error)
    assert str(caught.value).startswith(f"{tmp_path}/a.x: ")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), RuntimeError("ours")])
def test_interrupts_and_our_own_errors_pass_through(tmp_path, error):
    with pytest.raises(type(error)):
        fail_halfway(tmp_path / "a.x", error)
    assert os.listdir(tmp_path) == []


def test_no_permission_is_said(tmp_path, frames, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", deny)
    with pytest.raises(OutputError, match="no permission to write there; choose another"):
        write(tmp_path / "o.h5", frames)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path, frames):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission to write there"):
            write(tmp_path / "o.h5", frames)
    finally:
        tmp_path.chmod(0o700)


def test_atomic_path_appears_only_at_the_end(tmp_path):
    with atomic_path(tmp_path / "a" / "b.txt") as path:
        path.write_text("whole")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "whole"

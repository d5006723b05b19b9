"""What is written is read back the same, and an output is there whole or not at all."""

import contextlib
import datetime
import errno
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from smae_jax.geometry import Center, Geometry
from smae_jax.io import writing
from smae_jax.io.atomic import OutputError, atomic_path
from smae_jax.io.reading import read
from smae_jax.io.results import read_result
from smae_jax.io.writing import check_output, refuse_input
from smae_jax.io.writing import write as write_answers
from smae_jax.measurements import Axis, Measurements, Origin
from smae_jax.version import version

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


def like(counts, valid=None, **facts):
    """What the answers were made of."""
    counts = np.asarray(counts, np.float32)
    exposure = np.ones_like(counts) if valid is None else valid.astype(np.float32)
    return Measurements(counts, exposure, **facts)


def write(path, frames, geometry=GEOMETRY, **options):
    counts, valid, filled = frames
    data = like(counts, valid, names=SOURCES, geometry=geometry)
    write_answers(str(path), counts, data, known=valid, filled=filled, **options)


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
    scan = read(str(path))
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
    names = writing._file_names(sources)
    assert names[0] == "a.tif"
    assert names[4:6] == ["r_00002_00011.tif", "s_00003.tif"]
    assert len({name.lower() for name in names}) == len(sources)
    assert not any("/" in name or name.startswith(".") for name in names)


def test_narrow_frames_are_no_colours(tmp_path):
    counts = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    write_answers(f"{tmp_path}/o.tif", counts, like(counts))
    np.testing.assert_array_equal(read(f"{tmp_path}/o.tif").counts, counts)


def test_nexus_opens_as_a_plot_and_tells_what_was_done(tmp_path, frames):
    write(tmp_path / "o.h5", frames, process={"config": "[data]\npath = 'a'"})
    with h5py.File(tmp_path / "o.h5") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        assert [g.attrs["NX_class"] for g in (entry, data)] == ["NXentry", "NXdata"]
        assert signal.attrs["units"] == "counts"
        assert signal.attrs["interpretation"] == "image"
        assert signal.chunks == (1, 9, 7)
        assert "32008" in signal._filters  # Bitshuffle
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
    geometry = read(f"{tmp_path}/o.h5").geometry
    assert geometry.center == GEOMETRY.center
    assert geometry.pixel_size_m == GEOMETRY.pixel_size_m
    assert geometry.wavelength_m == pytest.approx(GEOMETRY.wavelength_m)
    assert geometry.distance_m == GEOMETRY.distance_m


def test_one_mask_for_all_frames_is_kept_as_one(tmp_path):
    counts = np.ones((3, 4, 5), np.float32)
    valid = np.ones((1, 4, 5), bool)
    valid[0, 2, 1] = False
    write_answers(f"{tmp_path}/o.h5", counts, like(counts, valid), known=valid)
    with h5py.File(tmp_path / "o.h5") as file:
        assert np.isnan(file["entry/data/data"][:, 2, 1]).all()
        assert file["entry/data/pixel_mask"].shape == (4, 5)
        assert file["entry/data/pixel_mask"][()].sum() == 1
    np.testing.assert_array_equal(read(f"{tmp_path}/o.h5").valid, valid)


# Refusals


@pytest.mark.parametrize("name", ["o.h5", "o.tif", "o.npy", "folder"])
def test_existing_output_survives_unless_overwritten(tmp_path, frames, name):
    path = tmp_path / name
    write(path, frames)
    other = (frames[0] + 1, *frames[1:])
    for attempt in (lambda p: check_output(p, like(frames[0])), lambda p: write(p, other)):
        with pytest.raises(OutputError, match=f"{name}: exists already.*--overwrite"):
            attempt(str(path))
    np.testing.assert_array_equal(read(str(path)).counts, np.nan_to_num(expected(frames)))
    write(path, other, overwrite=True)
    np.testing.assert_array_equal(read(str(path)).counts, np.nan_to_num(expected(other)))
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


@pytest.mark.parametrize("suffix", [".png", ".edf", ".csvx", ".h5x"])
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
    whole = writing.Path.open
    monkeypatch.setattr(writing.Path, "open", lambda *a, **kw: FullFile(whole(*a, **kw)))
    with pytest.raises(OutputError, match=f"{name}: the disk is full; free some space") as caught:
        write(path, (frames[0] + 1, *frames[1:]), overwrite=True)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ([name] if earlier else [])
    if earlier:
        np.testing.assert_array_equal(read(str(path)).counts, np.nan_to_num(expected(frames)))


LIMITED = """
import resource, sys, numpy as np
from smae_jax.io.writing import write
from smae_jax.measurements import Measurements
counts = np.random.default_rng(0).random((8, 100, 100), np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    write(sys.argv[1], counts, Measurements(counts, np.ones((1, 100, 100), np.float32)))
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


# Inputs survive


@pytest.fixture
def scan_file(tmp_path, monkeypatch):
    """A scan that is read, in a folder of its own, from the folder above."""
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "scan.npy", np.ones((2, 3, 4), np.int32))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "raw" / "scan.npy"


@pytest.mark.parametrize("given", ["raw/scan.npy", "raw/*.npy", "raw/../raw", "{root}/raw/s*.npy"])
@pytest.mark.parametrize("output", ["raw/scan.npy", "./raw/scan.npy", "{root}/raw/scan.npy", "raw"])
def test_output_that_is_an_input_is_refused(scan_file, tmp_path, given, output):
    given, output = (text.format(root=tmp_path) for text in (given, output))
    with pytest.raises(OutputError, match=f"^--output {re.escape(output)}: .*lost") as caught:
        refuse_input(output, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["raw/scan.h5::/entry/data", "raw/scan.npz::frames", "raw/scan.h5"]
)
def test_name_within_the_input_makes_no_difference(scan_file, tmp_path, location):
    file = tmp_path / location.partition("::")[0]
    file.write_bytes(b"")
    with pytest.raises(OutputError, match="is an input"):
        refuse_input(str(file), location)
    refuse_input("raw/other.h5", location, "")


def test_links_to_an_input_are_refused(scan_file, tmp_path):
    os.link(scan_file, tmp_path / "hard.npy")
    os.symlink(scan_file, tmp_path / "soft.npy")
    os.symlink(tmp_path / "raw", tmp_path / "folder")
    for output in ("hard.npy", "soft.npy", "folder/scan.npy", "folder", "folder/"):
        with pytest.raises(OutputError, match="input"):
            refuse_input(output, "raw/scan.npy")
    for given in ("hard.npy", "soft.npy", "folder/*.npy", "folder"):
        with pytest.raises(OutputError, match="input"):
            refuse_input("raw/scan.npy", given)
    os.symlink("nowhere.npy", tmp_path / "dangling.npy")
    refuse_input("dangling.npy", "raw/scan.npy")


def test_folder_that_holds_an_input_is_refused(scan_file, tmp_path):
    for output in (".", "raw/", str(tmp_path), str(tmp_path.parent)):
        with pytest.raises(OutputError, match=r"--run .*: (holds the|is an) input"):
            refuse_input(output, "raw/*.npy", option="--run")
    for output in ("raw/denoised", "ra", "raw2/", "raw/scan.npy.h5"):
        refuse_input(output, "raw/*.npy")


def test_files_that_belong_to_an_input_are_inputs(scan_file, tmp_path):
    np.save(tmp_path / "raw" / "scan_axis.npy", np.arange(4.0))
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["data"] = h5py.ExternalLink("raw/part.h5", "/data")
    layout = h5py.VirtualLayout((2, 3, 4), np.int32)
    layout[:] = h5py.VirtualSource("raw/other.h5", "/data", (2, 3, 4))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    for name in ("part", "other"):
        (tmp_path / "raw" / f"{name}.h5").write_bytes(b"")
    for output, given in (
        ("raw/scan_axis.npy", "raw/scan.npy"),
        ("raw/part.h5", "master.h5"),
        ("raw/other.h5", "virtual.h5::/data"),
    ):
        with pytest.raises(OutputError, match="is an input"):
            refuse_input(output, given)


@pytest.mark.parametrize(
    ("output", "given"),
    [
        ("scan.npy", "scan.npy"),
        ("scan.npy", "scan_sigma.npy"),
        ("scan.npy", "scan_axis.npy"),
        ("scan.tif", "scan_sigma.tif"),
        ("out/", "out_sigma/a.tif"),
    ],
)
def test_output_and_all_files_beside_it_are_checked(tmp_path, monkeypatch, output, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / given).parent.mkdir(exist_ok=True)
    (tmp_path / given).write_bytes(b"")
    with pytest.raises(OutputError, match="input"):
        check_output(output, like(np.ones((2, 3, 4))), inputs=[given], overwrite=True)


def test_writer_never_replaces_what_it_was_made_of(scan_file):
    data = read("raw/scan.npy")
    for path in ("raw/scan.npy", "./raw/../raw/scan.npy"):
        with pytest.raises(OutputError, match="is an input, which would be lost"):
            write_answers(path, np.zeros(data.counts.shape), data, overwrite=True)
    assert read("raw/scan.npy").counts.all()


# Error bars beside the counts


def both(name):
    stem, suffix = os.path.splitext(name)
    return {name, f"{stem}_sigma{suffix}"}


@pytest.mark.parametrize("name", ["o.tif", "o.npy", "folder"])
def test_error_bars_come_and_go_with_their_counts(tmp_path, frames, name):
    write(tmp_path / name, frames, sigma=frames[0] / 7)
    assert set(os.listdir(tmp_path)) == both(name)
    np.testing.assert_array_equal(
        read(f"{tmp_path}/{sorted(both(name))[-1]}").counts,
        np.nan_to_num(expected((frames[0] / 7, *frames[1:]))),
    )
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / name, frames, sigma=frames[0])
    write(tmp_path / name, frames, overwrite=True)
    assert os.listdir(tmp_path) == [name]  # the old error bars are no longer those of the counts


@pytest.mark.parametrize("name", ["o.tif", "o.npy", "folder"])
def test_strange_error_bars_are_not_left_beside_new_counts(tmp_path, frames, name):
    write(tmp_path / f"{os.path.splitext(name)[0]}_sigma{os.path.splitext(name)[1]}", frames)
    for sigma in (None, frames[0]):
        with pytest.raises(OutputError, match=r"_sigma.*exists already"):
            write(tmp_path / name, frames, sigma=sigma)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("name", ["o.tif", "o.npy", "folder"])
@pytest.mark.parametrize("moves", range(6))
def test_crash_never_mixes_old_counts_and_new_error_bars(
    tmp_path, frames, name, moves, monkeypatch
):
    old, new = frames[0], frames[0] + 1
    write(tmp_path / name, (old, *frames[1:]), sigma=old / 7)
    real, left = os.replace, [moves]

    def power_cut(source, target):
        if not left[0]:
            raise SystemExit
        left[0] -= 1
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_cut)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        with contextlib.suppress(SystemExit):
            write(tmp_path / name, (new, *frames[1:]), sigma=new / 7, overwrite=True)
    sigma = tmp_path / next(iter(both(name) - {name}))
    if not (tmp_path / name).exists() or not sigma.exists():
        return
    is_new = [
        np.array_equal(read(str(path)).counts, np.nan_to_num(expected((values, *frames[1:]))))
        for path, values in ((tmp_path / name, new), (sigma, new / 7))
    ]
    assert is_new[0] == is_new[1]


def test_failed_error_bars_leave_no_counts(tmp_path, frames, monkeypatch):
    whole, calls = writing._write_npy, []

    def second_fails(path, *arguments):
        calls.append(path)
        if len(calls) == 2:
            refuse_space()
        whole(path, *arguments)

    monkeypatch.setattr(writing, "_write_npy", second_fails)
    with pytest.raises(OutputError, match="the disk is full"):
        write(tmp_path / "o.npy", frames, sigma=frames[0])
    assert len(calls) == 2
    assert os.listdir(tmp_path) == []


def test_old_axis_does_not_stay_beside_new_counts(tmp_path):
    counts = np.ones((2, 9), np.float32)
    axis = Axis(np.arange(9.0), "energy", "keV")
    write_answers(f"{tmp_path}/o.npy", counts, like(counts, axis=axis))
    assert sorted(os.listdir(tmp_path)) == ["o.npy", "o_axis.npy"]
    assert writing.files_written("o.npy", like(counts, axis=axis), sigma=True) == [
        *("o.npy", "o_sigma.npy", "o_axis.npy")
    ]
    write_answers(f"{tmp_path}/o.npy", counts, like(counts), overwrite=True)
    assert os.listdir(tmp_path) == ["o.npy"]


# What else is kept


def test_result_of_patterns_is_read_back_with_errors_and_filled(tmp_path, frames):
    write(tmp_path / "o.h5", frames, sigma=frames[0] / 7)
    counts, sigma, filled = read_result(f"{tmp_path}/o.h5")
    np.testing.assert_array_equal(counts, expected(frames))
    np.testing.assert_array_equal(sigma, expected((frames[0] / 7, *frames[1:])))
    np.testing.assert_array_equal(filled, frames[2])


def test_found_centre_is_written_to_the_subpixel(tmp_path):
    counts = np.ones((1, 4, 5), np.float32)
    data = like(counts, geometry=GEOMETRY, center=Center((1.5, 2.0), (1.4, 2.2)))
    write_answers(f"{tmp_path}/o.h5", counts, data)
    assert read(f"{tmp_path}/o.h5").geometry.center == (1.4, 2.2)


def test_one_answer_to_all_frames(tmp_path):
    counts = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    data = like(counts, origin=Origin(source="scan.h5"))
    write_answers(f"{tmp_path}/o.h5", counts.mean(axis=0, keepdims=True), data)
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["entry/data/data"].shape == (1, 4, 5)
        assert file["entry/data/source"].asstr()[()].tolist() == ["denoised"]
        assert file["entry/process/source"].asstr()[()] == "scan.h5"


def test_program_that_is_not_installed_has_no_version(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    counts = np.ones((1, 4, 5), np.float32)
    write_answers(f"{tmp_path}/o.h5", counts, like(counts))
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["entry/process/version"].asstr()[()] == version()


def test_answers_that_do_not_fit_are_a_fault_of_the_program(tmp_path):
    counts = np.ones((3, 4, 5), np.float32)
    for wrong in (counts[:2], counts[..., :4]):
        with pytest.raises(TypeError, match="does not fit"):
            write_answers(f"{tmp_path}/o.h5", wrong, like(counts))
    with pytest.raises(TypeError, match="sigma"):
        write_answers(f"{tmp_path}/o.h5", counts, like(counts), sigma=counts[:1])
    assert os.listdir(tmp_path) == []

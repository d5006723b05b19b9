"""Every format gives the same scan, sentinels are found, bad input is refused in one line."""

import logging
import os
import shutil
import subprocess
import sys
import time

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from refusals import refused

from smae_jax.errors import UserError
from smae_jax.io.locations import natural_key
from smae_jax.io.reading import read, read_mask
from smae_jax.io.sentinels import causes_of

PILATUS = (
    "# Pixel_size 172e-6 m x 100e-6 m\r\n# Exposure_time 0.0200000 s\r\n# Exposure_period 0.5 s\r\n"
    "# Count_cutoff 97 counts\r\n# Wavelength 1.54000 A\r\n# Detector_distance 2.50000 m\r\n"
    "# Beam_xy (12.00, 7.00) pixels\r\n"
)


@pytest.fixture
def stack():
    """Three unlike frames, taller than wide, with zeros, a gap (-1) and a bad pixel (-2)."""
    counts = np.random.default_rng(0).poisson(3, (3, 9, 7)).astype(np.int32)
    counts[:, 4, :] = -1
    counts[:, 1, 2] = -2
    counts[0, 0, 0] = 0
    return counts


def write(path, values, **options):
    """Write frames in the format of the suffix."""
    suffix = path.suffix
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez(path, frames=values)
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, values, photometric="minisblack", **options)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("entry/data/data", data=values, **options)
    elif suffix == ".edf":
        image = fabio.edfimage.EdfImage(data=values[0])
        for frame in values[1:]:
            image.append_frame(data=frame)
        image.write(str(path))
    return str(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".tiff", ".h5", ".edf"])
def test_every_format_gives_the_same_scan(tmp_path, stack, suffix):
    scan = read(write(tmp_path / f"scan{suffix}", stack))
    np.testing.assert_array_equal(scan.counts, np.where(stack < 0, 0, stack))
    np.testing.assert_array_equal(scan.valid, stack[:1] >= 0)
    assert scan.counts.dtype == np.int32
    assert scan.valid[0, 0, 0]  # a zero is data
    assert scan.origin.dtype == "int32"
    assert scan.origin.masked_by["detector"] == pytest.approx(8 / 63)
    assert len(set(scan.names)) == 3
    assert all(source.startswith(f"scan{suffix}") for source in scan.names)


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<u2", ">u4", "<i8", "<f4", ">f8", "<f2"])
def test_number_types_and_byte_orders(tmp_path, stack, dtype):
    values = np.abs(stack).astype(dtype)
    for suffix in (".npy", ".h5"):
        path = write(tmp_path / f"scan{suffix}", values)
        np.testing.assert_array_equal(read(path).counts, np.abs(stack))
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=dtype[0], photometric="minisblack")
    np.testing.assert_array_equal(read(str(tmp_path / "a.tif")).counts, np.abs(stack))


@pytest.mark.parametrize("how", ["pages", "compressed", "appended"])
def test_multi_page_tiff_however_written(tmp_path, stack, how):
    path = tmp_path / "scan.tif"
    if how == "compressed":
        write(path, stack, compression="zlib")
    elif how == "pages":
        with tifffile.TiffWriter(path) as tiff:
            for frame in stack:
                tiff.write(frame, metadata=None, photometric="minisblack")
    else:
        for frame in stack:
            tifffile.imwrite(path, frame, append=True, photometric="minisblack")
    scan = read(str(path))
    np.testing.assert_array_equal(scan.counts, np.where(stack < 0, 0, stack))
    assert scan.names == ("scan.tif[0]", "scan.tif[1]", "scan.tif[2]")


def test_raster_stack_keeps_its_shape_and_order(tmp_path):
    raster = np.arange(1, 1 + 2 * 3 * 5 * 4, dtype=np.uint16).reshape(2, 3, 5, 4)
    for suffix in (".npy", ".h5", ".npz"):
        scan = read(write(tmp_path / f"raster{suffix}", raster))
        assert scan.origin.leading == (2, 3)
        np.testing.assert_array_equal(scan.counts, raster.reshape(6, 5, 4))
        assert scan.names[4].endswith("[1,1]")


def test_single_frame_is_one_frame_named_by_its_file(tmp_path, stack):
    scan = read(write(tmp_path / "one.tif", stack[1]))
    assert scan.counts.shape == (1, 9, 7)
    assert scan.names == ("one.tif",)


def test_natural_order_of_patterns_and_folders(tmp_path, stack):
    for number, frame in zip((10, 2, 1), stack, strict=True):
        write(tmp_path / f"frame{number}.tif", frame)
    (tmp_path / "notes.txt").write_text("not a frame")
    for path in (tmp_path / "frame*.tif", tmp_path, f"{tmp_path}/"):
        scan = read(str(path))
        assert scan.names == ("frame1.tif", "frame2.tif", "frame10.tif")
        np.testing.assert_array_equal(scan.counts, np.where(stack < 0, 0, stack)[::-1])
    assert sorted(["a10b2", "a9b11", "a10b1"], key=natural_key) == ["a9b11", "a10b1", "a10b2"]


def test_pattern_over_stacks_of_unlike_length(tmp_path, stack):
    write(tmp_path / "s1.h5", stack[:1])
    write(tmp_path / "s2.h5", stack)
    scan = read(f"{tmp_path}/s*.h5::/entry/data/data")
    np.testing.assert_array_equal(scan.counts[[0, 1, 2, 3]], np.maximum(stack, 0)[[0, 0, 1, 2]])
    assert scan.names[3] == "s2.h5::/entry/data/data[2]"


def test_same_names_in_several_folders_stay_distinct(tmp_path, stack):
    for folder, frame in zip("ab", stack, strict=False):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.tif", frame)
    assert read(f"{tmp_path}/*/x.tif").names == ("a/x.tif", "b/x.tif")


# Sentinels


@pytest.mark.parametrize(
    ("dtype", "bad", "good"),
    [
        ("int32", (-1, -2, -100), (0, 1, 65535)),
        ("int16", (-1,), (0, 32767)),
        ("uint8", (255,), (0, 254)),
        ("uint16", (65535,), (0, 65534)),
        ("uint32", (2**32 - 1, 2**32 - 2), (0, 65535)),
        ("uint64", (2**64 - 1, 2**32 - 1), (0, 65535)),
        ("int64", (2**32 - 1, -1), (0, 65535)),
        ("float32", (-1, -2, float(2**32)), (0, -0.5, -1.25, 0.25)),
        ("float64", (-1, -2, 2**32 - 1), (0, -0.5, 1e6)),
    ],
)
def test_sentinels_of_each_type(dtype, bad, good):
    values = np.array([*bad, *good], dtype=dtype)
    causes = causes_of(values, saturation=None)
    assert causes.tolist() == [1] * len(bad) + [0] * len(good)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_not_finite_is_its_own_cause(dtype):
    values = np.array([np.nan, np.inf, -np.inf, 0, 1], dtype=dtype)
    assert causes_of(values, saturation=5).tolist() == [2, 2, 2, 0, 0]
    assert causes_of(np.array([1e300]), saturation=None).tolist() == [2]  # not in float32


def test_invalid_pixels_are_zero_never_nan(tmp_path):
    values = np.full((2, 3, 4), 2.5)
    values[0, 1, 2], values[1, 0, 0] = np.nan, -np.inf
    scan = read(write(tmp_path / "a.npy", values))
    assert scan.valid.shape == (2, 3, 4)  # the frames disagree
    assert scan.counts[0, 1, 2] == scan.counts[1, 0, 0] == 0
    assert scan.origin.masked_by["not finite"] == pytest.approx(2 / 24)


def test_frames_that_disagree_across_files(tmp_path, stack):
    later = stack.copy()
    later[2, 8, 6] = -1
    for number, frame in enumerate(later):
        write(tmp_path / f"{number}.tif", frame)
    scan = read(str(tmp_path))
    np.testing.assert_array_equal(scan.valid, later >= 0)


def test_saturation_from_the_file_or_the_user(tmp_path):
    frame = np.arange(200, dtype=np.int32).reshape(10, 20)
    path = write(tmp_path / "p.tif", frame, description=PILATUS, metadata=None)
    for saturation, first_bad in ((None, 97), (150, 150), (np.inf, 200)):
        scan = read(path, saturation=saturation)
        np.testing.assert_array_equal(scan.valid[0], frame < first_bad)
        assert scan.origin.masked_by["saturated"] == pytest.approx((200 - first_bad) / 200)
    with pytest.raises(ValueError, match="saturation: expected counts above 0, got -3"):
        read(path, saturation=-3)


# Headers


def assert_pilatus(scan):
    assert scan.origin.exposure_s == (0.02,) * len(scan.counts)
    assert scan.geometry.pixel_size_m == (100e-6, 172e-6)  # (y, x); the header says x, y
    assert scan.geometry.wavelength_m == pytest.approx(1.54e-10)
    assert scan.geometry.distance_m == 2.5
    assert scan.geometry.center == (7.0, 12.0)


def test_pilatus_header_in_tiff(tmp_path, stack):
    assert_pilatus(read(write(tmp_path / "p.tif", stack[0], description=PILATUS, metadata=None)))


def test_pilatus_header_in_cbf(tmp_path, stack):
    image = fabio.cbfimage.CbfImage(data=stack[0])
    image.header["_array_data.header_contents"] = PILATUS
    image.header["_array_data.header_convention"] = "PILATUS_1.2"
    image.write(str(tmp_path / "p.cbf"))
    scan = read(str(tmp_path / "p.cbf"))
    assert_pilatus(scan)
    np.testing.assert_array_equal(scan.counts[0], np.maximum(stack[0], 0))


def test_edf_header(tmp_path, stack):
    header = {"PSize_1": "1e-4", "PSize_2": "2e-4", "WaveLength": "1e-10", "count_time": "0.5 s"}
    fabio.edfimage.EdfImage(data=stack[0], header=header).write(str(tmp_path / "a.edf"))
    scan = read(str(tmp_path / "a.edf"))
    assert scan.geometry.pixel_size_m == (2e-4, 1e-4)
    assert scan.geometry.wavelength_m == 1e-10
    assert scan.origin.exposure_s == (0.5,)


def nexus(path, stack, **options):
    """A file as a beamline writes it: links, units, mask and exposure beside the data."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector.create_dataset("data", data=np.abs(stack), **options)
        mask = np.zeros(stack.shape[1:], np.uint32)
        mask[2, 5] = 8
        detector["pixel_mask"] = mask
        detector["count_time"] = [0.1, 0.2, 0.3]
        detector["x_pixel_size"], detector["y_pixel_size"] = 0.075, 0.15
        for axis in "xy":
            detector[f"{axis}_pixel_size"].attrs["units"] = "mm"
        detector["distance"] = 1.5
        entry["instrument/beam/incident_wavelength"] = 1.2
        entry["instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
        entry.create_group("data")["data"] = h5py.SoftLink("/entry/instrument/detector/data")
        entry["monitor"] = np.arange(3.0)
    return str(path)


@pytest.mark.parametrize("inside", ["", "::/entry/data/data", "::entry/instrument/detector/data"])
def test_nexus_neighbours_of_the_data(tmp_path, stack, inside):
    scan = read(nexus(tmp_path / "n.h5", stack) + inside)
    expected = np.ones((1, 9, 7), bool)
    expected[0, 2, 5] = False
    np.testing.assert_array_equal(scan.valid, expected)
    assert scan.origin.masked_by["detector"] == pytest.approx(1 / 63)
    assert scan.origin.exposure_s == (0.1, 0.2, 0.3)
    assert scan.geometry.pixel_size_m == (1.5e-4, 7.5e-5)
    assert scan.geometry.wavelength_m == pytest.approx(1.2e-10)
    assert scan.geometry.distance_m == 1.5


def test_hdf5_packed_by_a_detector_filter(tmp_path, stack):
    path = nexus(tmp_path / "n.h5", stack, chunks=(1, 9, 7), **hdf5plugin.Bitshuffle())
    assert read(path).counts.sum() == np.abs(stack).sum() - np.abs(stack)[:, 2, 5].sum()


# Masks


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".h5", ".edf"])
@pytest.mark.parametrize("polarity", ["bad", "good"])
def test_mask_polarity(tmp_path, suffix, polarity):
    stored = np.zeros((1, 9, 7), np.uint8)
    stored[0, 2:4, 1] = 7
    path = write(tmp_path / f"mask{suffix}", stored if suffix == ".edf" else stored[0])
    nonzero = stored[0] != 0
    expected = nonzero if polarity == "good" else ~nonzero
    np.testing.assert_array_equal(read_mask(path, polarity=polarity), expected)


def test_mask_of_booleans_and_of_floats_with_nan(tmp_path):
    good = np.array([[True, False, True]])
    np.savez(tmp_path / "m.npz", mask=good, other=good)
    read = read_mask(f"{tmp_path}/m.npz::mask", polarity="good")
    np.testing.assert_array_equal(read, good)
    np.save(tmp_path / "f.npy", np.array([[1.0, 0.0, np.nan]]))
    np.testing.assert_array_equal(
        read_mask(f"{tmp_path}/f.npy", polarity="good"), [[True, False, False]]
    )
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["mask"] = ~good
    np.testing.assert_array_equal(read_mask(f"{tmp_path}/m.h5"), good)


def test_useless_masks_are_refused(tmp_path, stack):
    np.save(tmp_path / "all.npy", np.ones((9, 7)))
    np.save(tmp_path / "none.npy", np.zeros((9, 7)))
    refused(tmp_path / "all.npy", "every pixel is bad", "to 'good'", "all.npy", read=read_mask)
    refused(tmp_path / "none.npy", "to 'bad'", read=read_mask, polarity="good")
    refused(write(tmp_path / "s.npy", stack), "expected one mask", "(3, 9, 7)", read=read_mask)
    refused(tmp_path / "all.npy", "expected 'bad' or 'good'", read=read_mask, polarity="usable")
    refused(tmp_path / "*.npy", "expected one mask, got 3 files", read=read_mask)
    refused(tmp_path / "gone.npy", "no such file", "gone.npy", read=read_mask)


# Bad input


def test_missing_things_are_refused(tmp_path, stack):
    refused(tmp_path / "no" / "gone.tif", "no such file", "gone.tif", f"as far as {tmp_path}")
    refused(tmp_path / "*.tif", "no file matches", "*.tif")
    refused(tmp_path, "no supported frames in this folder")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "no rows of numbers")
    (tmp_path / "notes.jpg").write_text("hello")
    refused(tmp_path / "notes.jpg", "unsupported suffix '.jpg'", "expected .npy")
    write(tmp_path / "a.tif", stack)
    write(tmp_path / "b.npy", stack)
    refused(tmp_path, "mixes formats (1 .npy, 1 .tif)", "say which")


def test_wrong_names_inside_a_file_list_what_is_there(tmp_path, stack):
    path = nexus(tmp_path / "n.h5", stack)
    refused(f"{path}::/entry/gone", "no dataset '/entry/gone'", "/entry/data/data (3, 9, 7)", path)
    refused(f"{path}::/entry/instrument/beam", "is a group", "it holds none")
    with h5py.File(path, "a") as file:
        file["other"] = stack[0]
    refused(path, "several datasets", "/other (9, 7)", "name one as in")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["x"] = np.arange(4)
    refused(tmp_path / "e.h5", "no dataset of numbers", "e.h5")
    np.savez(tmp_path / "two.npz", first=stack, second=stack)
    refused(tmp_path / "two.npz", "several arrays", "first, second", "two.npz::first")
    refused(f"{tmp_path}/two.npz::third", "no array 'third'", "first, second")
    for suffix in (".npy", ".tif", ".edf"):
        refused(write(tmp_path / f"a{suffix}", stack) + "::name", "drop '::name'")


def test_frames_of_unlike_shape_are_named(tmp_path, stack):
    write(tmp_path / "a.tif", stack[0])
    write(tmp_path / "b.tif", stack[0].T)
    refused(tmp_path / "*.tif", "differ in shape", "a.tif is (9, 7)", "b.tif is (7, 9)")
    with tifffile.TiffWriter(tmp_path / "c.tif") as tiff:
        tiff.write(stack[0])
        tiff.write(stack[0].T)
    refused(tmp_path / "c.tif", "differ in shape", "(9, 7)", "(7, 9)")


@pytest.mark.parametrize("suffix", [".tif", ".h5", ".npy", ".npz", ".edf", ".cbf"])
def test_text_and_empty_files_are_refused(tmp_path, suffix):
    (tmp_path / f"text{suffix}").write_text("these are not frames\n" * 50)
    refused(tmp_path / f"text{suffix}", "cannot be read as", f"text{suffix}", "another format")
    (tmp_path / f"empty{suffix}").write_text("")
    refused(tmp_path / f"empty{suffix}", "is empty (0 bytes)", f"empty{suffix}")


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.97])
@pytest.mark.parametrize(
    "kind", ["a.tif", "pages.tif", "zip.tif", "a.npy", "a.npz", "a.h5", "a.edf"]
)
def test_truncated_files_are_refused(tmp_path, kind, share):
    counts = np.random.default_rng(1).poisson(900, (6, 50, 40)).astype(np.int32)
    path = tmp_path / kind
    if kind == "pages.tif":
        with tifffile.TiffWriter(path) as tiff:
            for frame in counts:
                tiff.write(frame, metadata=None, photometric="minisblack")
    elif kind == "zip.tif":
        write(path, counts, compression="zlib")
    else:
        write(path, counts)
    with path.open("r+b") as file:
        file.truncate(int(share * path.stat().st_size))
    refused(path, "cannot be read as", kind)


def test_damaged_chunk_of_hdf5_is_refused(tmp_path):
    counts = np.random.default_rng(1).poisson(900, (6, 50, 40)).astype(np.int32)
    path = write(tmp_path / "a.h5", counts, chunks=(1, 50, 40), compression="gzip")
    with h5py.File(path) as file:
        offset = file["entry/data/data"].id.get_chunk_info(3).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 500)
    refused(path, "frame 3 of /entry/data/data cannot be read")


def test_wrong_kinds_of_numbers_are_refused(tmp_path, stack):
    for values, said in (
        (stack.astype(complex), "complex"),
        (stack.astype(str), "text"),
        (stack > 0, "a mask?"),
        (np.zeros((3, 9, 7), [("a", "i4")]), "records"),
    ):
        refused(write(tmp_path / "a.npy", values), said, "expected real numbers", "a.npy")
    np.save(tmp_path / "o.npy", np.array([{}, None], object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", frames=np.array([{}], object))
    refused(tmp_path / "o.npy", "Python objects")
    refused(tmp_path / "o.npz", "Python objects")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["frames"] = stack.astype(complex)
        file["names"] = ["a", "b"]
    refused(f"{tmp_path}/c.h5::frames", "complex")
    refused(f"{tmp_path}/c.h5::names", "c.h5::/names", "expected real numbers")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((9, 7, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "rgb.tif", "colour")


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 3, 3), (0, 4, 5), (3, 0, 5)])
def test_wrong_numbers_of_axes_are_refused(tmp_path, shape):
    refused(write(tmp_path / "a.npy", np.ones(shape)), "expected (height, width)", str(shape))


def test_nothing_to_use_is_refused(tmp_path, stack):
    refused(write(tmp_path / "zero.npy", np.zeros_like(stack)), "is 0", "zero.npy", "3 frames")
    refused(write(tmp_path / "nan.npy", np.full((2, 3, 4), np.nan)), "100.0 % not finite")
    refused(write(tmp_path / "bad.tif", np.full((3, 4), -1, np.int32)), "100.0 % detector")
    refused(write(tmp_path / "a.npy", stack + 7), "saturated", saturation=1)
    stack[1] = 0  # one empty frame inside a scan is data
    assert read(write(tmp_path / "one.npy", stack)).counts[1].sum() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused(tmp_path, stack):
    path = write(tmp_path / "a.npy", stack)
    os.chmod(path, 0)
    refused(path, "no permission to read")


def test_libraries_keep_silent(tmp_path, stack, caplog, capfd):
    write(tmp_path / "a.tif", stack)
    with open(tmp_path / "a.tif", "r+b") as file:
        file.truncate(600)
    (tmp_path / "b.edf").write_text("nothing")
    with caplog.at_level(logging.DEBUG):
        refused(tmp_path / "a.tif", "cannot be read")
        refused(tmp_path / "b.edf", "cannot be read")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


# Real data


def test_raw_muscle_frames(shared_data):
    start = time.process_time()
    scan = read(f"{shared_data}/muscle_p40_raw/*.tif")
    assert time.process_time() - start < 3  # 0.2 s
    assert scan.counts.shape == (6, 1043, 981)
    assert scan.valid.shape == (1, 1043, 981)
    assert scan.names[5] == "P40_1_3_00005.tif"
    assert scan.origin.exposure_s == (0.01,) * 6
    assert scan.geometry.pixel_size_m == (172e-6, 172e-6)
    gaps = read_mask(f"{shared_data}/muscle_p40_mask.npz::detector_mask", polarity="good")
    np.testing.assert_array_equal(scan.valid[0], gaps)
    assert scan.counts.mean(where=scan.valid) == pytest.approx(2.7, abs=0.1)


def test_raw_frames_through_another_format_are_the_same(shared_data, tmp_path):
    raw = shared_data / "muscle_p40_raw" / "P40_1_3_00002.tif"
    fabio.open(str(raw)).convert("cbf").write(str(tmp_path / "a.cbf"))
    shutil.copy(raw, tmp_path / "a.tif")
    tif, cbf = (read(str(tmp_path / f"a.{suffix}")) for suffix in ("tif", "cbf"))
    np.testing.assert_array_equal(tif.counts, cbf.counts)
    np.testing.assert_array_equal(tif.valid, cbf.valid)


# Whole numbers and exposures


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".tif"])
@pytest.mark.parametrize(
    ("kind", "largest", "kept"),
    [
        ("int32", 2**24 + 1, np.int32),
        ("uint32", 2**31 + 1, np.int64),
        ("int64", 2**40 + 1, np.int64),
    ],
)
def test_whole_numbers_are_not_rounded(tmp_path, suffix, kind, largest, kept):
    frames = np.arange(2 * 5 * 4, dtype=kind).reshape(2, 5, 4)
    frames[1, 2, 3] = largest
    data = read(write(tmp_path / f"large{suffix}", frames))
    assert data.counts.dtype == kept
    np.testing.assert_array_equal(data.counts, frames)


def test_one_large_count_in_the_last_file_widens_all(tmp_path):
    frames = np.arange(2 * 5 * 4, dtype=np.uint32).reshape(2, 5, 4)
    frames[1, 2, 3] = 2**31 + 5
    for index, frame in enumerate(frames):
        write(tmp_path / f"f{index}.npy", frame)
    data = read(f"{tmp_path}/f*.npy")
    np.testing.assert_array_equal(data.counts, frames)
    np.testing.assert_array_equal(read(f"{tmp_path}/f0.npy").counts.dtype, np.int32)


@pytest.mark.parametrize("large", [{0}, {3}, {1, 2}, set()])
def test_whole_numbers_that_come_as_float64_are_not_rounded(tmp_path, monkeypatch, large):
    """Also where only one run of frames, or one file, holds numbers that float32 rounds."""
    monkeypatch.setattr("smae_jax.io.scans.RUN_BYTES", 1)  # frame by frame
    frames = np.arange(4 * 5 * 4, dtype=np.float64).reshape(4, 5, 4)
    frames[[*large], 2, 3] = 2**24 + 1
    data = read(write(tmp_path / "all.npy", frames))
    assert data.counts.dtype == (np.int32 if large else np.float32)
    np.testing.assert_array_equal(data.counts, frames)
    for number, frame in enumerate(frames):
        np.savetxt(tmp_path / f"f{number}.csv", frame[0] + frame.max(), delimiter=",")
        write(tmp_path / f"f{number}.npy", frame)
    np.testing.assert_array_equal(read(f"{tmp_path}/f*.npy").counts, frames)
    rows = frames[:, 0] + frames.max(axis=(1, 2))[:, None]
    np.testing.assert_array_equal(read(f"{tmp_path}/f*.csv").counts.reshape(4, 4), rows)


def test_decimals_and_large_whole_numbers_are_joined_as_they_were(tmp_path):
    frames = np.arange(2 * 5 * 4, dtype=np.float64).reshape(2, 5, 4)
    frames[0, 2, 3], frames[1, 2, 3] = 0.5, 2**24 + 2
    for number, frame in enumerate(frames):
        write(tmp_path / f"f{number}.npy", frame)
    data = read(f"{tmp_path}/f*.npy")
    assert data.counts.dtype == np.float32
    np.testing.assert_array_equal(data.counts, frames)


def test_frames_of_a_scan_count_alike_whatever_their_times(tmp_path, stack):
    data = read(nexus(tmp_path / "n.h5", stack))
    assert data.exposure.shape == (1, 9, 7)
    assert set(np.unique(data.exposure)) == {0.0, 1.0}
    assert data.center is None
    repeats = read(nexus(tmp_path / "m.h5", stack), dimensions=2)
    np.testing.assert_allclose(repeats.frame_exposure, [0.5, 1.0, 1.5])
    assert not repeats.valid[:, 2, 5].any()


def test_exposures_of_another_number_are_noted(tmp_path, stack):
    path = nexus(tmp_path / "n.h5", stack)
    with h5py.File(path, "a") as file:
        del file["entry/instrument/detector/count_time"]
        file["entry/instrument/detector/count_time"] = [0.1, 0.2]
    data = read(path)
    assert data.origin.exposure_s is None
    assert "2 exposures 'count_time' for 3 frames: left out" in data.origin.notes


def test_exposures_of_some_files_only_are_noted(tmp_path, stack):
    write(tmp_path / "a.tif", stack[0], description=PILATUS, metadata=None)
    write(tmp_path / "b.tif", stack[1])
    data = read(f"{tmp_path}/*.tif")
    assert data.origin.exposure_s is None
    assert "1 exposure times for 2 frames: left out" in data.origin.notes


def test_chosen_frames_of_a_scan(tmp_path, stack):
    data = read(write(tmp_path / "a.npy", stack), repeats="-1,0")
    np.testing.assert_array_equal(data.counts, np.maximum(stack[[2, 0]], 0))
    assert data.names == ("a.npy[2]", "a.npy[0]")


def test_every_refusal_is_the_users_mistake(tmp_path):
    for path, options in ((tmp_path / "gone.npy", {}), (tmp_path / "gone.csv", {"dimensions": 1})):
        with pytest.raises(UserError):
            read(str(path), **options)


def test_files_know_nothing_of_jax():
    names = ("reading", "writing", "pairing", "source", "results")
    modules = ", ".join(f"smae_jax.io.{name}" for name in names)
    strangers = "{'jax', 'flax', 'optax', 'chex'} & {*sys.modules}"
    command = [sys.executable, "-c", f"import sys, {modules}; print(len({strangers}))"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"

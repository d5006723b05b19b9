"""HDF5 as detectors write it: masters, links, virtual datasets, and files that are not whole."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportCallIssue=false
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
from refusals import refused

from smae_jax.io import hdf5_links, hdf5_stack
from smae_jax.io.hdf5_linked_files import linked_files
from smae_jax.io.reading import read
from smae_jax.io.source import open_source
from smae_jax.io.writing import OutputError, refuse_input

FRAME = (12, 9)


@pytest.fixture
def stack():
    """Nine unlike frames."""
    return np.random.default_rng(0).poisson(3, (9, *FRAME)).astype(np.uint32)


def data_file(path, frames, *, first=None):
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, *FRAME), **hdf5plugin.Bitshuffle()
        )
        if first is not None:
            data.attrs["image_nr_low"] = first
            data.attrs["image_nr_high"] = first + len(frames) - 1


def master(path, links, *, mask=None, **told):
    """A DECTRIS master: links to the data files, and what the detector tells."""
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = np.bytes_("NXdetector")
        file["entry/instrument"].attrs["NX_class"] = np.bytes_("NXinstrument")
        specific = detector.create_group("detectorSpecific")
        for name, value in told.items():
            group = specific if name in ("nimages", "ntrigger", "bit_depth_image") else detector
            group[name] = value
        if mask is not None:
            specific["pixel_mask"] = mask
        module = specific.create_group("detectorModule_000")
        module["countrate_correction_table"] = np.ones((2, 200), np.float32)
        module["flatfield"] = np.ones(FRAME, np.float32)
        file.create_group("entry/data").attrs["NX_class"] = np.bytes_("NXdata")
        for name, target in links.items():
            file[f"entry/data/{name}"] = h5py.ExternalLink(target, "/entry/data/data")
    return str(path)


@pytest.fixture
def series(tmp_path, stack):
    """A master of three files with 4, 4 and 1 frames; the name of the last one would sort first as text."""
    for number, frames in ((1, stack[:4]), (2, stack[4:8]), (10, stack[8:])):
        data_file(tmp_path / f"s_data_{number:06d}.h5", frames)
    mask = np.zeros(FRAME, np.uint32)
    mask[3, 1] = 1
    return master(
        tmp_path / "s_master.h5",
        {f"data_{n}": f"s_data_{n:06d}.h5" for n in (10, 2, 1)},
        mask=mask,
        count_time=0.25,
        nimages=9,
        beam_center_x=4.5,
        beam_center_y=5.5,
        x_pixel_size=75e-6,
        y_pixel_size=75e-6,
        detector_distance=2.0,
        countrate_correction_count_cutoff=8,
    )


def test_linked_files_are_one_stack_in_natural_order(series, stack):
    scan = read(series)
    valid = np.ones((9, *FRAME), bool)
    valid[:, 3, 1] = False
    valid &= stack < 8
    np.testing.assert_array_equal(scan.full_exposure > 0, valid)
    np.testing.assert_array_equal(scan.counts, np.where(valid, stack, 0))
    assert scan.origin.exposure_s == (0.25,) * 9
    assert scan.geometry.center == (5.5, 4.5)
    assert scan.geometry.distance_m == 2.0
    assert scan.names[4] == "s_master.h5::/entry/data[4]"
    assert all("masked by the file" in n or "saturated" in n for n in scan.origin.notes)


def test_a_named_file_of_a_series_is_read_alone(series, stack):
    assert read(f"{series}::/entry/data/data_2").frames == 4
    assert read(f"{series}::/entry/data").frames == 9


@pytest.mark.parametrize("pattern", ["", "/*.h5", "/s_*"])
def test_a_folder_with_its_master_is_read_once(series, stack, pattern):
    path = f"{series.rpartition('/')[0]}{pattern}"
    scan = read(path)
    assert scan.frames == 9
    assert any("read through" in note or "master" in note for note in scan.origin.notes)
    assert open_source(path).names == scan.names


def test_files_without_links_are_all_read(tmp_path, stack):
    for number in (1, 2):
        data_file(tmp_path / f"a{number}.h5", stack[:number])
    scan = read(f"{tmp_path}/a*.h5")
    assert (scan.frames, scan.origin.notes) == (3, ())


def test_only_files_asked_for_are_sliced_and_each_is_opened_once(series, stack, monkeypatch):
    opened = open_source(series, marks="none")
    sliced, found = [], []
    chunks, descend = hdf5_stack.chunks_of, hdf5_links.Tree._descend

    def slicing(dataset, places):
        sliced.append((dataset.file.filename.rsplit("/", 1)[-1], places))
        return chunks(dataset, places)

    def finding(self, start, path, name, depth):
        found.append(name)
        return descend(self, start, path, name, depth)

    monkeypatch.setattr(hdf5_stack, "chunks_of", slicing)
    monkeypatch.setattr(hdf5_links.Tree, "_descend", finding)
    part = opened.read([3, 4, 5])
    np.testing.assert_array_equal(part.counts[:, 0], np.where(stack < 8, stack, 0)[3:6, 0])
    assert sliced == [
        ("s_data_000001.h5", [(3,)]),
        ("s_data_000002.h5", [(0,), (1,)]),
    ]
    assert [found.count(f"/entry/data/data_{n}") for n in (1, 2, 10)] == [1, 1, 1]


def test_more_linked_files_than_are_kept_open(tmp_path, stack, monkeypatch):
    monkeypatch.setattr(hdf5_links, "_KEPT_OPEN", 2)
    for number in range(9):
        data_file(tmp_path / f"d{number}.h5", stack[number : number + 1])
    path = master(tmp_path / "m.h5", {f"data_{n:06d}": f"d{n}.h5" for n in range(9)})
    np.testing.assert_array_equal(read(path).counts, stack)


@pytest.mark.parametrize("gone", ["missing", "damaged", "empty"])
def test_missing_file_is_named_or_left_out(tmp_path, series, stack, gone):
    lost = tmp_path / "s_data_000002.h5"
    if gone == "missing":
        lost.unlink()
    elif gone == "damaged":
        lost.write_bytes(lost.read_bytes()[:900])
    else:
        h5py.File(lost, "w").close()
    refused(series, "s_master.h5", "data_2", "s_data_000002.h5", "--data.missing skip")
    scan = read(series, missing="skip")
    np.testing.assert_array_equal(
        scan.counts[:, 0], np.where(stack < 8, stack, 0)[[0, 1, 2, 3, 8], 0]
    )
    assert any("data_2" in note and "left out" in note for note in scan.origin.notes)
    assert any("announces 9 frames and holds 5" in note for note in scan.origin.notes)


def test_nothing_left_is_refused(tmp_path):
    path = master(tmp_path / "m.h5", {"data_000001": "gone.h5"})
    refused(path, "gone.h5 is missing")
    refused(path, "no frame is left", "gone.h5", missing="skip")


def test_frames_keep_their_numbers_where_the_writer_told_them(tmp_path, stack):
    for number, frames, first in ((1, stack[:4], 1), (3, stack[6:], 7)):
        data_file(tmp_path / f"d{number}.h5", frames, first=first)
    times = np.arange(1.0, 10.0)
    masks = np.zeros((9, *FRAME), np.uint8)
    masks[6, 2, 3] = 1
    path = master(
        tmp_path / "m.h5",
        {f"data_00000{n}": f"d{n}.h5" for n in (1, 2, 3)},
        mask=masks,
        count_time=times,
    )
    scan = read(path, missing="skip")
    assert scan.names[4:] == tuple(f"m.h5::/entry/data[{n}]" for n in (6, 7, 8))
    assert scan.origin.exposure_s == (1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 9.0)
    bad = np.argwhere(scan.full_exposure == 0)
    np.testing.assert_array_equal(bad, [[4, 2, 3]])


def test_fewer_frames_than_announced_are_told(tmp_path, stack):
    data_file(tmp_path / "d1.h5", stack[:4])
    path = master(tmp_path / "m.h5", {"data_000001": "d1.h5"}, nimages=4, ntrigger=3)
    scan = read(path)
    assert scan.frames == 4
    assert scan.origin.notes == ("the file announces 12 frames and holds 4",)


@pytest.mark.parametrize("options", [{"chunks": (1, *FRAME)}, {"chunks": (1, 6, 9)}, {}])
def test_frames_that_were_never_written_are_no_zeros(tmp_path, stack, options):
    with h5py.File(tmp_path / "d1.h5", "w") as file:
        data = file.create_dataset("entry/data/data", stack.shape, np.uint32, **options)
        if options:
            data[1:3] = stack[1:3]
    path = master(tmp_path / "m.h5", {"data_000001": "d1.h5"})
    refused(path, "announces 9 frames", f"and {2 if options else 0} of them were written")
    if options:
        scan = read(path, missing="skip")
        np.testing.assert_array_equal(scan.counts, stack[1:3])
        assert scan.names == (
            "m.h5::/entry/data/data_000001[1]",
            "m.h5::/entry/data/data_000001[2]",
        )


def test_an_absurd_announcement_takes_no_memory(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(
            "data", (10**9, *FRAME), np.uint32, chunks=(1, *FRAME), compression="gzip"
        )
        data[7] = stack[0]
    refused(tmp_path / "a.h5", "1 of them were written")
    scan = read(f"{tmp_path}/a.h5", missing="skip")
    np.testing.assert_array_equal(scan.counts, stack[:1])
    assert scan.names == ("a.h5::/data[7]",)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("data", (2**50, *FRAME), np.uint32, chunks=(1, *FRAME))
    refused(tmp_path / "b.h5", f"announces {2**50} frames", missing="skip")


# Virtual datasets


def virtual(path, shape, *sources):
    """A virtual dataset of (where in it, file, shape of the source or None, part of the source)."""
    layout = h5py.VirtualLayout(shape, np.uint32)
    for where, name, source_shape, part in sources:
        source = h5py.VirtualSource(name, "data", source_shape)
        layout[where] = source if part is None else source[part]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("entry/data/data", layout, fillvalue=0)
    return str(path)


def parts(folder, **frames):
    for name, values in frames.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"] = values


def test_virtual_dataset_of_interleaved_files(tmp_path, stack):
    parts(tmp_path, a=stack[0::2], b=stack[1::2])
    path = virtual(
        tmp_path / "v.h5",
        stack.shape,
        (slice(0, None, 2), "a.h5", (5, *FRAME), None),
        (slice(1, None, 2), "b.h5", (4, *FRAME), None),
    )
    np.testing.assert_array_equal(read(path).counts, stack)
    (tmp_path / "b.h5").unlink()
    refused(path, "b.h5 is missing", "/entry/data/data", "--data.missing skip")
    scan = read(path, missing="skip")
    np.testing.assert_array_equal(scan.counts, stack[0::2])
    assert scan.names[1] == "v.h5::/entry/data/data[2]"
    assert any("b.h5 is missing: left out, 5 frames" in note for note in scan.origin.notes)


def test_virtual_dataset_of_sources_that_are_shorter(tmp_path, stack):
    """HDF5 fails, or gives the same frames again."""
    parts(tmp_path, a=stack[:3])
    whole = virtual(tmp_path / "v.h5", stack.shape, (slice(0, 9), "a.h5", stack.shape, None))
    part = virtual(
        tmp_path / "w.h5",
        (2, 4, *FRAME),
        ((0, slice(0, 4)), "a.h5", (9, *FRAME), slice(0, 4)),
        ((1, slice(0, 4)), "a.h5", (9, *FRAME), slice(4, 8)),
    )
    for path in (whole, part):
        refused(path, "a.h5 holds")
        np.testing.assert_array_equal(read(path, missing="skip").counts, stack[:3])
    assert read(part, missing="skip").names[2] == "w.h5::/entry/data/data[0,2]"


def test_virtual_dataset_without_a_source_for_some_frames(tmp_path, stack):
    parts(tmp_path, a=stack[:4])
    path = virtual(tmp_path / "v.h5", stack.shape, (slice(2, 6), "a.h5", (4, *FRAME), None))
    refused(path, "no source for 5 of its frames")
    np.testing.assert_array_equal(read(path, missing="skip").counts, stack[:4])


def test_virtual_dataset_of_a_source_without_the_dataset(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = stack
    path = virtual(tmp_path / "v.h5", stack.shape, (slice(0, 9), "a.h5", stack.shape, None))
    refused(path, "a.h5 holds no 'data'")


def test_virtual_dataset_of_a_virtual_dataset_and_of_its_own_file(tmp_path, stack):
    (tmp_path / "raw").mkdir()
    parts(tmp_path / "raw", a=stack)
    with h5py.File(tmp_path / "raw" / "v.h5", "w") as file:
        layout = h5py.VirtualLayout(stack.shape, np.uint32)
        layout[:] = h5py.VirtualSource("a.h5", "data", stack.shape)  # beside this file
        file.create_virtual_dataset("data", layout)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        layout = h5py.VirtualLayout(stack.shape, np.uint32)
        layout[:] = h5py.VirtualSource("raw/v.h5", "data", stack.shape)
        file.create_virtual_dataset("hidden/flatfield", layout)
        layout = h5py.VirtualLayout(stack.shape, np.uint32)
        layout[:] = h5py.VirtualSource(".", "hidden/flatfield", stack.shape)
        file.create_virtual_dataset("entry/data/data", layout)
    np.testing.assert_array_equal(read(f"{tmp_path}/w.h5").counts, stack)
    assert f"{tmp_path}/raw/a.h5" in linked_files(f"{tmp_path}/w.h5")
    (tmp_path / "raw" / "a.h5").unlink()
    refused(tmp_path / "w.h5", "a.h5 is missing")


def test_virtual_dataset_of_tiles_and_of_a_growing_source(tmp_path, stack):
    parts(tmp_path, left=stack[..., :5], right=stack[..., 5:])
    path = virtual(
        tmp_path / "v.h5",
        stack.shape,
        (np.s_[:, :, :5], "left.h5", (*stack.shape[:2], 5), None),
        (np.s_[:, :, 5:], "right.h5", (*stack.shape[:2], 4), None),
    )
    np.testing.assert_array_equal(read(path).counts, stack)
    parts(tmp_path, a=stack)
    endless = h5py.h5s.UNLIMITED
    layout = h5py.VirtualLayout(stack.shape, np.uint32, maxshape=(None, *FRAME))
    source = h5py.VirtualSource("a.h5", "data", stack.shape, maxshape=(None, *FRAME))
    layout[0:endless:1] = source[0:endless:1]
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(read(f"{tmp_path}/g.h5").counts, stack)


def test_masters_of_masters_and_moved_files(tmp_path, stack):
    """An absolute name that leads nowhere any more is looked for beside the file that has it."""
    (tmp_path / "raw").mkdir()
    data_file(tmp_path / "raw" / "d1.h5", stack)
    master(tmp_path / "raw" / "m.h5", {"data_000001": "/gone/raw/d1.h5"})
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file["1.1"] = h5py.ExternalLink("raw/m.h5", "/entry")
        file["again"] = h5py.SoftLink("/1.1")
        file["loop"] = h5py.SoftLink("/loop")
        file["self"] = h5py.ExternalLink("top.h5", "/")
    np.testing.assert_array_equal(read(f"{tmp_path}/top.h5").counts, stack)
    found = linked_files(f"{tmp_path}/top.h5")
    assert {f"{tmp_path}/raw/m.h5", f"{tmp_path}/raw/d1.h5"} <= found
    with pytest.raises(OutputError, match="is an input"):
        refuse_input(f"{tmp_path}/raw/d1.h5", f"{tmp_path}/top.h5")


# Being written, locked, packed

WRITER = """
import sys, h5py, numpy as np
path, swmr = sys.argv[1], sys.argv[2] == "swmr"
file = h5py.File(path, "w", libver="latest")
data = file.create_dataset("entry/data/data", (0, 12, 9), "u4", maxshape=(None, 12, 9), chunks=(1, 12, 9))
if swmr:
    file.swmr_mode = True
data.resize(3, axis=0)
data[:] = 5
data.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """Start a program that writes a file; it goes on until the test is over."""
    started = []

    def start(name, mode):
        command = [sys.executable, "-c", WRITER, f"{tmp_path}/{name}", mode]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.communicate("")


def test_file_that_is_being_written_for_readers_is_read(tmp_path, writer):
    writer("live.h5", "swmr")
    assert read(f"{tmp_path}/live.h5").frames == 3
    path = master(tmp_path / "m.h5", {"data_000001": "live.h5"})
    assert read(path).frames == 3


def test_locked_file_is_not_called_damaged(tmp_path, writer):
    writer("live.h5", "plain")
    refused(tmp_path / "live.h5", "is being written by another program (locked)")
    path = master(tmp_path / "m.h5", {"data_000001": "live.h5"})
    refused(path, "live.h5", "is being written by another program")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        layout = h5py.VirtualLayout((3, *FRAME), np.uint32)
        layout[:] = h5py.VirtualSource("live.h5", "entry/data/data", (3, *FRAME))
        file.create_virtual_dataset("data", layout)
    refused(tmp_path / "v.h5", "live.h5", "is being written by another program")


def test_file_that_a_broken_off_program_left_open(tmp_path, writer):
    process = writer("left.h5", "plain")
    process.kill()
    process.wait()
    refused(tmp_path / "left.h5", "was left open", "h5clear")


def test_damaged_file_is_called_damaged(tmp_path, stack):
    data_file(tmp_path / "a.h5", stack)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:1000])
    refused(tmp_path / "a.h5", "truncated, damaged")


@pytest.mark.parametrize(
    "packing",
    [
        hdf5plugin.Bitshuffle(),
        hdf5plugin.Bitshuffle(cname="zstd"),
        hdf5plugin.LZ4(),
        hdf5plugin.Zstd(),
        hdf5plugin.Blosc(),
        hdf5plugin.Blosc2(),
        hdf5plugin.BZip2(),
        hdf5plugin.FciDecomp(),
    ],
    ids=lambda packing: f"{packing.filter_id}",
)
def test_filters_of_detectors(tmp_path, stack, packing):
    frames = stack.astype(np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=(1, *FRAME), **packing)
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, frames)


@pytest.mark.parametrize(("number", "name"), [(32013, "ZFP"), (31999, "bitshuffle")])
def test_missing_filter_is_named(tmp_path, stack, monkeypatch, number, name):
    """By its usual name, or by the one that the writer gave it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=stack, chunks=(1, *FRAME), **hdf5plugin.Bitshuffle())
    own, other = (int(n).to_bytes(2, "little") for n in (32008, number))
    packed = (tmp_path / "a.h5").read_bytes().replace(own, other, 1)
    (tmp_path / "a.h5").write_bytes(packed)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != number)
    refused(tmp_path / "a.h5", f"HDF5 filter {number} ({name}", "not installed")

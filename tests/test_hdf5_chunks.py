"""Frames packed one by one: unpacked as HDF5 does it, in threads, and damage is said."""

import h5py
import hdf5plugin
import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.io import hdf5_stack, scans
from smae_jax.io.hdf5_chunks import chunks_of, is_packed_by_frames, packed, unpacked
from smae_jax.io.hdf5_stack import Segment
from smae_jax.io.reading import read
from smae_jax.io.sentinels import Marks
from smae_jax.io.source import open_source

PACKED = hdf5plugin.Bitshuffle(cname="lz4")


def stack_of(shape, dtype, *, seed=0):
    return np.random.default_rng(seed).poisson(3.0, shape).astype(dtype)


def written(path, values, **options):
    options = {"chunks": (*(1 for _ in values.shape[:-2]), *values.shape[-2:]), **options}
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=values, **options)
    return f"{path}::/entry/data/data"


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", "<u4", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(3, 1, 5), (2, 37, 41), (2, 3, 96, 100)])
def test_chunks_are_unpacked_as_hdf5_does(tmp_path, dtype, shape):
    values = stack_of(shape, dtype)
    written(tmp_path / "a.h5", values, **PACKED)
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["entry/data/data"]
        assert is_packed_by_frames(data)
        places = [*np.ndindex(shape[:-2])]
        found = unpacked(chunks_of(data, places), shape[-2:], data.dtype)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.reshape(shape), values)


@pytest.mark.parametrize("dtype", ["?", "<u2", "<f2", "<f4", "<f8"])
@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 37, 41), (1, 96, 100)])
def test_frames_are_packed_as_hdf5_does(tmp_path, dtype, shape):
    values = stack_of(shape, dtype)
    written(tmp_path / "a.h5", values, **PACKED)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["entry/data/data"].id.read_direct_chunk((0, 0, 0))[1] == packed(values[0])


@pytest.mark.parametrize("block", [16, 64, 4096])
def test_blocks_of_any_size(tmp_path, block):
    values = stack_of((2, 30, 50), np.uint16)
    packed = hdf5plugin.Bitshuffle(nelems=block, cname="lz4")
    written(tmp_path / "a.h5", values, **packed)
    np.testing.assert_array_equal(read(str(tmp_path / "a.h5")).counts, values)


OTHERS = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "zstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "two frames a chunk": {"chunks": (2, 20, 24), **PACKED},
    "checksum": {"fletcher32": True, **PACKED},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_what_is_packed_otherwise_is_read_by_hdf5(tmp_path, options, monkeypatch):
    values = stack_of((5, 20, 24), np.uint16)
    path = written(tmp_path / "a.h5", values, **options)
    monkeypatch.setattr(hdf5_stack, "unpacked", None)
    np.testing.assert_array_equal(open_source(path).read([1, 3, 4]).counts, values[[1, 3, 4]])


def test_runs_in_threads_keep_their_order_and_masks(tmp_path, monkeypatch):
    values = stack_of((23, 20, 24), np.uint16)
    values[:, 4:6] = 65535
    values[7, 1, 1:4] = 40
    values[20, 0, 0] = 65535
    path = written(tmp_path / "a.h5", values, **PACKED)
    monkeypatch.setattr(scans, "RUN_BYTES", 2 * 20 * 24 * 2)
    data = open_source(path, saturation=30).read()
    valid = values < 30
    np.testing.assert_array_equal(data.counts, np.where(valid, values, 0))
    np.testing.assert_array_equal(data.exposure, valid.astype(np.float32))
    assert data.counts.dtype == np.int32
    assert data.origin.masked_by["detector"] == 2 / 20
    assert data.origin.masked_by["saturated"] == 4 / values.size
    assert any("of 30 and more are saturated" in note for note in data.origin.notes)


RANGES = [
    (np.uint16, 7, None, True),
    (np.uint16, 30, None, True),
    (np.int16, -1, None, True),
    (np.int16, -1, None, False),
    (np.int32, 7, 5.0, True),
    (np.uint32, 2**31 + 5, None, False),
    (np.float32, 7, None, True),
]


@pytest.mark.parametrize(("dtype", "odd", "cutoff", "marked"), RANGES)
def test_the_range_of_counts_decides_as_every_pixel_does(dtype, odd, cutoff, marked):
    marks = Marks(anywhere=(30,) if marked else (), full=(29,), signed=not marked)
    values = np.ones((2, 3, 4), dtype)
    for place in (None, (1, 2, 3)):
        if place is not None:
            values[place] = odd
        counts, valid, number = scans.decide(values, cutoff, None, marks)
        slow = scans.decide(values, cutoff, np.zeros((1, 3, 4), bool), marks)
        np.testing.assert_array_equal(counts, slow[0])
        assert counts.dtype == slow[0].dtype
        np.testing.assert_array_equal(
            np.broadcast_to(valid, values.shape), np.broadcast_to(slow[1], values.shape)
        )
        np.testing.assert_array_equal(number, slow[2])
        causes = scans.causes_of(values, saturation=cutoff, marks=marks)
        np.testing.assert_array_equal(number, np.bincount(causes.ravel(), minlength=4))


@pytest.mark.parametrize("place", [3, 11, 13, 16, -9])
def test_damage_is_an_error_of_one_line_that_names_the_file(tmp_path, place):
    path = written(tmp_path / "a.h5", stack_of((4, 64, 64), np.uint16), **PACKED)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        chunks = file["entry/data/data"].id
        skipped, packed = chunks.read_direct_chunk((2, 0, 0))
        bad = bytearray(packed)
        end = place + 1 if place < 16 else None
        bad[place:end] = b"\xff" * len(bad[place:end]) if place > 0 else b""
        chunks.write_direct_chunk((2, 0, 0), bytes(bad), skipped)
    source = open_source(path, marks="none")
    with pytest.raises(
        UserError, match=r"a\.h5: frame 2 of /entry/data/data cannot be read"
    ) as error:
        source.read()
    assert "\n" not in str(error.value)
    assert source.read([0, 1, 3]).frames == 3


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_tail_is_an_error_and_spreads_over_no_pixel(tmp_path, cut):
    """What does not fill a group of eight values stands at the end as it is; here it is three bytes."""
    path = written(tmp_path / "a.h5", stack_of((4, 5, 7), np.uint8), **PACKED)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        chunks = file["entry/data/data"].id
        skipped, packed = chunks.read_direct_chunk((2, 0, 0))
        chunks.write_direct_chunk((2, 0, 0), packed[:-cut], skipped)
    with pytest.raises(UserError, match=r"a\.h5: frame 2 of /entry/data/data cannot be read"):
        open_source(path, marks="none").read()


def test_marks_are_looked_for_without_hdf5s_own_filter(tmp_path):
    """A damaged head makes that read beyond its memory."""
    path = written(tmp_path / "a.h5", stack_of((4, 64, 64), np.uint16), **PACKED)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        chunks = file["entry/data/data"].id
        skipped, packed = chunks.read_direct_chunk((2, 0, 0))
        chunks.write_direct_chunk((2, 0, 0), packed[:4] + b"\xff" * 8 + packed[12:], skipped)
    with pytest.raises(UserError, match=r"a\.h5: frame 2 of /entry/data/data cannot be read"):
        open_source(path).read()


def test_a_damaged_frame_is_named_after_its_file_is_closed(tmp_path):
    """What unpacks runs in another thread, and may be behind the reading."""
    path = tmp_path / "late.h5"
    with h5py.File(path, "w") as file:
        counts = np.ones((4, 32, 32), np.uint16)
        packed = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset("data", data=counts, chunks=(1, 32, 32), **packed)
        data.id.write_direct_chunk((2, 0, 0), b"\xff" * 40)
        segment = Segment(lambda: data, data.shape, data.dtype, np.arange(4))
        unpack = segment.begin(0, 4)
    with pytest.raises(UserError, match=r"late\.h5: frame 2 of /data cannot be read"):
        unpack()

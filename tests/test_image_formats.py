"""Image formats beside HDF5: packed TIFF, what fabio reads, Zarr, MRC, files packed as a whole."""

import bz2
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tifffile
from fabio import bruker100image, cbfimage, dtrekimage, edfimage, mar345image, marccdimage
from fabio.fabioutils import ENDIANNESS
from fabio.GEimage import GE_HEADER_INFO
from refusals import refused

from smae_jax.errors import UserError
from smae_jax.io import packed_files, readable
from smae_jax.io.reading import read, read_mask
from smae_jax.io.source import open_source

mrcfile = pytest.importorskip("mrcfile")
zarr = pytest.importorskip("zarr")


@pytest.fixture
def stack():
    """Three unlike frames, taller than wide."""
    return np.random.default_rng(0).poisson(3, (3, 19, 16)).astype(np.uint16)


# TIFF

LOSSLESS = [
    *("lzw", "zlib", "deflate", "adobe_deflate", "packbits", "zstd", "lzma", "lerc"),
    *("png", "jpeg2000", "jpegxl", "jpegxr"),
]


@pytest.mark.parametrize("compression", LOSSLESS)
def test_tiff_in_every_packing(tmp_path, stack, compression):
    options = {"compression": compression}
    if compression == "jpegxr":
        options["compressionargs"] = {"level": 1.0}  # lossless
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    data = read(str(tmp_path / "a.tif"))
    np.testing.assert_array_equal(data.counts, stack)
    assert data.origin.dtype == "uint16"


@pytest.mark.parametrize("predictor", [None, True])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
def test_tiff_of_every_layout(tmp_path, stack, predictor, bigtiff, byteorder, tile, compression):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as tiff:
        for frame in stack:
            tiff.write(
                frame,
                tile=tile,
                compression=compression,
                predictor=predictor if compression else None,
                photometric="minisblack",
                metadata=None,
            )
    np.testing.assert_array_equal(read(str(path)).counts, stack)
    np.testing.assert_array_equal(read(str(path), repeats="2,0").counts, stack[[2, 0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_tiff_of_every_type(tmp_path, stack, dtype, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack.astype(dtype), compression=compression, photometric="minisblack")
    np.testing.assert_array_equal(read(str(path)).counts, stack)


def test_packed_tiff_is_read_page_by_page(tmp_path, stack, monkeypatch):
    path, unpacked = tmp_path / "a.tif", []
    tifffile.imwrite(path, stack, compression="zstd", photometric="minisblack", metadata=None)
    whole = tifffile.TiffPage.asarray
    monkeypatch.setattr(
        tifffile.TiffPage, "asarray", lambda page, *a, **k: unpacked.append(1) or whole(page)
    )
    source = open_source(str(path), marks="none")  # to find marks, frames would be looked at
    assert not unpacked
    np.testing.assert_array_equal(source.read([1]).counts, stack[1:2])
    assert len(unpacked) <= 1


def test_series_of_unlike_shape_are_named(tmp_path, stack):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(stack, photometric="minisblack")
        tiff.write(stack[0, ::2, ::2], photometric="minisblack")
    refused(path, "differ in shape", "0 is (3, 19, 16)", "1 (10, 8)", f"{path}::0")
    np.testing.assert_array_equal(read(f"{path}::0").counts, stack)
    small = read(f"{path}::1")
    np.testing.assert_array_equal(small.counts, stack[:1, ::2, ::2])
    assert small.names == ("a.tif::1",)
    refused(f"{path}::2", "drop '::2'", "0 to 1")
    refused(f"{path}::²", "drop '::²'")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "jpegxl", "lerc"])
def test_truncated_packed_tiff_is_refused(tmp_path, stack, compression, share):
    path = tmp_path / "a.tif"
    values = np.tile(stack, (1, 6, 6))
    tifffile.imwrite(path, values, compression=compression, photometric="minisblack")
    with path.open("r+b") as file:
        file.truncate(int(share * path.stat().st_size))
    refused(path, "cannot be read as a TIFF", "a.tif")


def test_unknown_packing_of_a_tiff_is_said(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack[0], compression="zstd", photometric="minisblack")
    content = path.read_bytes()
    assert content.count(struct.pack("<HHI", 259, 3, 1) + b"\x50\xc3") == 1
    path.write_bytes(
        content.replace(
            struct.pack("<HHI", 259, 3, 1) + b"\x50\xc3", struct.pack("<HHIH", 259, 3, 1, 61234)
        )
    )
    refused(path, "a.tif")


def test_tiff_that_claims_too_much_is_refused(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack[0], compression="zstd", photometric="minisblack", metadata=None)
    content = path.read_bytes()
    for tag, side in ((256, 16), (257, 19)):
        stated = next(
            entry
            for kind, code in ((3, "HH"), (4, "I"))
            if (entry := struct.pack(f"<HHI{code[0]}", tag, kind, 1, side)) in content
        )
        claimed = struct.pack("<HHII", tag, 4, 1, 400_000)
        place = content.index(stated)
        content = content[:place] + claimed + content[place + 12 :]
    path.write_bytes(content)
    refused(path, "a.tif: claims", "damaged")


def test_missing_imagecodecs_is_named(tmp_path, stack):
    for compression in ("zstd", "lzw", "jpegxl"):
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, stack, compression=compression, photometric="minisblack")
    program = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from smae_jax.io.reading import read\n"
        "for path in sys.argv[1:]:\n"
        "    try: read(path)\n"
        "    except ValueError as error: print(error)\n"
    )
    paths = [str(tmp_path / f"{name}.tif") for name in ("zstd", "lzw", "jpegxl")]
    said = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(said) == 3
    assert all("which the package imagecodecs reads" in line for line in said)
    assert "ZSTD" in said[0]


# fabio


def edf(path, frames):
    image = edfimage.EdfImage(data=frames[0])
    for frame in frames[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


WRITERS = {
    ".edf": edfimage.EdfImage,
    ".cbf": cbfimage.CbfImage,
    ".mar345": mar345image.Mar345Image,
    ".mccd": marccdimage.MarccdImage,
    ".img": dtrekimage.DtrekImage,
    ".sfrm": bruker100image.Bruker100Image,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats_that_fabio_writes(tmp_path, suffix):
    frame = np.random.default_rng(1).poisson(3, (1200, 1200)).astype(np.uint16)
    frame[0, 1], frame[5, 2] = 77, 300
    path = tmp_path / f"frame{suffix}"
    image = WRITERS[suffix](data=frame.copy())
    if suffix == ".mar345":
        image.byteorder = ENDIANNESS.LITTLE
    image.write(str(path))
    data = read(str(path))
    np.testing.assert_array_equal(data.counts[0], frame)
    assert data.names == (f"frame{suffix}",)


def ge(path, frames, *, claimed=None):
    """A file of a GE detector: its header is 8192 bytes of fixed fields."""
    header = bytearray(8192)
    header[:10] = b"ADEPT\0\0\0\0\0"
    fields = {}
    place = 0
    for name, size, kind in GE_HEADER_INFO:
        fields[name] = place, kind
        place += size
    for name, value in {
        "StandardHeaderSizeInBytes": 8192,
        "UserHeaderSizeInBytes": 0,
        "NumberOfFrames": claimed or len(frames),
        "NumberOfRowsInFrame": frames.shape[1],
        "NumberOfColsInFrame": frames.shape[2],
        "ImageDepthInBits": 16,
    }.items():
        struct.pack_into(fields[name][1], header, fields[name][0], value)
    path.write_bytes(bytes(header) + frames.astype("<u2").tobytes())


@pytest.mark.parametrize("suffix", [".ge", ".ge2", ".ge5"])
def test_ge_of_several_frames(tmp_path, stack, suffix):
    path = tmp_path / f"scan{suffix}"
    ge(path, stack)
    data = read(str(path))
    np.testing.assert_array_equal(data.counts, stack)
    assert data.names[2] == f"scan{suffix}[2]"


@pytest.mark.parametrize("claimed", [4, 65535])
def test_ge_that_claims_more_frames_is_refused(tmp_path, stack, claimed):
    ge(tmp_path / "scan.ge2", stack, claimed=claimed)
    refused(tmp_path / "scan.ge2", "scan.ge2")


@pytest.mark.parametrize("size", ["10000000", "-5", "1e300", "nan", "x"])
def test_edf_with_an_absurd_header_is_refused(tmp_path, stack, size):
    path = tmp_path / "a.edf"
    edf(path, stack)
    text = path.read_bytes()
    given = b"Dim_1 = 16 ;"
    assert given in text
    path.write_bytes(text.replace(given, f"Dim_1 = {size} ;".encode()))
    refused(path, "a.edf")


@pytest.mark.parametrize("suffix", [".mccd", ".mar345", ".img", ".sfrm", ".ge5", ".cbf", ".msk"])
def test_other_content_under_a_detector_suffix_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for content in (b"\0" * 999, b"these are not frames\n" * 50, os.urandom(5000)):
        path.write_bytes(content)
        refused(path, "cannot be read as a detector image", f"a{suffix}")


def test_cbf_without_its_binary_section_is_refused(tmp_path, stack):
    path = tmp_path / "a.cbf"
    cbfimage.CbfImage(data=stack[0].astype(np.int32)).write(str(path))
    content = path.read_bytes()
    start = content.index(b"\x0c\x1a\x04\xd5")
    marker = content.replace(b"--CIF-BINARY-FORMAT", b"--CIF-BINARX-FORMAT")
    for cut in (
        marker,
        content[:start],
        content[: start + 2],
        content.replace(b"\x1a\x04", b"\x1a\x05"),
        b"?" + content[1:start],
    ):
        path.write_bytes(cut)
        refused(path, "cannot be read as a detector image", "binary section is missing")


@pytest.mark.parametrize("place", range(8, 80, 3))
def test_damaged_header_of_npy_is_refused(tmp_path, stack, place):
    path = tmp_path / "a.npy"
    np.save(path, stack)
    content = bytearray(path.read_bytes())
    content[place : place + 2] = b"(\xff"
    for name in ("a.npy", "a.npz"):
        if name == "a.npz":
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("frames.npy", bytes(content))
        else:
            path.write_bytes(content)
        refused(tmp_path / name, "cannot be read as", name)


# Packed as a whole


def packed(path, suffix=".gz"):
    opener = {".gz": gzip.open, ".bz2": bz2.open}[suffix]
    with open(path, "rb") as source, opener(f"{path}{suffix}", "wb") as target:
        shutil.copyfileobj(source, target)
    os.remove(path)
    return f"{path}{suffix}"


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".edf", ".npy", ".npz", ".mrc"])
@pytest.mark.parametrize("outer", [".gz", ".bz2"])
def test_packed_files(tmp_path, stack, suffix, outer):
    path = tmp_path / f"a{suffix}"
    if suffix == ".edf":
        edf(path, stack)
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, stack, photometric="minisblack")
    elif suffix == ".mrc":
        mrcfile.write(path, stack)
    else:
        {".npy": np.save, ".npz": np.savez}[suffix](path, stack)
    data = read(packed(path, outer))
    np.testing.assert_array_equal(data.counts, stack)
    assert data.names[1] == f"a{suffix}{outer}[1]"


def test_packed_cbf_and_its_damage(tmp_path, stack):
    cbfimage.CbfImage(data=stack[0].astype(np.int32)).write(str(tmp_path / "a.cbf"))
    path = packed(tmp_path / "a.cbf")
    np.testing.assert_array_equal(read(path).counts[0], stack[0])
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    refused(path, "cannot be read as a packed file", path)
    (tmp_path / "b.cbf.gz").write_bytes(b"no gzip at all")
    refused(tmp_path / "b.cbf.gz", "cannot be read as a packed file")
    (tmp_path / "c.cbf.gz").write_bytes(gzip.compress(b"no CBF at all" * 30))
    assert "smae_jax_" not in refused(tmp_path / "c.cbf.gz", f"{tmp_path}/c.cbf.gz: cannot be")
    refused(f"{tmp_path}/c.cbf.gz::x", "drop '::x'", "c.cbf.gz")


@pytest.mark.parametrize("suffix", [".tif.gz", ".edf.bz2"])
def test_decompression_bomb_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(packed_files, "ALWAYS_UNPACKED", 2**20)
    monkeypatch.setattr(packed_files, "LARGEST", 2**22)
    path = tmp_path / f"bomb{suffix}"
    pack = gzip.compress if suffix.endswith("gz") else bz2.compress
    path.write_bytes(pack(b"\0" * 2**24))
    refused(path, "unpacks to more than", "bomb")


def test_npz_that_claims_too_much_is_refused(tmp_path, stack):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("frames.npy", header.getvalue() + stack.tobytes())
    refused(tmp_path / "a.npz", "a.npz", "damaged")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<u2", "fortran_order": False, "shape": (4, 19, 16)}
        )
        archive.writestr("frames.npy", header.getvalue() + stack.tobytes())
    refused(tmp_path / "b.npz", "b.npz", "cannot be read as an .npz file")


# Zarr and MRC


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("where", ["scan.zarr", "scan.zarr.zip", "folder"])
def test_zarr_array_and_group(tmp_path, stack, version, where):
    path = tmp_path / where
    store = zarr.storage.ZipStore(path, mode="w") if where.endswith(".zip") else path
    group = zarr.create_group(store, zarr_format=version)
    group.create_array("entry/data", data=stack, chunks=(1, 19, 16))
    group.create_array("energies", data=np.arange(3.0))
    if where.endswith(".zip"):
        store.close()
    for name in ("", "::/entry/data", "::entry/data"):
        data = read(f"{path}{name}")
        np.testing.assert_array_equal(data.counts, stack)
        assert data.names[1] == f"{where}::/entry/data[1]"
    refused(f"{path}::/gone", "no array '/gone'", "/entry/data (3, 19, 16)")
    if where != "scan.zarr.zip":
        alone = tmp_path / "alone.zarr"
        zarr.create_array(alone, data=stack[0], zarr_format=version)
        np.testing.assert_array_equal(read(str(alone)).counts[0], stack[0])
        refused(f"{alone}::/x", "drop '::x'")


def test_zarr_choice_and_mask(tmp_path, stack):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("one", data=stack)
    group.create_array("two", data=stack)
    refused(tmp_path / "a.zarr", "/one (3, 19, 16), /two (3, 19, 16)", "name one as in")
    bad = stack[0] > 4
    group.create_array("mask", data=bad)
    np.testing.assert_array_equal(read_mask(f"{tmp_path}/a.zarr"), ~bad)
    empty = zarr.create_group(tmp_path / "b.zarr")
    assert empty is not None
    refused(tmp_path / "b.zarr", "found none")


def test_zarr_is_read_as_it_is_sliced(tmp_path, stack):
    array = zarr.create_array(tmp_path / "a.zarr", data=stack, chunks=(1, 19, 16))
    assert array.nchunks == 3
    (tmp_path / "a.zarr" / "c" / "2" / "0" / "0").write_bytes(b"damaged")
    source = open_source(str(tmp_path / "a.zarr"), marks="none")
    np.testing.assert_array_equal(source.read([0, 1]).counts, stack[:2])
    refused(tmp_path / "a.zarr", "cannot be read as a Zarr array")


def test_zarr_chunks_that_are_not_there_are_noted(tmp_path, stack):
    zarr.create_array(tmp_path / "a.zarr", data=stack, chunks=(1, 19, 16))
    os.remove(tmp_path / "a.zarr" / "c" / "1" / "0" / "0")
    (note,) = read(str(tmp_path / "a.zarr")).origin.notes
    assert "1 of 3 chunks are not stored and read as 0" in note
    path = tmp_path / "a.zarr" / "zarr.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "shape": [10**7, 19, 16]}))
    refused(tmp_path / "a.zarr", "claims", "damaged")
    path.write_text("{")
    refused(tmp_path / "a.zarr", "cannot be read as Zarr")


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_zarr_never_runs_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("evil.zarr")
    meta = {
        "zarr_format": 2,
        "shape": [4, 4],
        "chunks": [4, 4],
        "dtype": "<i4",
        "order": "C",
        "fill_value": 0,
        "compressor": None,
        "filters": [{"id": "pickle", "protocol": 5}],
    }
    (tmp_path / "evil.zarr" / ".zarray").write_text(json.dumps(meta))
    (tmp_path / "evil.zarr" / "0.0").write_bytes(pickle.dumps(Evil()))
    refused("evil.zarr", "evil.zarr")
    assert not os.path.exists("executed")


@pytest.mark.parametrize(("module", "path"), [("zarr", "a.zarr"), ("mrcfile", "a.mrc")])
def test_missing_packages_are_named(tmp_path, stack, monkeypatch, module, path):
    (tmp_path / "a.zarr").mkdir()
    mrcfile.write(tmp_path / "a.mrc", stack)
    monkeypatch.setitem(sys.modules, module, None)
    refused(tmp_path / path, f"the package {module} reads", "pip install smae_jax[")


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("suffix", [".mrc", ".mrcs"])
def test_mrc(tmp_path, stack, dtype, suffix):
    path = tmp_path / f"a{suffix}"
    mrcfile.write(path, stack.astype(dtype))
    np.testing.assert_array_equal(read(str(path)).counts, stack)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    refused(path, "cannot be read as an MRC file")
    path.write_bytes(b"no MRC at all" * 200)
    refused(path, "cannot be read as an MRC file")


# Files that change, and what is said of files that are no files


@pytest.mark.parametrize("how", ["grows", "touched", "replaced"])
def test_file_that_changes_while_it_is_read_is_noticed(tmp_path, stack, monkeypatch, how):
    path = tmp_path / "a.npy"
    np.save(path, stack)

    def change():
        if how == "grows":
            with path.open("ab") as file:
                file.write(b"more")
        elif how == "touched":
            os.utime(path, ns=(1, 1))
        else:
            np.save(path, stack[:2])

    with pytest.raises(UserError, match="changed while it was read"), readable.steady(str(path)):
        change()
    np.save(path, stack)
    with readable.steady(str(path)):
        pass

    def fails():
        change()
        raise UserError("is truncated")

    with pytest.raises(UserError, match="still being written"), readable.steady(str(path)):
        fails()


def test_what_cannot_be_read_is_said(tmp_path, stack):
    (tmp_path / "empty.tif").write_bytes(b"")
    assert "damaged" not in refused(tmp_path / "empty.tif", "is empty (0 bytes)")
    np.save(tmp_path / "a.npy", stack)
    (tmp_path / "empty.npy").write_bytes(b"")
    refused(f"{tmp_path}/*.npy", "empty.npy: is empty (0 bytes)")
    (tmp_path / "folder.tif").mkdir()
    refused(tmp_path / "folder.tif", "no supported frames in this folder")
    (tmp_path / "a.xyz").write_bytes(b"1")
    refused(tmp_path / "a.xyz", "unsupported suffix '.xyz'", ".zarr")
    os.symlink(tmp_path / "gone.tif", tmp_path / "link.tif")
    refused(tmp_path / "link.tif", "no such file")
    refused(f"{tmp_path}/a.npy::x", "drop '::x'")

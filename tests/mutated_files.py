"""Small files of every format that is read, and what becomes of them when they are damaged.

As a program it damages and reads such files one after another, and writes a line on each to `log.txt`: how
reading it ended. It runs in a process of its own, because a fault may be a crash or a hang of a C library.
"""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
from __future__ import annotations

import dataclasses
import faulthandler
import gzip
import io
import itertools
import json
import re
import shutil
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import h5py
import hdf5plugin
import mrcfile
import numpy as np
import tifffile
import zarr
from fabio import cbfimage, edfimage, fit2dmaskimage, mar345image, marccdimage
from fabio.fabioutils import ENDIANNESS
from PIL import Image

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.poni import read_poni
from smae_jax.io.reading import read, read_mask

SECONDS = 30  # for one file, on a busy machine; each takes milliseconds
MOST_BYTES = 2**29  # that reading one file may take: packed files may unpack to half of it
PILATUS = (
    "# Pixel_size 172e-6 m x 100e-6 m\r\n# Exposure_time 0.02 s\r\n# Count_cutoff 97 counts\r\n"
    "# Wavelength 1.54 A\r\n# Detector_distance 2.5 m\r\n# Beam_xy (12.00, 7.00) pixels\r\n"
)
ABSURD = [
    *(b"nan", b"-1", b"0", b"1e300", b"-inf", b"99999999999", b"2147483647", b"1e-300", b""),
    *(b"0x7f", "٣".encode(), b"1" * 5000),
]
FIELDS = [
    *(struct.pack("<i", -1), struct.pack("<i", 2**31 - 1), struct.pack(">i", 400_000)),
    *(struct.pack("<i", 400_000), struct.pack("<H", 65535), bytes(4), struct.pack("<f", np.nan)),
    *(struct.pack("<d", np.nan), struct.pack("<d", 1e300), struct.pack("<q", 2**62)),
]
RNG = np.random.default_rng(0)
STACK = RNG.poisson(3, (3, 19, 16)).astype(np.uint16)
SPECTRA = RNG.poisson(90, (3, 40))
ENERGY = 2 + 0.25 * np.arange(40)


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: what writes a file of it into a folder, and how the file is read.

    Attributes:
      write: makes the files in a folder.
      name: of the file or folder that is read, with the name inside.
      read: how.
      text: whether header numbers are text.
      header: bytes that are damaged, from the start of the file; None = all.
    """

    write: Callable[[Path], object]
    name: str
    read: Callable[[str], object] = read
    text: bool = False
    header: int | None = None


def tiff(**options):
    return lambda p: tifffile.imwrite(p / "a.tif", STACK, photometric="minisblack", **options)


def cbf(path, name="a.cbf"):
    image = cbfimage.CbfImage(data=STACK[0].astype(np.int32))
    image.header["_array_data.header_contents"] = PILATUS
    image.header["_array_data.header_convention"] = "PILATUS_1.2"
    image.write(str(path / name))


def edf(path):
    header = {"count_time": "0.5", "PSize_1": "1e-4", "PSize_2": "1e-4", "WaveLength": "1e-10"}
    image = edfimage.EdfImage(data=STACK[0], header=header)
    image.append_frame(data=STACK[1])
    image.write(str(path / "a.edf"))


def mar345(path):
    image = mar345image.Mar345Image(data=np.tile(STACK[0], (64, 75))[:1200])
    image.byteorder = ENDIANNESS.LITTLE
    image.write(str(path / "a.mar345"))


def mccd(path):
    frame = np.tile(STACK[0], (4, 4))  # with fewer bytes than a header fabio finds none
    marccdimage.MarccdImage(data=frame).write(str(path / "a.mccd"))


def npz(path):
    exposure = np.array([1.0, 2, 3])
    np.savez_compressed(path / "a.npz", counts=SPECTRA, energy=ENERGY, live_time=exposure)


def frames_hdf5(path, name="a.h5", frames=STACK):
    with h5py.File(path / name, "w") as file:
        file["entry/data/plain"] = frames
        packing = {"chunks": (1, *frames.shape[1:]), "compression": "gzip", "shuffle": True}
        file.create_dataset("entry/data/data", data=frames, **packing)
        file["entry/data"].attrs.update({"NX_class": "NXdata", "signal": "data"})


def eiger(path):
    for number in (1, 2):
        with h5py.File(path / f"a_data_{number:06d}.h5", "w") as file:
            packing = {"chunks": (1, *STACK.shape[1:]), **hdf5plugin.Bitshuffle()}
            file.create_dataset("entry/data/data", data=STACK.astype(np.uint32), **packing)
    with h5py.File(path / "a_master.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        file["entry/instrument"].attrs["NX_class"] = "NXinstrument"
        detector.attrs["NX_class"] = "NXdetector"
        told = {"count_time": 0.5, "x_pixel_size": 75e-6, "y_pixel_size": 75e-6}
        told |= {"beam_center_x": 8.0, "beam_center_y": 9.0, "detector_distance": 2.0}
        told |= {"bit_depth_image": 32, "countrate_correction_count_cutoff": 1000.0}
        told |= {"detectorSpecific/nimages": 6, "detectorSpecific/ntrigger": 1}
        for name, value in told.items():
            detector[name] = value
        detector["detectorSpecific/pixel_mask"] = np.zeros(STACK.shape[1:], np.uint32)
        for number in (1, 2):
            link = h5py.ExternalLink(f"a_data_{number:06d}.h5", "/entry/data/data")
            file[f"entry/data/data_{number:06d}"] = link


def virtual(path):
    layout = h5py.VirtualLayout((6, *STACK.shape[1:]), np.uint16)
    for number in (0, 1):
        frames_hdf5(path, f"part{number}.h5")
        source = h5py.VirtualSource(f"part{number}.h5", "entry/data/data", STACK.shape)
        layout[3 * number : 3 * number + 3] = source
    with h5py.File(path / "a.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
        file["entry/count_time"] = 0.5


def zarr_folder(version):
    def write(path):
        array = zarr.open(path / "a.zarr", mode="w", zarr_format=version)
        array.create_array("frames", data=STACK, chunks=(1, 19, 16))

    return write


def zarr_zip(path):
    with zarr.storage.ZipStore(path / "a.zarr.zip", mode="w") as store:
        zarr.create_array(store, data=STACK, chunks=(1, 19, 16))


def packed(path):
    cbf(path)
    (path / "a.cbf.gz").write_bytes(gzip.compress((path / "a.cbf").read_bytes()))
    (path / "a.cbf").unlink()


def table(name, separator, decimal="."):
    rows = [["energy (keV)", "one", "two", "three"]]
    rows += [
        [f"{e:.2f}".replace(".", decimal), *map(str, c)]
        for e, c in zip(ENERGY, SPECTRA.T, strict=True)
    ]
    text = "# of something\n" + "\n".join(separator.join(row) for row in rows) + "\n"
    return lambda path: (path / name).write_text(text)


def spec(path):
    lines = ["#F scans", "#D Sat Jul 22 13:05:06 2006", "", "#S 1 ascan energy 7 8 39 1", "#N 3"]
    lines += ["#L energy  Monitor  Detector"]
    lines += [f"{e} 1000 {c}" for e, c in zip(ENERGY, SPECTRA[0], strict=True)]
    lines += ["", "#S 2 mca", "#@MCA %16C", "#@CHANN 40 0 39 1", "#@CALIB 0.5 0.02 0"]
    lines += ["#@CTIME 1 0.9 1", "#N 1", "#L x"]
    lines += [f"1\n@A {' '.join(map(str, row))}" for row in SPECTRA]
    (path / "a.spec").write_text("\n".join(lines) + "\n")


def amptek(path):
    counts = "\n".join(map(str, SPECTRA[0]))
    (path / "a.mca").write_text(
        "<<PMCA SPECTRUM>>\nTAG - x\nLIVE_TIME - 12.5\n<<CALIBRATION>>\nLABEL - keV\n5 1.0\n15 3.0\n"
        f"<<DATA>>\n{counts}\n<<END>>\n"
    )


def xdi(path):
    lines = ["# XDI/1.0 GSE/1.0", "# Column.1: energy eV", "# Column.2: i0", "# Column.3: ifluor"]
    lines += ["# Mono.d_spacing: 3.13", "# ///", "# Cu foil", "# -----"]
    lines += [f"{e} 1000 {c}" for e, c in zip(ENERGY, SPECTRA[0], strict=True)]
    (path / "a.xdi").write_text("\n".join(lines) + "\n")


def poni(path):
    config = {"pixel1": 1e-4, "pixel2": 1e-4, "orientation": 2}
    told = {"poni_version": 2.1, "Detector": "Detector", "Detector_config": json.dumps(config)}
    told |= {"Distance": 0.2, "Poni1": 0.03, "Poni2": 0.05, "Rot1": 0.1, "Rot2": -0.2, "Rot3": 0}
    told |= {"Wavelength": 1e-10}
    (path / "a.poni").write_text("".join(f"{key}: {value}\n" for key, value in told.items()))


def calibration(path):
    return read_poni(path, (19, 16), Geometry())


MASK = (RNG.random((19, 16)) < 0.2).astype(np.uint8)
FORMATS = {
    "tiff": Format(tiff(metadata=None, description=PILATUS), "a.tif"),
    "tiff-lzw": Format(tiff(compression="lzw"), "a.tif"),
    "tiff-zstd": Format(tiff(compression="zstd"), "a.tif"),
    "cbf": Format(cbf, "a.cbf", text=True),
    "edf": Format(edf, "a.edf", text=True),
    "mar345": Format(mar345, "a.mar345", header=4096),
    "mccd": Format(mccd, "a.mccd"),
    "npy": Format(lambda p: np.save(p / "a.npy", STACK), "a.npy", text=True),
    "npz": Format(npz, "a.npz", text=True),
    "hdf5": Format(frames_hdf5, "a.h5::/entry/data"),
    "hdf5-master": Format(eiger, "a_master.h5"),
    "hdf5-virtual": Format(virtual, "a.h5"),
    "zarr-2": Format(zarr_folder(2), "a.zarr", text=True),
    "zarr-3": Format(zarr_folder(3), "a.zarr", text=True),
    "zarr-zip": Format(zarr_zip, "a.zarr.zip", text=True),
    "mrc": Format(lambda p: mrcfile.write(p / "a.mrc", STACK), "a.mrc"),
    "gz": Format(packed, "a.cbf.gz", text=True),
    "csv": Format(table("a.csv", ";", decimal=","), "a.csv", text=True),
    "tsv": Format(table("a.tsv", "\t"), "a.tsv", text=True),
    "spec": Format(spec, "a.spec::1.1", text=True),
    "spec-mca": Format(spec, "a.spec::2.1", text=True),
    "amptek": Format(amptek, "a.mca", text=True),
    "xdi": Format(xdi, "a.xdi", text=True),
    "poni": Format(poni, "a.poni", calibration, text=True),
    "mask-png": Format(lambda p: Image.fromarray(MASK * 255).save(p / "a.png"), "a.png", read_mask),
    "mask-txt": Format(
        lambda p: np.savetxt(p / "a.txt", MASK, fmt="%d"), "a.txt", read_mask, text=True
    ),
    "mask-msk": Format(
        lambda p: fit2dmaskimage.Fit2dMaskImage(data=MASK).write(str(p / "a.msk")),
        "a.msk",
        read_mask,
    ),
}


def mutated(content: bytes, rng: np.random.Generator, *, text: bool) -> bytes:
    """Damage the bytes of a file in one way."""
    size = len(content)
    first = int(rng.integers(size)) if rng.random() < 0.5 else int(rng.integers(min(size, 1024)))
    last = min(size, first + int(rng.integers(1, max(2, min(size, 400)))))
    kind = rng.choice(["flip", "zero", "double", "delete", "cut", "absurd", "absurd"])
    if kind == "flip":
        damaged = bytearray(content)
        for place in rng.integers(first, last, int(rng.integers(1, 17))):
            damaged[place] ^= int(rng.integers(1, 256))
        return bytes(damaged)
    if kind == "absurd":
        return absurd(content, first, rng, text=text)
    return {
        "zero": content[:first] + bytes(last - first) + content[last:],
        "double": content[:last] + content[first:],
        "delete": content[:first] + content[last:],
        "cut": content[:first],
    }[kind]


def absurd(content: bytes, first: int, rng: np.random.Generator, *, text: bool) -> bytes:
    """Replace one number: of a text, the first one behind a place; else the bytes there."""
    number = re.compile(rb"[-+]?\d+(\.\d+)?(e[-+]?\d+)?").search(content, first) if text else None
    if number:
        return content[: number.start()] + rng.choice(ABSURD) + content[number.end() :]
    field = FIELDS[rng.integers(len(FIELDS))]
    place = first & ~1 if rng.random() < 0.5 else first & ~3
    return content[:place] + field + content[place + len(field) :]


def mutated_within(content: bytes, rng: np.random.Generator, *, text: bool) -> bytes:
    """Damage what is packed in a file, and pack it again with the right checksums."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(mutated(gzip.decompress(content), rng, text=text))
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            inner = old.read(name)
            new.writestr(name, mutated(inner, rng, text=text) if name == chosen else inner)
    return target.getvalue()


def mutate_hdf5(path: Path, rng: np.random.Generator) -> None:
    """Damage raw data, the tail, or numbers that a header tells; no other metadata."""
    content = path.read_bytes()
    with h5py.File(path, "r") as file:
        found: list[h5py.Dataset] = []
        file.visititems(lambda _, node: found.append(node) if hasattr(node, "dtype") else None)
        raw = [place for one in found for place in raw_bytes(one)]
        told = [one.name for one in found if one.shape == ()]
    kind = rng.choice(["raw", "raw", "cut", "tail", "told"])
    if kind == "told" and told:
        with h5py.File(path, "r+") as file:
            name = str(told[rng.integers(len(told))])
            del file[name]
            values = [np.nan, -1.0, 1e300, 0.0, -np.inf, 2**62, 1e-300, "text", [], [1.0, np.nan]]
            file[name] = values[rng.integers(len(values))]
        return
    if kind in ("told", "raw") and raw:
        first, size = raw[rng.integers(len(raw))]
        inner = mutated(content[first : first + size], rng, text=False)[:size]
        content = content[:first] + inner.ljust(size, b"\0") + content[first + size :]
    else:
        place = int(rng.integers(len(content)))
        content = content[:place] + (bytes(len(content) - place) if kind == "tail" else b"")
    path.write_bytes(content)


def raw_bytes(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """List where the numbers of a dataset lie in the file: (first byte, how many)."""
    if dataset.is_virtual:
        return []
    if dataset.chunks is None:
        place = dataset.id.get_offset()
        return [] if place is None else [(place, dataset.nbytes)]
    chunks = (dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks()))
    return [(chunk.byte_offset, chunk.size) for chunk in chunks]


def damage(folder: Path, rng: np.random.Generator, made: Format) -> None:
    """Damage one file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    if path.suffix == ".h5":
        return mutate_hdf5(path, rng)
    content = path.read_bytes()
    within = content[:2] in (b"\x1f\x8b", b"PK") and rng.random() < 0.5
    mutate = mutated_within if within else mutated
    end = len(content) if made.header is None else made.header
    path.write_bytes(mutate(content[:end], rng, text=made.text) + content[end:])
    return None


def fault_of(path: str, reader: Callable[[str], object]) -> tuple[str, bool]:
    """Read a file: (what is wrong with how that ended, or ""; whether there were data)."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    fault, there = "", False
    try:
        data, there = reader(path), True
        if isinstance(counts := getattr(data, "counts", None), np.ndarray):
            usable = counts.size and np.isfinite(counts).all()
            fault = "" if usable else "counts that are not finite, or none"
    except UserError as error:
        if "\n" in str(error) or not str(error):
            fault = f"more than one line, or none: {str(error)!r}"
        elif isinstance(reason(error), MemoryError):
            fault = f"no memory for what it claims: {error}"
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    grown = tracemalloc.get_traced_memory()[1] - before
    return fault or (f"{grown / 2**20:.0f} MiB were taken" if grown > MOST_BYTES else ""), there


def reason(error: BaseException) -> BaseException:
    """Return the first error of a chain."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def limit_memory() -> None:
    """Let no fault take the machine down; where there are no such limits, what is taken is still measured."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            here = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    resource.setrlimit(resource.RLIMIT_AS, (here + 3 * 2**30, resource.RLIM_INFINITY))


def main(folder: Path, count: int, start: int, names: list[str], log: TextIO) -> None:
    """Read `count` damaged files of each format, from the one with number `start` on; a line on each."""
    faulthandler.enable()
    warnings.simplefilter("error")
    limit_memory()
    tracemalloc.start()
    ready = ""
    for number, (name, index) in enumerate(itertools.product(names, range(count))):
        if number < start:
            continue
        made, whole, here = FORMATS[name], folder / name / "whole", folder / name / str(index)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        print("reading", here / made.name, file=log)
        if ready != name:
            shutil.rmtree(whole, ignore_errors=True)
            whole.mkdir(parents=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.write(whole)
            made.read(str(whole / made.name))  # whole files are data; also, libraries are loaded
            ready = name
        shutil.copytree(whole, here)
        rng = np.random.default_rng([seed_of(name), index])
        damage(here, rng, made)
        fault, there = fault_of(str(here / made.name), made.read)
        faulthandler.cancel_dump_traceback_later()
        word = "fault" if fault else "data" if there else "refused"
        print(word, " ".join(fault.split()), file=log)
        if not fault:
            shutil.rmtree(here)


def seed_of(name: str) -> int:
    """Return the seed of a format."""
    return sum(place * byte for place, byte in enumerate(name.encode(), 1))


def run(arguments: list[str]) -> None:
    """Take folder, count, start and names from the command line."""
    folder = Path(arguments[0])
    with open(folder / "log.txt", "w", buffering=1, encoding="utf-8") as log:  # C writes to stdout
        main(folder, int(arguments[1]), int(arguments[2]), arguments[3:], log)


if __name__ == "__main__":
    run(sys.argv[1:])

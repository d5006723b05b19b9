"""Where results may go: names, formats, and what must not be written over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tifffile

from smae_jax.io import text_files
from smae_jax.io.array_files import HDF5_SUFFIXES, axis_beside
from smae_jax.io.atomic import OutputError, refuse_existing
from smae_jax.io.file_kinds import PROGRAM
from smae_jax.io.hdf5_linked_files import linked_files
from smae_jax.io.locations import matching, split_inside
from smae_jax.measurements import Measurements

TIFF_SUFFIXES = (".tif", ".tiff")
ARRAY_SUFFIXES = (*HDF5_SUFFIXES, ".npz", ".npy")


def check_output(
    path: str,
    data: Measurements,
    *,
    inputs: Sequence[str] = (),
    overwrite: bool = False,
    sigma: bool = False,
) -> None:
    """Refuse an output before the work that leads to it.

    Args:
      path: where the results of `data` are to go.
      data: what they are made of: its dimensions decide which formats there are.
      inputs: every location that was read beside that of `data`, see `refuse_input`.
      overwrite: whether existing output is replaced.
      sigma: whether there will be error bars.

    Raises:
      OutputError: if the format does not fit, the output or a file beside it exists and is not to be
        replaced, it is a folder that holds more than earlier output of this program, or it is an input.
    """
    check_format(path, data)
    for one in (path, *files_beside(path)):
        refuse_input(one, data.origin.source, *inputs)
        if one == sigma_beside(path) and not sigma and not overwrite and os.path.lexists(one):
            raise OutputError(
                f"{one}: exists already and would pass for the error bars of {path}; choose another name, or "
                "allow it to be removed with --overwrite"
            )
        if not overwrite and os.path.lexists(one) and parts_of(path).is_dir():
            raise OutputError(
                f"{one}: exists already, and {parts_of(path)} holds parts of an output of this name; "
                "--overwrite goes on with these parts and replaces it"
            )
        refuse_existing(one, overwrite=overwrite)
        if suffix_of(path) and os.path.isdir(one):
            hint = "end it in / for one file per frame, or choose another name"
            raise OutputError(f"{one}: is a folder; {hint}")
        if not suffix_of(path) and os.path.lexists(one) and not _is_own_folder(one):
            raise OutputError(
                f"{one}: holds other files than output of {PROGRAM}; choose a new folder"
            )


def check_format(path: str, data: Measurements) -> None:
    """Refuse a suffix that cannot hold results of these dimensions.

    Raises:
      OutputError: in one line, with the suffixes that can.
    """
    suffix, dimensions = suffix_of(path), len(data.spatial)
    formats = {1: (*ARRAY_SUFFIXES, *text_files.SUFFIXES), 2: (*ARRAY_SUFFIXES, *TIFF_SUFFIXES)}
    fitting = formats.get(dimensions, ARRAY_SUFFIXES)
    folder = dimensions == 2 and not suffix
    if data.channels and (folder or suffix in (*TIFF_SUFFIXES, *text_files.SUFFIXES)):
        kind = "a table has no place for" if suffix in text_files.SUFFIXES else "images have no"
        raise OutputError(f"{path}: {kind} channels; expected .h5, .npz or .npy")
    if suffix in fitting or folder:
        return
    if suffix in text_files.SUFFIXES:
        raise OutputError(
            f"{path}: text holds spectra only, this has {dimensions} dimensions; expected .h5, .npz or .npy"
        )
    or_folder = ", or a folder, ending in /" if dimensions == 2 else ""
    raise OutputError(
        f"{path}: unknown suffix '{suffix}' for output; expected {', '.join(fitting)}{or_folder}"
    )


def suffix_of(path: str) -> str:
    """Return the suffix in small letters; "" for a folder.

    >>> suffix_of("a/scan.TIF"), suffix_of("out.v2/")
    ('.tif', '')
    """
    return "" if path.endswith(("/", os.sep)) else Path(path).suffix.lower()


def sigma_beside(path: str) -> str:
    """Return where error bars go that have no place in the file: `a/b.tif` -> `a/b_sigma.tif`."""
    if not suffix_of(path):
        return f"{path.rstrip('/' + os.sep)}_sigma/"
    stem, suffix = os.path.splitext(path)
    return f"{stem}_sigma{suffix}"


def files_beside(path: str) -> tuple[str, ...]:
    """Return every file that may belong to an output beside it: the error bars, and the axis of `.npy`."""
    suffix = suffix_of(path)
    if suffix == ".npy":
        return sigma_beside(path), axis_beside(path)
    return (sigma_beside(path),) if suffix in ("", *TIFF_SUFFIXES) else ()


def parts_of(output: str) -> Path:
    """Return the folder of the parts of an output that is made block by block.

    >>> parts_of("a/out.h5").name, parts_of("a/frames/").name
    ('out.h5.parts', 'frames.parts')
    """
    path = Path(os.path.abspath(output))
    return path.with_name(f"{path.name}.parts")


def refuse_input(output: str | Path, *inputs: str | Path, option: str = "--output") -> None:
    """Refuse an output that would replace something that is read.

    Args:
      output: file or folder that is to be written.
      inputs: locations that are read: files, quoted patterns, folders, `file.h5::/dataset`; "" = none.
      option: what to call the output in the message.

    Raises:
      OutputError: if the output is one of their files under any name (relative, symbolic or hard link), or a
        folder that is one of them or holds one.
    """
    try:
        there = os.stat(output)
    except OSError:
        return  # nothing is there that could be lost
    for location in inputs:
        for file in _files_read(os.fspath(location)) if location else ():
            try:
                same = os.path.samestat(there, os.stat(file))
            except OSError:
                continue
            if same or is_within(file, output):
                what = "is an input" if same else f"holds the input {file}"
                raise OutputError(
                    f"{option} {output}: {what}, which would be lost; choose another name"
                )


def is_within(file: str, folder: str | Path) -> bool:
    """Whether a file, or the link to it, lies anywhere in a folder."""
    if not os.path.isdir(folder):
        return False
    real, parent = (
        os.path.realpath(folder),
        os.path.realpath(os.path.dirname(os.path.abspath(file))),
    )
    return real in (os.path.commonpath([real, one]) for one in (parent, os.path.realpath(file)))


def _files_read(location: str) -> Iterator[str]:
    """Yield every file that a location stands for, with those that belong to it."""
    path = split_inside(location)[0]
    if os.path.isdir(path):
        yield path
        found = [entry.path for entry in os.scandir(path) if entry.is_file()]
    else:
        found = [path] if os.path.lexists(path) else matching(path)
    for file in found:
        yield file
        suffix = os.path.splitext(file)[1].lower()
        if suffix == ".npy":
            yield axis_beside(file)
        elif suffix in HDF5_SUFFIXES:
            yield from linked_files(file)


def _is_own_folder(path: str) -> bool:
    """Whether a folder holds only what this program wrote; raw data must survive."""
    try:
        for name in os.listdir(path):
            with tifffile.TiffFile(os.path.join(path, name)) as tiff:
                if getattr(tiff.pages[0], "software", "") != PROGRAM:
                    return False
    except (OSError, tifffile.TiffFileError):
        return False
    return True

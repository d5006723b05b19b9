"""Which other files an HDF5 file gets its numbers from."""

from __future__ import annotations

import glob
import os
from typing import Any

import h5py

from smae_jax.io.hdf5_links import found_beside, identity_of, link_of
from smae_jax.io.hdf5_opening import FAULTS, open_file


def linked_files(path: str) -> set[str]:
    """List every file that an HDF5 file gets numbers from, over links and virtual datasets, at any depth.

    What cannot be opened counts by its name; a file that is no HDF5 file has none.
    """
    found: set[str] = set()
    waiting = [path]
    while waiting:
        holder = waiting.pop()
        for name in _names_in(holder):
            places = [os.path.join(os.path.dirname(holder), name)]
            if (there := found_beside(name, holder)) is not None:
                places.append(there)
            new = {os.path.normpath(place) for place in places} - found
            found |= new
            waiting += sorted(one for one in new if os.path.isfile(one))
    return found


def without_linked(files: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Leave out files that others of them get their numbers from, as a master beside its data files does.

    Returns:
      (the rest, what was left out in one sentence; none where nothing was).
    """
    hdf5 = [file for file in files if h5py.is_hdf5(file)] if len(files) > 1 else []
    linked = {
        os.path.realpath(one)
        for file in hdf5
        for one in linked_files(file)
        if os.path.realpath(one) != os.path.realpath(file)
    }
    kept = [file for file in files if os.path.realpath(file) not in linked]
    if not kept or len(kept) == len(files):  # files that link to each other are not told apart
        return files, ()
    count = len(files) - len(kept)
    return kept, (f"{count} files are read through those that link to them: not read twice",)


def _names_in(path: str) -> set[str]:
    """Names of other files in one file: of external links, of virtual datasets and of raw data."""
    names: set[str] = set()
    try:
        with open_file(path) as file:
            waiting, seen = list[Any]([file["/"]]), set[tuple[str, int]]()
            while waiting:
                group = waiting.pop()
                for part in group:
                    link = link_of(group, part)
                    if isinstance(link, h5py.ExternalLink):
                        names.add(link.filename)
                    if not isinstance(link, h5py.HardLink):
                        continue
                    node = group[part]
                    if isinstance(node, h5py.Dataset):
                        names |= _sources(path, node)
                    elif isinstance(node, h5py.Group) and identity_of(node) not in seen:
                        seen.add(identity_of(node))
                        waiting.append(node)
    except FAULTS:
        pass  # reading it will say what is wrong
    return names


def _sources(path: str, dataset: Any) -> set[str]:
    names = {name for name, *_ in dataset.external or ()}
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        if "%" not in source.file_name:
            names.add(source.file_name)
            continue
        folder = os.path.dirname(path) or "."  # a file per block, by its number
        pattern = source.file_name.replace("%%", "%").replace("%b", "*")
        found = glob.glob(os.path.join(glob.escape(folder), pattern))
        names |= {os.path.relpath(one, folder) for one in found}
    return names - {"."}

"""Links of HDF5 files, within a file and to others, followed by name; a broken one is told by its cause."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  (a compiled module)

from smae_jax.errors import UserError
from smae_jax.io.hdf5_opening import FAULTS, open_file

_DEEPEST = 16  # groups in groups, and links to links
_KEPT_OPEN = 64  # datasets, and with them the files they lie in


@dataclasses.dataclass(frozen=True)
class Broken:
    """A name that leads nowhere.

    Attributes:
      name: as it was followed.
      file: the other file that it points to; "" = none.
      why: such as `raw/part.h5 is missing`.
    """

    name: str
    file: str
    why: str


class Tree:
    """The names of a file, over links of every kind."""

    def __init__(self, file: h5py.File, keep: ExitStack) -> None:
        """Begin at the root; files that have to be opened by themselves are kept in `keep`."""
        self.file, self._keep = file, keep
        self._open: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return the group or dataset of a name, or `Broken`; the last ones asked for stay open."""
        return self._remembered(name, self.file, name)

    def _remembered(self, name: str, start: Any, path: str) -> Any:
        node = self._open.pop(name, None)
        self._open[name] = self._descend(start, path, name, 0) if node is None else node
        while len(self._open) > _KEPT_OPEN:
            self._open.pop(next(iter(self._open)))
        return self._open[name]

    def _descend(self, start: Any, path: str, name: str, depth: int) -> Any:
        node = start.file if path.startswith("/") else start
        for part in path.strip("/").split("/"):
            if part in ("", "."):
                continue
            if not isinstance(node, h5py.Group):
                return Broken(name, "", f"there is no '{path}'")
            try:
                node = node[part]
                continue
            except FAULTS:
                link = link_of(node, part)
            if depth > _DEEPEST or link is None:
                return Broken(name, "", f"there is no '{path}'")
            if isinstance(link, h5py.ExternalLink):
                node = self._external(node.file, link, name, depth)
            elif isinstance(link, h5py.SoftLink):
                node = self._descend(node, link.path, name, depth + 1)
            else:
                return Broken(name, "", f"'{path}' is damaged")
            if isinstance(node, Broken):
                return node
        return node

    def _external(self, holder: h5py.File, link: h5py.ExternalLink, name: str, depth: int) -> Any:
        """Open what HDF5 does not: a file that is being written; or find out what is wrong."""
        there = found_beside(link.filename, holder.filename)
        if there is None:
            return Broken(name, link.filename, f"{link.filename} is missing")
        try:
            opened = self._keep.enter_context(open_file(there))
        except UserError as error:
            return Broken(name, link.filename, str(error).partition(";")[0])
        node = self._descend(opened, link.path, name, depth + 1)
        if isinstance(node, Broken) and not node.file:
            return Broken(name, link.filename, f"{link.filename} holds no '{link.path}'")
        return node

    def source_of(self, dataset: Any) -> Any:
        """Return the dataset that the first part of a virtual one comes from; None if there is none."""
        source = next(iter(dataset.virtual_sources()), None) if dataset.is_virtual else None
        there = source and found_beside(source.file_name, dataset.file.filename)
        try:
            file = self._keep.enter_context(open_file(there)) if there else None
            node = file.get(source.dset_name) if file and source else None
        except FAULTS:
            return None
        return node if isinstance(node, h5py.Dataset) else None

    def walk(self, enter: Callable[[str, Any], bool], start: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what lies below a group: each name once, and each group once.

        Soft links come last, so that a group counts under the name that it was made with.

        Args:
          enter: (name, group) -> whether to look into it.
          start: name of the group; "" = the root.

        Yields:
          (name, group, dataset or `Broken`), from the top down; a dataset under each of its names.
        """
        top = self.get(start) if start else self.file
        seen, level, later = {identity_of(top)}, [(start, top)], list[tuple[str, Any]]()
        for _ in range(2 * _DEEPEST):
            below: list[tuple[str, Any]] = []
            for name, group in level:
                for part in sorted(group):
                    if isinstance(link_of(group, part), h5py.SoftLink):
                        later.append((f"{name}/{part}", group))
                    else:
                        below.append((f"{name}/{part}", group))
            if not below:
                below, later = later, []
            level = []
            for name, group in below:
                node = self._remembered(name, group, name.rsplit("/", 1)[-1])
                yield name, node
                if isinstance(node, h5py.Group) and enter(name, node):
                    if identity_of(node) not in seen:
                        level.append((name, node))
                    seen.add(identity_of(node))
            if not level and not later:
                return


def found_beside(name: str, holder: str) -> str | None:
    """Return where HDF5 finds a file that another one names, or None.

    That is beside the file that names it, by its last part also where the name is absolute, then where the
    name itself leads.
    """
    folders = [os.path.dirname(holder), os.path.dirname(os.path.realpath(holder))]
    absolute = os.path.isabs(name)
    part = os.path.basename(name) if absolute else name
    beside = [os.path.join(folder, part) for folder in folders]
    tried = [name, *beside] if absolute else [*beside, name]
    return next((path for path in tried if os.path.isfile(path)), None)


def parent_of(name: str) -> str:
    """Return the group that a name lies in: `/entry/data/data` -> `/entry/data`."""
    return posixpath.dirname(name.rstrip("/")) or "/"


def identity_of(node: Any) -> tuple[str, int]:
    """Return what tells an object from all others, whatever name it was reached by."""
    return os.path.realpath(node.file.filename), int(h5o.get_info(node.id).addr)


def link_of(group: Any, part: str) -> Any:
    """Return the link of a group's member, not what it leads to; None if it cannot be read."""
    try:
        return group.get(part, getlink=True)
    except FAULTS:
        return None

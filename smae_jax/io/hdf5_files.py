"""HDF5 and NeXus: frames of one dataset or series, with the pixel mask and header that stand beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import h5py
import numpy as np

from smae_jax.io.hdf5_datasets import FRAMES, MASK, choose_dataset
from smae_jax.io.hdf5_detector import announced, groups_beside, header_of, mask_of
from smae_jax.io.hdf5_join import Joined, join
from smae_jax.io.hdf5_links import Tree, parent_of
from smae_jax.io.hdf5_opening import open_file
from smae_jax.io.hdf5_stack import Segment, Stack
from smae_jax.io.nexus_attributes import attribute, axes_of
from smae_jax.io.raw_frames import Frames
from smae_jax.measurements import Axis


@contextmanager
def open_hdf5(
    path: str, inside: str, *, mask: bool = False, missing: str = "refuse"
) -> Iterator[Frames]:
    """Open one dataset or series of an HDF5 file; it stays on disk until it is sliced.

    Without a name it is what `hdf5_datasets` makes out; with `mask` the default plot does not count, and any
    2-D dataset may be it.

    Args:
      path: the file.
      inside: name within it; "" = none is given.
      mask: whether a mask is wanted.
      missing: "skip" leaves out frames that are announced and not there.

    Raises:
      UserError: if the dataset is missing or there are several (the message lists them with their shapes), a
        linked file is missing, or a file is damaged or packed with a filter that is not installed.
    """
    with ExitStack() as keep, open_file(path) as file:
        tree = Tree(file, keep)
        found = choose_dataset(path, tree, inside, MASK if mask else FRAMES)
        joined = join(path, tree, found, missing)
        if mask or len(joined.values.shape) < 2:
            yield Frames(joined.values, inside=f"::{found.name}")
        else:
            yield _with_header(tree, found.name, joined)


def _with_header(tree: Tree, name: str, joined: Joined) -> Frames:
    first = tree.get(joined.first)
    beside = groups_beside(tree, joined.first, first)
    count = math.prod(joined.leading)
    planned = announced(beside.detector)
    header = header_of(beside, count, joined.places)
    mask, notes = mask_of(beside.detector, tuple(joined.values.shape[-2:]), count)
    notes = (*joined.notes, *header.notes, *notes)
    if planned is not None and count < planned:
        notes = (*notes, f"the file announces {planned} frames and holds {count}")
    places = None
    if joined.places is not None:
        index = np.unravel_index(joined.places, joined.leading or (1,))
        places = tuple(zip(*(one.tolist() for one in index), strict=True))
    values = joined.values
    if not isinstance(values, Stack) and joined.leading:
        dataset = values
        values = Stack([Segment(lambda: dataset, dataset.shape, dataset.dtype, np.arange(count))])
    return Frames(
        joined.values,
        inside=f"::{name}",
        header=dataclasses.replace(header, notes=notes, program=attribute(tree.file, "creator")),
        pixel_mask=None if mask is None else _mask(mask, joined.places),
        places=places,
        motors=motors_of(tree, joined.first, first, joined.leading, joined.places),
        begun=values.begin if isinstance(values, Stack) else None,
    )


def _mask(mask: Any, places: np.ndarray | None) -> Any:
    """Return one mask as an array, or masks of all frames that are read as the frames are."""
    count = math.prod(mask.shape[:-2])
    if count == 1:
        return np.asarray(mask[()]).reshape(mask.shape[-2:])
    frames = np.arange(count) if places is None else places
    return Stack([Segment(lambda: mask, mask.shape, mask.dtype, frames)])


def motors_of(
    tree: Tree, name: str, dataset: Any, leading: tuple[int, ...], places: np.ndarray | None = None
) -> tuple[Axis | None, ...]:
    """Return the coordinates along the leading axes of a dataset, where its NXdata group names them.

    Args:
      tree: the file.
      name: of the dataset as it was reached.
      dataset: itself.
      leading: sides of these axes.
      places: which frames there are; of several axes nothing is left then.

    Returns:
      One for each leading axis, None where it has none; () where none has.
    """
    group = tree.get(parent_of(name))
    names = axes_of(group, dataset)
    found: list[Axis | None] = []
    for axis, side in zip(names, leading, strict=False):
        node: Any = None
        if isinstance(group, h5py.Group) and axis not in ("", "."):
            node = group.get(axis)
        fits = isinstance(node, h5py.Dataset) and node.shape == (side,)
        if not fits or node.dtype.kind not in "iuf":
            found.append(None)
            continue
        values = np.asarray(node[()], np.float64)
        found.append(Axis(values, axis, attribute(node, "units")))
    if not any(found) or (places is not None and len(leading) > 1):
        return ()
    if places is not None:
        found = [dataclasses.replace(one, values=one.values[places]) for one in found if one]
    return tuple(found)

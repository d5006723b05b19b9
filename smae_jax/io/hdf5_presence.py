"""Which frames of a dataset are there: written at all, and behind a virtual dataset in files that exist.

HDF5 answers with fill values, mostly zeros, for what was never written and for sources that are missing.
Zeros are measurements, so that has to be found out beforehand.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.hdf5_links import found_beside
from smae_jax.io.hdf5_opening import FAULTS, open_file

_MOST_FRAMES = 2**31  # more than any scan has, few enough to be numbered
_DEEPEST = 8  # virtual datasets of virtual datasets


@dataclasses.dataclass(frozen=True)
class Presence:
    """Frames of one dataset.

    Attributes:
      frames: indices of those that are there, ascending, over all leading axes; None = all of them.
      why: what is wrong with the others, one clause each; files first.
    """

    frames: np.ndarray | None = None
    why: tuple[str, ...] = ()


def presence(dataset: Any, depth: int = 0) -> Presence:
    """Find out which frames of a dataset can be read as they were measured.

    Args:
      dataset: with two axes or more; the last two are one frame, and of fewer the first one counts frames.
      depth: virtual datasets on the way here.

    Raises:
      UserError: if it announces more frames than can be numbered.
    """
    leading = _leading(dataset.shape)
    count = math.prod(leading)
    if count > _MOST_FRAMES:
        raise UserError(
            f"{dataset.file.filename}: {dataset.name} announces {count} frames, which no scan has; choose "
            "another dataset"
        )
    found = _virtual(dataset, leading, depth) if dataset.is_virtual else _written(dataset, leading)
    if found.frames is not None and len(found.frames) == count:
        return Presence(why=found.why)
    return found


def _leading(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:-2] or ((1,) if len(shape) == 2 else shape[:1])


def _written(dataset: Any, leading: tuple[int, ...]) -> Presence:
    """Find the frames that at least one chunk was written of."""
    count = math.prod(leading)
    if dataset.chunks is None:
        empty = dataset.external is None and dataset.id.get_storage_size() == 0
        return Presence(np.arange(0), (_unwritten(dataset, 0, count),)) if empty else Presence()
    expected = math.prod(
        -(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )
    if dataset.id.get_num_chunks() >= expected:
        return Presence()
    covered: set[tuple[int, ...]] = set()
    dataset.id.chunk_iter(lambda chunk: covered.add(tuple(chunk.chunk_offset[: len(leading)])))
    sides = dataset.chunks[: len(leading)] if len(dataset.shape) > 2 else (1,)
    corners = [corner if len(dataset.shape) > 2 else (0,) for corner in sorted(covered)]
    ranges = (
        [
            np.arange(at, min(at + side, n))
            for at, side, n in zip(corner, sides, leading, strict=True)
        ]
        for corner in corners
    )
    frames = [np.ravel_multi_index(np.ix_(*one), leading).ravel() for one in ranges]
    there = np.unique(np.concatenate(frames)) if frames else np.arange(0)
    if len(there) == count:
        return Presence()
    return Presence(there, (_unwritten(dataset, len(there), count),))


def _unwritten(dataset: Any, there: int, count: int) -> str:
    where = os.path.basename(dataset.file.filename)
    return f"{where} announces {count} frames in {dataset.name}, and {there} of them were written"


def _virtual(dataset: Any, leading: tuple[int, ...], depth: int) -> Presence:
    """Find the frames that every one of their sources has."""
    count = math.prod(leading)
    mapped, lost = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    why: dict[str, None] = {}
    sources: dict[tuple[str, str], tuple[tuple[int, ...], Presence]] = {}
    for source in dataset.virtual_sources():
        places = _selected(source.vspace, dataset.shape)
        here = np.asarray(np.ravel_multi_index(tuple(places.T), leading))
        mapped[here] = True
        if "%" in source.file_name.replace("%%", ""):
            continue  # a file per block: the first that is missing ends the dataset
        key = source.file_name, source.dset_name
        if key not in sources:
            sources[key] = _source(dataset, *key, depth)
        shape, there = sources[key]
        why |= dict.fromkeys(there.why)
        bad = _lost(source.src_space, shape, there, len(here))
        if bad.any() and not there.why:
            held = len(bad) - int(bad.sum())
            told = f"{key[0]} holds {held} of {len(bad)} frames that {dataset.name} takes from it"
            why[told] = None
        lost[here] |= bad
    if not mapped.all():
        why[f"{dataset.name} has no source for {int((~mapped).sum())} of its frames"] = None
    return Presence(np.flatnonzero(mapped & ~lost), tuple(why))


def _lost(space: Any, shape: tuple[int, ...], there: Presence, count: int) -> np.ndarray:
    """Tell which of the `count` frames that a source has to give are not there, bool, (count,).

    Args:
      space: what is taken from the source.
      shape: of the source; () = there is none.
      there: its frames.
      count: number of frames that are made of it.
    """
    if not shape:
        return np.ones(count, np.bool_)
    leading = _leading(shape)
    if space.get_select_type() == h5py.h5s.SEL_ALL:  # in the order of the source
        inside = np.arange(count) < math.prod(leading)
        flat = np.minimum(np.arange(count), math.prod(leading) - 1)
    else:
        places = _selected(space, shape)
        inside = np.all(places < np.array(leading), axis=1)
        flat = np.asarray(np.ravel_multi_index(tuple(places.T), leading, mode="clip"))
    known = True if there.frames is None else np.isin(flat, there.frames)
    bad = np.logical_not(inside & known)
    # Where frames are cut or joined on the way, none can be told from the others.
    return bad if len(bad) == count else np.full(count, bad.any())


def _selected(space: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the places on the leading axes that a selection touches, (n, leading axes), in its order.

    Args:
      space: the selection.
      shape: of the dataset that it lies in; it ends selections without an end, and no others.
    """
    axes = len(_leading(shape))
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        return _grid([np.arange(side) for side in _leading(shape)])
    if space.is_regular_hyperslab():
        each = zip(*space.get_regular_hyperslab(), shape, strict=False)
        grid = [
            np.ravel(
                _starts(int(start), int(stride), int(count), side)[:, None] + np.arange(int(block))
            )
            if block < _MOST_FRAMES
            else np.arange(start, side)
            for start, stride, count, block, side in each
        ]
        one_frame = len(shape) == 2
        return _grid([np.arange(1)] if one_frame else grid[:axes])
    corners = space.get_select_hyper_blocklist()
    blocks = [
        _grid([np.arange(int(a), int(b) + 1) for a, b in zip(*block, strict=True)][:axes])
        for block in corners
    ]
    return np.unique(np.concatenate(blocks), axis=0)


def _starts(start: int, stride: int, count: int, side: int) -> np.ndarray:
    endless = count > _MOST_FRAMES
    return start + stride * np.arange(-(-(side - start) // stride) if endless else count)


def _grid(axes: list[np.ndarray]) -> np.ndarray:
    return np.stack([one.ravel() for one in np.meshgrid(*axes, indexing="ij")], axis=1)


def _source(dataset: Any, name: str, inside: str, depth: int) -> tuple[tuple[int, ...], Presence]:
    """Return shape and frames of one source of a virtual dataset; () if there is none."""
    holder = dataset.file.filename
    if name == ".":
        return _inside(dataset.file, name, inside, depth)
    there = found_beside(name, holder)
    if there is None:
        return (), Presence(why=(f"{name} is missing",))
    try:
        with open_file(there) as file:
            if file.swmr_mode and not dataset.file.swmr_mode:  # HDF5 would give zeros
                return (), Presence(why=(f"{name} is being written by another program",))
            return _inside(file, name, inside, depth)
    except UserError as error:
        return (), Presence(why=(str(error).partition(";")[0],))


def _inside(file: Any, name: str, inside: str, depth: int) -> tuple[tuple[int, ...], Presence]:
    try:
        source = file[inside]
    except FAULTS:
        source = None
    if not isinstance(source, h5py.Dataset) or not source.shape or depth > _DEEPEST:
        return (), Presence(why=(f"{name} holds no '{inside}'",))
    return source.shape, presence(source, depth + 1)

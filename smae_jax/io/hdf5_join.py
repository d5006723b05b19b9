"""From the dataset or series that was chosen to the frames of it that can be read."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.gathered import few
from smae_jax.io.hdf5_datasets import Found
from smae_jax.io.hdf5_links import Broken, Tree
from smae_jax.io.hdf5_opening import check_filters
from smae_jax.io.hdf5_presence import presence
from smae_jax.io.hdf5_stack import Segment, Stack
from smae_jax.io.nexus_attributes import attribute


@dataclasses.dataclass(frozen=True)
class Joined:
    """Frames that are there.

    Attributes:
      values: the dataset, or a stack of what is there; read when it is sliced.
      first: name of the first dataset that is there.
      leading: shape of the frames as they were announced; () = one frame.
      places: which of these there are, over all leading axes; None = all.
      notes: what was left out.
    """

    values: Any
    first: str
    leading: tuple[int, ...]
    places: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def join(path: str, tree: Tree, found: Found, missing: str) -> Joined:
    """Join the datasets of a series, in their order, and leave out or refuse what is not there.

    Raises:
      UserError: in one line, if frames are missing and are not to be skipped, or none is left.
    """
    segments, places, names, why = list[Segment](), list[np.ndarray](), list[str](), list[str]()
    end, whole = 0, True
    for name in found.members:
        node = tree.get(name)
        if isinstance(node, Broken):
            why.append(f"{name}: {node.why}")
            whole = False
            continue
        check_filters(path, node)
        there = presence(node)
        why += (f"{name}: {one}" for one in there.why)
        count = math.prod(node.shape[:-2])
        frames = np.arange(count) if there.frames is None else there.frames
        whole = whole and there.frames is None
        start = max(end, _first_number(node) if len(found.members) > 1 else 0)
        whole = whole and start == end
        segments.append(
            Segment(functools.partial(_again, path, tree, name), node.shape, node.dtype, frames)
        )
        places.append(start + frames)
        names.append(name)
        end = start + count
    if why and missing != "skip":
        raise UserError(_refusal(path, why))
    left = sum(len(one.frames) for one in segments)
    if not left:
        raise UserError(f"{path}: no frame is left to read; {why[0] if why else found.name}")
    notes = (f"{few(why, '; ')}: left out, {left} frames are read",) if why else ()
    if len(found.members) == 1 and whole:
        node = tree.get(names[0])
        return Joined(node, names[0], node.shape[:-2], notes=notes)
    leading = tree.get(names[0]).shape[:-2] if len(found.members) == 1 else (end,)
    return Joined(
        Stack(segments), names[0], leading, None if whole else np.concatenate(places), notes
    )


def _again(path: str, tree: Tree, name: str) -> Any:
    node = tree.get(name)
    if isinstance(node, Broken):
        raise UserError(
            f"{path}: {name}: {node.why}; it was there before: is it still being written?"
        )
    return node


def _first_number(dataset: Any) -> int:
    """Return the place of a file's first frame in its series, where a DECTRIS writer told it."""
    number = attribute(dataset, "image_nr_low")
    return int(number) - 1 if number.isdigit() and 0 < int(number) < 2**31 else 0


def _refusal(path: str, why: list[str]) -> str:
    gone = any(one.endswith("is missing") for one in why)
    mend = f"put it beside {os.path.basename(path)}" if gone else "wait for it, or copy it again"
    return (
        f"{path}: {few(why, '; ')}; {mend}, or leave out these frames with --data.missing skip "
        "(infer, evaluate: --missing skip)"
    )

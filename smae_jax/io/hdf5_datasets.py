"""Which dataset of an HDF5 file is meant, where the user names none or a group.

The rule, in this order; what remains is asked for in one line that lists every candidate with its shape.

1. A dataset that is named is taken; of a named group, only what lies in it counts.
2. Every dataset counts once, under its shortest name, however many links lead to it. Three-axis datasets
   `data_000001`, `data_000002`, ... in one group are one stack, unless a dataset `data` joins them already.
3. By name and class: masks, flat fields, tables, errors and the like are no frames, and nothing in groups of
   positioners, samples, monitors, detector modules or detector settings is.
4. The signal of the default plot is taken, where it has as many axes as the others.
5. By shape, where there are stacks: an array of less than 8 pixels a side is a table, and so is one of two
   axes that has neither the shape of their frames nor the name of an image, or that has a row per frame.
6. Of what remains, the only signal of an NXdata group is taken, else the only one.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.hdf5_links import Broken, Tree, identity_of, parent_of
from smae_jax.io.hdf5_opening import FAULTS
from smae_jax.io.nexus_attributes import attribute, class_of, default_plot, signal_of
from smae_jax.io.raw_repeats import usual_name

_LISTED = 12
_SMALLEST = 8  # pixels a side of a frame, where there are larger ones
_SERIES = re.compile(r"data_\d+")
_OTHERS = ("pixel_mask", "filled", "valid", "mask", "sigma", "flatfield", "data_errors")
_WORDS = re.compile(
    "(mask|flat|dark|gain|trim|trimbit|lut|table|correction|corner|sigma|error|weight|offset|threshold|vector"
    "|motor|positioner)s?|flatfield|white|errorbars|variance|valid|filled|background|bad|pedestal|translation"
    "|rotation|transformation|matrix|thumbnail|preview|histogram|roi",
    re.I,
)
_GROUPS = re.compile(r"detectorSpecific|detector_?module\w*|\w*positioners|transformations", re.I)
_CLASSES = (
    *("NXdetector_module", "NXpositioner", "NXtransformations", "NXsample", "NXmonitor", "NXlog"),
    *("NXbeam", "NXmonochromator", "NXsource", "NXattenuator", "NXuser", "NXnote", "NXgeometry"),
)
_IMAGES = ("data", "image", "images", "frames")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a dataset has to be.

    Attributes:
      axes: how many axes it may have.
      kinds: kinds of its numbers, as of `numpy.dtype.kind`.
      names: names of which the only one is taken.
      frames: whether rules 3 and 5 apply.
      default: whether the default plot of the file (NeXus) counts.
      what: what to call it in a message.
    """

    axes: tuple[int, ...]
    kinds: str = "iuf"
    names: tuple[str, ...] = ()
    frames: bool = False
    default: bool = True
    what: str = "dataset of numbers with 2 to 4 axes"


FRAMES = Wanted((2, 3, 4), frames=True)
MASK = Wanted((2, 3), "biuf", names=("pixel_mask", "mask"), default=False)
REPEATS = Wanted(tuple(range(1, 9)), what="dataset of numbers")


@dataclasses.dataclass(frozen=True)
class Found:
    """A dataset, or a series of them, that may be the wanted one.

    Attributes:
      name: as it was reached; of a series, its group.
      shape: of the dataset; of a series, of what is there of it; () = nothing is.
      members: names of the datasets, in natural order.
      broken: those that cannot be reached, by name.
      signal: whether it is the signal of its group.
    """

    name: str
    shape: tuple[int, ...]
    members: tuple[str, ...]
    broken: dict[str, Broken] = dataclasses.field(default_factory=dict)
    signal: bool = False

    def __str__(self) -> str:
        """Name it with its shape, or with what is wrong."""
        why = next((one.why for one in self.broken.values()), "empty")
        return f"{self.name} {self.shape or f'({why})'}"


def choose_dataset(path: str, tree: Tree, inside: str, wanted: Wanted) -> Found:
    """Return the dataset or series that is meant, by the rule above.

    Raises:
      UserError: if it is missing or there are several; the message lists them with their shapes.
    """
    inside = f"/{inside.strip('/')}" if inside.strip("/") else ""
    node = tree.get(inside) if inside else None
    if isinstance(node, h5py.Dataset):
        return _single(tree, inside, node)
    if isinstance(node, Broken) and node.file:
        return Found(inside, (), (inside,), {inside: node})
    group = isinstance(node, h5py.Group)
    every = _candidates(tree, inside, wanted) if not inside or group else {}
    fitting = {name: one for name, one in every.items() if not _is_other(name, wanted)}
    if wanted.default and (one := _default(tree, inside, fitting, wanted)):
        return one
    fitting = _by_shape(fitting) if wanted.frames else _repeats(fitting)
    named = [one for one in every.values() if _last(one.name) in wanted.names]
    signals = [one for one in fitting.values() if one.signal]
    for few in (named, signals, [*fitting.values()]):
        if len(few) == 1:
            return few[0]
    if inside and not group:
        every = fitting = _candidates(tree, "", wanted)
    raise _undecided(path, inside, fitting or every, wanted, group=group, several=bool(fitting))


def _undecided(
    path: str, inside: str, found: dict[str, Found], wanted: Wanted, *, group: bool, several: bool
) -> UserError:
    listed = ", ".join(map(str, [*found.values()][:_LISTED]))
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    if group:
        problem = f"'{inside}' is a group, not a dataset"
    elif inside:
        problem = f"has no dataset '{inside}'"
    else:
        problem = "holds several datasets" if several else f"holds no {wanted.what}"
    hint = f"; name one as in {path}::{next(iter(found))}" if found else ""
    return UserError(f"{path}: {problem}; it holds {listed or 'none'}{more}{hint}")


def has_frames(tree: Tree) -> bool:
    """Whether anything in a file can hold frames."""
    found = _candidates(tree, "", FRAMES)
    return any(one.shape and not _is_other(name, FRAMES) for name, one in found.items())


def _candidates(tree: Tree, inside: str, wanted: Wanted) -> dict[str, Found]:
    """Return every dataset that may be the wanted one, also where its file is missing."""
    found: dict[str, Found] = {}
    aliases: dict[tuple[str, int], Found] = {}
    members: dict[str, list[str]] = {}

    def enter(name: str, group: Any) -> bool:
        return not wanted.frames or not (
            _GROUPS.fullmatch(_last(name)) or class_of(group) in _CLASSES
        )

    for name, node in tree.walk(enter, inside):
        if isinstance(node, Broken):
            if node.file and _SERIES.fullmatch(_last(name)):
                members.setdefault(parent_of(name), []).append(name)
            elif node.file and (_last(name) in _IMAGES or not _rank(tree, name)[0]):
                found[name] = Found(name, (), (name,), {name: node})
        elif (one := _fitting(tree, name, node, wanted)) is not None:
            known = aliases.setdefault(identity_of(node), one)
            if _rank(tree, name) < _rank(tree, known.name):
                aliases[identity_of(node)] = one
    for one in aliases.values():
        if _SERIES.fullmatch(_last(one.name)) and len(one.shape) == 3:
            members.setdefault(parent_of(one.name), []).append(one.name)
        else:
            found[one.name] = one
    for group, names in members.items():
        found |= _series(tree, group, sorted(names, key=_number), found)
    return found


def _rank(tree: Tree, name: str) -> tuple[bool, int]:
    """Sort names of one dataset: where NeXus keeps data, and short ones, first."""
    group = parent_of(name)
    usual = _last(group) in ("data", "measurement")
    usual = usual or class_of(tree.get(group)) in ("NXdata", "NXdetector")
    return not usual, name.count("/")


def _number(name: str) -> int:
    return int(name.rsplit("_", 1)[-1])


def _fitting(tree: Tree, name: str, node: Any, wanted: Wanted) -> Found | None:
    if not isinstance(node, h5py.Dataset) or not node.shape or len(node.shape) not in wanted.axes:
        return None
    try:
        kind = node.dtype.kind
    except FAULTS:  # a type that numpy does not have
        return None
    return _single(tree, name, node) if kind in wanted.kinds and min(node.shape) > 0 else None


def _single(tree: Tree, name: str, node: Any) -> Found:
    signal = signal_of(tree.get(parent_of(name))) == _last(name)
    return Found(name, tuple(node.shape or ()), (name,), signal=signal)


def _series(tree: Tree, group: str, names: list[str], found: dict[str, Found]) -> dict[str, Found]:
    """Join a series; frames of unlike shape are no series, and what is joined already is left out."""
    nodes = {name: tree.get(name) for name in names}
    broken = {name: node for name, node in nodes.items() if isinstance(node, Broken)}
    shapes = [node.shape for name, node in nodes.items() if name not in broken]
    joined = found.get(f"{group.rstrip('/')}/data")
    if joined is not None and joined.shape[-2:] in {shape[-2:] for shape in shapes}:
        return {}
    if len({shape[-2:] for shape in shapes}) > 1:
        return {n: _single(tree, n, node) for n, node in nodes.items() if n not in broken}
    shape = (sum(one[0] for one in shapes), *shapes[0][1:]) if shapes else ()
    signal = bool(_SERIES.fullmatch(signal_of(tree.get(group))))
    name = group if len(names) > 1 else names[0]
    return {name: Found(name, shape, tuple(names), broken, signal=signal)}


def _is_other(name: str, wanted: Wanted) -> bool:
    """Whether a dataset is something else by its name."""
    last = _last(name)
    if wanted.names:
        return False
    if last in _OTHERS or not wanted.frames:
        return last in _OTHERS
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", last)
    return any(_WORDS.fullmatch(word) for word in words)


def _default(tree: Tree, inside: str, fitting: dict[str, Found], wanted: Wanted) -> Found | None:
    """Return the signal of the default plot, or of the named group."""
    name = inside or default_plot(tree.file)
    for _ in range(len(name.split("/"))):  # a group may have a default of its own
        if not name:
            return None
        node = tree.get(name)
        if not isinstance(node, h5py.Group):
            break
        inner = signal_of(node) or attribute(node, "default")
        if not inner:
            return None
        name = inner if inner.startswith("/") else f"{name}/{inner}"
    node = tree.get(name)
    for one in fitting.values():
        if name in one.members and len(one.members) > 1:
            return one
    if isinstance(node, Broken):
        return Found(name, (), (name,), {name: node}) if node.file else None
    one = _fitting(tree, name, node, wanted)
    most = max((len(other.shape) for other in fitting.values()), default=0)
    if one is None or (wanted.frames and len(one.shape) == 2 < most):
        return None
    return one


def _by_shape(found: dict[str, Found]) -> dict[str, Found]:
    """Leave out tables, where there are frames."""
    if any(min(one.shape[-2:], default=0) >= _SMALLEST for one in found.values()):
        found = {
            name: one
            for name, one in found.items()
            if min(one.shape[-2:], default=_SMALLEST) >= _SMALLEST
        }
    stacks = [one.shape for one in found.values() if len(one.shape) != 2]
    sides = {shape[-2:] for shape in stacks}
    counts = {int(np.prod(shape[:-2])) for shape in stacks}
    return {
        name: one
        for name, one in found.items()
        if len(one.shape) != 2
        or not stacks
        or one.shape in sides
        or (_last(name) in _IMAGES and one.shape[0] not in counts)
    }


def _repeats(found: dict[str, Found]) -> dict[str, Found]:
    large = {name: one for name, one in found.items() if len(one.shape) != 1}
    return large or {name: one for name, one in found.items() if not usual_name(_last(name))}


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]

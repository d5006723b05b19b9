"""Which dataset of an HDF5 file is meant, where the user names none or a group."""

from __future__ import annotations

import dataclasses
from typing import Any

import h5py

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import usual_name

_LISTED = 12


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a dataset has to be.

    Attributes:
      axes: how many axes it may have.
      kinds: kinds of its numbers, as of `numpy.dtype.kind`.
      others: names of datasets that are something else.
      default: whether the default plot of the file (NeXus) counts.
      what: what to call it in a message.
    """

    axes: tuple[int, ...]
    kinds: str = "iuf"
    others: tuple[str, ...] = ("pixel_mask", "filled", "valid", "mask", "sigma", "flatfield")
    default: bool = True
    what: str = "dataset of numbers with 2 to 4 axes"


FRAMES = Wanted((2, 3, 4))
MASK = Wanted((2, 3), "biuf", (), default=False)
REPEATS = Wanted(tuple(range(1, 9)), what="dataset of numbers")


def choose_dataset(path: str, file: h5py.File, inside: str, wanted: Wanted) -> Any:
    """Return the named dataset, the signal of the named group or default plot, or the only one that fits.

    Raises:
      UserError: if it is missing or there are several; the message lists them with their shapes.
    """
    inside = inside.rstrip("/")
    node = file.get(inside) if inside else _default_plot(file) if wanted.default else None
    node = _signal(node)
    if isinstance(node, h5py.Dataset) and (inside or node.ndim in wanted.axes):
        return node
    found = datasets(file, wanted)
    large = {name: one for name, one in found.items() if one.ndim > 1}
    single = {name: one for name, one in found.items() if not usual_name(_last(name))}
    fitting = large or single
    if not inside and len(fitting) == 1:
        return next(iter(fitting.values()))
    if inside:
        is_group = isinstance(node, h5py.Group)
        problem = (
            f"'{inside}' is a group, not a dataset" if is_group else f"has no dataset '{inside}'"
        )
    else:
        problem = "holds several datasets" if found else f"holds no {wanted.what}"
    listed = [f"{name} {found[name].shape}" for name in list(found)[:_LISTED]]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    hint = f"; name one as in {path}::{next(iter(fitting or found))}" if found else ""
    raise UserError(f"{path}: {problem}; it holds {', '.join(listed) or 'none'}{more}{hint}")


def datasets(file: h5py.File, wanted: Wanted) -> dict[str, Any]:
    """Return every dataset that may be the wanted one, by its path."""
    found: dict[str, Any] = {}

    def visit(name: str, node: object) -> None:
        if not isinstance(node, h5py.Dataset) or node.dtype.kind not in wanted.kinds:
            return
        if node.ndim in wanted.axes and min(node.shape) > 0 and _last(name) not in wanted.others:
            found[f"/{name}"] = node

    file.visititems(visit)
    return found


def text_of(value: Any) -> str:
    """Return an attribute or an element of a dataset as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _default_plot(file: h5py.File) -> Any:
    """Follow `default` as a NeXus viewer does."""
    node: Any = file
    while isinstance(node, h5py.Group) and "default" in node.attrs:
        node = node.get(text_of(node.attrs["default"]))
    return node


def _signal(node: Any) -> Any:
    if isinstance(node, h5py.Group) and "signal" in node.attrs:
        return node.get(text_of(node.attrs["signal"]))
    return node

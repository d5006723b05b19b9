"""What NeXus says in attributes: the default plot, its signal and its axes, in every way they are written."""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from smae_jax.io.hdf5_opening import FAULTS

_LONGEST_DEFAULT = 8  # groups that lead to the default plot; a default may point to itself


def text_of(value: Any) -> str:
    """Return an attribute or an element of a dataset as text, of an array the first one.

    >>> text_of(b"data"), text_of(np.array([b"data"])), text_of(np.array([], "S4"))
    ('data', 'data', '')
    """
    if isinstance(value, np.ndarray):
        return text_of(value.flat[0]) if value.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def attribute(node: Any, name: str) -> str:
    """Return an attribute as text; "" where it is missing or cannot be read."""
    try:
        return text_of(node.attrs[name]).strip() if name in node.attrs else ""
    except FAULTS:
        return ""


def class_of(node: Any) -> str:
    """Return the NeXus class of a group, such as `NXdetector`."""
    return attribute(node, "NX_class")


def children(node: Any) -> list[tuple[str, Any]]:
    """List what can be opened of a group, by name; nothing of anything else."""
    found: list[tuple[str, Any]] = []
    for name in node if isinstance(node, h5py.Group) else ():
        try:
            found.append((str(name), node[name]))
        except FAULTS:
            continue
    return found


def default_plot(file: h5py.File) -> str:
    """Follow `default` as a NeXus viewer does.

    Returns:
      The name of the last group that a default leads to, or of a dataset; "" where none does.
    """
    node: Any = file
    name = ""
    for _ in range(_LONGEST_DEFAULT):
        target = attribute(node, "default")
        if not target:
            break
        inner = target if target.startswith("/") else f"{name}/{target}"
        try:
            node = file[inner]
        except FAULTS:
            return ""
        name = "/" + inner.strip("/")
        if not isinstance(node, h5py.Group):
            break
    return name


def signal_of(group: Any) -> str:
    """Return the name of a group's signal: of its `signal` attribute, or the dataset with `signal=1`."""
    if not isinstance(group, h5py.Group):
        return ""
    if (name := attribute(group, "signal")) and not name.isdigit():
        return name
    for name, node in children(group):
        if isinstance(node, h5py.Dataset) and attribute(node, "signal") == "1":
            return name
    return ""


def axes_of(group: Any, signal: Any) -> list[str]:
    """Return the names of a signal's axes, "." = none: of the group, or of the signal as before 2014."""
    for node in (group, signal):
        try:
            value = node.attrs.get("axes", None)
        except FAULTS:
            continue
        if value is None:
            continue
        if np.ndim(value) and np.size(value) > 1:
            return [text_of(one).strip() for one in np.ravel(value)]
        return [name for name in re.split(r"\s*[:,]\s*", text_of(value).strip("[] ")) if name]
    return []

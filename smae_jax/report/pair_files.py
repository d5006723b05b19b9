"""S(Q), G(r) and shells as rows of tables, and as groups of a NeXus file."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from smae_jax.evaluation.tables import finite_or_none
from smae_jax.io.nexus import dataset_of, group_of
from smae_jax.report.collecting import Collected
from smae_jax.report.pair import Pair
from smae_jax.report.pair_curves import Curves


def tables(found: Pair, collected: Collected) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of structure_factor.csv and pdf.csv (all frames added up), and shells.csv."""
    transform = found.layout.transform
    return {
        "structure_factor.csv": _rows("q_per_angstrom", transform.q, found.whole_structure),
        "pdf.csv": _rows("r_angstrom", transform.r, found.whole_functions),
        "shells.csv": _shells(found, collected),
    }


def _columns(curves: Curves) -> dict[str, np.ndarray]:
    columns = {
        "raw": curves.raw,
        "raw_sigma": curves.raw_sigma,
        "denoised": curves.denoised,
        "denoised_sigma": curves.denoised_sigma,
        "reference": curves.reference,
    }
    return {name: values for name, values in columns.items() if values is not None}


def _rows(axis: str, places: np.ndarray, curves: Curves) -> list[dict[str, Any]]:
    columns = {axis: places} | {name: values[0] for name, values in _columns(curves).items()}
    return [{name: finite_or_none(v[k]) for name, v in columns.items()} for k in range(len(places))]


def _shells(found: Pair, collected: Collected) -> list[dict[str, Any]]:
    """Return a row for each frame and shell, with all that is known of it."""
    rows = []
    for k, frame in enumerate(collected.numbers.tolist()):
        for shell in found.layout.shells:
            row: dict[str, Any] = {"frame": frame, "name": collected.names[k]}
            row |= {"shell": shell.position, "low": shell.low, "high": shell.high}
            for one in found.observables:
                if one.where != shell.where:
                    continue
                row |= {f"{one.name}_{n}": finite_or_none(v[k]) for n, v in one.columns.items()}
            rows.append(row)
    return rows


def write_groups(entry: h5py.Group, found: Pair) -> None:
    """Write S(Q) and G(r) of every frame as NXdata, and what they were made with."""
    transform = found.layout.transform
    kinds = (
        ("structure_factor", "Q", transform.q, "1/angstrom", found.structure, ""),
        ("pair_distribution", "r", transform.r, "angstrom", found.functions, "1/angstrom^2"),
    )
    for name, axis, places, unit, curves, of_values in kinds:
        group = group_of(entry, name, "NXdata", signal="denoised", interpretation="spectrum")
        group.attrs["axes"] = [".", axis]
        dataset_of(group, axis, places, unit, axis)
        for column, values in _columns(curves).items():
            column = column.replace("_sigma", "_errors")
            dataset_of(group, column, values, of_values, f"{name.replace('_', ' ')}, {column}")
        for fact, words in found.layout.said:
            group.attrs[fact.replace(" ", "_")] = words

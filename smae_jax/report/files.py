"""Numbers of a report as files: tables as CSV, profiles and quantities of every frame as NeXus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smae_jax.evaluation.tables import as_csv, finite_or_none, without_infinities
from smae_jax.io.hdf5_sink import create_hdf5
from smae_jax.io.nexus import dataset_of, group_of
from smae_jax.io.outputs import PROGRAM
from smae_jax.report import pair_files
from smae_jax.report.alarms import Alarm
from smae_jax.report.collecting import Collected
from smae_jax.report.observable import Observable
from smae_jax.report.physics import Physics
from smae_jax.report.profiles import Profiles
from smae_jax.version import version

MADE_BY = "smae-jax report"
RECORD = "report.json"


def write_record(
    folder: Path,
    *,
    command: str,
    options: Mapping[str, Any],
    alarms: Sequence[Alarm],
    scores: Sequence[dict[str, Any]],
) -> None:
    """Write what made the report, its alarms and its scores: `report.json`."""
    record = {
        "made_by": MADE_BY,
        "version": version(),
        "command": command,
        "options": dict(options),
        "alarms": [vars(alarm) for alarm in alarms],
        "scores": without_infinities(list(scores)),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def write_tables(folder: Path, found: Collected, physics: Physics | None) -> list[str]:
    """Write the tables; return the names of the files.

    frames.csv: a row for each frame. profile.csv: the scan's I(q). rings.csv: the scan's I(chi).
    observables.csv: a row for each frame, quantity, and peak or ring. With G(r) also structure_factor.csv,
    pdf.csv and shells.csv.
    """
    tables = {"frames.csv": _frames(found)}
    if physics is not None:
        bins, layout = physics.layout.bins, physics.layout
        tables["profile.csv"] = _profile(f"{bins.name}_{bins.unit}", bins.values, physics.profile)
        tables["rings.csv"] = [
            {"ring": layout.name_of(ring), **row}
            for ring, profile in zip(layout.rings, physics.rings, strict=True)
            for row in _profile("chi_degrees", bins.azimuth, profile)
        ]
        tables["observables.csv"] = _observables(found, physics.all_observables)
        if physics.pair is not None:
            tables |= pair_files.tables(physics.pair, found)
    for name, rows in tables.items():
        (folder / name).write_text(as_csv(rows), encoding="utf-8")
    return list(tables)


def _frames(found: Collected) -> list[dict[str, Any]]:
    each = found.frames._asdict()
    return [
        {
            "frame": int(number),
            "name": name,
            **{key: finite_or_none(values[k]) for key, values in each.items()},
        }
        for k, (number, name) in enumerate(zip(found.numbers, found.names, strict=True))
    ]


def _profile(axis: str, values: np.ndarray, profile: Profiles) -> list[dict[str, Any]]:
    whole = profile.of_scan()
    columns: dict[str, np.ndarray | None] = {
        axis: values,
        "raw": whole.raw[0],
        "raw_sigma": whole.raw_sigma[0],
        "denoised": whole.answer[0],
        "denoised_sigma": None if whole.answer_sigma is None else whole.answer_sigma[0],
        "difference_sigmas": whole.sigmas[0],
        "reference": None if whole.known is None else whole.known[0],
        "reference_sigma": None if whole.known_sigma is None else whole.known_sigma[0],
    }
    given = {name: column for name, column in columns.items() if column is not None}
    return [
        {name: finite_or_none(column[k]) for name, column in given.items()}
        for k in range(len(values))
    ]


def _observables(found: Collected, observables: Sequence[Observable]) -> list[dict[str, Any]]:
    rows = []
    for one in observables:
        for k, number in enumerate(found.numbers):
            told = {name: finite_or_none(values[k]) for name, values in one.columns.items()}
            rows.append(
                {
                    "where": one.where,
                    "quantity": one.name,
                    "unit": one.unit,
                    "frame": int(number),
                    **told,
                }
            )
    return rows


def write_nexus(path: Path, found: Collected, physics: Physics, *, command: str) -> None:
    """Write profiles of every frame and quantities over the scan.

    raw, denoised, reference: I(q) as NXazint1d. chi_1, ...: I(chi) of each ring. Quantities: NXdata each,
    with the shape of the raster where there is one. structure_factor, pair_distribution: S(Q) and G(r) of
    every frame, where they were asked for.

    Raises:
      OSError: if not everything could be written.
    """
    with create_hdf5(path) as file:
        file.attrs["default"], file.attrs["creator"] = "entry", PROGRAM
        entry = group_of(file, "entry", "NXentry", default="denoised")
        _profiles(entry, found, physics)
        layout = physics.layout
        for number, (ring, profile) in enumerate(zip(layout.rings, physics.rings, strict=True), 1):
            group = group_of(entry, f"chi_{number}", "NXdata", signal="denoised")
            group.attrs["axes"] = [".", "chi"]
            group.attrs["title"] = layout.name_of(ring)
            dataset_of(group, "chi", layout.bins.azimuth, "degrees", "azimuth, from right to down")
            dataset_of(group, "denoised", profile.answer, "counts", "denoised")
            dataset_of(
                group, "denoised_errors", profile.answer_sigma, "counts", "standard deviation"
            )
            dataset_of(group, "raw", profile.raw, "counts", "raw")
            dataset_of(group, "raw_errors", profile.raw_sigma, "counts", "standard deviation")
        for one in physics.all_observables:
            _quantity(entry, one, found.leading)
        if physics.pair is not None:
            pair_files.write_groups(entry, physics.pair)
        process = group_of(entry, "process", "NXprocess")
        process["program"], process["version"], process["command"] = PROGRAM, version(), command


def _profiles(entry: h5py.Group, found: Collected, physics: Physics) -> None:
    bins, profile = physics.layout.bins, physics.profile
    kinds = {
        "raw": (profile.raw, profile.raw_sigma, profile.norm),
        "denoised": (profile.answer, profile.answer_sigma, profile.norm),
        "reference": (profile.known, profile.known_sigma, profile.reference_norm),
    }
    for kind, (values, sigma, norm) in kinds.items():
        if values is None:
            continue
        group = group_of(entry, kind, "NXsubentry", default="data")
        group["definition"] = "NXazint1d"
        data = group_of(group, "data", "NXdata", signal="I", interpretation="spectrum")
        data.attrs["axes"] = [".", "radial_axis"]
        dataset_of(data, "I", values, "counts", f"{kind} counts per pixel and exposure")
        dataset_of(data, "I_errors", sigma, "counts", "one standard deviation")
        dataset_of(data, "norm", norm, "", "exposure times relative solid angle of the pixels")
        unit = {"nm^-1": "1/nm"}.get(bins.unit, bins.unit)
        dataset_of(data, "radial_axis", bins.values, unit, bins.name)
        data["source"] = list(found.names)


def _quantity(entry: h5py.Group, one: Observable, leading: tuple[int, ...]) -> None:
    name = "".join(c if c.isalnum() else "_" for c in one.title)
    group = group_of(entry, name, "NXdata", signal="denoised")
    group.attrs["title"] = one.title
    for column, values in one.columns.items():
        column = column.replace("_sigma", "_errors")
        said = f"{one.title}, {column.replace('_', ' ')}"
        dataset_of(group, column, values.reshape(leading), one.unit, said)

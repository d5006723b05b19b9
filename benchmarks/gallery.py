"""Pictures of what the program does with small trainings: patterns, real and simulated, spectra, and a map.

Every picture shows one thing as measured, by a simple filter, denoised, and the truth or a measurement of
more photons, all on one scale. What the page says about them stands in `pages/gallery.md`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import smae_jax
from benchmarks import cases, p40, pictures, real, runner, spectra
from benchmarks.cases import Case
from benchmarks.runner import Bench
from smae_jax import cli
from smae_jax.figures.observables import Series, map_figure
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.metrics import rmse
from smae_jax.simulate import Kind, simulate, write_simulation

FILES = (*p40.FILES, real.FILES[0], spectra.FILES[0])
SIDE = 192
"""Of what is cut out of large frames about the beam, in pixels."""
SHARE = 0.014
"""Of the photons of a real scan that are shown."""
PHOTONS = {"saxs": 1.0, "waxd": 0.3, "map": 0.1}
"""Counts per pixel of the simulated frames."""
FRAME = {"saxs": 5, "waxd": 20}
"""Number of the frame that is drawn."""
RANGES = [(2.5, 7.5), (14.5, 18.5)]
"""Of the spectra, in keV, that are enlarged."""
LARGEST = 190_000
"""Bytes of a picture."""
QUANTITY, WHERE = "direction", "ring"
"""What the report calls the observable that is drawn over the raster."""
Facts = dict[str, float]
"""Numbers that the page gives."""


def about_beam(case: Case, side: int) -> Case:
    """Cut the surroundings of the beam out of a case."""
    corner = [int(c) - side // 2 for c in case.center]
    window = tuple(slice(c, c + side) for c in corner)
    center = (case.center[0] - corner[0], case.center[1] - corner[1])
    valid = case.valid[window]
    counts = np.where(valid, case.data.counts[:, *window], 0)
    given = {"truth": case.truth, "variance": case.variance, "expected": case.expected}
    cut = {name: None if one is None else one[:, *window] for name, one in given.items()}
    data = smae_jax.from_arrays(counts, valid=valid, center=center)
    return dataclasses.replace(case, data=data, mask=case.mask[window], **cut)


def patterns(bench: Bench, name: str, case: Case, reference: str, frame: int = 0) -> Facts:
    """Train on a case, and draw a frame: raw, turned and averaged, smoothed, denoised, reference.

    Returns:
      Mean counts; rms errors of one frame to the reference, or squared errors less the reference's noise,
      over those of the raw counts, where the reference has noise.
    """
    found = bench.train(f"gallery-{name}", case.data, {})
    assert found is not None
    filtered = runner.filtered(case)
    smooth = next(name for name in filtered if "Gaussian" in name)
    width = filtered[smooth][0] or smooth.removeprefix("Gaussian ")
    shown = {
        "raw": filtered["raw"][1],
        "rotated average": filtered["rotated average"][1],
        f"best Gaussian ({width})": filtered[smooth][1],
        "denoised": found.answers[""],
        reference: case.truth,
    }
    known = case.valid | case.turned if case.variance is None else case.valid
    images = {title: np.where(known, image[frame], np.nan) for title, image in shown.items()}
    path = bench.pages / "images" / f"gallery-{name}.png"
    pictures.images(path, [images])
    shrink(path)
    judged = {"denoised": found.answers[""], "gaussian": filtered[smooth][1]}
    if case.variance is None:
        return {k: rmse(one[frame], case.truth[frame], case.mask) for k, one in judged.items()}
    raw = runner.score(case, filtered["raw"][1])["plain"]
    told = {key: runner.score(case, one)["plain"] / raw for key, one in judged.items()}
    return told | {"photons": float(case.data.counts[0][case.valid].mean())}


def simulated(bench: Bench, kind: Kind) -> Facts:
    """Train on a simulated scan and draw a frame of it."""
    asked, photons = bench.options, PHOTONS[kind]
    scan = simulate(kind, photons=photons, frames=asked.frames, size=asked.size, seed=cases.SEED)
    case = cases.of_simulation(scan, name=kind, group=kind, photons=photons)
    return patterns(bench, kind, case, "truth", min(FRAME[kind], asked.frames - 1))


def fluorescence(bench: Bench, data: Path) -> Facts:
    """Train on four fluorescence spectra, and draw them beside the mean of 28 others."""
    case = cases.xrf(folder=data)
    options = {"train.steps": bench.options.steps} if bench.options.quick else {}
    found = bench.train("gallery-spectra", case.data, options, config="spectra")
    assert found is not None
    answer, truth = found.answers[""][0], case.truth[0]
    figure = spectrum_figure(
        case.data,
        answer,
        reference={"mean of 28 others": truth},
        ranges=RANGES,
        title="Four X-ray fluorescence spectra of 0.1 s",
    )
    saved(bench, "spectra", figure, dpi=85)
    mean = case.data.counts.mean(axis=0, dtype=np.float64)
    _, smooth = spectra.best_of(spectra.GAUSSIANS, mean, lambda made: -rmse(made, truth, case.mask))
    shown = {"denoised": answer, "mean": mean, "gaussian": smooth}
    return {name: rmse(one, truth, case.mask) for name, one in shown.items()}


def raster_map(bench: Bench) -> Facts:
    """Train on a simulated raster, and draw a direction of every frame: raw, denoised, and of the truth."""
    asked, photons, folder = bench.options, PHOTONS["map"], bench.folder / "map"
    folder.mkdir(exist_ok=True)
    frames = 9 if asked.quick else 64
    scan = simulate("saxs", frames=frames, size=asked.size, photons=photons, seed=cases.SEED)
    write_simulation(folder / "scan.h5", scan, overwrite=True)
    case = cases.of_simulation(scan, name="map", group="map", photons=photons)
    found = bench.train("gallery-map", case.data, {}, keep=True)
    assert found is not None
    given = ("--run", found.run, "--input", folder / "scan.h5::/entry/data/data", "--overwrite")
    more = ("--reference", folder / "scan.h5::/entry/truth", "--output", folder / "report")
    with runner.quiet(), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main(["report", *map(str, (*given, *more))])
    assert status == 0, "the report was made"
    series = series_of(folder / "report" / "observables.csv")
    saved(bench, "map", map_figure(series, scan.raster_shape), dpi=100)
    assert series.reference is not None
    shown = {"raw": series.raw, "denoised": series.denoised}
    off = {name: (one - series.reference + 90) % 180 - 90 for name, one in shown.items()}
    return {name: float(np.sqrt(np.nanmean(one**2))) for name, one in off.items()}


def series_of(table: Path) -> Series:
    """Read the first direction of a ring from a report's table."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = next(
        row["where"] for row in rows if row["quantity"] == QUANTITY and WHERE in row["where"]
    )
    own = [row for row in rows if (row["quantity"], row["where"]) == (QUANTITY, where)]

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) if row.get(name) else np.nan for row in own])

    bars = column("denoised_sigma")
    return Series(
        f"{QUANTITY}, {where}",
        "degrees",
        column("raw"),
        column("raw_sigma"),
        column("denoised"),
        bars if len(np.unique(bars[np.isfinite(bars)])) > 1 else None,  # one for all is no picture
        column("reference"),
        cyclic=True,
    )


def saved(bench: Bench, name: str, figure: Figure, *, dpi: int) -> None:
    """Write a figure."""
    path = bench.pages / "images" / f"gallery-{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    shrink(path)


def shrink(path: Path) -> None:
    """Write a PNG again with 256 colours where it is too large for a page."""
    if path.stat().st_size <= LARGEST:
        return
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(given: list[str] | None = None) -> int:
    """Train, draw, and write the page."""
    parser = runner.arguments(__doc__ or "", "gallery", steps=300, pages="docs")
    parser.add_argument(
        "--data", type=Path, help="folder of the real data; default: beside the checkout"
    )
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if not cases.there(*FILES, folder=asked.data):
            return 0
        if asked.quick:
            asked.frames, asked.size = 3, 64
        side = 64 if asked.quick else SIDE
        muscle = about_beam(cases.p40(with_peaks=True, folder=asked.data), side)
        scan = real.thinned_scan(SHARE, size=side, folder=asked.data)
        bench.write(
            "gallery",
            steps=asked.steps,
            saxs=simulated(bench, "saxs"),
            waxd=simulated(bench, "waxd"),
            muscle=patterns(bench, "muscle", muscle, "mean of 3 others"),
            scan=patterns(bench, "scan", scan, "held-out photons"),
            spectra=fluorescence(bench, asked.data),
            map=raster_map(bench),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

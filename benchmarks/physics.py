"""Errors, bias and error bars of what a beamline scientist reads off: places, widths, areas, directions.

Simulated scans, trained on once. Answered are the scan itself and a second scan of the same truth that the
training did not see. All quantities come from the report's own functions, and their truths are what these
find in the noise-free images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import smae_jax
from benchmarks import cases, runner
from benchmarks.cases import Case
from benchmarks.physics_tables import (
    FILTERS,
    OWN,
    SECOND,
    Result,
    Row,
    Rows,
    errors_table,
    intensity_table,
    listed,
    summary,
    verdicts,
)
from benchmarks.runner import Bench
from smae_jax.config import ReportConfig
from smae_jax.evaluation.with_reference import Reference
from smae_jax.measurements import Measurements
from smae_jax.report.azimuthal import fitted_around
from smae_jax.report.collecting import Wanted, profiles_of
from smae_jax.report.meridian import directed
from smae_jax.report.observable import Observable
from smae_jax.report.orientation import observed
from smae_jax.report.peaks import Peak, fitted
from smae_jax.report.period import Order, fitted_period, orders_of
from smae_jax.report.physics import Layout, lay_out
from smae_jax.report.profiles import FEWEST, Profiles
from smae_jax.run.restore import open_run
from smae_jax.simulate import Simulation, simulate

PHOTONS = (0.1, 1.0, 10.0)
ORDERS = (1, 3, 5)


@dataclasses.dataclass(frozen=True)
class Answered:
    """Answers, their error bars, and what replicas differ by from them, (number, frames, height, width)."""

    counts: np.ndarray
    sigma: np.ndarray
    replicas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Places:
    """Where quantities are looked at: the same at all exposures, told by the scan of the highest one."""

    layout: Layout
    orders: tuple[Order, ...]
    photons: float

    def at(self, photons: float) -> tuple[list[Peak], list[Order]]:
        """Return peaks and orders with their heights scaled to another exposure."""
        ratio = photons / self.photons

        def scaled(peak: Peak) -> Peak:
            heights = ("amplitude", "slope", "intercept", "height")
            values = {k: v * ratio if k in heights else v for k, v in peak.values.items()}
            return dataclasses.replace(peak, values=values)

        orders = [dataclasses.replace(one, peak=scaled(one.peak)) for one in self.orders]
        return [scaled(peak) for peak in self.layout.peaks], orders


def answers_of(run: Path, data: Measurements, number: int = ReportConfig().replicas) -> Answered:
    """Ask a trained run for answers with error bars and replicas, as the report does."""
    opened = open_run(ReportConfig(run=str(run)), lambda _: None, data=data)
    with runner.quiet():
        found = opened.answers(sigma=True)
        off = opened.with_replicas(found, number=number).replicas
    return Answered(np.asarray(found.counts), np.asarray(found.sigma), off)


def places_of(scan: Simulation) -> Places:
    """Find peaks, rings and orders of a scan."""
    rings = ()
    if "first_order" in scan.truths:
        near = [
            (float(np.median(scan.truths["place"][:, n - 1])), scan.truths["width"][0, n - 1])
            for n in ORDERS[:2]
        ]
        rings = tuple(f"{place - width}:{place + width}" for place, width in near)
    case = cases.of_simulation(scan, name="", group="", photons=0.0)
    layout = lay_out(ReportConfig(rings=rings), case.data)
    *_, along = profiles_of(case.data, case.truth, None, None, _wanted(layout, case))
    assert along is not None
    orders = orders_of(layout.bins, along.profile, ORDERS) if "first_order" in scan.truths else ()
    return Places(layout, orders, scan.parameters["photons"])


def _wanted(layout: Layout, case: Case) -> Wanted:
    numbers, rings = np.arange(case.data.frames), layout.weights
    return Wanted(numbers, frozenset(), cake=layout.cake, rings=rings, meridian=layout.meridian)


def second_scan(case: Case, seed: int = 1000) -> Case:
    """Measure the truth of a simulated scan again."""
    counts = np.random.default_rng(seed).poisson(np.where(case.valid, case.truth, 0))
    data = smae_jax.from_arrays(counts.astype(np.int32), valid=case.valid, center=case.center)
    return dataclasses.replace(case, data=data)


def measured(
    places: Places,
    case: Case,
    expected: np.ndarray,
    replicas: np.ndarray | None = None,
) -> tuple[Profiles, list[Observable]]:
    """Return I(q), and all quantities, of counts and of what was answered to them."""
    layout, bins = places.layout, places.layout.bins
    shape = np.broadcast_shapes(case.truth.shape, expected.shape)
    known = Reference(case.truth, np.zeros(shape), np.broadcast_to(case.valid, shape))
    wanted = _wanted(layout, case)
    profile, rings, along = profiles_of(case.data, expected, replicas, known, wanted)
    assert along is not None
    peaks, orders = places.at(case.photons)
    found = [one for peak in peaks for one in fitted(bins, profile, peak)]
    for ring, around in zip(layout.rings, rings, strict=True):
        found += observed(around, bins.azimuth, layout.name_of(ring))
        found += fitted_around(around, bins.azimuth, layout.name_of(ring))
    if orders:
        found += [directed(along), *fitted_period(bins, along.profile, orders)]
    return profile, found


def rows_of(found: Sequence[Observable], way: str, raw: str = "") -> Rows:
    """Put quantities beside their truths; `raw` names the row of the counts, "" = leave it out."""
    rows: Rows = {}
    for one in found:
        assert one.reference is not None
        truth, answers = one.middle(one.reference), {way: (one.denoised, one.denoised_sigma)}
        if raw:
            answers[raw] = one.raw, one.raw_sigma
        rows[one.title] = {
            name: Row(one.difference(values, one.reference), truth, bars)
            for name, (values, bars) in answers.items()
        }
    return rows


def intensities(places: Places, case: Case, profile: Profiles, sigma: np.ndarray) -> dict[str, Row]:
    """Return the errors of I(q) in all bins of enough counts, with the report's bars and independent ones.

    Errors are over the error of the raw counts, so that the rms of raw is 1.
    """
    known = profile.known
    assert known is not None
    light = case.data.full_exposure
    variance = np.stack(
        [
            places.layout.cake(one**2 * of**2, of)[0].sum(axis=1)
            for one, of in zip(sigma, light, strict=True)
        ]
    )
    use = (profile.norm > 0) & (np.nan_to_num(known) * profile.norm >= FEWEST)
    scale = np.sqrt(np.where(use, known * profile.norm, np.nan)) / np.where(use, profile.norm, 1)
    alone = np.sqrt(variance) / np.where(use, profile.norm, 1)

    def row(values: np.ndarray, bars: np.ndarray | None) -> Row:
        errors = ((values - known) / scale)[use]
        return Row(errors, np.nan, None if bars is None else (bars / scale)[use])

    return {
        "raw": row(profile.raw, profile.raw_sigma),
        "denoised": row(profile.answer, profile.answer_sigma),
        "independent": row(profile.answer, alone),
    }


def result_of(bench: Bench, kind: str, scan: Simulation, places: Places) -> Result:
    """Train on a scan and measure."""
    photons = scan.parameters["photons"]
    name = f"{kind.upper()}, {photons:g}"
    own = cases.of_simulation(scan, name=name, group=kind, photons=photons)
    trained = bench.train(f"physics-{name}", own.data, {}, keep=True)
    assert trained is not None
    rows: Rows = {}
    intensity: dict[str, dict[str, Row]] = {}
    for which, case in ((OWN, own), (SECOND, second_scan(own))):
        answer = answers_of(trained.run, case.data)
        profile, found = measured(places, case, answer.counts, answer.replicas)
        raw = "raw" if which == OWN else f"raw, {which}"
        for title, more in rows_of(found, f"denoised, {which}", raw).items():
            rows.setdefault(title, {}).update(more)
        intensity[which] = intensities(places, case, profile, answer.sigma)
    filtered = runner.filtered(own)
    for way in FILTERS:
        expected = filtered[way][1] * own.data.full_exposure
        for title, more in rows_of(measured(places, own, expected)[1], way).items():
            rows[title].update(more)
    print(f"{name}: {len(rows)} quantities", flush=True)
    return Result(kind, photons, rows, intensity)


def main(given: list[str] | None = None) -> int:
    """Train on all scans, measure, and write the page."""
    parser = runner.arguments(__doc__, "physics")
    parser.add_argument("--kinds", nargs="+", default=("saxs", "waxd"), choices=("saxs", "waxd"))
    parser.add_argument("--photons", nargs="+", type=float, default=None)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if asked.quick:
            asked.frames, asked.size = 4, 64
        exposures = asked.photons or ((10.0,) if asked.quick else PHOTONS)
        results = []
        for kind in asked.kinds:
            made = {"frames": asked.frames, "size": asked.size, "seed": cases.SEED}
            places = places_of(simulate(kind, photons=max(exposures), **made))
            for photons in exposures:
                scan = simulate(kind, photons=photons, **made)
                results.append(result_of(bench, kind, scan, places))
        said = list(verdicts(results))
        bench.write(
            "physics",
            exposures=", ".join(f"{photons:g}" for photons in exposures),
            frames=asked.frames,
            size=asked.size,
            steps=asked.steps,
            summaries="\n\n".join(summary(results, kind) for kind in asked.kinds),
            intensity=intensity_table(results),
            as_good=listed([text for which, text in said if which == "as_good"]),
            biased=listed([text for which, text in said if which == "biased"]),
            tables="\n\n".join(errors_table(result) for result in results),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Whether `smae-jax plan` foretells the errors of scans that are measured anew at lower exposures.

A pilot is simulated and trained on; its plan foretells the errors of raw and denoised quantities at lower
exposures. Then scans of these exposures are drawn anew from the same truth, answered by the same run, and
their errors against the known truth are compared with what was foretold.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from benchmarks.cases import SEED, of_simulation
from benchmarks.markdown import table
from benchmarks.runner import Bench, arguments, bench
from smae_jax.config import PlanConfig
from smae_jax.report.ladder import Ladder, Quantity, Values
from smae_jax.report.physics import lay_out
from smae_jax.report.planning import Rung, Thinned, rung_of
from smae_jax.run.restore import open_run
from smae_jax.simulate import Kind, simulate

PHOTONS = 10.0
SCANS = 2
"""Scans that are measured anew at each exposure."""
HALVINGS = 6
SHOWN = (0, 2, 4, 6)
"""Halvings of the exposures at which scans are measured anew."""
QUANTITIES: tuple[Quantity, ...] = ("d_spacing", "area", "direction", "degree", "profile")


class Compared(NamedTuple):
    """Errors at one exposure, foretold and found."""

    title: str
    kind: str
    exposure: float
    foretold: Rung
    found: Rung


def quietly(line: str) -> None:
    """Say nothing."""
    del line


def compared(run: Bench, kind: Kind) -> list[Compared]:
    """Return what was foretold and found of a kind of scan."""
    size, frames = (48, 8) if run.options.quick else (96, 32)
    scan = simulate(kind, frames=frames, size=size, photons=PHOTONS, seed=SEED)
    case = of_simulation(scan, name=f"plan-{kind}", group=kind, photons=PHOTONS)
    trained = run.train(case.name, case.data, {}, keep=True)
    assert trained is not None
    config = PlanConfig(run=str(trained.run))
    opened = open_run(config, quietly, data=case.data)
    ladder = Ladder(opened, lay_out(config, opened.data), QUANTITIES)
    halvings = 2 if run.options.quick else HALVINGS
    places = ladder.climb(halvings=halvings, thinnings=1 if run.options.quick else 4)
    truth = case.truth * (opened.data.full_exposure > 0)
    known = ladder.values(truth, truth, 1.0)
    rows = []
    for halving in (h for h in SHOWN if h <= halvings):
        share = 0.5**halving
        new = [anew(ladder, truth, share, seed) for seed in range(SCANS)]
        for number, place in enumerate(places):
            relative = place.unit != "" and not place.period
            unit = abs(place.typical) if relative else 1.0
            of_truth = np.stack([known[number].first] * SCANS)
            for which, foretold in zip(("first", "second"), place.rungs(unit=unit), strict=True):
                values = np.stack([getattr(one[number], which) for one in new])
                scans = Thinned(share, values, of_truth, of_truth)
                found = rung_of(scans, period=place.period, unit=unit)
                name = {"first": "raw", "second": "denoised"}[which]
                rows.append(Compared(place.title, name, share, foretold[halving], found))
        print(f"{kind}: {share:g} of the exposure: measured anew", flush=True)
    return rows


def anew(ladder: Ladder, truth: np.ndarray, share: float, seed: int) -> list[Values]:
    """Measure a scan anew, with noise that no other has, and return its values."""
    rng = np.random.default_rng([12, seed, round(1 / share)])
    counts = rng.poisson(truth * share).astype(np.int32)
    return ladder.before_and_after(dataclasses.replace(ladder.opened.data, counts=counts), share)


def written(rows: list[Compared]) -> str:
    """Write one table: a row for each quantity and exposure."""
    lines = []
    for title, exposure in dict.fromkeys((row.title, row.exposure) for row in rows):
        own = {r.kind: r for r in rows if r.title == title and r.exposure == exposure}
        cells = [
            text
            for kind in ("raw", "denoised")
            for text in (_band(own[kind].foretold), f"{own[kind].found.error:.2g}")
        ]
        lines.append([title, f"1/{round(1 / exposure)}" if exposure < 1 else "1", *cells])
    head = ["quantity", "exposure", "raw, foretold", "found", "denoised, foretold", "found"]
    return table(head, lines)


def _band(rung: Rung) -> str:
    return f"{rung.error:.2g} ({rung.low:.2g} to {rung.high:.2g})"


def agreement(rows: list[Compared]) -> str:
    """Say how foretold and found errors compare, raw and denoised."""
    lines = []
    for kind in ("raw", "denoised"):
        own = [r for r in rows if r.kind == kind and np.isfinite(r.found.square)]
        own = [r for r in own if np.isfinite(r.foretold.square)]
        seen = [r for r in own if r.foretold.square > r.foretold.square_sigma]
        ratio = np.array([r.foretold.error / r.found.error for r in seen])
        inside = np.mean([r.foretold.low <= r.found.error <= r.foretold.high for r in own])
        safe = np.mean([r.found.error <= r.foretold.high for r in own])
        low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9]) if len(ratio) else [np.nan] * 3
        ratios = [f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
        shares = [f"{100 * share:.0f} %" for share in (inside, safe)]
        lines.append([kind, str(len(own)), str(len(seen)), *ratios, *shares])
    head = ["", "errors", "seen", "foretold / found, median", "eight in ten"]
    return table([*head, "found within the band", "found below its upper end"], lines)


def main(given: list[str] | None = None) -> int:
    """Run the benchmark and write its page."""
    with bench(arguments(__doc__ or "", "plan", steps=400), given) as run:
        kinds: tuple[Kind, ...] = ("waxd",) if run.options.quick else ("saxs", "waxd")
        rows = {kind: compared(run, kind) for kind in kinds}
        parts = {
            "steps": run.options.steps,
            "tables": "\n\n".join(f"## {k.upper()}\n\n{written(r)}" for k, r in rows.items()),
            "agreement": agreement([row for own in rows.values() for row in own]),
        }
        run.write("plan", **parts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

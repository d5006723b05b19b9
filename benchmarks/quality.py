"""Thinning beside SMAE, filters and an oracle: SAXS and WAXD, symmetric and not, muscle patterns.

Nothing is scaled, clipped or registered before it is scored: expected counts against expected counts, where
pixel and partner are valid and where either is. Real muscle frames are those of `benchmarks.p40`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np

import smae_jax
from benchmarks import cases, markdown, p40, pictures, runner
from benchmarks.cases import Case
from benchmarks.markdown import Rows
from benchmarks.runner import NETWORK_ALONE, Bench, Options, Result

PHOTONS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ALONE = ", network alone"
TEACHERS = range(1001, 1009)
"""Seeds of the eight scans whose clean patterns teach the oracle."""
METHODS: dict[str, Options] = {
    "SMAE": {"method": "smae"},
    "thinning": {"thinning.partner": "channel"},
    "thinning, none": {"thinning.partner": "none"},
    "thinning, half-planes": {"thinning.partner": "channel", "thinning.across": False},
    "SMAE as published": runner.PUBLISHED,
    "oracle": {"method": "supervised", "supervised.rule": "average"},
}
RULES = {"SMAE": ("cross", "average"), "thinning": ("direct", "average", "symmetric")}


def all_cases(bench: Bench) -> Iterator[Case]:
    """Yield the cases, one at a time, so that only one is in memory."""
    asked, quick = bench.options, bench.options.quick
    size = {"frames": 8, "size": 64} if quick else {}
    for asymmetry, kind, flux in itertools.product(asked.asymmetry, asked.kinds, asked.photons):
        if kind in ("saxs", "waxd"):
            yield cases.simulated(kind, flux, asymmetry, **size)
    if "muscle" in asked.kinds and cases.there("phantoms_muscle_512.npz"):
        for share in sorted({0.1, 1.0} & set(asked.photons)):
            yield cases.muscle(share, **({"repeats": 1, "size": 96} if quick else {}))


def methods_for(case: Case) -> list[str]:
    """Return the trainings that make sense on a case."""
    left_out = {"thinning, half-planes", "oracle"} if case.again is None else set()
    if "asymmetry" in case.group:
        left_out |= {"SMAE as published", "oracle"}
    return [name for name in METHODS if name not in left_out]


def ways(name: str) -> dict[str, Options]:
    """Return how a training is asked: the published rules alone, the others as `infer` answers, some both."""
    if name == "SMAE as published":
        return {name: NETWORK_ALONE}
    if name not in RULES:
        return {name: {}, name + ALONE: NETWORK_ALONE}
    found: dict[str, Options] = {}
    for rule in RULES[name]:
        alone = NETWORK_ALONE | {"rule": rule}
        found[f"{name}, {rule}"] = alone if rule == "cross" else {"rule": rule}
        if rule == "average":
            found[f"{name}, {rule}{ALONE}"] = alone
    return found


def measured(bench: Bench, case: Case, methods: list[str]) -> Rows:
    """Run methods on a case."""
    rows: Rows = {}
    for name in methods:
        options, more = METHODS[name], {}
        if name == "SMAE as published" and case.data.spatial[0] > 128:
            options = options | {
                "train.patch": 128
            }  # whole halves of a large frame take minutes a step
        if name == "oracle":
            assert case.again is not None, "simulated"
            few = TEACHERS[:1] if bench.options.quick else TEACHERS
            others = [case.again(seed) for seed in few]
            counts = np.concatenate([other.data.counts for other in others])
            data = smae_jax.from_arrays(counts, valid=case.valid, center=case.center)
            more = {"data": data, "reference": np.concatenate([other.truth for other in others])}
        rows |= bench.scored(case, name, options, asked=ways(name), **more)
    return rows


def main(given: list[str] | None = None) -> int:
    """Run all cases and write the page."""
    parser = runner.arguments(__doc__, "quality", kept=True)
    kinds = ("saxs", "waxd", "muscle", "p40")
    parser.add_argument("--kinds", nargs="+", default=None, choices=kinds)
    parser.add_argument("--photons", nargs="+", type=float, default=None)
    parser.add_argument("--asymmetry", nargs="+", type=float, default=(0.0, 0.05))
    parser.add_argument("--methods", nargs="+", default=[], choices=METHODS, metavar="METHOD")
    with runner.bench(parser, given) as bench:
        asked = bench.options
        asked.kinds = asked.kinds or (kinds[:2] if asked.quick else kinds)
        asked.photons = asked.photons or ((1.0,) if asked.quick else PHOTONS)
        results = []
        for case in all_cases(bench):
            methods = [m for m in methods_for(case) if not asked.methods or m in asked.methods]
            trained = measured(bench, case, methods)
            if trained or not asked.kept:
                rows = runner.filter_rows(bench, case) | trained
                results.append(Result(case.name, case.group, case.photons, rows))
        real = "Not run."
        if "p40" in asked.kinds and cases.there(*p40.FILES):
            real = p40.table(p40.measured(bench))
        if results:
            pictures.curves(bench.images / "quality.png", results)
        tables = functools.partial(markdown.compared, results)
        bench.write(
            "quality",
            psnr=tables("psnr_db"),
            either=tables("either_db"),
            weighted=tables("weighted"),
            asymmetry=tables("asymmetry"),
            seconds=tables("seconds"),
            real=real,
            steps=asked.steps,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Compare the thinning variants with SMAE, filters and an oracle: `python -m benchmarks.quality [--quick]`.

Simulated SAXS and WAXD from 0.1 to 30 photons per pixel, symmetric and with an asymmetry, and Poisson samples
of real muscle patterns. Nothing is scaled, clipped or registered before it is scored: expected counts against
expected counts, where pixel and partner are valid and where either is. Real muscle frames are those of
`benchmarks.p40`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import p40
from benchmarks.methods import FULL as METHODS_BUDGET
from benchmarks.methods import (
    NETWORK_ALONE,
    SEED,
    Case,
    denoised,
    keep_compiled,
    muscle,
    quiet,
    trainings,
)
from benchmarks.methods import QUICK as METHODS_QUICK
from benchmarks.methods_report import Making, command_line
from benchmarks.quality_report import ALONE, SHOWN_BOTH, write_report
from smae_jax.commands.train import train
from smae_jax.config import (
    DataOptions,
    InferConfig,
    PredictOptions,
    SupervisedOptions,
    ThinningOptions,
    TrainConfig,
    TrainOptions,
)
from smae_jax.data.center import turn
from smae_jax.evaluation.filters import conserving_totals, gaussian, rotated_average
from smae_jax.evaluation.quality import SIGMAS
from smae_jax.metrics import noise_corrected_score, psnr, rmse
from smae_jax.simulate import simulate

PHOTONS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ASYMMETRIES = (0.0, 0.05)
OTHERS = tuple(range(1001, 1009))
"""Seeds of the eight scans whose clean patterns teach the oracle."""
AS_PUBLISHED = ("SMAE as published", "SMAE, cross")
"""Scored as the network answers; all others as `infer` does, combined and held against the scan's counts."""
RULES = {
    "SMAE": {"cross": "SMAE, cross", "average": "SMAE, average"},
    "thinning": {
        "direct": "thinning, direct",
        "average": "thinning, average",
        "symmetric": "thinning, symmetric",
    },
}


def simulated(kind: str, photons: float, asymmetry: float, *, frames: int, size: int) -> Case:
    """Simulate a scan; all of its frames are trained on and scored."""
    scan = simulate(
        kind,  # type: ignore[arg-type]
        frames=frames,
        size=size,
        photons=photons,
        seed=SEED,
        asymmetry=asymmetry,
    )
    unit = f"{100 * asymmetry:g} % asymmetry" if asymmetry else "photons/pixel"
    return Case(
        group=f"{kind.upper()} ({unit})",
        flux=photons,
        truth=scan.truth,
        counts=scan.counts.astype(np.int32),
        valid=scan.valid,
        center=scan.center,
        scored=np.arange(frames),
    )


def all_cases(options: argparse.Namespace) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Yield the cases with what the oracle needs to know of them, one at a time."""
    frames, size, repeats, side = (8, 64, 1, 96) if options.quick else (64, 128, 4, 512)
    photons = (1.0,) if options.quick else options.photons
    for asymmetry, kind, flux in itertools.product(options.asymmetry, options.kinds, photons):
        if kind in ("saxs", "waxd"):
            facts = {"kind": kind, "asymmetry": asymmetry, "frames": frames, "size": size}
            yield simulated(kind, flux, asymmetry, frames=frames, size=size), facts
    if "muscle" in options.kinds:
        for scale in sorted({0.1, 1.0} & set(photons)):
            yield muscle(scale, repeats=repeats, size=side), {}


def plans(case: Case, facts: dict[str, Any], files: dict[str, str], steps: int, quick: bool):
    """Return the trainings of a case: name -> options without the run folder."""
    y, x = case.center
    data = DataOptions(path=files["counts"], mask=files["mask"], center=f"{y:g},{x:g}")
    options = dict(METHODS_QUICK.options) if quick else {}
    ours = TrainConfig(
        seed=SEED,
        method="smae",
        data=data,
        train=TrainOptions(steps=steps, **options),
        predict=PredictOptions(ensemble="flips"),
    )

    def thinning(partner: str, **options: Any) -> TrainConfig:
        chosen = ThinningOptions(partner=partner, **options)  # type: ignore[arg-type]
        return dataclasses.replace(ours, method="thinning", thinning=chosen)

    found = {
        "SMAE": ours,
        "thinning": thinning("channel"),
        "thinning, none": thinning("none"),
    }
    if facts:
        found["thinning, half-planes"] = thinning("channel", across=False)
    if facts.get("asymmetry"):
        return found
    budget = METHODS_QUICK if quick else dataclasses.replace(METHODS_BUDGET, steps=steps)
    published = trainings(case, {**files, "paired": "", "reference": ""}, budget)
    found["SMAE as published"] = published["SMAE as published (sedcnn4)"]
    if facts:
        teach = dataclasses.replace(data, path=files["others"], reference=files["clean"])
        found["oracle"] = dataclasses.replace(
            ours, method="supervised", data=teach, supervised=SupervisedOptions(rule="average")
        )
    return found


def write_files(case: Case, facts: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write what the library reads: the counts, and for the oracle other scans with their truth."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"counts": case.counts, "mask": (~case.valid).astype(np.uint8)}
    if facts:
        scans = [
            simulate(
                facts["kind"],
                frames=facts["frames"],
                size=facts["size"],
                photons=case.flux,
                seed=seed,
                asymmetry=facts["asymmetry"],
            )
            for seed in (OTHERS if facts["size"] > 64 else OTHERS[:1])
        ]
        arrays["others"] = np.concatenate([scan.counts.astype(np.int32) for scan in scans])
        arrays["clean"] = np.concatenate([scan.truth for scan in scans])
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def score(case: Case, estimate: np.ndarray) -> dict[str, float]:
    """Score expected counts of all scored frames against the truth.

    Returns:
      psnr_db where pixel and partner are valid, either_db where one of them is (absent where the estimate
      has no answer there), weighted squared error over the truth, and asymmetry: the slope of the estimate's
      odd part on the truth's.
    """
    truth = case.truth[case.scored].astype(np.float64)
    turned = turn(case.valid, case.center, False)
    common, either = case.valid & turned, case.valid | turned
    largest = float(truth[:, case.valid].max())
    estimate = np.asarray(estimate, np.float64)
    found = {
        "psnr_db": psnr(estimate, truth, common, largest),
        "weighted": noise_corrected_score(
            estimate, truth, 0.0, common, 1 / np.maximum(truth, 1e-9)
        ),
    }
    if np.isfinite(estimate[:, either]).all():
        found["either_db"] = psnr(estimate, truth, either, largest)
    slope = asymmetry_slope(estimate, truth, common, case.center)
    return found if slope is None else found | {"asymmetry": slope}


def asymmetry_slope(
    estimate: np.ndarray, truth: np.ndarray, common: np.ndarray, center: tuple[float, float]
) -> float | None:
    """Return the slope of the estimate's odd part on the truth's, None where the truth has none.

    Args:
      estimate: expected counts, (frames, height, width).
      truth: as `estimate`.
      common: where pixel and partner are valid, bool, (height, width).
      center: (y, x) in pixels.
    """
    odd, odd_truth = (
        (a - np.stack([turn(f, center, 0.0) for f in a]))[:, common] for a in (estimate, truth)
    )
    power = (odd_truth**2).sum()
    if power <= 1e-9 * (truth[:, common] ** 2).sum():
        return None
    return float((odd * odd_truth).sum() / power)


def filters(case: Case) -> dict[str, tuple[str, np.ndarray]]:
    """Return what needs no training: name -> (setting, expected counts); the best Gaussian by the truth."""
    counts = np.where(case.valid, case.counts[case.scored], 0).astype(np.float64)
    valid = np.broadcast_to(case.valid, counts.shape)
    truth = case.truth[case.scored].astype(np.float64)
    average, known = rotated_average(counts, valid, case.center)
    common = case.valid & turn(case.valid, case.center, False)
    tried = {}
    for on, frames, there in (("raw", counts, valid), ("average", average, known)):
        for sigma in SIGMAS:
            tried[f"{sigma:g} on {on}"] = gaussian(frames, there, sigma)
    chosen = min(tried, key=lambda name: rmse(tried[name], truth, common))
    best = np.where(known, tried[chosen], np.nan)
    return {
        "raw": ("", np.where(case.valid, counts, np.nan)),
        "rotated average": ("", np.where(known, average, np.nan)),
        "best Gaussian": (chosen, best),
    }


def run_case(
    case: Case,
    facts: dict[str, Any],
    folder: Path,
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run every method on a case; what is in the folder already is not done again."""
    rows: dict[str, dict[str, Any]] = {}
    for name, (setting, estimate) in filters(case).items():
        rows[name] = {"setting": setting} | score(case, estimate)
        say(f"{case.name}: {name} {setting}: {rows[name]['psnr_db']:.2f} dB")
    files = write_files(case, facts, folder)
    scored = str(folder / "scored.npy")
    np.save(scored, case.counts[case.scored])
    for name, config in plans(case, facts, files, options.steps, options.quick).items():
        if options.methods and name not in options.methods:
            continue
        kept = folder / f"{name}.npz"
        if not kept.is_file():
            if options.kept:
                continue
            one(name, config, case, folder / "run", scored, kept)
        with np.load(kept, allow_pickle=False) as file:
            seconds, answers = float(file["seconds"]), {k: file[k] for k in file if k != "seconds"}
        for label, estimate in answers.items():
            trained = {"seconds": seconds, "steps": config.train.steps}
            rows[label] = score(case, estimate) | trained
            either = rows[label].get("either_db", np.nan)
            say(
                f"{case.name}: {label}: {rows[label]['psnr_db']:.2f} / {either:.2f} dB, {seconds:.0f} s"
            )
    return {
        "name": case.name,
        "group": case.group,
        "flux": case.flux,
        "rows": rows,
    }


def real_frames(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train both methods on real muscle frames, as `benchmarks.p40`; what is there is not done again.

    Returns:
      row -> `plain` and `weighted` score, and `seconds` of the training where there was one.
    """
    table: dict[str, dict[str, float]] = {}
    for method in p40.RULES:
        run = folder / f"p40-{method}"
        if not (run / "p40.json").is_file():
            if options.kept:
                continue
            asked = ["--method", method, "--train.steps", str(options.steps)]
            if p40.main(["--run", str(run), *asked]):
                raise RuntimeError(f"benchmarks.p40 --method {method} failed, see above")
        found = json.loads((run / "p40.json").read_text(encoding="utf-8"))
        for name, row in found["rows"].items():
            trained = {"seconds": found["seconds"]} if name.startswith(method) else {}
            table[name] = row | trained
    return {name: table[name] for name in p40.shown(table)} if table else {}


def one(name: str, config: TrainConfig, case: Case, run: Path, scored: str, kept: Path) -> None:
    """Train, denoise under every rule that is shown, and keep the answers with the seconds of training."""
    began = time.perf_counter()
    with quiet():
        train(dataclasses.replace(config, run=str(run), overwrite=True), lambda line: None)
    seconds, answers = time.perf_counter() - began, {}
    for rule, label in RULES.get(name, {"run": name}).items():
        output = str(run / "answer.npy")
        shown = InferConfig(run=str(run), input=scored, output=output, rule=rule, overwrite=True)  # type: ignore[arg-type]
        alone = dataclasses.replace(shown, **NETWORK_ALONE)
        asked = {label: alone if label in AS_PUBLISHED else shown}
        if label in SHOWN_BOTH:
            asked[label + ALONE] = alone
        answers |= {row: denoised(options) for row, options in asked.items()}
    if (
        not config.predict.conserve_totals
    ):  # the published program restores no counts: give it the better
        counts = np.where(case.valid, case.counts[case.scored], 0).astype(np.float64)
        valid = np.broadcast_to(case.valid, counts.shape)
        truth = case.truth[case.scored]
        for label, answer in answers.items():
            restored = conserving_totals(np.nan_to_num(answer), counts, valid)
            both = (np.nan_to_num(answer), restored)
            answers[label] = min(both, key=lambda a: rmse(a, truth, case.valid))
    np.savez_compressed(kept, seconds=seconds, **answers)  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny scans and trainings, a test")
    parser.add_argument("--folder", default="", help="keep all there, and go on with what is there")
    parser.add_argument(
        "--kept", action="store_true", help="report the trainings that are there, run none"
    )
    parser.add_argument("--output", default="", help="folder of quality.md; default docs")
    parser.add_argument("--steps", type=int, default=0, help="of every training; 0 = the default")
    parser.add_argument("--kinds", nargs="+", default=["saxs", "waxd", "muscle", "p40"])
    parser.add_argument("--photons", nargs="+", type=float, default=PHOTONS)
    parser.add_argument("--asymmetry", nargs="+", type=float, default=ASYMMETRIES)
    parser.add_argument("--methods", nargs="+", default=[], help="only these trainings")
    options = parser.parse_args(arguments)
    options.steps = options.steps or (4 if options.quick else TrainOptions().steps)
    if options.quick and arguments is None:
        options.kinds = [kind for kind in options.kinds if kind not in ("muscle", "p40")]
    output = Path(options.output or ("runs/quality-quick" if options.quick else "docs"))
    making = Making(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        keep_compiled(folder)
        results = []
        for case, facts in all_cases(options):
            place = folder / f"{case.name}".replace(" ", "_").replace("/", "-")
            results.append(run_case(case, facts, place, options, print))
        real = real_frames(folder, options) if "p40" in options.kinds else {}
        command = command_line("quality", arguments)
        seconds = None
        if options.kept:
            trained = [{row.get("seconds", 0.0) for row in r["rows"].values()} for r in results]
            results = [r for r, each in zip(results, trained, strict=True) if any(each)]
            seconds = sum(map(sum, trained)) + sum({r.get("seconds", 0.0) for r in real.values()})
        facts = making.facts(seconds) | {"command": command, "steps": options.steps}
        write_report(output, results, real, facts)
    print(f"{output / 'quality.md'}: written, with images/quality.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

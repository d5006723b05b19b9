"""Every method on data with known truth: SAXS, WAXD, muscle patterns, repeats of one pattern.

Filters, the published algorithm, ours, and the baselines of its paper. Expected counts against expected
counts, inside the mask; nothing is scaled, clipped or registered before it is scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import smae_jax
from benchmarks import cases, markdown, pictures, runner
from benchmarks.cases import SEED, Case
from benchmarks.markdown import Rows
from benchmarks.runner import NETWORK_ALONE, PUBLISHED, Bench, Options, Result
from smae_jax.evaluation.filters import conserving_totals, nonlocal_means, rotated_average
from smae_jax.simulate import simulate

STEPS, STEPS_OF_REPEATS = 120, 300
EXPOSURE = 10
"""Exposures behind a reference of the supervised training."""
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
"""Of non-local means, in units of the noise, that the best is chosen from."""
METHODS: dict[str, Options] = {
    "SMAE as published": PUBLISHED,
    "masked": {"method": "masked"},
    "zero-shot": {"method": "zero_shot", "train.patch": 128},  # pairs of half the size
    "supervised": {"method": "supervised"},
    "SMAE": {"method": "smae"},
}
REPEATS = 4
REPEATED: Options = {
    **{"model": "unet", "unet.widths": [16, 32, 48], "data.augment": "d4", "train.batch_size": 4},
    **{"rate.head": "root", "train.validation_batches": 4, "train.validate_every": 25},
    **{"train.optimizer": "muon", "train.learning_rate": 5e-3, "train.average_decay": 0.98},
    **{"train.warmup_steps": 50, "train.validation_share": 0.05, "loss": "poisson"},
}
"""Of all trainings on repeats; this head may draw what no smoothing holds."""
ON_REPEATS: dict[str, Options] = {
    "Noise2Noise": {"method": "noise2noise", "loss": "auto"},
    "Noise2Void": {"method": "noise2void"},
    "deep image prior": {"method": "deep_image_prior"},
    "supervised": {"method": "supervised"},
}


def all_cases(quick: bool) -> Iterator[Case]:
    """Yield the cases, one at a time: every other frame of a scan is scored, inside the mask."""
    size = {"frames": 8, "size": 64} if quick else {}
    for kind in ("saxs", "waxd"):
        for photons in (1.0,) if quick else (0.1, 1.0, 10.0):
            case = cases.simulated(kind, photons, **size)
            odd = np.arange(1, case.data.frames, 2)
            yield dataclasses.replace(case, answered=odd, mask=case.valid)
    if not quick and cases.there("phantoms_muscle_512.npz"):
        for share in (0.1, 1.0):
            case = cases.muscle(share)
            yield dataclasses.replace(case, mask=case.valid)


def best_nonlocal(case: Case) -> tuple[str, np.ndarray]:
    """Return the best strength of non-local means on the average with the turned frame, and its answer."""
    counts = case.asked.counts.astype(np.float64)
    average, known = rotated_average(counts, case.asked.valid, case.center)
    tried = {}
    for strength in STRENGTHS:
        answer = nonlocal_means(average, known, strength, exposures=2.0)
        tried[f"{strength:g}"] = conserving_totals(answer, counts, case.asked.valid)
    best = max(tried, key=lambda name: runner.score(case, tried[name])["psnr_db"])
    return best, tried[best]


def measured(bench: Bench, case: Case) -> tuple[Rows, dict[str, np.ndarray]]:
    """Run every method on a case: (rows, the middle answered frame of each)."""
    made = {**runner.filtered(case), "best non-local means": best_nonlocal(case)}
    rows: Rows = {}
    for name, (setting, estimate) in made.items():
        rows[name] = runner.score(case, estimate) | ({"setting": setting} if setting else {})
        bench.say(case, name, rows[name])
    shown = {name: estimate for name, (_, estimate) in made.items()}
    others = np.setdiff1d(np.arange(case.data.frames), case.frames)
    for name, options in METHODS.items():
        alone = name == "SMAE as published"
        more: dict[str, Any] = {"asked": {name: NETWORK_ALONE}} if alone else {}
        if alone and case.data.spatial[0] > 128:
            options = options | {
                "train.patch": 128
            }  # whole halves of a large frame take minutes a step
        if name == "supervised":
            high = np.random.default_rng(SEED + 1).poisson(EXPOSURE * case.truth[others])
            more = {"data": case.data.take(others), "reference": high.astype(np.float32)}
        rows |= bench.scored(case, name, options, answers=shown, **more)
    middle = len(case.frames) // 2
    shown = {name: np.where(case.mask, one[middle], np.nan) for name, one in shown.items()}
    truth = np.where(case.mask, case.truth[case.frames][middle], np.nan)
    titles = {f"{name}\n{rows[name]['psnr_db']:.1f} dB": one for name, one in shown.items()}
    return rows, titles | {"truth\n": truth}


def repeats(bench: Bench, seeds: tuple[int, ...]) -> Rows:
    """Train on repeats of a simulated pattern: Noise2Noise sees them, one others, the rest their sum."""
    quick, found = bench.options.quick, {}
    side, others = (48, 3) if quick else (128, 16)
    for seed in seeds:
        scan = simulate("waxd", frames=1 + others, size=side, photons=10.0, seed=seed)
        truth, teachers = scan.truth[0].astype(np.float64), scan.truth[1:].astype(np.float64)
        rng = np.random.default_rng(seed)
        counts = rng.poisson(truth, (REPEATS, *truth.shape)).astype(np.int32)
        low = rng.poisson(REPEATS * teachers).astype(np.int32)
        high = rng.poisson(EXPOSURE * REPEATS * teachers).astype(np.float32)
        repeats, total, others_low = (
            smae_jax.from_arrays(array, dimensions=2)
            for array in (counts, counts.sum(axis=0, dtype=np.int32)[None], low)
        )
        mean = counts.mean(axis=0)
        smooth = [gaussian_filter(mean, sigma) for sigma in np.arange(0.3, 4.05, 0.1)]
        best = min(smooth, key=lambda one: np.mean((one - truth) ** 2))
        answers = {"one repeat": counts[0], "mean of four": mean, "best Gaussian": best}
        seconds = dict.fromkeys(answers, 0.0)
        for name, options in ON_REPEATS.items():
            data = repeats if name == "Noise2Noise" else total
            more = {"answered": total, "reference": high} if name == "supervised" else {}
            steps = bench.options.steps if quick else STEPS_OF_REPEATS
            options = {**REPEATED, "seed": seed, "train.steps": steps, **options}
            trained = bench.train(
                f"repeats-{name}-{seed}", others_low if more else data, options, **more
            )
            assert trained is not None
            answers[name] = trained.answers[""][0] / (1 if data is repeats else REPEATS)
            seconds[name] = trained.seconds
            print(f"seed {seed}: {name}: {trained.seconds:.0f} s", flush=True)
        for name, answer in answers.items():
            error = (answer - truth) ** 2
            row = (
                10 * np.log10(truth.max() ** 2 / error.mean()),
                (error / truth).mean(),
                seconds[name],
            )
            found.setdefault(name, []).append(row)
    rows: Rows = {}
    for name, each in sorted(found.items(), key=lambda one: np.mean([row[0] for row in one[1]])):
        psnr, error, seconds = np.array(each).T
        rows[name] = {"psnr_db": psnr.mean(), "smallest": psnr.min(), "weighted": error.mean()}
        rows[name] |= {"seconds": seconds.mean()} if seconds.any() else {}
    return rows


def main(given: list[str] | None = None) -> int:
    """Run all cases and write the page."""
    parser = runner.arguments(__doc__, "methods", steps=STEPS)
    parser.add_argument("--repeats", action="store_true", help="only the section on repeats")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1), help="of the repeats")
    with runner.bench(parser, given) as bench:
        quick, results, panels = bench.options.quick, [], {}
        for case in () if bench.options.repeats else all_cases(quick):
            rows, shown = measured(bench, case)
            results.append(Result(case.name, case.group, case.photons, rows))
            if (case.group[:4], case.photons) in (("SAXS", 1.0), ("musc", 0.1)):
                panels[case.group] = shown
        if results:
            pictures.images(bench.images / "methods.png", list(panels.values()), list(panels))
            pictures.curves(bench.images / "methods_curves.png", results)
            bench.write(
                "methods",
                psnr=markdown.compared(results, "psnr_db", best=max),
                weighted=markdown.compared(results, "weighted", best=min),
                ssim=markdown.compared(results, "ssim", best=max),
                training=markdown.compared(results, "seconds"),
                exposure=EXPOSURE,
                steps=bench.options.steps,
            )
        seeds = bench.options.seeds[: 1 if quick else None]
        rows = repeats(bench, tuple(seeds))
        keys = {"psnr_db": "PSNR / dB", "smallest": "smallest", "weighted": "error"}
        table = markdown.scores("", rows, keys | {"seconds": "seconds"}, {"smallest": "{:.2f}"})
        said = {"seeds": ", ".join(map(str, seeds)), "steps": STEPS_OF_REPEATS}
        bench.write("methods_repeats", repeats=table, exposure=EXPOSURE, **said)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What fine-tuning gains, on simulated and on real scans.

Simulated: a base is trained on scan A (1 photon/pixel) and applied to scan B, of other patterns, another
centre and other noise: as it is, fine-tuned on B without any reference, and fine-tuned on some of B's
frames paired with 10x references; all scored against the truth on B's other frames, beside trainings from
scratch. Real: frames thinned to 5 % of their photons; the other 95 % is an independent reference.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import smae_jax
from benchmarks import cases, markdown, pictures, runner
from benchmarks.cases import SEED, Case
from benchmarks.markdown import Rows
from benchmarks.runner import Bench, Options, Trained
from smae_jax.evaluation.quality import quality_rows
from smae_jax.simulate import simulate

FILES = ("scan_mn23_12x1s", "scan_mnc22_4x1s")
PAIRED_FRAMES = 16
"""Frames of scan B that have a reference; the others are scored."""
SHARE = 0.05
"""Share of the photons of the real frames that is denoised."""
SCRATCH = 5e-3
"""Peak learning rate of a training from scratch."""
Images = dict[str, np.ndarray]


class Tuning:
    """Trains and tunes networks, each from a base or from scratch."""

    def __init__(self, bench: Bench) -> None:
        """Remember how long."""
        self.bench, self.short = bench, bench.options.tune_steps

    def __call__(
        self,
        place: str,
        case: Case,
        *,
        rate: float = SCRATCH,
        base: Trained | None = None,
        steps: int = 0,
        reference: np.ndarray | None = None,
    ) -> Trained:
        """Train on a case, or on its first frames with their reference; answer the whole case."""
        steps = steps or self.short
        options: Options = {
            **{"method": "smae" if reference is None else "supervised", "train.steps": steps},
            **{"train.learning_rate": rate, "train.validate_every": max(1, steps // 8)},
            "train.warmup_steps": max(1, steps // 10),
        }
        place = f"{place}-{steps}"
        if base is not None:  # another base, another training
            options["init_from"], place = str(base.run), f"{place}-of-{base.run.name}"
        data = case.data if reference is None else case.data.take(slice(len(reference)))
        found = self.bench.train(
            place, data, options, answered=case.data, reference=reference, keep=True
        )
        assert found is not None
        return found

    def applied(self, base: Trained, case: Case) -> np.ndarray:
        """Apply a base to another case as it is."""
        y, x = case.center
        with runner.quiet():
            result = smae_jax.open_run(base.run).denoise(case.data, center=f"{y:g},{x:g}")
        return np.asarray(result.answers.counts)


def simulated(
    tune: Tuning, rates: list[float], *, rate: float, paired_rate: float
) -> dict[str, Any]:
    """Base on scan A; zero-shot, fine-tuned and paired on scan B; and from scratch."""
    size = {"frames": 20, "size": 64} if tune.bench.options.quick else {}
    a = cases.of_simulation(
        simulate("saxs", photons=1.0, seed=SEED + 1, **size), name="A", group="SAXS", photons=1.0
    )
    moved = {"frames": 48, "center_offset": (3.0, -2.0)} | size
    b = cases.of_simulation(
        simulate("saxs", photons=1.0, seed=SEED + 2, **moved), name="B", group="SAXS", photons=1.0
    )
    rng = np.random.default_rng(SEED + 3)  # not the stream of the low counts
    high = rng.poisson(10.0 * b.truth[:PAIRED_FRAMES]).astype(np.float32)
    short, long = tune.short, tune.bench.options.steps
    base = tune("base", a, steps=long)
    scratch, supervised = tune("smae-scratch", b), tune("supervised-scratch", b, reference=high)
    tuned = {one: tune(f"tuned-{one:g}", b, rate=one, base=base) for one in {*rates, rate}}
    paired = {
        one: tune(f"paired-{one:g}", b, rate=one, base=base, reference=high)
        for one in {*rates, paired_rate}
    }
    both = tune(
        f"both-{rate:g}-{paired_rate:g}", b, rate=paired_rate, base=tuned[rate], reference=high
    )
    names = f"base fine-tuned on B, {short} steps", f"base fine-tuned on pairs of B, {short} steps"
    estimates = {
        f"smae on B from scratch, {short} steps": scratch.answers[""],
        f"supervised on pairs from scratch, {short} steps": supervised.answers[""],
        f"base of A ({long} steps), zero-shot": tune.applied(base, b),
        names[0]: tuned[rate].answers[""],
        names[1]: paired[paired_rate].answers[""],
        f"base, fine-tuned on B, then on pairs, 2 x {short} steps": both.answers[""],
    }
    rows = scored(b, estimates)
    sweep: Rows = {
        names[0]: {f"{r:g}": scored(b, {"": tuned[r].answers[""]})[""]["psnr_db"] for r in rates},
        names[1]: {f"{r:g}": scored(b, {"": paired[r].answers[""]})[""]["psnr_db"] for r in rates},
    }
    psnr = [rows[name]["psnr_db"] for name in estimates]
    gains = (
        ("Fine-tuning on B without a reference, over the base as it is", psnr[3] - psnr[2]),
        ("Fine-tuning on pairs after that", psnr[5] - psnr[3]),
        ("Fine-tuning the base on pairs at once, over the base as it is", psnr[4] - psnr[2]),
        ("Paired fine-tuning of the base against supervised from scratch", psnr[4] - psnr[1]),
        ("Fine-tuning on B against training on B from scratch", psnr[3] - psnr[0]),
    )
    counts = np.where(b.valid, b.data.counts, np.nan)
    names = ["scan B, raw", "base of A, zero-shot", "fine-tuned on B", "then on pairs", "truth"]
    every = list(estimates.values())
    frame = PAIRED_FRAMES + (2 if size else 8)
    shown = dict(zip(names, (counts, every[2], every[3], every[5], b.truth), strict=True))
    return {
        "rows": rows,
        "sweep": sweep,
        "gains": "\n".join(f"- {what}: {gain:+.2f} dB." for what, gain in gains),
        "images": {name: np.where(b.valid, one[frame], np.nan) for name, one in shown.items()},
    }


def scored(b: Case, estimates: Images) -> Rows:
    """Score on the frames that have no reference."""
    others = slice(PAIRED_FRAMES, None)
    kept = {name: found[others] for name, found in estimates.items()}
    rows = quality_rows(b.data.counts[others], kept, b.truth[others], b.valid, b.center)
    return {row["name"]: row for row in rows}


def real(tune: Tuning, rate: float) -> tuple[Rows, Images]:
    """Base on one thinned real scan; zero-shot and fine-tuned on another, scored against the rest."""
    first, second = (cases.real_scan(SHARE, file=name, seed=SEED + 4) for name in FILES)
    second = dataclasses.replace(second, matched=True)
    short, long = tune.short, tune.bench.options.steps
    base = tune("real-base", first, steps=long)
    scratch = tune("real-scratch", second)
    tuned = tune(f"real-tuned-{rate:g}", second, rate=rate, base=base)
    made = {name: frames for name, (_, frames) in runner.filtered(second).items()}
    smooth = list(made)[-1]
    names = (
        f"base of the other scan ({long} steps), zero-shot",
        f"base fine-tuned on this scan, {short} steps",
    )
    made[f"smae on this scan from scratch, {short} steps"] = scratch.answers[""]
    made |= {names[0]: tune.applied(base, second), names[1]: tuned.answers[""]}
    shown = {"real scan, 5 %, raw": made["raw"], smooth: made[smooth]}
    shown |= {
        "base of the other scan": made[names[0]],
        "fine-tuned": made[names[1]],
        "the other 95 %": second.truth,
    }
    rows = {name: runner.score(second, frames) for name, frames in made.items()}
    return rows, {name: np.where(second.mask, one[0], np.nan) for name, one in shown.items()}


def main(given: list[str] | None = None) -> int:
    """Train, score, and write the page and the figure."""
    parser = runner.arguments(__doc__, "finetune", steps=300)
    add = parser.add_argument
    add("--tune-steps", type=int, default=0, help="steps of all other trainings; 0 = 100")
    add("--rates", nargs="+", type=float, default=(5e-4, 2e-3, 5e-3), help="peaks to compare")
    add("--rate", type=float, default=5e-4, help="peak of fine-tuning")
    add("--paired-rate", type=float, default=2e-3, help="peak of paired tuning")
    with runner.bench(parser, given) as bench:
        asked = bench.options
        asked.tune_steps = asked.tune_steps or (4 if asked.quick else 100)
        tune = Tuning(bench)
        rates = {"rate": asked.rate, "paired_rate": asked.paired_rate}
        found = simulated(tune, list(asked.rates), **rates)
        shown, there = [found["images"]], "Not run: the real frames were not there."
        if not asked.quick and cases.there(*(f"{name}.npz" for name in FILES)):
            rows, images = real(tune, asked.rate)
            keys = {"plain": "plain", "weighted": "weighted"}
            there = markdown.scores("on the second sample", rows, keys, {"plain": "{:.4f}"})
            shown.append(images)
        pictures.images(bench.images / "finetune.png", shown)
        swept = {f"{rate:g}": f"{rate:g}" for rate in asked.rates}
        keys = {"psnr_db": "PSNR / dB", "ssim": "SSIM", "rmse": "RMSE"}
        bench.write(
            "finetuning",
            simulated=markdown.scores("on B", found["rows"], keys),
            sweep=markdown.scores("", found["sweep"], swept, dict.fromkeys(swept, "{:.2f}")),
            gains=found["gains"],
            real=there,
            paired=PAIRED_FRAMES,
            others=48 - PAIRED_FRAMES,
            **rates,
            steps=asked.steps,
            tune_steps=asked.tune_steps,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What fine-tuning gains, on simulated and on real scans: `python -m benchmarks.finetune`.

Simulated: a base is trained on scan A (1 photon/pixel) and applied to scan B, of other patterns, another
centre and other noise: as it is, fine-tuned on B without any reference, and fine-tuned on some of B's frames
paired with 10x references; all scored against the truth on B's other frames, beside trainings from scratch.
Real: frames thinned binomially to 5 %, which is exact low-count data; the other 95 % is an independent
reference.

Writes docs/finetune.md and docs/images/finetune.png. `--keep` takes the trainings that are there already.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.finetune_report import draw, write_page
from benchmarks.methods_report import command_line
from smae_jax.cli import main as smae_jax
from smae_jax.evaluation.filters import gaussian, rotated_average
from smae_jax.evaluation.quality import quality_rows
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.metrics import match_totals, noise_corrected_score
from smae_jax.simulate import Simulation, simulate, write_simulation

DATA = Path(__file__).parents[2] / "shared" / "data"
DOCS = Path(__file__).parents[1] / "docs"
SIGMAS = (0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
PAIRED_FRAMES = 16
"""Frames of scan B that have a reference; the others are scored."""
SHARE = 0.05
"""Share of the photons of the real frames that is denoised."""


@dataclass(frozen=True)
class Bench:
    """Where the runs are and how long they train."""

    folder: Path
    steps: int
    tune_steps: int
    keep: bool
    seed: int

    def train(self, name: str, data: str, *options: object, rate: float, steps: int) -> float:
        """Train a run unless it is kept; return the seconds it took."""
        run, record = self.folder / name, self.folder / f"{name}.json"
        if self.keep and record.is_file():
            return json.loads(record.read_text())["seconds"]
        started = time.perf_counter()
        command = ["train", "--run", run, "--overwrite", "--data.path", f"{data}::counts"]
        command += ["--data.mask", f"{data}::mask", "--seed", self.seed]
        command += ["--method", "smae", *options]
        command += ["--train.steps", steps, "--train.learning-rate", rate]
        command += ["--train.validate-every", max(1, steps // 8)]
        command += ["--train.warmup-steps", max(1, steps // 10)]
        self.call(*command)
        seconds = time.perf_counter() - started
        record.write_text(json.dumps({"seconds": seconds}))
        return seconds

    def infer(self, name: str, data: str, *options: object) -> np.ndarray:
        """Denoise a scan with a run."""
        output = self.folder / "denoised.npy"
        command = ["infer", "--run", self.folder / name, "--input", f"{data}::counts"]
        command += ["--mask", f"{data}::mask", "--output", output, "--overwrite", *options]
        self.call(*command)
        return np.load(output, allow_pickle=False)

    def call(self, *command: object) -> None:
        """Run one command of the program; stop if it refuses."""
        if status := smae_jax([str(part) for part in command]):
            sys.exit(status)


def simulated(
    bench: Bench, rates: list[float], *, rate: float, paired_rate: float
) -> dict[str, Any]:
    """Base on scan A; zero-shot, fine-tuned and paired on scan B; and from scratch."""
    a = simulate("saxs", frames=64, photons=1.0, seed=bench.seed + 1)
    b = simulate("saxs", frames=48, photons=1.0, seed=bench.seed + 2, center_offset=(3.0, -2.0))
    path_a, path_b, low, high = (
        str(bench.folder / f"{name}.npz") for name in ("a", "b", "b_low", "b_high")
    )
    write_simulation(path_a, a, overwrite=True)
    write_simulation(path_b, b, overwrite=True)
    rng = np.random.default_rng(bench.seed + 3)  # not the stream of the low counts
    mask, some = ~b.valid, slice(PAIRED_FRAMES)
    np.savez(low, counts=b.counts[some], mask=mask)
    np.savez(high, counts=rng.poisson(10.0 * b.truth[some]) * b.valid, mask=mask)
    paired = ("--method", "supervised", "--data.reference", f"{high}::counts")
    short, base = bench.tune_steps, bench.folder / "base"
    bench.train("base", path_a, rate=5e-3, steps=bench.steps)
    bench.train("smae-scratch", path_b, rate=5e-3, steps=short)
    bench.train("supervised-scratch", low, *paired, rate=5e-3, steps=short)
    where = ("--center", ",".join(str(c) for c in b.center))
    estimates = {
        f"smae on B from scratch, {short} steps": bench.infer("smae-scratch", path_b),
        f"supervised on pairs from scratch, {short} steps": bench.infer(
            "supervised-scratch", path_b
        ),
        f"base of A ({bench.steps} steps), zero-shot": bench.infer("base", path_b, *where),
    }
    swept: dict[float, dict[str, np.ndarray]] = {}
    names = (
        f"base fine-tuned on B, {short} steps",
        f"base fine-tuned on pairs of B, {short} steps",
    )
    for one in sorted({*rates, rate, paired_rate}):
        tuned, pairs = f"tuned-{one:g}", f"paired-{one:g}"
        bench.train(tuned, path_b, "--init-from", base, rate=one, steps=short)
        bench.train(pairs, low, *paired, "--init-from", base, rate=one, steps=short)
        found = bench.infer(tuned, path_b), bench.infer(pairs, path_b)
        swept[one] = dict(zip(names, found, strict=True))
    estimates |= {names[0]: swept[rate][names[0]], names[1]: swept[paired_rate][names[1]]}
    both = f"both-{rate:g}-{paired_rate:g}"
    start = ("--init-from", bench.folder / f"tuned-{rate:g}")
    bench.train(both, low, *paired, *start, rate=paired_rate, steps=short)
    estimates[f"base, fine-tuned on B, then on pairs, 2 x {short} steps"] = bench.infer(
        both, path_b
    )
    return {
        "rows": score_simulated(b, estimates),
        "sweep": {
            f"{one:g}": {row["name"]: row["psnr_db"] for row in score_simulated(b, found)[3:]}
            for one, found in swept.items()
        },
        "pictures": pictures_of(b, estimates),
    }


def score_simulated(b: Simulation, estimates: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Score on the frames that have no reference."""
    others = slice(PAIRED_FRAMES, None)
    kept = {name: found[others] for name, found in estimates.items()}
    return quality_rows(b.counts[others], kept, b.truth[others], b.valid, b.center)


def pictures_of(b: Simulation, estimates: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return one scored frame as everyone sees it; NaN where masked."""
    frame, names = PAIRED_FRAMES + 8, list(estimates)
    shown = {
        "scan B, raw": np.where(b.valid, b.counts[frame], np.nan),
        "base of A, zero-shot": estimates[names[2]][frame],
        "fine-tuned on B": estimates[names[3]][frame],
        "then on pairs": estimates[names[5]][frame],
        "truth": b.truth[frame],
    }
    return {name: np.where(b.valid, image, np.nan) for name, image in shown.items()}


def real(bench: Bench, rate: float) -> dict[str, Any]:
    """Base on one thinned real scan; zero-shot and fine-tuned on another, scored against the rest."""
    rng = np.random.default_rng(bench.seed + 4)
    paths, rest, valid, center, low = [], np.empty(0), np.empty(0), (0.0, 0.0), np.empty(0)
    for name in ("scan_mn23_12x1s", "scan_mnc22_4x1s"):
        with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
            counts, valid = file["crop"], file["crop_mask"]
            y, x = file["center"] - file["crop_origin"]
        low = rng.binomial(counts, SHARE)
        rest, center = counts - low, (round(2 * y) / 2, round(2 * x) / 2)
        paths.append(str(bench.folder / f"{name}.npz"))
        np.savez(paths[-1], counts=(low * valid).astype(np.uint16), mask=~valid)
    where = ("--data.center", f"{center[0]},{center[1]}")
    short = bench.tune_steps
    bench.train("real-base", paths[0], rate=5e-3, steps=bench.steps)
    bench.train("real-scratch", paths[1], *where, rate=5e-3, steps=short)
    base = bench.folder / "real-base"
    bench.train(
        f"real-tuned-{rate:g}", paths[1], *where, "--init-from", base, rate=rate, steps=short
    )
    there = ("--center", f"{center[0]},{center[1]}")
    turned, either = rotated_average(low, valid, center)
    candidates: dict[str, dict[str, np.ndarray]] = {
        "raw": {"": low * valid},
        "rotated average": {"": turned},
        "best Gaussian": {f", sigma {s:g}": gaussian(low, valid, s) for s in SIGMAS},
        "best Gaussian on rotated average": {
            f", sigma {s:g}": gaussian(turned, either, s) for s in SIGMAS
        },
        f"smae on this scan from scratch, {short} steps": {
            "": bench.infer("real-scratch", paths[1])
        },
        f"base of the other scan ({bench.steps} steps), zero-shot": {
            "": bench.infer("real-base", paths[1], *there)
        },
        f"base fine-tuned on this scan, {short} steps": {
            "": bench.infer(f"real-tuned-{rate:g}", paths[1])
        },
    }
    # The rest, brought to the exposure of the low counts, has this mean and this variance.
    factor = SHARE / (1 - SHARE)
    rows, chosen = [], {}
    for name, settings in candidates.items():
        scored = {
            setting: score_real(frames, rest * factor, rest * factor**2, valid)
            for setting, frames in settings.items()
        }
        best = min(scored, key=lambda setting: scored[setting]["plain"])
        rows.append({"name": f"{name}{best}", **scored[best]})
        chosen[name] = settings[best]
    names = list(chosen)
    shown = {
        "real scan, 5 %, raw": chosen["raw"][0],
        "base of the other scan": chosen[names[5]][0],
        "fine-tuned": chosen[names[6]][0],
        "best Gaussian *": chosen[names[3]][0],
        "the other 95 %": rest[0] * factor,
    }
    pictures = {name: np.where(valid, image, np.nan) for name, image in shown.items()}
    return {"rows": rows, "pictures": pictures}


def score_real(
    frames: np.ndarray, reference: np.ndarray, variance: np.ndarray, valid: np.ndarray
) -> dict[str, float]:
    """Score as `smae_jax.evaluation.scores`, each frame against its own independent reference."""
    kinds: dict[str, list[float]] = {"plain": [], "weighted": []}
    for frame, mean, noise in zip(frames, reference, variance, strict=True):
        matched = match_totals(frame, mean, valid)
        weight = inverse_rate(mean, valid)
        kinds["plain"].append(noise_corrected_score(matched, mean, noise, valid, None))
        kinds["weighted"].append(noise_corrected_score(matched, mean, noise, valid, weight))
    return {kind: float(np.mean(values)) for kind, values in kinds.items()}


def main(arguments: list[str] | None = None) -> int:
    """Train, score, and write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="runs/finetune-benchmark", help="folder for the runs")
    parser.add_argument("--steps", type=int, default=300, help="steps of the bases")
    parser.add_argument("--tune-steps", type=int, default=100, help="steps of all other trainings")
    parser.add_argument("--rates", default="5e-4,2e-3,5e-3", help="peaks to compare")
    parser.add_argument("--rate", type=float, default=5e-4, help="peak of fine-tuning")
    parser.add_argument("--paired-rate", type=float, default=2e-3, help="peak of paired tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="take the trainings that are there")
    given = parser.parse_args(arguments)
    bench = Bench(Path(given.run), given.steps, given.tune_steps, given.keep, given.seed)
    bench.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rates = [float(rate) for rate in given.rates.split(",")]
    results: dict[str, Any] = {
        "simulated": simulated(bench, rates, rate=given.rate, paired_rate=given.paired_rate)
    }
    if DATA.is_dir():
        results["real"] = real(bench, given.rate)
    settings = {
        "command": command_line("finetune", arguments),
        "minutes": (time.perf_counter() - started) / 60,
        **vars(given),
    }
    pictures = [part.pop("pictures") for part in results.values()]
    (bench.folder / "finetune.json").write_text(
        json.dumps({**results, "settings": settings}, indent=2)
    )
    draw(DOCS / "images" / "finetune.png", pictures)
    write_page(DOCS / "finetune.md", results, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())

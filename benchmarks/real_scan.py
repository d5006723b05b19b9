"""Denoise twelve frames of a real scan at a share of their photons, score on the photons held back.

The frames were counted for one second each; photons are dealt to a weak exposure, which is all that a
training and `infer` see, and to a reference. Splitting counts at random makes independent Poisson counts of
both, so a squared error to the reference, less the reference's own noise, is the error to the truth.

Run with ``python -m benchmarks.real_scan``; writes docs/real_scan.md and docs/images/real_scan.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.methods import DATA, NETWORK_ALONE, SEED, denoised, keep_compiled, quiet
from benchmarks.methods_report import Making, command_line, facts_list
from smae_jax.commands.train import train
from smae_jax.config import (
    DataOptions,
    InferConfig,
    PredictOptions,
    TrainConfig,
    TrainOptions,
)
from smae_jax.evaluation.filters import gaussian, rotated_average
from smae_jax.metrics import noise_corrected_score

SHARES = (0.02, 0.1)
SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
ANSWERS: dict[str, dict[str, Any]] = {
    "network alone": NETWORK_ALONE,
    "with the sums of the scan": {"combine": False},
    "combined": {"keep_sums": False, "keep_significant": 0.0},
    "as infer answers": {},
}
TEXT = """\
# A real scan: twelve frames at a share of their photons

    {command}

![One frame of the scan](images/real_scan.png)

*One frame: the photons that were shown, filtered, the network alone, what `infer` answers, and the photons
that were held back, of which the scores are made.*

Twelve frames of one second of a scanned section (`scan_mn23_12x1s.npz`: rings, halo, 512 x 512 pixels about
the beam). Each frame's photons are split at random: the share in the table is all that training and `infer`
see, the rest is the reference. Scores are mean squared errors less the reference's own noise, inside the
mask, not scaled: plain over the mean counts, weighted over the expected counts of each pixel; 1 is a raw
exposure, 0 is perfect, chance may take it below (standard error of the weighted score {error:.1g}). The best
Gaussian is chosen by the score itself. If the detector's counts vary less than Poisson's, by one per cent
say, all scores are too low alike, by one per cent of the odds of a photon to be shown: compare rows.

{tables}

{steps} steps of training, {seconds}. "average" is the default rule; "cross" answers as SMAE was published.

## Made with

{facts}
"""


def weak_exposure(share: float, folder: Path) -> dict[str, Any]:
    """Split the photons of the scan, write what is shown, return it with the reference."""
    with np.load(DATA / "scan_mn23_12x1s.npz", allow_pickle=False) as file:
        counts, valid = file["crop"].astype(np.int64), file["crop_mask"]
        center = tuple(float(c) for c in file["center"] - file["crop_origin"])
    counts = np.where(valid, np.maximum(counts, 0), 0)
    shown = np.random.default_rng(SEED).binomial(counts, share)
    np.save(folder / "shown.npy", shown.astype(np.int32))
    np.save(folder / "mask.npy", (~valid).astype(np.uint8))
    rate = share / (1 - share)
    smoothed = gaussian(counts * share, np.broadcast_to(valid, counts.shape), 2.0)
    return {
        "shown": shown.astype(np.float64),
        "valid": valid,
        "center": center,
        "reference": (counts - shown) * rate,
        "variance": (counts - shown) * rate**2,
        "expected": np.maximum(smoothed, 0.01 * share),
    }


def scores(estimate: np.ndarray, scan: dict[str, Any]) -> dict[str, float]:
    """Score expected counts: plain, and each pixel by its expected counts."""
    compare = np.nan_to_num(estimate), scan["reference"], scan["variance"], scan["valid"]
    return {
        "plain": noise_corrected_score(*compare),
        "weighted": noise_corrected_score(*compare, 1 / scan["expected"]),
    }


def filters(scan: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return raw counts, the rotated average, and the best Gaussian by either score."""
    shown, valid = scan["shown"], np.broadcast_to(scan["valid"], scan["shown"].shape)
    average, known = rotated_average(shown, valid, scan["center"])
    found = {"raw": shown, "rotated average": average}
    tried = {
        f"Gaussian {sigma:g} on {name}": gaussian(frames, there, sigma)
        for name, frames, there in (("raw", shown, valid), ("average", average, known))
        for sigma in SIGMAS
    }
    for key in ("plain", "weighted"):
        best = min(tried, key=lambda name: scores(tried[name], scan)[key])
        found[best] = tried[best]
    return found


def answers(method: str, scan: dict[str, Any], folder: Path, steps: int) -> dict[str, np.ndarray]:
    """Train on what is shown, and denoise it in every way: name -> expected counts."""
    y, x = (round(2 * c) / 2 for c in scan["center"])
    shown, run = str(folder / "shown.npy"), folder / method
    config = TrainConfig(
        seed=SEED,
        method=method,  # type: ignore[arg-type]
        run=str(run),
        overwrite=True,
        data=DataOptions(path=shown, mask=str(folder / "mask.npy"), center=f"{y:g},{x:g}"),
        train=TrainOptions(steps=steps),
        predict=PredictOptions(ensemble="flips"),
    )
    with quiet():
        train(config, lambda line: None)
    asked = {f"{method}, {name}": options for name, options in ANSWERS.items()}
    if method == "smae":
        asked = {
            "smae, cross, network alone": NETWORK_ALONE | {"rule": "cross"},
            **asked,
        }
    plain = InferConfig(
        run=str(run), input=shown, output=str(folder / "answer.npy"), overwrite=True
    )
    return {
        name: denoised(dataclasses.replace(plain, **options)) for name, options in asked.items()
    }


def draw(path: Path, panels: dict[str, np.ndarray], valid: np.ndarray) -> None:
    """Draw images beside each other on one logarithmic scale."""
    figure = Figure(figsize=(3.0 * len(panels), 3.3), layout="constrained", dpi=110)
    axes = figure.subplots(1, len(panels))
    reference = next(reversed(panels.values()))[valid]
    low, high = np.quantile(reference[reference > 0], (0.02, 0.998))
    for axis, (name, image) in zip(axes, panels.items(), strict=True):
        shown = np.where(valid, np.maximum(image, low), np.nan)
        drawn = axis.imshow(shown, norm="log", vmin=low, vmax=high, cmap="magma")
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="expected counts")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    """Train, denoise, score, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="", help="keep files there")
    parser.add_argument("--output", default="docs", help="folder of real_scan.md")
    parser.add_argument("--steps", type=int, default=TrainOptions().steps)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--methods", nargs="+", default=["smae", "thinning"])
    options = parser.parse_args(arguments)
    making, tables, panels, seconds = Making(SEED), [], {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        keep_compiled(folder)
        for share in options.shares:
            scan = weak_exposure(share, folder)
            rows = filters(scan)
            gaussians = [name for name in rows if name.startswith("Gaussian")]
            for method in options.methods:
                began = time.perf_counter()
                rows |= answers(method, scan, folder, options.steps)
                seconds.append(f"{method} {time.perf_counter() - began:.0f} s")
            mean = scan["shown"][:, scan["valid"]].mean()
            lines = [f"| {mean:.2g} photons/pixel | plain | weighted |", "| --- | ---: | ---: |"]
            for name, estimate in rows.items():
                score = scores(estimate, scan)
                lines.append(f"| {name} | {score['plain']:.4f} | {score['weighted']:.5f} |")
                print(lines[-1])
            tables.append("\n".join(lines))
            if not panels:
                last = f"{options.methods[-1]}, "
                panels = {
                    f"shown, {mean:.2g} photons/pixel": scan["shown"][0],
                    gaussians[-1]: rows[gaussians[-1]][0],
                    f"{last}network alone": rows[f"{last}network alone"][0],
                    f"{last}as infer answers": rows[f"{last}as infer answers"][0],
                    "held back": scan["reference"][0],
                }
                draw(Path(options.output) / "images" / "real_scan.png", panels, scan["valid"])
            noise = (scan["variance"] / scan["expected"])[:, scan["valid"]]
            error = np.sqrt(2 * (noise**2).sum()) / noise.size
    text = TEXT.format(
        command=command_line("real_scan", arguments),
        tables="\n\n".join(tables),
        steps=options.steps,
        seconds="with all answers " + ", ".join(seconds),
        error=error,
        facts=facts_list(making.facts()),
    )
    output = Path(options.output) / "real_scan.md"
    output.write_text(text, encoding="utf-8")
    print(f"{output}: written, with images/real_scan.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

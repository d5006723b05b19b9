"""The page and the figure of `benchmarks.finetune`."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from benchmarks.methods_report import commit

PAGE = """\
# What fine-tuning gains

Made by one command:

    {command}

![One frame of each scan, before and after](images/finetune.png)

*Top: a frame of the simulated scan B. Bottom: a frame of the real scan at 5 % of its photons (512 x 512
pixels). One logarithmic colour scale per row, masked pixels grey; \\* filters with the setting that the
reference likes best.*

## Simulated: a base for one scan, used on another

Scan A (64 frames) and scan B (48 frames, another centre, other patterns and noise): SAXS, 128 x 128 pixels,
1 photon/pixel. The first {paired} frames of B have a reference of 10 times the exposure. Scored on the other
{others} frames of B, which no reference shows to any network; trainings without a reference see their counts.

{simulated}

PSNR, SSIM and RMSE to the truth at the valid pixels that have a valid partner. The base takes {steps} steps,
every other training {tune_steps}: they compare at equal steps on B, not at equal steps in all.

{gains}

### Learning rate

PSNR / dB of the fine-tuned networks by the peak learning rate (muon; a training from scratch takes 5e-3):

{sweep}

`configs/finetune.toml` takes {rate:g} and `configs/finetune_paired.toml` {paired_rate:g}, as do the tables
here. They were chosen by this very table, on the frames that are scored, so the gains are a little flattered.
{real}
## How it was measured

Seed {seed}; commit {commit}; {hardware}; JAX {jax}; {minutes:.0f} minutes for
what was not kept from an earlier call. One seed: differences of a few hundredths of a dB may be chance.
"""

REAL = """
## Real: another sample, 5 % of its photons

Base: twelve 1 s frames of one sample (`scan_mn23_12x1s.npz`), thinned binomially to 5 %; used on four frames
of another (`scan_mnc22_4x1s.npz`), thinned likewise. Thinned counts are exact low-count data, and the other
95 % is an independent reference.

{table}

Score = (squared error to the reference less the reference's variance) / mean counts; 1 = raw noise, 0 =
perfect; weighted: each pixel by one over its expected counts. Sigmas are chosen by the reference's plain
score, which no user knows. These patterns are smooth rings, which favour every kind of smoothing.
"""


def write_page(path: Path, results: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the tables with everything that is needed to make them again."""
    rows = results["simulated"]["rows"]
    psnr = {row["name"]: row["psnr_db"] for row in rows}
    names = [row["name"] for row in rows][3:]
    scratch, supervised, zero, tuned, paired, both = names
    gains = "\n".join(
        f"- {what}: {psnr[after] - psnr[before]:+.2f} dB."
        for what, after, before in (
            ("Fine-tuning on B without a reference, over the base as it is", tuned, zero),
            ("Fine-tuning on pairs after that", both, tuned),
            ("Fine-tuning the base on pairs at once, over the base as it is", paired, zero),
            ("Paired fine-tuning of the base against supervised from scratch", paired, supervised),
            ("Fine-tuning on B against training on B from scratch", tuned, scratch),
        )
    )
    sweep = results["simulated"]["sweep"]
    rates = sorted(sweep, key=float)
    kinds = list(next(iter(sweep.values())))
    page = PAGE.format(
        **settings,
        paired=16,
        others=48 - 16,
        simulated=table(
            ["on B", "PSNR / dB", "SSIM", "RMSE"],
            [
                [r["name"], f"{r['psnr_db']:.2f}", f"{r['ssim']:.4f}", f"{r['rmse']:.4f}"]
                for r in rows
            ],
        ),
        gains=gains,
        sweep=table(
            ["", *rates], [[kind, *(f"{sweep[r][kind]:.2f}" for r in rates)] for kind in kinds]
        ),
        real=real_part(results),
        commit=commit(),
        hardware=hardware(),
        jax=jax.__version__,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def real_part(results: dict[str, Any]) -> str:
    """Return the chapter on real frames, or why there is none."""
    if "real" not in results:
        return "\nThe real frames were not there when this page was made.\n"
    rows = [
        [r["name"], f"{r['plain']:.4f}", f"{r['weighted']:.4f}"] for r in results["real"]["rows"]
    ]
    return REAL.format(table=table(["on the second sample", "plain", "weighted"], rows))


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [headings, rule, *rows])


def draw(path: Path, rows: list[dict[str, np.ndarray]]) -> None:
    """Draw one row of pictures per scan on a common logarithmic scale."""
    figure = Figure(figsize=(13, 2.85 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 5, squeeze=False)
    colours = matplotlib.colormaps["inferno"].with_extremes(bad="#808080")
    for line, pictures in zip(axes, rows, strict=True):
        last = list(pictures.values())[-1]
        smooth = last[np.isfinite(last) & (last > 0)]
        low, high = np.percentile(smooth, [2, 99.8])
        norm = LogNorm(max(low, 0.1), high)
        for ax, (name, image) in zip(line, pictures.items(), strict=True):
            shown = ax.imshow(np.maximum(image, norm.vmin), norm=norm, cmap=colours)
            ax.set_title(name, fontsize=10)
            ax.set_xticks([])
            ax.set_yticks([])
        figure.colorbar(shown, ax=line, shrink=0.85, pad=0.01, label="counts per pixel")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def hardware() -> str:
    """Return what the trainings ran on."""
    device = jax.devices()[0]
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), device {device.device_kind}"

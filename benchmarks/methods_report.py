"""The page and the figure of `benchmarks.methods`: tables, pictures, and quality against exposure."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from benchmarks.methods_repeats import TITLE, put_section, section_of

Result = dict[str, Any]

SHORT = {
    "truth": "truth",
    "raw": "raw",
    "rotated average": "rotated average",
    "best Gaussian": "best Gaussian *",
    "best non-local means": "best non-local means *",
    "SMAE as published (sedcnn4)": "SMAE as published",
    "masked autoencoder": "masked autoencoder",
    "zero-shot Noise2Noise": "zero-shot N2N",
    "supervised, 10x reference": "supervised, 10x ref.",
    "SMAE (ours)": "SMAE, ours",
}
STYLE = {
    "raw": ("#9a9a9a", ":"),
    "rotated average": ("#9a9a9a", "--"),
    "best Gaussian": ("#4c78a8", "--"),
    "best non-local means": ("#2f9e8f", "--"),
    "SMAE as published (sedcnn4)": ("#b279a2", "-"),
    "masked autoencoder": ("#c9a227", "-"),
    "zero-shot Noise2Noise": ("#8c6d4f", "-"),
    "supervised, 10x reference": ("#f28e2b", "-"),
    "SMAE (ours)": ("#d62728", "-"),
}

TEXT = """\
# Methods compared

All methods on data with known truth, made by one command:

    {command}

![Denoised pictures and quality against exposure](images/methods.png)

*Top: one frame of the simulated SAXS scan and of a real muscle pattern (its middle), as every method
sees or denoises it, one logarithmic colour scale per row, PSNR of that frame. Bottom: PSNR over all
scored frames against the exposure. Dashed lines and \\* are filters, whose settings are chosen by the
truth.*

## PSNR / dB

{psnr}

## Error over the expected variance

Mean of (estimate - truth)^2 / truth: 1 is a raw exposure, 0 is perfect. Weak features count as much as
strong ones here, which is not so in the PSNR.

{weighted}

## SSIM

{ssim}

## Training

{training}

## How to read it

- **Scores** compare expected counts with expected counts, inside the mask (valid pixels of the scored
  frames), with no scaling, clipping or registration. The data range of PSNR and SSIM is the largest
  truth inside the mask.
- **Data**: `SAXS` and `WAXD` are simulated scans of 64 frames, 128 x 128 pixels (`smae_jax.simulate`),
  with gaps, beamstop and its arm masked, at 0.1, 1 and 10 photons per valid pixel. `muscle` are three
  averages of real muscle patterns, 512 x 512 pixels, Poisson-sampled four times each at 0.1 and 1 of one
  exposure (0.3 to 0.8 and 3 to 8 photons per pixel).
- **Scored frames**: every other frame of a simulated scan; the four frames of the last pattern for
  muscle. The self-supervised methods are trained on all frames of the scan, as one does with a scan:
  they see the noisy frames that they are scored on, and no truth. The supervised one is trained on the
  other frames and Poisson references of {exposure} exposures: neighbours of the scored frames in a
  simulated scan, but other patterns for muscle.
- **Filters**: on the average with the frame turned by 180 degrees; sigma and strength are those of the
  smallest error to the truth, which no user knows. Non-local means is scikit-image's, on Anscombe's
  root, with the exact unbiased inverse.
- **SMAE as published**: its network, loss (MSE), scaling (each frame by its maximum), rule (zero counts
  masked, halves apart, each pixel from its partner's side), four flips, Adam 1e-3, whole halves of 128 x
  128 frames (patches of 128 pixels for muscle). It has 2.3 million parameters at full resolution;
  {steps} steps of 4 take about the seconds of the others and are far from the 260 epochs that its
  authors train: the table says what it is worth in this time, not in the end. It gets our warm-up,
  cosine and averaged parameters. Its answer is brought to counts by the frame's maximum and, where that
  is closer to the truth, to the frame's total; the published program does neither. It ends in a ReLU
  that can be 0 everywhere, for good: with seed 0 it is, so this method alone has seed 1; and since it
  takes pixels for masked where either half has no photon, nearly all its targets are 0 at 0.1 photons.
- **Masked autoencoder** (`--method masked`, He et al. 2022) and **zero-shot Noise2Noise** (`--method
  zero_shot`, Mansour & Heckel 2023) use neither the symmetry nor a second measurement; network,
  optimizer, steps and loss are those of ours. Zero-shot is trained on the whole scan instead of one
  frame at a time, on patches of 128 pixels, whose pairs have the 64 of the others.
- **Supervised** has our network, loss, number of steps and assembly of the two views.
- **Budget**: {steps} steps of 16 patches for every method with the light network, one setting for all
  cases and fluxes; more steps are better for all of them. Seconds are of training alone, with reading,
  validation and what had to be compiled. One seed: differences below some 0.2 dB mean nothing.

## Made with

{facts}
"""


def write_report(output: Path, results: list[Result], facts: dict[str, Any]) -> None:
    """Write `methods.md` and `images/methods.png` into the folder `output`."""
    (output / "images").mkdir(parents=True, exist_ok=True)
    ours = [result["rows"]["SMAE (ours)"] for result in results]
    text = TEXT.format(
        command=facts["command"],
        psnr=table(results, "psnr_db", "{:.2f}", max),
        weighted=table(results, "weighted", "{:.4f}", min),
        ssim=table(results, "ssim", "{:.4f}", max),
        training=training_table(results),
        exposure=10,
        steps=ours[0]["steps"],
        facts=facts_list(facts),
    )
    page = output / "methods.md"
    if page.is_file():  # a section of its own, made by `--repeats`
        kept = section_of(page.read_text(encoding="utf-8"), TITLE)
        text = put_section(text, TITLE, kept) if kept else text
    page.write_text(text, encoding="utf-8")
    draw(output / "images" / "methods.png", results)


def table(results: list[Result], key: str, form: str, best: Callable[[list[float]], float]) -> str:
    """Make a Markdown table, methods x cases, the best of each case in bold."""
    lines = [["", *(result["name"] for result in results)], ["---", *["---:"] * len(results)]]
    top = [best([row[key] for row in result["rows"].values()]) for result in results]
    for method in results[0]["rows"]:
        cells = []
        for result, wanted in zip(results, top, strict=True):
            row = result["rows"][method]
            cell = form.format(row[key])
            cell = f"**{cell}**" if row[key] == wanted else cell
            if key == "psnr_db" and row.get("setting"):
                cell += f" ({row['setting']})"
            cells.append(cell)
        lines.append([method, *cells])
    return _markdown(lines)


def training_table(results: list[Result]) -> str:
    """Make the table of seconds, methods x cases."""
    lines = [
        ["seconds (steps)", *(result["name"] for result in results)],
        ["---", *["---:"] * len(results)],
    ]
    for method, first in results[0]["rows"].items():
        if "steps" in first:
            rows = [result["rows"][method] for result in results]
            lines.append([method, *(f"{row['seconds']:.0f} ({row['steps']})" for row in rows)])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Making:
    """What a page says of how it was made, looked at when the work begins and when it is done."""

    def __init__(self, seed: int) -> None:
        """Begin."""
        self._seed, self._commit = seed, commit()
        self._start, self._load = time.perf_counter(), os.getloadavg()[0]

    def facts(self, seconds: float | None = None) -> dict[str, Any]:
        """Return seed, commit, minutes (of `seconds`, where given) and load, for `facts_list`."""
        taken = time.perf_counter() - self._start if seconds is None else seconds
        return {
            "seed": self._seed,
            "commit": self._commit,
            "minutes": taken / 60,
            "load": (self._load, os.getloadavg()[0]),
        }


def facts_list(facts: dict[str, Any]) -> str:
    """Say with what the page was made, a line each."""
    before, after = facts["load"]
    lines = [
        f"seed {facts['seed']}, commit {facts['commit']}",
        f"{processor()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind} device of JAX "
        f"{jax.__version__}, Python {platform.python_version()}, {platform.system()}",
        f"{facts['minutes']:.0f} minutes in all, on a machine that others used too (load "
        f"{before:.1f} at the start, {after:.1f} at the end): seconds compare within a column at best",
    ]
    return "\n".join(f"- {line}" for line in lines)


def command_line(benchmark: str, arguments: list[str] | None) -> str:
    """Return the command that runs a benchmark with these arguments; None = those of this process."""
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *(arguments or sys.argv[1:])])


def commit() -> str:
    """Return the short hash of the checkout, and whether it has changes."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = " with changes" if git("status", "--porcelain") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def processor() -> str:
    """Return the name of the processor."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def draw(path: Path, results: list[Result]) -> None:
    """Draw two rows of pictures and, for each group of cases, PSNR against the exposure."""
    groups = list(dict.fromkeys(result["group"] for result in results))
    methods = list(results[0]["rows"])
    shown = [_middle_of(results, groups[0])]
    if len(groups) > 2:
        shown.append(min((r for r in results if r["group"] == groups[2]), key=lambda r: r["flux"]))
    panels = [*methods, "truth"]
    figure = Figure(figsize=(17.2, 2.35 * len(shown) + 4.3), layout="constrained", dpi=110)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.35 * len(shown), 4.3], hspace=0.04)
    axes = top.subplots(len(shown), len(panels), squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        axis.set_title(SHORT[name].replace(" *", "*"), fontsize=9)
    for row, result in zip(axes, shown, strict=True):
        with np.load(result["pictures"], allow_pickle=False) as file:
            pictures = dict(file)
        valid, truth = pictures.pop("valid"), pictures["truth"]
        window = _window(truth.shape, 200)
        highest = np.percentile(truth[window][valid[window]], 99.8)
        norm = LogNorm(highest / 300, highest)
        for axis, name in zip(row, panels, strict=True):
            _picture(axis, pictures[name], valid, window, norm)
            if name != "truth":
                error = (pictures[name] - truth)[valid]
                decibel = 20 * np.log10(truth[valid].max() / np.sqrt(np.mean(error**2)))
                axis.set_xlabel(f"{decibel:.1f} dB", fontsize=9)
        row[0].set_ylabel(_label(result), fontsize=9)
    lines = bottom.subplots(
        1, len(groups) + 1, gridspec_kw={"width_ratios": [1] * len(groups) + [0.5]}
    )
    for axis, group in zip(lines, groups, strict=False):
        _curves(axis, [result for result in results if result["group"] == group], methods)
    lines[0].set_ylabel("PSNR / dB")
    lines[-1].axis("off")
    handles, labels = lines[0].get_legend_handles_labels()
    lines[-1].legend(handles[::-1], labels[::-1], loc="center left", frameon=False, fontsize=10)
    figure.savefig(path)


def _curves(axis: Axes, results: list[Result], methods: list[str]) -> None:
    """Draw PSNR against the exposure, a line per method."""
    flux = [result["flux"] for result in results]
    for method in methods:
        color, style = STYLE[method]
        values = [result["rows"][method]["psnr_db"] for result in results]
        ours = method == "SMAE (ours)"
        axis.plot(
            flux,
            values,
            style,
            color=color,
            marker="o",
            markersize=6 if ours else 4,
            linewidth=2.6 if ours else 1.4,
            zorder=3 if ours else 2,
            label=SHORT[method],
        )
    every = [[result["rows"][method]["psnr_db"] for result in results] for method in methods]
    # What failed altogether must not press all the others together; it is named at the bottom instead.
    floor = min(result["rows"]["raw"]["psnr_db"] for result in results) - 1
    failed = [SHORT[m] for m, values in zip(methods, every, strict=True) if min(values) < floor]
    if failed:
        axis.set_ylim(bottom=floor)
        axis.text(0.98, 0.02, f"below: {', '.join(failed)}", transform=axis.transAxes, ha="right")
    name, _, unit = results[0]["group"].partition(" (")
    axis.set_xscale("log")
    axis.set_xticks(flux, [f"{value:g}" for value in flux])
    axis.minorticks_off()
    axis.set_title(name, fontsize=11)
    axis.set_xlabel(unit.rstrip(")"))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _picture(
    axis: Axes, image: np.ndarray, valid: np.ndarray, window: tuple[slice, slice], norm: LogNorm
) -> None:
    """Draw the window of an image; masked pixels grey, zeros in the darkest colour."""
    shown = np.where(valid, np.maximum(image, norm.vmin), np.nan)[window]
    colors = matplotlib.colormaps["inferno"].with_extremes(bad="#b0b0b0")
    axis.imshow(shown, norm=norm, cmap=colors, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _window(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """Return the middle of an image, at most `side` pixels wide."""
    starts = [max(0, (size - side) // 2) for size in shape]
    return tuple(slice(a, min(a + side, n)) for a, n in zip(starts, shape, strict=True))  # type: ignore[return-value]


def _middle_of(results: list[Result], group: str) -> Result:
    own = [result for result in results if result["group"] == group]
    return own[len(own) // 2]


def _label(result: Result) -> str:
    name, _, unit = result["group"].partition(" (")
    return f"{name}\n{result['flux']:g} {unit.rstrip(')')}"
